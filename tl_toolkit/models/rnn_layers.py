"""Recurrent layers over real tokens only, with torch's fused kernels and no lengths on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from .rnn_cache import RnnCacheLayer

State = tuple[Tensor, ...]

CELLS = {
    "lstm": nn.LSTM,
    "gru": nn.GRU,
    "rnn_tanh": partial(nn.RNN, nonlinearity="tanh"),
    "rnn_relu": partial(nn.RNN, nonlinearity="relu"),
}
# Rows of a cell's weights and biases come in as many blocks of hidden_size: i, f, g, o for an LSTM; r, z, n for a GRU.
NUM_GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


def take_positions(tensor: Tensor, positions: Tensor) -> Tensor:
    """Pick `positions` (batch, time) along the time axis of (batch, time) or (batch, time, size).

    A position equal to the length of the axis picks zeros, in tensors of three dimensions.
    """
    if tensor.dim() == 2:
        return tensor.gather(1, positions)
    # Picking whole rows of one matrix is several times faster on a CPU, above all backwards, than `gather`.
    batch, time, size = tensor.shape
    rows = positions + torch.arange(batch, device=tensor.device)[:, None] * time
    rows = rows.where(positions < time, batch * time)
    with_zeros = torch.cat([tensor.reshape(batch * time, size), tensor.new_zeros(1, size)])
    return with_zeros.index_select(0, rows.flatten()).view(batch, time, size)


class AsItStands:
    """The order of a window whose positions are all real and are read from the first to the last: nothing moves."""

    @property
    def lengths_on_cpu(self) -> Tensor | None:
        """Lengths for packed sequences, where rows end at different places."""
        return None

    def compact(self, tensor: Tensor) -> Tensor:
        return tensor

    def restore(self, tensor: Tensor) -> Tensor:
        return tensor

    def flip(self, tensor: Tensor) -> Tensor:
        return tensor.flip(1)

    def keep_ended(self, new: State, old: State | None, position: int = 0) -> State:
        return new


AS_IT_STANDS = AsItStands()


class TokenOrder(AsItStands):
    """Moves the real tokens of each row to its front, and back.

    With the real tokens first, whatever follows them cannot influence them in a network that reads from left to
    right, wherever the padding stood. Everything is index arithmetic on the device.

    Args:
        mask: boolean (batch, time), true for real tokens.
        reverse: also put the real tokens in reverse order.
    """

    def __init__(self, mask: Tensor, reverse: bool = False) -> None:
        self.mask = mask
        self.lengths = mask.sum(dim=1)  # (batch,)
        position = torch.arange(mask.shape[1], device=mask.device)
        # Reverses the first `length` positions of a row; the modulus makes it a permutation of the rest as well.
        self.reversed_positions = (self.lengths[:, None] - 1 - position) % mask.shape[1]  # (batch, time)
        real_first = (~mask).int().argsort(dim=1, stable=True)
        self.order = take_positions(real_first, self.reversed_positions) if reverse else real_first
        self.inverse = self.order.argsort(dim=1).where(mask, mask.shape[1])

    @cached_property
    def lengths_on_cpu(self) -> Tensor | None:
        """Lengths for packed sequences, which allow no empty row; None for one position. Waits for the device."""
        return self.lengths.clamp(min=1).cpu() if self.mask.shape[1] > 1 else None

    def compact(self, tensor: Tensor) -> Tensor:
        """From reading order to real tokens first: (batch, time) or (batch, time, size)."""
        return take_positions(tensor, self.order)

    def restore(self, tensor: Tensor) -> Tensor:
        """From real tokens first to reading order, with zeros at masked positions: (batch, time, size)."""
        return take_positions(tensor, self.inverse)

    def flip(self, tensor: Tensor) -> Tensor:
        """Reverse the real tokens of each row of a compact tensor. Its own inverse."""
        return take_positions(tensor, self.reversed_positions)

    def keep_ended(self, new: State, old: State | None, position: int = 0) -> State:
        """The new states (batch, hidden_size), except that rows with no real token at `position` keep their old one.

        `position` counts real tokens: at 0 the rows are meant that have none at all. No old state is one of zeros.
        """
        if old is None:
            old = tuple(torch.zeros_like(tensor) for tensor in new)
        ended = self.lengths[:, None] <= position
        return tuple(torch.where(ended, before, after) for before, after in zip(old, new, strict=True))


def token_order(inputs: Tensor, attention_mask: Tensor | None, reverse: bool) -> AsItStands:
    """The order in which a network reads a window.

    Args:
        inputs: (batch, time) or (batch, time, size).
        attention_mask: (batch, time) or, with a state, (batch, past + time).
        reverse: read the real tokens from the last to the first.

    Raises:
        ValueError: a mask of another length.
    """
    if attention_mask is None:
        if not reverse:
            return AS_IT_STANDS
        return TokenOrder(torch.ones(inputs.shape[:2], dtype=torch.bool, device=inputs.device), reverse=True)
    time = inputs.shape[1]
    if attention_mask.dim() != 2 or attention_mask.shape[1] < time:
        raise ValueError(
            f"attention_mask must be (batch, time) with at least the {time} positions of the input, got "
            f"{tuple(attention_mask.shape)}."
        )
    # Generation hands in the mask of everything so far; the past is in the state already.
    return TokenOrder(attention_mask[:, -time:].bool(), reverse=reverse)


class RnnLayer(nn.Module):
    """One recurrent layer in one direction or two.

    Each direction is a module of its own: the second reads the flipped sequence, which costs what a fused
    bidirectional kernel costs and, unlike it, needs no packed sequences when there is padding.

    Args:
        cell_type: a key of `CELLS`.
        input_size: features per token that each direction reads.
        hidden_size: features per token and direction that go out.
        bidirectional: whether there is a second direction.
        is_looked_up: the inputs are products with the input matrices already (of one-hot vectors), first those of the
            first direction, then those of the second. `weight_ih_l0` is to be an identity then, and stay so.
    """

    def __init__(
        self, cell_type: str, input_size: int, hidden_size: int, bidirectional: bool, is_looked_up: bool = False
    ) -> None:
        super().__init__()
        self.is_looked_up = is_looked_up
        self.has_cell_state = cell_type == "lstm"  # an adapter hides the cell's class
        self.forward_cell = CELLS[cell_type](input_size, hidden_size, batch_first=True)
        self.backward_cell = CELLS[cell_type](input_size, hidden_size, batch_first=True) if bidirectional else None
        for cell in self.children():
            cell.has_identity_input = is_looked_up  # for the initialisation, which sees one module at a time

    def forward(self, inputs: Tensor, order: AsItStands, cache: RnnCacheLayer | None = None) -> Tensor:
        """(batch, time, features) with real tokens first -> (batch, time, hidden_size x directions).

        `cache` supplies the state before the first token and receives the one after each row's last real token; a
        bidirectional layer has none.
        """
        if self.backward_cell is None:
            return run_cached(self.forward_cell, inputs, order, cache)
        forward_inputs, backward_inputs = inputs.chunk(2, dim=-1) if self.is_looked_up else (inputs, inputs)
        forward_outputs, _ = run_cell(self.forward_cell, forward_inputs)
        backward_outputs, _ = run_cell(self.backward_cell, order.flip(backward_inputs))
        return torch.cat([forward_outputs, order.flip(backward_outputs)], dim=-1)


def run_stack(
    layers: nn.ModuleList,
    hidden_states: Tensor,
    order: AsItStands,
    dropout: nn.Module,
    collects: bool,
    run: Callable[[int, Any, Tensor], Tensor],
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run layers one on top of another, with dropout between them.

    Args:
        layers: from the lowest to the highest.
        hidden_states: (batch, time, features), real tokens first.
        order: how to put them back.
        dropout: what stands between two layers.
        collects: also return what lies under and between the layers.
        run: called with a layer's index, the layer and its inputs.

    Returns:
        The last output in reading order; with `collects` the inputs and the output of every layer, as well.
    """
    collected: tuple[Tensor, ...] = ()
    for index, layer in enumerate(layers):
        if collects:
            # What is returned is also what the layer reads, so that its gradient can be asked for.
            collected += (order.restore(hidden_states),)
            hidden_states = order.compact(collected[-1])
        if index > 0:
            hidden_states = dropout(hidden_states)
        hidden_states = run(index, layer, hidden_states)
    last = order.restore(hidden_states)
    return last, (*collected, last) if collects else ()


