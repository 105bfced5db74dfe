"""Single steps of torch's recurrent cells, for decoders whose next input depends on their last output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from .token_order import State

Result = TypeVar("Result")


class LoopLinear:
    """Computes `base_t + sum_k x_tk W_k^T` position by position, and the weight gradients in one product each.

    Autograd would compute, at every position, a small product for the gradient of each matrix and add it to the sum.
    The gradient of `base_t` equals that of the result, so after the loop, one product per matrix of all these gradients
    with all inputs is enough. Only first derivatives are supported: second derivatives would be wrong.

    Args:
        base: (time, rows, size), the terms that are known before the loop.
        weights: matrices (size, features).
    """

    def __init__(self, base: Tensor, *weights: Tensor) -> None:
        self.inputs: list[tuple[Tensor, ...]] = []
        self.is_learning = torch.is_grad_enabled() and any(weight.requires_grad for weight in weights)
        if self.is_learning:
            base = _WeightGradients.apply(base, self.inputs, *weights)
        self.base = base.unbind(0)
        self.matrices = [weight.detach().t() for weight in weights]

    def __call__(self, position: int, *inputs: Tensor) -> Tensor:
        """Inputs (rows, features), one per matrix -> (rows, size)."""
        if self.is_learning:
            self.inputs.append(tuple(tensor.detach() for tensor in inputs))
        result = self.base[position]
        for tensor, matrix in zip(inputs, self.matrices, strict=True):
            result = torch.addmm(result, tensor, matrix)
        return result


class _WeightGradients(torch.autograd.Function):
    """Returns `base` in the forward pass; computes the gradients of `LoopLinear`'s matrices in the backward pass."""

    @staticmethod
    def forward(ctx: Any, base: Tensor, inputs: list[tuple[Tensor, ...]], *weights: Tensor) -> Tensor:
        ctx.inputs = inputs
        ctx.dtypes = [weight.dtype for weight in weights]
        return base.view_as(base)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, base_grad: Tensor) -> tuple[Any, ...]:
        by_row = base_grad.flatten(0, 1)  # (time x rows, size)
        weight_grads: list[Tensor | None] = []
        for index, dtype in enumerate(ctx.dtypes):
            if not ctx.needs_input_grad[2 + index]:
                weight_grads.append(None)
                continue
            inputs = torch.cat([of_position[index] for of_position in ctx.inputs]).to(by_row.dtype)
            weight_grads.append((by_row.t() @ inputs).to(dtype))
        return base_grad, None, *weight_grads


def within(layers: Sequence[nn.Module], action: Callable[[list[nn.RNNBase]], Result]) -> Result:
    """Call `action` with the cells of these layers, within the calls of all cells."""
    if not layers:
        return action([])
    first: Any = layers[0].forward_cell
    return first(lambda cell: within(layers[1:], lambda others: action([cell, *others])))


def known_gates(cell: nn.RNNBase, inputs: Tensor) -> Tensor:
    """The terms of the gates that are known before the loop: from the first input columns and the biases.

    (time, batch, features) -> (time, batch, gates x hidden_size).
    """
    weight: Any = cell.weight_ih_l0
    return functional.linear(inputs, weight[:, : inputs.shape[-1]], known_bias(cell))


def known_bias(cell: nn.RNNBase) -> Tensor:
    """The bias of the gates at every step: (gates x hidden_size,)."""
    bias: Any = cell.bias_ih_l0
    # The reset gate multiplies a GRU's other bias.
    return bias if isinstance(cell, nn.GRU) else bias + cell.bias_hh_l0


class CellSteps:
    """Steps of one recurrent layer whose remaining inputs become known position by position.

    The equations are those of `torch.nn.LSTM`, `GRU` and `RNN`.

    Args:
        cell: the layer.
        gates: (time, rows, gates x hidden_size) from `known_gates`, or `known_bias` expanded to this shape.
        num_known: number of columns of the input matrix that `gates` already includes.
    """

    def __init__(self, cell: nn.RNNBase, gates: Tensor, num_known: int) -> None:
        self.cell = cell
        input_weight: Any = cell.weight_ih_l0
        recurrent_weight: Any = cell.weight_hh_l0
        input_weight = input_weight[:, num_known:]
        self.is_gru = isinstance(cell, nn.GRU)
        if self.is_gru:
            bias: Any = cell.bias_hh_l0
            self.from_inputs = LoopLinear(gates, input_weight)
            self.from_state = LoopLinear(bias.expand_as(gates), recurrent_weight)
        else:
            self.gates = LoopLinear(gates, input_weight, recurrent_weight)

    def __call__(self, position: int, inputs: Tensor, state: State) -> State:
        """The state after reading `inputs` (rows, features) at a position."""
        if self.is_gru:
            (h,) = state
            size = 2 * h.shape[1]
            gates, recurrent = self.from_inputs(position, inputs), self.from_state(position, h)
            r, z = (gates[:, :size] + recurrent[:, :size]).sigmoid().chunk(2, dim=1)
            n = torch.addcmul(gates[:, size:], r, recurrent[:, size:]).tanh()
            return (n + z * (h - n),)
        gates = self.gates(position, inputs, state[0])
        if isinstance(self.cell, nn.LSTM):
            i, f, g, o = gates.chunk(4, dim=1)
            c = torch.addcmul(f.sigmoid() * state[1], i.sigmoid(), g.tanh())
            return o.sigmoid() * c.tanh(), c
        return (torch.relu(gates) if self.cell.nonlinearity == "relu" else torch.tanh(gates),)


def single_step(cell: nn.RNNBase, inputs: Tensor, state: State) -> State:
    """The state after reading `inputs` (rows, features)."""
    return CellSteps(cell, known_bias(cell).expand(1, len(inputs), -1), 0)(0, inputs, state)
