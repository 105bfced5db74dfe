"""Recurrent layers that skip padding, with torch's fused kernels and without lengths on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers.modeling_layers import GradientCheckpointingLayer

from .rnn_cache import RnnCache

State = tuple[Tensor, ...]


class OpenCell(nn.RNNBase):
    """A recurrent module that accepts a function instead of inputs, and calls it with itself.

    Adapters wrap the module's call and only replace the weights during it, so a loop that reads the weights must run
    within the call.
    """

    def forward(self, input: Any, hx: Any = None) -> Any:  # noqa: A002 - torch's name
        return input(self) if callable(input) else super().forward(input, hx)


class OpenLstm(OpenCell, nn.LSTM):
    pass


class OpenGru(OpenCell, nn.GRU):
    pass


class OpenRnn(OpenCell, nn.RNN):
    pass


CELLS: dict[str, Any] = {
    "lstm": OpenLstm,
    "gru": OpenGru,
    "rnn_tanh": partial(OpenRnn, nonlinearity="tanh"),
    "rnn_relu": partial(OpenRnn, nonlinearity="relu"),
}
# Rows of weights and biases consist of this many blocks of hidden_size: i, f, g, o for an LSTM; r, z, n for a GRU.
NUM_GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


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
        self.lengths = mask.sum(dim=1)  # (batch,)
        time = mask.shape[1]
        position = torch.arange(time, device=mask.device)
        # Reverses the first `length` positions of a row, and permutes the remaining ones.
        self.reversed_positions = self._reversed(position)  # (batch, time)
        count = mask.long().cumsum(dim=1)
        place = torch.where(mask, count - 1, self.lengths[:, None] + position - count)  # real tokens first
        if reverse:
            place = self._reversed(place)
        # Without a sort, because ONNX has no stable one.
        self.order = torch.zeros_like(place).scatter(1, place, position.expand_as(place))
        self.inverse = place.where(mask, torch.full_like(place, time))

    def _reversed(self, positions: Tensor) -> Tensor:
        reverse = self.lengths[:, None] - 1 - positions
        return torch.where(reverse < 0, reverse + self.mask.shape[1], reverse)

    @cached_property
    def lengths_on_cpu(self) -> Tensor | None:
        """Lengths for packed sequences, which do not allow empty rows; None for one position. Waits for the device."""
        return self.lengths.clamp(min=1).cpu() if self.mask.shape[1] > 1 else None

    def compact(self, tensor: Tensor) -> Tensor:
        """From the original order to real tokens first: (batch, time) or (batch, time, size)."""
        return take_positions(tensor, self.order)

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
    return TokenOrder(attention_mask[:, -time:].bool(), reverse=reverse)


class RnnLayer(nn.Module):
    """One recurrent layer in one direction or two.

    Each direction is a separate module: the second reads the flipped sequence, which costs the same as a fused
    bidirectional kernel but needs no packed sequences with padding.

    Args:
        cell_type: a key of `CELLS`.
        input_size: features per token that each direction reads.
        hidden_size: output features per token and direction.
        bidirectional: whether there is a second direction.
        is_looked_up: the inputs are already products of one-hot vectors with the input matrices, first those of the
            first direction, then those of the second. `weight_ih_l0` must then be an identity and remain one.
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
            cell.has_identity_input = is_looked_up  # for the initialisation, which handles one module at a time

    def forward(
        self, inputs: Tensor, order: AsItStands, state: State | None = None, keeps_state: bool = False
    ) -> tuple[Tensor, State]:
        """(batch, time, features) with real tokens first -> (batch, time, hidden_size x directions), and the new state.

        `state` is the state before the first token. With `keeps_state`, the second output is the state after each row's
        last real token, otherwise it is empty. A bidirectional layer has neither.
        """
        if self.backward_cell is None:
            return run_one_way(self.forward_cell, inputs, order, state, keeps_state)
        forward_inputs, backward_inputs = inputs.chunk(2, dim=-1) if self.is_looked_up else (inputs, inputs)
        forward_outputs, _ = run_cell(self.forward_cell, forward_inputs)
        backward_outputs, _ = run_cell(self.backward_cell, order.flip(backward_inputs))
        return torch.cat([forward_outputs, order.flip(backward_outputs)], dim=-1), ()


