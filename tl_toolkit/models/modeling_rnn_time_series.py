"""Recurrent forecasting: the next values of one or several variables from their past."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import initialization as init
from transformers.utils import ModelOutput
from transformers.utils.generic import can_return_tuple

from .configuration_rnn import RnnConfig
from .pooling import SequencePooling
from .rnn_layers import recurrent_layers, run_cell
from .rnn_model import RnnModel, RnnPreTrainedModel


@dataclass
class TimeSeriesPredictionOutput(ModelOutput):
    """Output of a forecasting model; the names are those of transformers' time-series models.

    Attributes:
        loss: in scaled units, with `future_values`.
        prediction_outputs: (batch, prediction_length, num_input_features), in the units of the data.
        hidden_states: with `output_hidden_states`, the network's inputs and the output of each layer.
        attentions: with `output_attentions` and `pooling="attention"`, one tensor (batch, context).
    """

    loss: Tensor | None = None
    prediction_outputs: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class SeriesScaling(nn.Module):
    """Converts between the units of the data and standardised values (mean 0, standard deviation 1) per variable.

    The constants are buffers: they are saved with the weights, which are only valid with them. They are initialised to
    0 and 1, which leave values unchanged.
    """

    mean: Tensor
    standard_deviation: Tensor

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(num_features))
        self.register_buffer("standard_deviation", torch.ones(num_features))

    def scale(self, values: Tensor) -> Tensor:
        return (values - self.mean) / self.standard_deviation

    def restore(self, scaled: Tensor) -> Tensor:
        return scaled * self.standard_deviation + self.mean


class SeriesDecoder(nn.Module):
    """Predicts a sequence of any length value by value; each prediction is the next input.

    The initial states are `tanh(V c)` of a summary c of the context, as in Cho et al. 2014 (appendix A.1.2); an LSTM's
    cell state starts at 0. Training matches use: the network also reads its own predictions in training, never the true
    values, and the gradient flows through all steps.
    """

    def __init__(self, config: RnnConfig, summary_size: int) -> None:
        super().__init__()
        self.config = config
        assert config.num_input_features is not None
        self.bridge = nn.Linear(summary_size, config.num_hidden_layers * config.hidden_size)
        self.layers = recurrent_layers(config, config.num_input_features, config.num_hidden_layers)
        self.hidden_dropout = nn.Dropout(config.hidden_dropout)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.output = nn.Linear(config.hidden_size, config.num_input_features)

    def forward(self, summary: Tensor, first: Tensor, steps: int) -> Tensor:
        """(batch, summary_size) and the value before the first (batch, features) -> (batch, steps, features)."""
        initial = torch.tanh(self.bridge(summary)).chunk(self.config.num_hidden_layers, dim=-1)
        is_lstm = self.config.cell_type == "lstm"
        states = [(hidden, torch.zeros_like(hidden)) if is_lstm else (hidden,) for hidden in initial]
        value, written = first, []
        for _ in range(steps):
            outputs = value.unsqueeze(1)  # (batch, 1, features)
            for index, layer in enumerate(self.layers):
                if index > 0:
                    outputs = self.hidden_dropout(outputs)
                outputs, states[index] = run_cell(layer.forward_cell, outputs, states[index])
            value = self.output(self.dropout(outputs.squeeze(1)))
            written.append(value)
        return torch.stack(written, dim=1)


class RnnForTimeSeriesPrediction(RnnPreTrainedModel):
    """Point forecasts of `prediction_length` values of `num_input_features` variables.

    The network reads numbers, so it has no embedding and no tokenizer. `config.forecast_type` selects the output:
    `many_to_one` pools the context into one vector and predicts the whole horizon from it at once (direct multi-step
    forecasting); `many_to_many` predicts it step by step (`SeriesDecoder`).

    Inputs and outputs are in the units of the data; internally they are scaled by constants of the training data
    (`set_scaling`). Missing values are replaced by the mean. Positions before the first observed value of a row are
    padding and are not read, so short and long contexts can share a batch.
    """

    _auto_class = "AutoModelForTimeSeriesPrediction"
    main_input_name = "past_values"
    input_modalities = ("time",)

    def __init__(self, config: RnnConfig) -> None:
        if config.num_input_features is None or config.prediction_length is None:
            raise ValueError(
                "RnnForTimeSeriesPrediction needs num_input_features (the number of variables) and prediction_length "
                f"(the number of steps to predict), got {config.num_input_features} and {config.prediction_length}."
            )
        super().__init__(config)
        self.num_features: int = config.num_input_features
        self.prediction_length: int = config.prediction_length
        self.scaling = SeriesScaling(self.num_features)
        self.rnn = RnnModel(config)
        self.pooling = SequencePooling(config.output_size, config.pooling, config.summary_position)
        if config.forecast_type == "many_to_many":
            self.decoder = SeriesDecoder(config, self.pooling.output_size)
        else:
            self.dropout = nn.Dropout(config.classifier_dropout)
            self.head = nn.Linear(self.pooling.output_size, self.prediction_length * self.num_features)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, SeriesScaling):
            init.zeros_(module.mean)
            init.ones_(module.standard_deviation)

    @torch.no_grad()
    def set_scaling(self, mean: Sequence[float], standard_deviation: Sequence[float]) -> None:
        """Set the scaling constants of the training data, one per variable; they are saved with the model.

        A constant variable, with standard deviation 0, is only centred.

        Raises:
            ValueError: not one finite number per variable, or a negative standard deviation.
        """
        means, deviations = (torch.as_tensor(list(numbers)).double() for numbers in (mean, standard_deviation))
        for name, numbers in {"mean": means, "standard_deviation": deviations}.items():
            if numbers.shape != (self.num_features,) or not numbers.isfinite().all():
                raise ValueError(f"{name} must be {self.num_features} finite numbers, got {numbers.tolist()}.")
        if (deviations < 0).any():
            raise ValueError(f"standard_deviation must not be negative, got {deviations.tolist()}.")
        self.scaling.mean.copy_(means)
        self.scaling.standard_deviation.copy_(deviations.where(deviations > 0, 1.0))

    @can_return_tuple
    def forward(
        self,
        past_values: Tensor,
        past_observed_mask: Tensor | None = None,
        future_values: Tensor | None = None,
        future_observed_mask: Tensor | None = None,
        output_attentions: bool | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **kwargs: Any,
    ) -> TimeSeriesPredictionOutput:
        """Predict the values that follow a window of a series.

        Args:
            past_values: (batch, context, num_input_features), or (batch, context) for one variable, oldest first, in
                the units of the data. The context can have any length. NaN means missing.
            past_observed_mask: the same shape, 0 for missing values, whatever their value.
            future_values: (batch, prediction_length, num_input_features), or without the last axis for one variable:
                the targets. The loss ignores NaN.
            future_observed_mask: the same shape, 0 for values that the loss ignores.
            output_attentions: return the weights of attention pooling.
            num_items_in_batch: divisor of the summed loss if the batch is part of a larger one; by default the number
                of observed future values.

        Returns:
            See `TimeSeriesPredictionOutput`. The loss is the mean squared or absolute error (`config.forecast_loss`) of
            the scaled values, so all variables have equal weight whatever their units; predictions are in the units of
            the data.

        Raises:
            ValueError: the number of variables or of future values differs from the configuration.
        """
        past, observed = self._scaled("past_values", past_values, past_observed_mask)
        is_real = observed.any(dim=-1).cumsum(dim=1) > 0  # (batch, context), false before the first observed value
        # Without padding no mask is needed, but checking this on a GPU would wait for the device.
        attention_mask = None if is_real.device.type == "cpu" and bool(is_real.all()) else is_real
        last = _last_observed(past, observed)  # (batch, 1, features)
        reference = last if self.config.subtract_last_value else torch.zeros_like(last)
        inputs = past - reference
        if self.config.observed_mask_as_input:
            inputs = torch.cat([inputs, observed.to(inputs.dtype)], dim=-1)
        outputs = self.rnn(inputs_embeds=inputs, attention_mask=attention_mask, use_cache=False, **kwargs)
        pooled, weights = self.pooling(outputs.last_hidden_state, attention_mask)
        if self.config.forecast_type == "many_to_many":
            forecast = self.decoder(pooled, (last - reference).squeeze(1), self.prediction_length)
        else:
            forecast = self.head(self.dropout(pooled)).unflatten(-1, (self.prediction_length, self.num_features))
        predicted = forecast + reference  # (batch, prediction_length, features), scaled
        loss = None
        if future_values is not None:
            loss = self._loss(predicted, future_values, future_observed_mask, num_items_in_batch)
        if output_attentions is None:
            output_attentions = self.config.output_attentions
        return TimeSeriesPredictionOutput(
            loss=loss,
            prediction_outputs=self.scaling.restore(predicted),
            hidden_states=outputs.hidden_states,
            attentions=(weights,) if output_attentions and weights is not None else None,
        )

    def _scaled(self, name: str, values: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Scaled values, with 0 (the mean) for missing ones, and the observed mask: both (batch, time, features)."""
        given = tuple(values.shape)
        values = values.unsqueeze(-1) if values.dim() == 2 else values
        if values.dim() != 3 or values.shape[-1] != self.num_features:
            raise ValueError(
                f"{name} must be (batch, time, {self.num_features}), or (batch, time) for one variable, got {given}."
            )
        observed = ~values.isnan()
        if mask is not None:
            mask = mask.unsqueeze(-1) if mask.dim() == 2 else mask
            if mask.shape != values.shape:
                raise ValueError(f"The mask of {name} must have the same shape {given}, got {tuple(mask.shape)}.")
            observed = observed & mask.bool()
        values = values.to(self.scaling.mean.dtype).masked_fill(~observed, 0.0)
        return self.scaling.scale(values).masked_fill(~observed, 0.0), observed

    def _loss(
        self, predicted: Tensor, future_values: Tensor, mask: Tensor | None, num_items_in_batch: Tensor | int | None
    ) -> Tensor:
        targets, observed = self._scaled("future_values", future_values, mask)
        if targets.shape[1] != self.prediction_length:
            raise ValueError(
                f"future_values must have prediction_length={self.prediction_length} steps, got {targets.shape[1]}."
            )
        # A half-precision sum over a batch would be too inaccurate for the optimiser.
        exact = torch.promote_types(predicted.dtype, torch.float32)
        errors = predicted.to(exact) - targets.to(exact)
        errors = errors.abs() if self.config.forecast_loss == "mae" else errors.square()
        summed = errors.masked_fill(~observed, 0.0).sum()
        return summed / (observed.sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch)


def _last_observed(values: Tensor, observed: Tensor) -> Tensor:
    """The last observed value of each variable, or its first if none: (batch, time, size) -> (batch, 1, size)."""
    positions = torch.arange(values.shape[1], device=values.device)[:, None]
    return values.gather(1, (positions * observed).amax(dim=1, keepdim=True))


__all__ = ["RnnForTimeSeriesPrediction", "TimeSeriesPredictionOutput"]
