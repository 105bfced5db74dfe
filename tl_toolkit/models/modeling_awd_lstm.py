"""The AWD-LSTM as a language model and as a classifier, the two models of ULMFiT."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast, SequenceClassifierOutput
from transformers.utils.generic import can_return_tuple
from transformers.utils.output_capturing import capture_outputs

from .awd_lstm_layers import AwdLstmBody, LockedDropout, PoolingClassificationHead
from .chunked_cross_entropy import IGNORED, chunked_cross_entropy
from .configuration_awd_lstm import AwdLstmConfig
from .pooling import not_empty
from .rnn_cache import RnnCache
from .rnn_generation import RecurrentGenerationMixin
from .rnn_layers import ShownLayer
from .rnn_pretrained import RecurrentPreTrainedModel
from .sequence_classification import SequenceClassification, average_logits


class AwdLstmPreTrainedModel(RecurrentPreTrainedModel):
    """Base class of the family: configuration, initialisation and layer groups."""

    config: AwdLstmConfig
    config_class = AwdLstmConfig
    base_model_prefix = "awd_lstm"
    input_modalities = ("text",)
    _no_split_modules: ClassVar[list[str]] = ["WeightDropLstm"]
    _can_record_outputs: ClassVar[dict[str, Any]] = {"hidden_states": ShownLayer}

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """As in the base class, but LSTMs are uniform in ±1/sqrt(hidden size) (Merity et al. 2017, section 5)."""
        if isinstance(module, nn.LSTM):
            bound = module.hidden_size**-0.5
            for parameter in module.parameters(recurse=False):
                init.uniform_(parameter, -bound, bound)
        elif isinstance(module, nn.BatchNorm1d):
            for ones in (module.weight, module.running_var):
                init.ones_(ones)
            for zeros in (module.bias, module.running_mean, module.num_batches_tracked):
                init.zeros_(zeros)
        else:
            super()._init_weights(module)

    def get_input_embeddings(self) -> nn.Embedding:
        """The embeddings; with `direction="both"`, those of the forward body."""
        return self.get_submodule(f"{self._body_prefix}{self.config.directions[0]}_body").embedding

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Replace the embeddings of a model with one direction."""
        if self.config.direction == "both":
            raise ValueError("A model with direction='both' has two sets of embeddings: set those of its two bodies.")
        self.get_submodule(f"{self._body_prefix}{self.config.direction}_body").embedding = value

    def layer_groups(self) -> list[list[str]]:
        """Prefixes of parameter names, one list per group, from the embedding to the head."""
        bodies = [f"{self._body_prefix}{direction}_body." for direction in self.config.directions]
        layers = [[f"{body}layers.{index}." for body in bodies] for index in range(self.config.num_hidden_layers)]
        return [[f"{body}embedding." for body in bodies], *layers, *self._head_group()]


