"""The order in which recurrent layers read a batch: real tokens first, so that padding has no influence."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor, nn

State = tuple[Tensor, ...]

# Rows of a group that is read by itself, at least (see `TokenOrder.in_groups`).
_FEWEST = 16


def take_positions(tensor: Tensor, positions: Tensor) -> Tensor:
    """Select `positions` (batch, time) along the time axis of (batch, time) or (batch, time, size).

    In tensors with three dimensions, a position equal to the length of the axis selects zeros.
    """
    if tensor.dim() == 2:
        return tensor.gather(1, positions)
    # On a CPU, selecting whole rows of a matrix is several times faster than `gather`, especially in the backward pass.
    batch, time, size = tensor.shape
    rows = positions + torch.arange(batch, device=tensor.device)[:, None] * time
    rows = rows.where(positions < time, batch * time)
    with_zeros = torch.cat([tensor.reshape(batch * time, size), tensor.new_zeros(1, size)])
    return with_zeros.index_select(0, rows.flatten()).view(batch, time, size)


def filled(tensor: Tensor, places: Tensor, value: float) -> Tensor:
    """(batch, time, size) with `value` at `places`, a boolean (batch, time)."""
    if not reads_values(tensor):
        return tensor.masked_fill(places[..., None], value)
    # On a CPU, copying a tensor and filling a few rows is five times faster than masking every value.
    copy = tensor.clone(memory_format=torch.contiguous_format)  # outputs of cells are transposed
    return copy.flatten(0, 1).index_fill_(0, places.flatten().nonzero().squeeze(1), value).view(tensor.shape)


class AsItStands:
    """The order of a window of real tokens that is read from the first to the last: no token is moved."""

    @property
    def lengths_on_cpu(self) -> Tensor | None:
        """Lengths for packed sequences, if rows have different lengths."""
        return None

    def compact(self, tensor: Tensor) -> Tensor:
        return tensor

    def restore(self, tensor: Tensor) -> Tensor:
        return tensor

    def flip(self, tensor: Tensor) -> Tensor:
        return tensor.flip(1)

    def keep_ended(self, new: State, old: State | None, position: int = 0) -> State:
        return new

    def in_groups(self, run: Callable[..., tuple[Tensor, ...]], inputs: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """Call `run` with (batch, time, features) and states (directions, batch, size), for outputs and new states."""
        return run(inputs, *states)


AS_IT_STANDS = AsItStands()


class TokenOrder(AsItStands):
    """Moves the real tokens of each row to the front, and back.

    In a network that reads from left to right, padding after the real tokens cannot influence them, so the original
    position of padding does not matter. All computations are index arithmetic on the device.

    Args:
        mask: boolean (batch, time), true for real tokens.
        reverse: also put the real tokens in reverse order.
    """

    def __init__(self, mask: Tensor, reverse: bool = False) -> None:
        self.mask = mask
        self.reverse = reverse
        self.lengths = mask.sum(dim=1)  # (batch,)
        self.positions = torch.arange(mask.shape[1], device=mask.device)

    @cached_property
    def order(self) -> Tensor:
        """The original position of each position (batch, time)."""
        # Without a sort, because ONNX has no stable one.
        place = self._place
        return torch.zeros_like(place).scatter(1, place, self.positions.expand_as(place))

    @cached_property
    def inverse(self) -> Tensor:
        """The new position of each real token, and `time` for padding: (batch, time)."""
        return self._place.where(self.mask, torch.full_like(self._place, self.mask.shape[1]))

    @cached_property
    def _place(self) -> Tensor:
        count = self.mask.long().cumsum(dim=1)
        place = torch.where(self.mask, count - 1, self.lengths[:, None] + self.positions - count)  # real tokens first
        return self._reversed(place) if self.reverse else place

    @cached_property
    def reversed_positions(self) -> Tensor:
        """Reverses the first `length` positions of a row, and permutes the remaining ones: (batch, time)."""
        return self._reversed(self.positions)

    def _reversed(self, positions: Tensor) -> Tensor:
        reverse = self.lengths[:, None] - 1 - positions
        return torch.where(reverse < 0, reverse + self.mask.shape[1], reverse)

    @cached_property
    def is_padding(self) -> Tensor:
        """Whether each position of a compact tensor is after the real tokens: (batch, time)."""
        return self.positions >= self.lengths[:, None]

    @cached_property
    def lengths_on_cpu(self) -> Tensor | None:
        """Lengths for packed sequences, which do not allow empty rows; None for one position. Waits for the device."""
        return self.lengths.clamp(min=1).cpu() if self.mask.shape[1] > 1 else None

    def compact(self, tensor: Tensor) -> Tensor:
        """From the original order to real tokens first: (batch, time) or (batch, time, size), then with zeros after."""
        if tensor.dim() == 2:
            return take_positions(tensor, self.order)
        return take_positions(tensor, self.order.masked_fill(self.is_padding, self.mask.shape[1]))

    def restore(self, tensor: Tensor) -> Tensor:
        """From real tokens first to the original order, with zeros at masked positions: (batch, time, size)."""
        return take_positions(tensor, self.inverse)

    def flip(self, tensor: Tensor) -> Tensor:
        """Reverse the real tokens of each row of a compact tensor. Its own inverse."""
        return take_positions(tensor, self.reversed_positions)

    def keep_ended(self, new: State, old: State | None, position: int = 0) -> State:
        """The new states (batch, hidden_size), but the old states in rows without a real token at `position`.

        `position` counts real tokens: at 0, only rows without real tokens keep their states. None as `old` means zeros.
        """
        if old is None:
            old = tuple(torch.zeros_like(tensor) for tensor in new)
        ended = self.lengths[:, None] <= position
        return tuple(torch.where(ended, before, after) for before, after in zip(old, new, strict=True))

    @cached_property
    def groups(self) -> list[int]:
        """Sizes of groups of rows by decreasing length; one group if several would save little. Reads values."""
        return _halves(self.lengths.sort(descending=True).values.tolist())

    def in_groups(self, run: Callable[..., tuple[Tensor, ...]], inputs: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """As above, with groups of rows that are cut to the longest of them; outputs after it are zeros."""
        if len(self.groups) == 1:
            return run(inputs, *states)
        rows = self.lengths.argsort(descending=True)
        lengths = self.lengths[rows].split(self.groups)
        own = [inputs.index_select(0, rows).split(self.groups)]
        own += [state.index_select(1, rows).split(self.groups, dim=1) for state in states]
        found = [
            run(part[:, : max(1, int(length[0]))], *before) for length, part, *before in zip(lengths, *own, strict=True)
        ]
        time, back = inputs.shape[1], rows.argsort()
        outputs = torch.cat([nn.functional.pad(first, (0, 0, 0, time - first.shape[1])) for first, *_ in found])
        after = (torch.cat(parts, dim=1).index_select(1, back) for parts in list(zip(*found, strict=True))[1:])
        return outputs.index_select(0, back), *after


def _halves(lengths: list[int]) -> list[int]:
    """The sizes of groups of decreasing lengths: halves of halves, while this saves a tenth of the positions."""
    half = len(lengths) // 2
    if half < _FEWEST or lengths[half] > 0.8 * lengths[0]:
        return [len(lengths)]
    return _halves(lengths[:half]) + _halves(lengths[half:])


class PaddedAtEnd(TokenOrder):
    """The order of rows whose real tokens are in front already: no token is moved.

    Attributes:
        zeroed: outputs that have zeros at padding already.
    """

    zeroed: Tensor | None = None

    def compact(self, tensor: Tensor) -> Tensor:
        return tensor if tensor.dim() == 2 else self.restore(tensor)

    def restore(self, tensor: Tensor) -> Tensor:
        return tensor if tensor is self.zeroed else filled(tensor, self.is_padding, 0)


def token_order(inputs: Tensor, attention_mask: Tensor | None, reverse: bool) -> AsItStands:
    """The order in which a network reads a window.

    Args:
        inputs: (batch, time) or (batch, time, size).
        attention_mask: (batch, time) or, with a state, (batch, past + time).
        reverse: read the real tokens from the last to the first.

    Raises:
        ValueError: a mask of the wrong length.
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
    # Generation passes the mask of all tokens so far; the state already contains the earlier ones.
    mask = attention_mask[:, -time:].bool()
    if reads_values(mask) and time and not reverse:
        if mask.all():
            return AS_IT_STANDS
        if not (mask[:, 1:] > mask[:, :-1]).any():
            return PaddedAtEnd(mask)
    return TokenOrder(mask, reverse=reverse)


def reads_values(tensor: Tensor) -> bool:
    """Whether Python may read values of a tensor: on a CPU, where it does not wait, and not while a graph is built."""
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling() and not torch.jit.is_tracing()


def without_full_mask(attention_mask: Tensor | None) -> Tensor | None:
    """The mask, but None if it is known to mask nothing, which saves the work of masking."""
    if attention_mask is None or (reads_values(attention_mask) and attention_mask.all()):
        return None
    return attention_mask
