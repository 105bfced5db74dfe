"""The recurrent state as a transformers `Cache`, so that generation can store, reorder and repeat it.

Beam search only reorders the states of its beams and does not move the memory of a decoder.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, LinearAttentionCacheLayerMixin


class RnnCacheLayer(LinearAttentionCacheLayerMixin):
    """State of one recurrent layer: `recurrent_states[0]` is h, and for an LSTM `recurrent_states[1]` is c.

    Both are (batch, hidden_size). States are replaced, never modified in place, so that gradients can flow through
    several windows of a text that share one cache.
    """

    is_compileable = False
    is_croppable = False

    def __init__(self, number_of_states: int) -> None:
        super().__init__(number_of_states)
        self.seen_tokens = 0

    @property
    def state(self) -> tuple[Tensor, ...] | None:
        """All states of the layer, or None before the first window."""
        if not all(self.has_previous_state.values()):
            return None
        return tuple(self.recurrent_states[index] for index in range(self.number_of_states))

    @property
    def batch_size(self) -> int:
        return -1 if self.state is None else self.state[0].shape[0]

    def lazy_initialization(
        self, conv_states: Tensor | None = None, recurrent_states: Tensor | None = None, state_idx: int = 0
    ) -> None:
        if recurrent_states is not None:
            self.dtype, self.device = recurrent_states.dtype, recurrent_states.device
            self.is_recurrent_states_initialized[state_idx] = True

    def update_conv_state(self, conv_states: Tensor, state_idx: int = 0, **kwargs: Any) -> Tensor:
        raise NotImplementedError("A recurrent layer has no convolution state.")

    def update_recurrent_state(self, recurrent_states: Tensor, state_idx: int = 0, **kwargs: Any) -> Tensor:
        self.lazy_initialization(recurrent_states=recurrent_states, state_idx=state_idx)
        self.recurrent_states[state_idx] = recurrent_states
        self.has_previous_state[state_idx] = True
        return recurrent_states

    def update(self, state: tuple[Tensor, ...], num_tokens: int) -> None:
        """Replace the state by the state after `num_tokens` more positions."""
        for index, tensor in enumerate(state):
            self.update_recurrent_state(tensor, index)
        self.seen_tokens += num_tokens

    def reset(self) -> None:
        self.__init__(self.number_of_states)

    def crop(self, tokens_to_remove: int) -> None:
        if tokens_to_remove != 0:
            raise RuntimeError("A recurrent state cannot be cropped: earlier states are not stored.")

    def reorder_cache(self, beam_idx: Tensor) -> None:
        self.batch_select_indices(beam_idx)

    def batch_repeat_interleave(self, repeats: int) -> None:
        if self.state is not None:
            self.update(tuple(tensor.repeat_interleave(repeats, dim=0) for tensor in self.state), 0)

    def batch_select_indices(self, indices: Tensor) -> None:
        if self.state is not None:
            self.update(tuple(tensor.index_select(0, indices.to(tensor.device)) for tensor in self.state), 0)

    def detach(self) -> None:
        """Stop gradients: truncated back-propagation through time (Williams and Peng 1990)."""
        if self.state is not None:
            self.update(tuple(tensor.detach() for tensor in self.state), 0)


class RnnCache(Cache):
    """The states of all layers of a recurrent network between two windows of a text.

    Args:
        num_layers: number of recurrent layers.
        states_per_layer: 2 for an LSTM (h and c), 1 otherwise.
    """

    def __init__(self, num_layers: int, states_per_layer: int) -> None:
        super().__init__(layers=[RnnCacheLayer(states_per_layer) for _ in range(num_layers)])

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """The number of positions read so far, including padding."""
        return self.layers[layer_idx].seen_tokens

    def get_mask_sizes(self, query_length: int, layer_idx: int = 0) -> tuple[int, int]:
        return self.get_seq_length(layer_idx) + query_length, 0

    @property
    def batch_size(self) -> int:
        """The number of rows of the stored state, -1 without a state."""
        return self.layers[0].batch_size

    def detach(self) -> RnnCache:
        """Stop gradients between windows, in place; returns the cache itself."""
        for layer in self.layers:
            layer.detach()
        return self


class RnnDecoderCache(RnnCache):
    """Recurrent states, the attentional vector with input feeding, and the memory with its projected keys.

    The memory has one row per sentence, the states have one row per beam, and the beams of a sentence are consecutive.
    Beam search therefore projects each key once and never moves the memory.

    Args:
        input_feeding: store the attentional vector as an additional layer after the others.
    """

    def __init__(self, num_layers: int, states_per_layer: int, input_feeding: bool) -> None:
        super().__init__(num_layers, states_per_layer)
        self.num_recurrent_layers = num_layers
        if input_feeding:
            self.layers.append(RnnCacheLayer(1))
        self.memory: Any = None  # an `AttentionMemory` after the first call

    @property
    def states(self) -> list[tuple[Tensor, ...]] | None:
        """The states of all recurrent layers, or None before the first call."""
        if self.layers[0].state is None:
            return None
        return [layer.state for layer in self.layers[: self.num_recurrent_layers]]

    @property
    def attentional_vector(self) -> Tensor | None:
        """The attentional vector of the last step (batch, hidden_size), with input feeding."""
        if len(self.layers) == self.num_recurrent_layers or self.layers[-1].state is None:
            return None
        return self.layers[-1].state[0]

    @property
    def beams(self) -> int:
        """The number of state rows per row of the memory."""
        return 1 if self.memory is None else self.batch_size // self.memory.values.shape[0]

    def update_all(self, states: list[tuple[Tensor, ...]], attentional_vector: Tensor | None, num_tokens: int) -> None:
        """Replace all states by those after `num_tokens` more positions."""
        vector = [] if attentional_vector is None else [(attentional_vector,)]
        for layer, state in zip(self.layers, [*states, *vector], strict=True):
            layer.update(state, num_tokens)

    def reset(self) -> None:
        super().reset()
        self.memory = None

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Select these rows; with several rows per sentence, each must stay with its sentence, as in beam search."""
        if self.memory is not None and self.beams == 1:
            self.memory = self.memory.select(beam_idx)
        super().reorder_cache(beam_idx)

    def batch_repeat_interleave(self, repeats: int) -> None:
        for layer in self.layers:  # the new rows share the memory, which does not change
            layer.batch_repeat_interleave(repeats)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Select these rows. If all beams of a sentence stay together, they still share its memory."""
        if self.memory is not None:
            sentences = indices // self.beams
            kept = sentences[:: self.beams]
            if torch.equal(kept.repeat_interleave(self.beams), sentences):
                self.memory = self.memory.select(kept)
            else:
                self.memory = self.memory.repeat(self.beams).select(indices)
        for layer in self.layers:
            layer.batch_select_indices(indices)

    def detach(self) -> RnnDecoderCache:
        super().detach()
        if self.memory is not None:
            self.memory = self.memory._make(None if part is None else part.detach() for part in self.memory)
        return self