class AwdLstmModel(AwdLstmPreTrainedModel):
    """Embeddings and a stack of LSTM layers under the dropouts of Merity et al. (2017), in one direction or both."""

    _auto_class = "AutoModel"

    def __init__(self, config: AwdLstmConfig) -> None:
        super().__init__(config)
        for direction in config.directions:
            self.add_module(f"{direction}_body", AwdLstmBody(config, direction))
        self.shown = ShownLayer()
        self.post_init()

    def bodies(self) -> list[AwdLstmBody]:
        """The body of each direction, in the order of `config.directions`."""
        return [self.get_submodule(f"{direction}_body") for direction in self.config.directions]

    @capture_outputs
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        past_key_values: RnnCache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | int | list[int] | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """Read a batch of texts, or the next window of each.

        Args:
            input_ids: (batch, time), or `inputs_embeds` (batch, time, embedding_size) in its place.
            attention_mask: (batch, time) or, with a state, (batch, past + time): 1 for real tokens. Masked positions
                are skipped wherever they are, and their outputs are zeros.
            past_key_values: the initial state; it is replaced by the state after these tokens. With
                `direction="backward"`, the next window to read is the one before this window in the text.
            use_cache: return the state. Default: the configuration's value, in evaluation mode, with one direction.
            output_hidden_states: return the embeddings and every layer's output.

        Returns:
            `last_hidden_state` (batch, time, embedding_size) in the original order, without dropout; `hidden_states`
            with the embeddings and the output of every layer; `past_key_values`. With `direction="both"`, the features
            of the two directions are concatenated, and there is no state.

        Raises:
            ValueError: both or neither of `input_ids` and `inputs_embeds`; a mask of the wrong length; with
                `direction="both"`, a state or `inputs_embeds`, because each body would need its own.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Pass exactly one of input_ids and inputs_embeds.")
        self.check_both(inputs_embeds is not None or past_key_values is not None or use_cache)
        cache = self._cache(past_key_values, use_cache, self.config.direction != "both")
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        outputs = [
            body(input_ids, attention_mask, cache, inputs_embeds, bool(output_hidden_states)) for body in self.bodies()
        ]
        last, collected = zip(*outputs, strict=True)
        self.show(collected)
        return BaseModelOutputWithPast(last_hidden_state=torch.cat(last, dim=-1), past_key_values=cache)

    def check_both(self, has_one_input: bool | None) -> None:
        """Raise `ValueError` if each of two bodies would need its own input."""
        if self.config.direction == "both" and has_one_input:
            raise ValueError(
                "A model with direction='both' reads complete input_ids, because each of its bodies has its own "
                "embeddings and states: do not pass inputs_embeds, past_key_values or use_cache."
            )

    def show(self, collected: Sequence[tuple[Tensor, ...]]) -> None:
        """Show the hidden states of every level, those of the bodies concatenated, to `capture_outputs`."""
        levels = (
            collected[0] if len(collected) == 1 else [torch.cat(level, -1) for level in zip(*collected, strict=True)]
        )
        for pair in pairwise(levels):
            self.shown(*pair)


class AwdLstmForCausalLM(AwdLstmPreTrainedModel, RecurrentGenerationMixin):
    """Language model: predicts the next token from all before it, or backward, the previous from all after it."""

    _auto_class = "AutoModelForCausalLM"

    def __init__(self, config: AwdLstmConfig) -> None:
        if config.direction == "both":
            raise ValueError(
                "AwdLstmForCausalLM needs direction='forward' or 'backward': the two directions predict different "
                "tokens, which cannot be averaged. Train one model per direction."
            )
        super().__init__(config)
        self.awd_lstm = AwdLstmModel(config)
        self.output_dropout = LockedDropout(config.dropout("output"))
        self.lm_head = nn.Linear(config.embedding_size, config.vocab_size)
        self._tied_weights_keys = {"lm_head.weight": f"awd_lstm.{config.direction}_body.embedding.weight"}
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        past_key_values: RnnCache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        shift_labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        skip_logits: bool | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Score the next token at every position; arguments as in `AwdLstmModel`.

        Args:
            labels: (batch, time), usually the input ids, -100 for positions to ignore; they are shifted here. Labels
                that are already shifted can be passed as `shift_labels`, which take precedence.
            logits_to_keep: compute only the logits of this many last positions (0: all), or of these positions.
            skip_logits: with a loss, return no logits and never store all of them at once. Default: in training mode.
            num_items_in_batch: divisor of the loss summed over tokens; by default the number of tokens.

        Returns:
            `loss`, in training mode including AR and TAR; `logits` (batch, time, vocab_size); `past_key_values`;
            `hidden_states`.
        """
        outputs = self.awd_lstm(input_ids, attention_mask, past_key_values, inputs_embeds, use_cache, **kwargs)
        raw = outputs.last_hidden_state  # (batch, time, embedding_size)
        hidden_states = self.output_dropout(raw)
        targets = shift_labels if shift_labels is not None else self._shift(labels)
        loss = None
        if targets is not None:
            targets = targets.to(raw.device)
            loss = self._loss(raw, hidden_states, attention_mask, targets, num_items_in_batch)
        if skip_logits is None:
            skip_logits = self.training and loss is not None
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        return CausalLMOutputWithPast(
            loss=loss,
            logits=None if skip_logits else self.lm_head(hidden_states[:, kept]),
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
        )

    def _shift(self, labels: Tensor | None) -> Tensor | None:
        """The label to predict at each position: that of the next token, or backward, that of the previous token."""
        if labels is None:
            return None
        if self.config.direction == "backward":
            return nn.functional.pad(labels[:, :-1], (1, 0), value=IGNORED)
        return nn.functional.pad(labels[:, 1:], (0, 1), value=IGNORED)

    def _loss(
        self,
        raw: Tensor,
        hidden_states: Tensor,
        attention_mask: Tensor | None,
        targets: Tensor,
        num_items_in_batch: Tensor | int | None,
    ) -> Tensor:
        """Cross-entropy and, in training mode, activation regularisation (Merity et al. 2017, section 5)."""
        head = self.lm_head
        count = (targets != IGNORED).sum()
        items = count if num_items_in_batch is None else torch.as_tensor(num_items_in_batch, device=raw.device)
        flat = hidden_states.reshape(-1, hidden_states.shape[-1])
        loss = chunked_cross_entropy(flat, head.weight, head.bias, targets.reshape(-1)) / items
        if not self.training:
            return loss
        # Weight the mean over a part of the batch by its number of tokens, so that the parts add up to the whole.
        return loss + self._activation_regularization(raw, hidden_states, attention_mask) * (count / items)

    def _activation_regularization(self, raw: Tensor, hidden_states: Tensor, attention_mask: Tensor | None) -> Tensor:
        """AR, `alpha mean((m * h_t)^2)`, and TAR, `beta mean((h_t - h_{t+1})^2)`, over real tokens."""
        alpha, beta = self.config.activation_regularization, self.config.temporal_activation_regularization
        mask = None if attention_mask is None else attention_mask[:, -raw.shape[1] :].bool()
        total = raw.new_zeros((), dtype=torch.float32)
        if alpha:
            total = total + alpha * _mean(hidden_states.float().square(), mask)
        if beta and raw.shape[1] > 1:
            pairs = None if mask is None else mask[:, 1:] & mask[:, :-1]
            total = total + beta * _mean((raw[:, 1:] - raw[:, :-1]).float().square(), pairs)
        return total


