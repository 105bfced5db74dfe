"""Recurrent layers over real tokens only, with torch's fused kernels and no lengths on the CPU."""

from __future__ import annotations

from contextlib import nullcontext
from functools import cached_property, partial

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from .rnn_cache import RnnCacheLayer, keep_state_of_empty_rows

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


class TokenOrder:
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
    def lengths_on_cpu(self) -> Tensor:
        """Lengths for packed sequences, which allow no empty row. Waits for the device."""
        return self.lengths.clamp(min=1).cpu()

    def compact(self, tensor: Tensor) -> Tensor:
        """From reading order to real tokens first: (batch, time) or (batch, time, size)."""
        return take_positions(tensor, self.order)

    def restore(self, tensor: Tensor) -> Tensor:
        """From real tokens first to reading order, with zeros at masked positions: (batch, time, size)."""
        return take_positions(tensor, self.inverse)

    def flip(self, tensor: Tensor) -> Tensor:
        """Reverse the real tokens of each row of a compact tensor. Its own inverse."""
        return take_positions(tensor, self.reversed_positions)


def token_order(inputs: Tensor, attention_mask: Tensor | None, reverse: bool) -> TokenOrder | None:
    """The order in which a network reads a window; None where that is the order in which it stands.

    Args:
        inputs: (batch, time) or (batch, time, size).
        attention_mask: (batch, time) or, with a state, (batch, past + time).
        reverse: read the real tokens from the last to the first.

    Raises:
        ValueError: a mask of another length.
    """
    if attention_mask is None:
        if not reverse:
            return None
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
        self.forward_cell = CELLS[cell_type](input_size, hidden_size, batch_first=True)
        self.backward_cell = CELLS[cell_type](input_size, hidden_size, batch_first=True) if bidirectional else None
        for cell in self.children():
            cell.has_identity_input = is_looked_up  # for the initialisation, which sees one module at a time

    def forward(self, inputs: Tensor, order: TokenOrder | None, cache: RnnCacheLayer | None = None) -> Tensor:
        """(batch, time, features) with real tokens first -> (batch, time, hidden_size x directions).

        `order` is None when every position is real. `cache` supplies the state before the first token and receives
        the one after each row's last real token; a bidirectional layer has none.
        """
        if self.backward_cell is None:
            return run_cached(self.forward_cell, inputs, order, cache)
        forward_inputs, backward_inputs = inputs.chunk(2, dim=-1) if self.is_looked_up else (inputs, inputs)
        flip = order.flip if order is not None else partial(torch.flip, dims=(1,))
        forward_outputs, _ = run_cell(self.forward_cell, forward_inputs)
        backward_outputs, _ = run_cell(self.backward_cell, flip(backward_inputs))
        return torch.cat([forward_outputs, flip(backward_outputs)], dim=-1)


def run_cached(cell: nn.RNNBase, inputs: Tensor, order: TokenOrder | None, cache: RnnCacheLayer | None) -> Tensor:
    """Run one direction over real-first inputs, from the cached state and back into it."""
    if cache is None:
        return run_cell(cell, inputs)[0]
    state = cache.state
    # Only the state after the last real token needs the lengths: fused kernels return no state from within.
    lengths = order.lengths_on_cpu if order is not None and inputs.shape[1] > 1 else None
    outputs, new_state = run_cell(cell, inputs, state, lengths)
    if order is not None:
        new_state = keep_state_of_empty_rows(new_state, state, order.lengths == 0)
    cache.update(new_state, inputs.shape[1])
    return outputs


def run_cell(
    cell: nn.RNNBase, inputs: Tensor, state: tuple[Tensor, ...] | None = None, lengths: Tensor | None = None
) -> tuple[Tensor, tuple[Tensor, ...]]:
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
