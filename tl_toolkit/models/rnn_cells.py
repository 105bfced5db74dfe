"""One step of torch's recurrent cells, for decoders whose next input depends on their last output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

State = tuple[Tensor, ...]
# From what is known of the gates (batch, gates x hidden_size) or (gates x hidden_size,), further inputs and the state
# (h, and c for an LSTM) to the new state.
Step = Callable[[Tensor, Tensor, State], State]


def known_gates(cell: nn.RNNBase, inputs: Tensor) -> Tensor:
    """The part of the gates that is known before the loop: of the first columns of the input matrix, and the biases.

    (time, batch, features) -> (time, batch, gates x hidden_size).
    """
    weight: Any = cell.weight_ih_l0
    return functional.linear(inputs, weight[:, : inputs.shape[-1]], known_bias(cell))


def known_bias(cell: nn.RNNBase) -> Tensor:
    """What is added to the gates at every step: (gates x hidden_size,)."""
    bias: Any = cell.bias_ih_l0
    # A GRU's other bias is multiplied by the reset gate.
    return bias if isinstance(cell, nn.GRU) else bias + cell.bias_hh_l0


def make_step(cell: nn.RNNBase, num_known: int) -> Step:
    """A step of a cell, with the matrices laid out once for all positions.

    The first `num_known` columns of the input matrix are those that `known_gates` has dealt with. The equations are
    those of `torch.nn.LSTM`, `GRU` and `RNN`.
    """
    input_weight: Any = cell.weight_ih_l0
    recurrent_weight: Any = cell.weight_hh_l0
    input_matrix, recurrent_matrix = input_weight[:, num_known:].t(), recurrent_weight.t()
    if isinstance(cell, nn.LSTM):

        def step(gates: Tensor, inputs: Tensor, state: State) -> State:
            h, c = state
            gates = torch.addmm(torch.addmm(gates, inputs, input_matrix), h, recurrent_matrix)
            i, f, g, o = gates.chunk(4, dim=1)
            c = torch.addcmul(f.sigmoid() * c, i.sigmoid(), g.tanh())
            return o.sigmoid() * c.tanh(), c

    elif isinstance(cell, nn.GRU):
        recurrent_bias, size = cell.bias_hh_l0, 2 * cell.hidden_size

        def step(gates: Tensor, inputs: Tensor, state: State) -> State:
            (h,) = state
            gates = torch.addmm(gates, inputs, input_matrix)
            recurrent = torch.addmm(recurrent_bias, h, recurrent_matrix)
            r, z = (gates[:, :size] + recurrent[:, :size]).sigmoid().chunk(2, dim=1)
            n = torch.addcmul(gates[:, size:], r, recurrent[:, size:]).tanh()
            return (n + z * (h - n),)

    else:
        activation = torch.relu if cell.nonlinearity == "relu" else torch.tanh

        def step(gates: Tensor, inputs: Tensor, state: State) -> State:
            return (activation(torch.addmm(torch.addmm(gates, inputs, input_matrix), state[0], recurrent_matrix)),)

    return step