def _mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """The mean of (batch, time, size) over the positions where `mask` (batch, time) is true."""
    if mask is None:
        return values.mean()
    return values.mean(dim=-1).masked_fill(~mask, 0).sum() / mask.sum().clamp(min=1)


class AwdLstmForSequenceClassification(SequenceClassification, AwdLstmPreTrainedModel):
    """ULMFiT's classifier.

    Texts can have any length. The last `config.max_backprop_tokens` tokens in reading direction are pooled and have
    gradients; earlier tokens are read in windows of that size and only affect the state (BPT3C, Howard and Ruder 2018,
    section 3.3). With `direction="both"`, the probabilities of two classifiers (for regression: their outputs) are
    averaged.
    """

    def __init__(self, config: AwdLstmConfig) -> None:
        super().__init__(config)
        self.awd_lstm = AwdLstmModel(config)
        for direction in config.directions:
            self.add_module(f"{direction}_head", PoolingClassificationHead(config, direction))
        self.post_init()

    @capture_outputs
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | int | list[int] | None = None,
        **kwargs: Any,
    ) -> SequenceClassifierOutput:
        """Classify texts; arguments as in `AwdLstmModel`.

        Args:
            labels: see `SequenceClassification`.

        Returns:
            `loss`, `logits` (batch, num_labels), and `hidden_states` of the window that was read last.
        """
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        self.awd_lstm.check_both(inputs_embeds is not None)
        input_ids, attention_mask = not_empty(input_ids, attention_mask, self.config.pad_token_id)
        inputs = input_ids if input_ids is not None else inputs_embeds
        member_logits, collected = [], []
        for body in self.awd_lstm.bodies():
            last, mask, hidden_states = self._read(body, inputs, attention_mask, bool(output_hidden_states))
            member_logits.append(self.get_submodule(f"{body.direction}_head")(last, mask))
            collected.append(hidden_states)
        logits = average_logits(member_logits, self.config.problem_type, self.config.num_labels)
        self.awd_lstm.show(collected)
        return self.classified(logits, labels, kwargs)

    def _read(
        self, body: AwdLstmBody, inputs: Tensor, attention_mask: Tensor | None, output_hidden_states: bool
    ) -> tuple[Tensor, Tensor | None, tuple[Tensor, ...]]:
        """The output of a body in the window that it reads last, the mask of this window, and its hidden states."""
        window, mask, cache = self._read_up_to_last_window(body, inputs, attention_mask)
        ids, vectors = (window, None) if window.dim() == 2 else (None, window)
        last, hidden_states = body(ids, mask, cache, vectors, output_hidden_states)
        return last, mask, hidden_states

    def _read_up_to_last_window(
        self, body: AwdLstmBody, inputs: Tensor, attention_mask: Tensor | None
    ) -> tuple[Tensor, Tensor | None, RnnCache | None]:
        """The window that is read last, its mask, and the state before it.

        Windows are counted from the token that is read last in each row, so padding does not move their boundaries.
        """
        size, time = self.config.max_backprop_tokens, inputs.shape[1]
        if time <= size:
            return inputs, attention_mask, None
        mask = torch.ones(inputs.shape[:2], dtype=torch.bool, device=inputs.device)
        mask = mask if attention_mask is None else attention_mask.bool()
        backward = body.direction == "backward"
        # Move the tokens that are read last to the edge of the batch: left when reading backwards, else right.
        order = (~mask if backward else mask).int().argsort(dim=1, stable=True)
        rows = torch.arange(len(inputs), device=inputs.device)[:, None]
        inputs, mask = inputs[rows, order], mask[rows, order]
        cache = RnnCache(self.config.num_hidden_layers, states_per_layer=2)
        borders = range(size * ((time - 1) // size), -1, -size)  # distances from the edge, farthest first
        for near in borders:
            far = min(near + size, time)
            window = slice(near, far) if backward else slice(time - far, time - near)
            if near == 0:
                return inputs[:, window], mask[:, window], cache
            ids, vectors = (inputs[:, window], None) if inputs.dim() == 2 else (None, inputs[:, window])
            with torch.no_grad():
                body(ids, mask[:, window], cache, vectors)
        raise AssertionError("the last border is 0")


__all__ = ["AwdLstmForCausalLM", "AwdLstmForSequenceClassification", "AwdLstmModel", "AwdLstmPreTrainedModel"]
