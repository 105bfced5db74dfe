"""The LSTM layers that the CPU's fused kernel runs, against rows that are read one by one without padding."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tl_toolkit.models.rnn_layers import RnnLayer, run_lstm, run_to_end
from tl_toolkit.models.token_order import AS_IT_STANDS, PaddedAtEnd, TokenOrder, token_order

ROWS, TIME, SIZE, HIDDEN = 37, 11, 5, 7
TOLERANCE = {torch.double: 1e-12, torch.float: 1e-5}


def masks() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(1, TIME + 1, (ROWS,), generator=generator)
    lengths[:3] = torch.tensor([TIME, 0, 1])
    right = torch.arange(TIME) < lengths[:, None]
    return {"right": right, "left": right.flip(1), "anywhere": torch.rand(ROWS, TIME, generator=generator) < 0.4}


@pytest.mark.parametrize("dtype", [torch.double, torch.float])
@pytest.mark.parametrize("padding", ["right", "left", "anywhere"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_outputs_and_gradients_are_those_of_rows_alone(bidirectional: bool, padding: str, dtype: torch.dtype) -> None:
    torch.manual_seed(2)
    mask = masks()[padding]
    layer = RnnLayer("lstm", SIZE, HIDDEN, bidirectional).to(dtype)
    inputs = torch.randn(ROWS, TIME, SIZE, dtype=dtype, requires_grad=True)
    filled = torch.where(mask[..., None], inputs, 1e3)  # whatever is at padding
    order = token_order(inputs, mask, reverse=False)
    assert isinstance(order, PaddedAtEnd) == (padding == "right") and len(order.groups) > 1
    outputs = order.restore(layer(order.compact(filled), order)[0])
    expected = torch.zeros_like(outputs)
    for row in range(ROWS):
        if mask[row].any():
            tokens = inputs[row, mask[row]][None]
            parts = [layer.forward_cell(tokens)[0]]
            parts += [layer.backward_cell(tokens.flip(1))[0].flip(1)] if bidirectional else []
            expected[row, mask[row]] = torch.cat(parts, dim=-1)[0]
    torch.testing.assert_close(outputs, expected, atol=TOLERANCE[dtype], rtol=0)

    weights = torch.randn(outputs.shape[-1], dtype=dtype)
    loss, other = ((own * weights).square().mean() for own in (outputs, expected))
    found = torch.autograd.grad(loss, [inputs, *layer.parameters()])
    wanted = torch.autograd.grad(other, [inputs, *layer.parameters()])
    torch.testing.assert_close(found, wanted, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


def test_state_after_the_last_token_with_an_initial_state() -> None:
    torch.manual_seed(3)
    mask = masks()["right"]
    cell = RnnLayer("lstm", SIZE, HIDDEN, False).forward_cell
    inputs, state = torch.randn(ROWS, TIME, SIZE), (torch.randn(ROWS, HIDDEN), torch.randn(ROWS, HIDDEN))
    _, new = run_to_end(cell, inputs, TokenOrder(mask), state)
    for row, length in enumerate(mask.sum(1).tolist()):
        expected = tuple(part[row] for part in state)  # kept by a row without tokens
        if length:
            _, final = cell(inputs[row : row + 1, :length], tuple(part[None, row : row + 1] for part in state))
            expected = tuple(part[0, 0] for part in final)
        torch.testing.assert_close(tuple(part[row] for part in new), expected, atol=1e-6, rtol=0)


def test_tokens_are_not_moved_without_need() -> None:
    inputs = torch.randn(ROWS, TIME, SIZE)
    assert token_order(inputs, torch.ones(ROWS, TIME), reverse=False) is AS_IT_STANDS
    order = token_order(inputs, masks()["right"], reverse=False)
    layer = RnnLayer("lstm", SIZE, HIDDEN, True)
    outputs, _ = run_lstm([layer.forward_cell, layer.backward_cell], inputs, order)
    assert order.restore(outputs) is outputs and not outputs[order.is_padding].any()
