"""The modules of an AWD-LSTM: an LSTM with DropConnect, locked dropout, the body and the head."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from .configuration_awd_lstm import AwdLstmConfig
from .pooling import SequencePooling
from .rnn_cache import RnnCache
from .rnn_layers import OpenLstm, layer_steps, run_one_way, run_stack
from .token_order import State, token_order


class WeightDropLstm(OpenLstm):
    """One LSTM layer with DropConnect on its hidden-to-hidden matrix (Merity et al. 2017, section 2).

    One mask is used for a whole window, so the fused kernel still applies. The dropped copy of the weights exists only
    during the call: parameters and state dict are those of `nn.LSTM`.

    Args:
        input_size, hidden_size: features in and out.
        weight_dropout: probability of dropping a weight.
    """

    def __init__(self, input_size: int, hidden_size: int, weight_dropout: float) -> None:
        super().__init__(input_size, hidden_size, batch_first=True)
        self.weight_dropout = weight_dropout

    def forward(self, input: Any, hx: Any = None) -> Any:  # noqa: A002 - torch's name
        if not self.training or self.weight_dropout == 0:
            return super().forward(input, hx)
        self._update_flat_weights()
        stored, self.is_dropping = self._flat_weights, True
        try:
            self._flat_weights = self._with_dropped(stored)
            return super().forward(input, hx)
        finally:
            self._flat_weights, self.is_dropping = stored, False

    def current_weights(self) -> list[Any]:
        stored = super().current_weights()
        return self._with_dropped(stored) if self.training and self.weight_dropout else stored

    def _init_flat_weights(self) -> None:
        # If a weight is computed rather than stored, as with peft adapters, torch rebuilds this list within a call.
        super()._init_flat_weights()
        if getattr(self, "is_dropping", False):
            self._flat_weights = self._with_dropped(self._flat_weights)

    def _with_dropped(self, weights: list[Tensor]) -> list[Tensor]:
        place = self._flat_weights_names.index("weight_hh_l0")
        dropped = functional.dropout(weights[place], self.weight_dropout)
        return [*weights[:place], dropped, *weights[place + 1 :]]


class LockedDropout(nn.Module):
    """Dropout with one mask for all time steps of a window ("variational" dropout, Gal and Ghahramani 2016)."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(batch, time, size) -> the same shape."""
        if not self.training or self.p == 0:
            return hidden_states
        batch, _, size = hidden_states.shape
        return hidden_states * functional.dropout(hidden_states.new_ones(batch, 1, size), self.p)


class AwdLstmBody(nn.Module):
    """Embeddings and a stack of LSTM layers that read in one direction.

    Args:
        config: configuration of the model.
        direction: `forward` or `backward`.
    """

    def __init__(self, config: AwdLstmConfig, direction: str) -> None:
        super().__init__()
        self.direction = direction
        self.embedding_dropout = config.dropout("embedding")
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_size)
        self.input_dropout = LockedDropout(config.dropout("input"))
        self.hidden_dropout = LockedDropout(config.dropout("hidden"))
        self.layers = nn.ModuleList(
            WeightDropLstm(*sizes, weight_dropout=config.dropout("weight")) for sizes in config.layer_sizes()
        )
        self.steps = layer_steps(self.layers)

    def forward(
        self,
        input_ids: Tensor | None,
        attention_mask: Tensor | None = None,
        cache: RnnCache | None = None,
        inputs_embeds: Tensor | None = None,
        output_hidden_states: bool = False,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Read a window; arguments as in `AwdLstmModel`.

        Returns:
            The last layer's output (batch, time, embedding_size) in the original order, without dropout; with
            `output_hidden_states` also the embeddings and every layer's output.
        """
        order = token_order(
            input_ids if input_ids is not None else inputs_embeds, attention_mask, self.direction == "backward"
        )
        vectors = self.embed(order.compact(input_ids)) if inputs_embeds is None else order.compact(inputs_embeds)
        hidden_states = self.input_dropout(vectors)  # (batch, time, embedding_size), real tokens first

        def run(layer: WeightDropLstm, inputs: Tensor, state: State | None) -> tuple[Tensor, State]:
            return run_one_way(layer, inputs, order, state, keeps_state=cache is not None)

        last, collected, _ = run_stack(
            self.steps, self.layers, hidden_states, order, self.hidden_dropout, output_hidden_states, run, cache
        )
        return last, collected

    def embed(self, input_ids: Tensor) -> Tensor:
        """(batch, time) -> (batch, time, embedding_size), with whole words dropped in training.

        Dropping rows of the embedding matrix (Merity et al. 2017, section 4.3) is equivalent to scaling the looked-up
        vectors by the masks of their rows, which avoids a copy of the matrix.
        """
        vectors = self.embedding(input_ids)
        if not self.training or self.embedding_dropout == 0:
            return vectors
        kept = functional.dropout(vectors.new_ones(self.embedding.num_embeddings), self.embedding_dropout)
        return vectors * kept[input_ids][..., None]


class PoolingClassificationHead(nn.Module):
    """Concat pooling and two linear blocks with batch norm (Howard and Ruder 2018, section 3.3).

    `h_c = [h_T, meanpool(H), maxpool(H)]`, then twice: batch norm, dropout, linear, with a ReLU between the two.
    """

    def __init__(self, config: AwdLstmConfig, direction: str) -> None:
        super().__init__()
        self.pooling = SequencePooling(config.embedding_size, "concat", "first" if direction == "backward" else "last")
        self.pooled_norm = nn.BatchNorm1d(self.pooling.output_size)
        self.pooled_dropout = nn.Dropout(config.dropout("output"))
        self.hidden = nn.Linear(self.pooling.output_size, config.classifier_hidden_size, bias=False)
        self.hidden_norm = nn.BatchNorm1d(config.classifier_hidden_size)
        self.hidden_dropout = nn.Dropout(config.classifier_dropout)
        self.output = nn.Linear(config.classifier_hidden_size, config.num_labels, bias=False)

    def forward(self, hidden_states: Tensor, attention_mask: Tensor | None) -> Tensor:
        """(batch, time, embedding_size) and (batch, time) -> logits (batch, num_labels)."""
        pooled, _ = self.pooling(hidden_states, attention_mask)  # (batch, 3 x embedding_size)
        hidden = self.hidden(self.pooled_dropout(_normalise(self.pooled_norm, pooled))).relu()
        return self.output(self.hidden_dropout(_normalise(self.hidden_norm, hidden)))


def _normalise(norm: nn.BatchNorm1d, inputs: Tensor) -> Tensor:
    """Batch norm; in training, a batch of one row has no variance and is normalised by the running statistics."""
    if not norm.training or inputs.shape[0] > 1:
        return norm(inputs)
    return functional.batch_norm(inputs, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
