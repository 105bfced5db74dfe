"""The LSTM that marks padding, against packed sequences."""

from __future__ import annotations

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tl_toolkit.models.rnn_layers import RnnLayer, run_lstm, run_to_end
from tl_toolkit.models.token_order import PaddedAtEnd, TokenOrder, token_order

SIZE, HIDDEN = 5, 7
LENGTHS = torch.tensor([11, 3, 1, 8])
MASK = torch.arange(11) < LENGTHS[:, None]


@pytest.mark.parametrize("bidirectional", [False, True])
def test_marked_padding_equals_packed_sequences(bidirectional: bool) -> None:
    torch.manual_seed(2)
    layer = RnnLayer("lstm", SIZE, HIDDEN, bidirectional).double()
    own = torch.nn.LSTM(SIZE, HIDDEN, batch_first=True, bidirectional=bidirectional).double()
    cells = [layer.forward_cell, *([layer.backward_cell] if bidirectional else [])]
    own.load_state_dict({
        name + suffix: value
        for cell, suffix in zip(cells, ("", "_reverse"), strict=False)
        for name, value in cell.state_dict().items()
    })  # fmt: skip
    inputs = torch.randn(4, 11, SIZE, dtype=torch.double, requires_grad=True)
    filled = torch.where(MASK[..., None], inputs, 1e3)  # whatever is at padding
    order = token_order(inputs, MASK, reverse=False)
    assert isinstance(order, PaddedAtEnd)
    outputs, (_, c) = run_lstm(cells, filled, order)
    assert order.restore(outputs) is outputs and not outputs[~MASK].any()
    packed = pack_padded_sequence(inputs, LENGTHS, batch_first=True, enforce_sorted=False)
    packed_outputs, (_, packed_c) = own(packed)
    expected, _ = pad_packed_sequence(packed_outputs, batch_first=True)
    torch.testing.assert_close(outputs, expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(c, packed_c.transpose(0, 1).flatten(1), atol=1e-12, rtol=0)

    weights = torch.randn(outputs.shape[-1], dtype=torch.double)
    loss, other = ((own * weights).square().sum() for own in (outputs, expected))
    found = torch.autograd.grad(loss, [inputs, *layer.parameters()])
    wanted = torch.autograd.grad(other, [inputs, *own.parameters()])
    for one, two in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, two, atol=1e-9, rtol=1e-9)


def test_state_after_the_last_token_with_an_initial_state() -> None:
    torch.manual_seed(3)
    cell = RnnLayer("lstm", SIZE, HIDDEN, False).forward_cell
    inputs, state = torch.randn(4, 11, SIZE), (torch.randn(4, HIDDEN), torch.randn(4, HIDDEN))
    mask = MASK.clone()
    mask[2] = False  # a row without tokens keeps its state
    _, new = run_to_end(cell, inputs, TokenOrder(mask), state)
    for row, length in enumerate(mask.sum(1).tolist()):
        expected = tuple(part[row] for part in state)
        if length:
            _, final = cell(inputs[row : row + 1, :length], tuple(part[None, row : row + 1] for part in state))
            expected = tuple(part[0, 0] for part in final)
        torch.testing.assert_close(tuple(part[row] for part in new), expected, atol=1e-6, rtol=0)
