"""Recurrent layers that skip padding, with torch's fused kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers.modeling_layers import GradientCheckpointingLayer

from .pooling import vector_at
from .rnn_cache import RnnCache
from .token_order import AsItStands, PaddedAtEnd, State, TokenOrder, reads_values


class OpenCell(nn.RNNBase):
    """A recurrent module that accepts a function instead of inputs, and calls it with itself.

    Adapters wrap the module's call and only replace the weights during it, so a loop that reads the weights must run
    within the call.
    """

    def forward(self, input: Any, hx: Any = None) -> Any:  # noqa: A002 - torch's name
        return input(self) if callable(input) else super().forward(input, hx)

    def current_weights(self) -> list[Any]:
        """The weights of a call, in the order in which torch's kernels take them."""
        self._update_flat_weights()
        return self._flat_weights


class OpenLstm(OpenCell, nn.LSTM):
    """`nn.LSTM` as an `OpenCell`."""


class OpenGru(OpenCell, nn.GRU):
    """`nn.GRU` as an `OpenCell`."""


class OpenRnn(OpenCell, nn.RNN):
    """`nn.RNN` as an `OpenCell`."""


CELLS: dict[str, Any] = {
    "lstm": OpenLstm,
    "gru": OpenGru,
    "rnn_tanh": partial(OpenRnn, nonlinearity="tanh"),
    "rnn_relu": partial(OpenRnn, nonlinearity="relu"),
}
# What a mark of padding adds to the gates of an LSTM: they are exactly 0 or 1 then, as inputs are smaller than this.
CLOSED, OPEN = -1e4, 1e4
# Rows of weights and biases consist of this many blocks of hidden_size: i, f, g, o for an LSTM; r, z, n for a GRU.
NUM_GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


class RnnLayer(nn.Module):
    """One recurrent layer in one direction or two.

    Each direction is a separate module. Where `run_lstm` cannot run both, the second reads the flipped sequence,
    which needs no packed sequences either.

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
        if not self.is_looked_up and is_fused(cells := (self.forward_cell, self.backward_cell), inputs):
            return run_lstm(cells, inputs, order)[0], ()
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
    if keeps_state:
        return run_to_end(cell, inputs, order, state)
    if is_fused([cell], inputs):
        return run_lstm([cell], inputs, order, state, marks=False)[0], ()
    return run_cell(cell, inputs, state)[0], ()


def run_to_end(cell: nn.RNNBase, inputs: Tensor, order: AsItStands, state: State | None) -> tuple[Tensor, State]:
    """Outputs of one direction over inputs with real tokens first, and the state after each row's last real token."""
    if isinstance(order, TokenOrder) and is_fused([cell], inputs):
        outputs, (_, c) = run_lstm([cell], inputs, order, state)
        new_state: State = (last_of(outputs, order), c)
    else:  # only this state needs the lengths: fused kernels do not return intermediate states
        outputs, new_state = run_cell(cell, inputs, state, order.lengths_on_cpu)
    return outputs, order.keep_ended(new_state, state)


def last_of(outputs: Tensor, order: TokenOrder) -> Tensor:
    """The output at the last real token of each row: (batch, time, size), real tokens first -> (batch, size)."""
    return vector_at(outputs, (order.lengths - 1).clamp(min=0))


def is_fused(cells: Sequence[Any], inputs: Tensor) -> bool:
    """Whether `run_lstm` can run these cells: adapters and hooks need the call of each cell."""
    return reads_values(inputs) and all(
        isinstance(cell, OpenLstm) and not ("forward" in vars(cell) or cell._forward_hooks or cell._forward_pre_hooks)
        for cell in cells
    )


def run_lstm(
    cells: Sequence[Any], inputs: Tensor, order: AsItStands, state: State | None = None, marks: bool = True
) -> tuple[Tensor, State]:
    """Run an LSTM in one direction or two over (batch, time, features), real tokens first, by the CPU's fused kernel.

    A further feature marks padding. Its weights close the input and the output gate and open the forget gate, so
    padding passes on the cell state and returns zeros, with or without gradients. The second direction reads padding
    first, and its states remain zero until the first real token. So nothing is packed, which is slow on a CPU, or
    flipped. One direction whose state is not read needs no `marks`.

    The kernel takes time in proportion to rows, so rows of different lengths are read in groups of similar lengths.

    Returns:
        The outputs (batch, time, hidden_size x directions), and the final states (batch, hidden_size x directions): c
        is that after the last real token, h only in rows without padding.
    """
    weights = [own for cell in cells for own in cell.current_weights()]
    context, inputs = without_autocast(inputs, weights[0])
    with context:
        size = cells[0].hidden_size
        if marks and isinstance(order, TokenOrder):
            inputs = torch.cat([inputs, order.is_padding[..., None].to(inputs.dtype)], dim=-1)
            gates = inputs.new_zeros(4, size, 1)
            gates[0], gates[1], gates[3] = CLOSED, OPEN, CLOSED
            weights[::4] = [torch.cat([own, gates.flatten(0, 1)], dim=1) for own in weights[::4]]
        zeros = inputs.new_zeros(len(cells), len(inputs), size)
        initial = (zeros, zeros) if state is None else tuple(part.to(inputs.dtype)[None].contiguous() for part in state)

        def run(inputs: Tensor, *initial: Tensor) -> tuple[Tensor, ...]:
            return torch.lstm(inputs, initial, weights, True, 1, 0.0, cells[0].training, len(cells) > 1, True)

        outputs, *final = order.in_groups(run, inputs, *initial)
    if marks and isinstance(order, PaddedAtEnd):
        order.zeroed = outputs
    return outputs, tuple(part.transpose(0, 1).flatten(1) for part in final)


def without_autocast(inputs: Tensor, weight: Tensor) -> tuple[Any, Tensor]:
    """A context without autocast on a CPU, and the inputs in the type of the weights if it was enabled.

    Some CPUs do not have the fused kernels in half precision, and fail with "could not create a primitive".
    """
    if inputs.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
        return nullcontext(), inputs
    return torch.autocast("cpu", enabled=False), inputs.to(weight.dtype)


def run_cell(
    cell: nn.RNNBase, inputs: Tensor, state: State | None = None, lengths: Tensor | None = None
) -> tuple[Tensor, State]:
    """Run a torch recurrent module over (batch, time, features), up to `lengths` (batch,) on the CPU if passed.

    States are tuples of (batch, hidden_size).
    """
    context, inputs = without_autocast(inputs, next(cell.parameters()))
    with context:
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