class LayerStep(GradientCheckpointingLayer):
    """Calls a function of tensors, which gradient checkpointing calls again in the backward pass.

    It has no parameters, and it is not the layer itself: an adapter replaces the weights of a cell only while the cell
    is called, so a repetition must call the cell from outside. All tensors with gradients are arguments, states too.
    """

    def forward(self, *tensors: Any, run: Callable[..., tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        return run(*tensors)


def layer_steps(layers: nn.ModuleList) -> nn.ModuleList:
    """A `LayerStep` for each layer."""
    return nn.ModuleList(LayerStep() for _ in layers)


class ShownLayer(nn.Module):
    """Returns the second argument: here transformers' hooks record what a layer reads and returns, in original order.

    The layers themselves work on real tokens first.
    """

    def forward(self, inputs: Tensor, outputs: Tensor) -> Tensor:
        return outputs


def recurrent_layers(
    config: Any, first_size: int, num_layers: int, bidirectional: bool = False, is_looked_up: bool = False
) -> nn.ModuleList:
    """A stack of layers with `config.cell_type` and `config.hidden_size`; the first reads `first_size` features."""
    size = config.hidden_size
    later_size = 2 * size if bidirectional else size
    first = RnnLayer(config.cell_type, first_size, size, bidirectional, is_looked_up)
    later = [RnnLayer(config.cell_type, later_size, size, bidirectional) for _ in range(num_layers - 1)]
    return nn.ModuleList([first, *later])


def run_stack(
    steps: nn.ModuleList,
    layers: nn.ModuleList,
    hidden_states: Tensor,
    order: AsItStands,
    dropout: nn.Module,
    collects: bool,
    run: Callable[[Any, Tensor, State | None], tuple[Tensor, State]],
    cache: RnnCache | None = None,
) -> tuple[Tensor, tuple[Tensor, ...], list[State]]:
    """Run a stack of layers, with dropout between them.

    Args:
        steps: a `LayerStep` for each layer.
        layers: from the lowest to the highest.
        hidden_states: (batch, time, features), real tokens first.
        order: restores the original order.
        dropout: the module between two layers.
        collects: also return the inputs and the output of every layer.
        run: called with a layer, its inputs and its state; returns its outputs and its new state.
        cache: supplies the states before the first token, and receives the new ones.

    Returns:
        The last output in the original order; with `collects`, also the inputs and the output of every layer; the new
        states.
    """
    collected: tuple[Tensor, ...] = ()
    states = []
    for index, layer in enumerate(layers):
        if collects:
            # The layer reads the returned tensor itself, so that users can compute its gradient.
            collected += (order.restore(hidden_states),)
            hidden_states = order.compact(collected[-1])
        before = cache.layers[index].state if cache is not None else None
        run_this = partial(_run_layer, run, layer, dropout if index else None)
        hidden_states, *state = steps[index](hidden_states, *(before or ()), run=run_this)
        states.append(tuple(state))
        if cache is not None:
            cache.layers[index].update(states[-1], hidden_states.shape[1])
    last = order.restore(hidden_states)
    return last, (*collected, last) if collects else (), states


def _run_layer(run: Callable, layer: Any, dropout: nn.Module | None, inputs: Tensor, *state: Tensor) -> Any:
    outputs, new_state = run(layer, inputs if dropout is None else dropout(inputs), state or None)
    return outputs, *new_state


def run_one_way(
    cell: nn.RNNBase, inputs: Tensor, order: AsItStands, state: State | None, keeps_state: bool
) -> tuple[Tensor, State]:
    """One direction over inputs with real tokens first; the new state only if it is kept."""
    return run_to_end(cell, inputs, order, state) if keeps_state else (run_cell(cell, inputs, state)[0], ())


def run_to_end(cell: nn.RNNBase, inputs: Tensor, order: AsItStands, state: State | None) -> tuple[Tensor, State]:
    """Outputs of one direction over inputs with real tokens first, and the state after each row's last real token."""
    # Only this state needs the lengths: fused kernels do not return intermediate states.
    outputs, new_state = run_cell(cell, inputs, state, order.lengths_on_cpu)
    return outputs, order.keep_ended(new_state, state)


def run_cell(
    cell: nn.RNNBase, inputs: Tensor, state: State | None = None, lengths: Tensor | None = None
) -> tuple[Tensor, State]:
    """Run a torch recurrent module over (batch, time, features), up to `lengths` (batch,) on the CPU if passed.

    States are tuples of (batch, hidden_size). Autocast is disabled on a CPU: some CPUs do not have the fused kernels in
    half precision, and fail with "could not create a primitive".
    """
    autocast_on_cpu = inputs.device.type == "cpu" and torch.is_autocast_enabled("cpu")
    with torch.autocast("cpu", enabled=False) if autocast_on_cpu else nullcontext():
        if autocast_on_cpu:
            inputs = inputs.to(next(cell.parameters()).dtype)
        initial = None
        if state is not None:
            initial = tuple(tensor.to(inputs.dtype).unsqueeze(0).contiguous() for tensor in state)
            initial = initial if len(initial) == 2 else initial[0]
        if getattr(cell, "reads_lengths", False):  # in place of torch's cell, as in the ONNX graph of a model
            outputs, final = cell(inputs, initial, lengths)
        elif lengths is None or int(lengths.min()) == inputs.shape[1]:
            outputs, final = cell(inputs, initial)
        else:
            packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
            packed_outputs, final = cell(packed, initial)
            outputs, _ = pad_packed_sequence(packed_outputs, batch_first=True, total_length=inputs.shape[1])
    final = final if isinstance(final, tuple) else (final,)
    return outputs, tuple(tensor.squeeze(0) for tensor in final)
