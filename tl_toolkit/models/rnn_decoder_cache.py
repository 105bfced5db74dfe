"""The state of a recurrent decoder between two calls."""

from __future__ import annotations

from torch import Tensor

from .rnn_attention import AttentionMemory
from .rnn_cache import RnnCache, RnnCacheLayer


class RnnDecoderCache(RnnCache):
    """Recurrent states, the attentional vector with input feeding, and the memory with its projected keys.

    The memory has one row for each sentence, the states have one for each beam, and the beams of a sentence stand next
    to each other. Beam search thus projects no key twice and moves no memory.

    Args:
        num_layers: number of recurrent layers.
        states_per_layer: 2 for an LSTM (h and c), 1 otherwise.
        input_feeding: keep the attentional vector, as a layer of its own after the others.
    """

    def __init__(self, num_layers: int, states_per_layer: int, input_feeding: bool) -> None:
        super().__init__(num_layers, states_per_layer)
        self.num_recurrent_layers = num_layers
        if input_feeding:
            self.layers.append(RnnCacheLayer(1))
        self.memory: AttentionMemory | None = None

    @property
    def states(self) -> list[tuple[Tensor, ...]] | None:
        """The states of all recurrent layers, or None before the first call."""
        if self.layers[0].state is None:
            return None
        return [layer.state for layer in self.layers[: self.num_recurrent_layers]]

    @property
    def attentional_vector(self) -> Tensor | None:
        """Of the last step (batch, hidden_size), where there is input feeding."""
        if len(self.layers) == self.num_recurrent_layers or self.layers[-1].state is None:
            return None
        return self.layers[-1].state[0]

    @property
    def beams(self) -> int:
        """Rows of the states for each row of the memory."""
        return 1 if self.memory is None else self.batch_size // self.memory.values.shape[0]

    def update_all(self, states: list[tuple[Tensor, ...]], attentional_vector: Tensor | None, num_tokens: int) -> None:
        """Replace everything by what it is after `num_tokens` more positions."""
        vector = [] if attentional_vector is None else [(attentional_vector,)]
        for layer, state in zip(self.layers, [*states, *vector], strict=True):
            layer.update(state, num_tokens)

    def reset(self) -> None:
        super().reset()
        self.memory = None

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Take these rows; where a sentence has several, each must stay with its sentence, as beam search does it."""
        if self.memory is not None and self.beams == 1:
            self.memory = self.memory.select(beam_idx)
        super().reorder_cache(beam_idx)

    def batch_repeat_interleave(self, repeats: int) -> None:
        for layer in self.layers:  # the memory serves the new rows as it is
            layer.batch_repeat_interleave(repeats)

    def batch_select_indices(self, indices: Tensor) -> None:
        if self.memory is not None:
            self.memory = self.memory.repeat(self.beams).select(indices)
        for layer in self.layers:
            layer.batch_select_indices(indices)

    def detach(self) -> RnnDecoderCache:
        super().detach()
        if self.memory is not None:
            self.memory = AttentionMemory(*(None if part is None else part.detach() for part in self.memory))
        return self