def run_cached(cell: nn.RNNBase, inputs: Tensor, order: AsItStands, cache: RnnCacheLayer | None) -> Tensor:
    """Run one direction over real-first inputs, from the cached state and back into it."""
    if cache is None:
        return run_cell(cell, inputs)[0]
    outputs, state = run_to_end(cell, inputs, order, cache.state)
    cache.update(state, inputs.shape[1])
    return outputs


def run_to_end(cell: nn.RNNBase, inputs: Tensor, order: AsItStands, state: State | None) -> tuple[Tensor, State]:
    """Outputs of one direction over real-first inputs, and the state after each row's last real token."""
    # Only that state needs the lengths: fused kernels return no state from within.
    outputs, new_state = run_cell(cell, inputs, state, order.lengths_on_cpu)
    return outputs, order.keep_ended(new_state, state)


def run_cell(
    cell: nn.RNNBase, inputs: Tensor, state: State | None = None, lengths: Tensor | None = None
) -> tuple[Tensor, State]:
    """Run a torch recurrent module over (batch, time, features), up to `lengths` (batch,) on the CPU where given.

    States go in and come out as tuples of (batch, hidden_size). Autocast is left on a CPU: not every CPU has the fused
    kernels in half precision, and those without fail with "could not create a primitive".
    """
    autocast_on_cpu = inputs.device.type == "cpu" and torch.is_autocast_enabled("cpu")
    with torch.autocast("cpu", enabled=False) if autocast_on_cpu else nullcontext():
        if autocast_on_cpu:
            inputs = inputs.to(next(cell.parameters()).dtype)
        initial = None
        if state is not None:
            initial = tuple(tensor.to(inputs.dtype).unsqueeze(0).contiguous() for tensor in state)
            initial = initial if len(initial) == 2 else initial[0]
        if lengths is None or int(lengths.min()) == inputs.shape[1]:
            outputs, final = cell(inputs, initial)
        else:
            packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
            packed_outputs, final = cell(packed, initial)
            outputs, _ = pad_packed_sequence(packed_outputs, batch_first=True, total_length=inputs.shape[1])
    final = final if isinstance(final, tuple) else (final,)
    return outputs, tuple(tensor.squeeze(0) for tensor in final)
