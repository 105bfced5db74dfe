"""Pooling compared with its definition, row by row."""

from __future__ import annotations

import pytest
import torch

from tl_toolkit.models.pooling import AdditiveAttention, SequencePooling, first_real_position, last_real_position
from tl_toolkit.models.token_order import filled

BATCH, TIME, SIZE = 5, 7, 6
# Masks: right padding, left padding, gaps, a single token, all tokens.
MASK = torch.tensor(
    [[1, 1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 1, 1], [0, 1, 0, 1, 1, 0, 0], [0, 0, 0, 1, 0, 0, 0], [1] * TIME]
)


@pytest.fixture
def hidden_states() -> torch.Tensor:
    return torch.randn(BATCH, TIME, SIZE, generator=torch.Generator().manual_seed(0))


def test_positions() -> None:
    assert last_real_position(MASK.bool()).tolist() == [3, 6, 4, 3, 6]
    assert first_real_position(MASK.bool()).tolist() == [0, 2, 1, 3, 0]


def test_filling_is_masking(hidden_states: torch.Tensor) -> None:
    """Also of outputs that are transposed, as those of cells; the input stays as it is."""
    given = hidden_states.transpose(0, 1).contiguous().transpose(0, 1).requires_grad_()
    result, weights = filled(given, ~MASK.bool(), -2.5), torch.randn(BATCH, TIME, SIZE)
    expected = given.detach().clone().requires_grad_()
    torch.testing.assert_close(result, expected.masked_fill(~MASK.bool()[..., None], -2.5), rtol=0, atol=0)
    (result * weights).sum().backward()
    (expected.masked_fill(~MASK.bool()[..., None], -2.5) * weights).sum().backward()
    assert torch.equal(given.grad, expected.grad) and torch.equal(given.detach(), hidden_states)


@pytest.mark.parametrize("summary", ["last", "first", "both"])
@pytest.mark.parametrize("pooling", ["cls", "last", "mean", "max", "concat"])
def test_matches_definition(hidden_states: torch.Tensor, pooling: str, summary: str) -> None:
    module = SequencePooling(SIZE, pooling, summary)
    pooled, weights = module(hidden_states, MASK)
    assert weights is None
    assert pooled.shape == (BATCH, module.output_size)
    for row in range(BATCH):
        real = hidden_states[row][MASK[row].bool()]
        last = {
            "last": real[-1],
            "first": real[0],
            "both": torch.cat([real[-1, : SIZE // 2], real[0, SIZE // 2 :]]),
        }[summary]
        expected = {"cls": real[0], "last": last, "mean": real.mean(0), "max": real.amax(0)}
        expected["concat"] = torch.cat([expected["last"], expected["mean"], expected["max"]])
        torch.testing.assert_close(pooled[row], expected[pooling])


def test_attention_matches_equations(hidden_states: torch.Tensor) -> None:
    module = SequencePooling(SIZE, "attention")
    pooled, weights = module(hidden_states, MASK)
    attention = module.attention
    for row in range(BATCH):
        real = hidden_states[row][MASK[row].bool()]
        scores = (
            torch.tanh(real @ attention.projection.weight.T + attention.projection.bias) @ attention.context.weight[0]
        )
        expected = torch.exp(scores) / torch.exp(scores).sum()
        torch.testing.assert_close(weights[row][MASK[row].bool()], expected)
        torch.testing.assert_close(pooled[row], (expected[:, None] * real).sum(0))
    assert (weights[MASK == 0] == 0).all()


def test_attention_gradient() -> None:
    torch.manual_seed(0)
    attention = AdditiveAttention(3).double()
    inputs = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[1, 1, 0, 1, 0], [0, 1, 1, 1, 1]]).bool()
    names, parameters = zip(*attention.named_parameters(), strict=True)

    def pooled(inputs: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(attention, dict(zip(names, values, strict=True)), (inputs, mask))

    assert torch.autograd.gradcheck(pooled, (inputs, *parameters))


@pytest.mark.parametrize("pooling", ["last", "mean", "max", "concat", "attention"])
def test_padding_has_no_influence(hidden_states: torch.Tensor, pooling: str) -> None:
    module = SequencePooling(SIZE, pooling)
    spoilt = hidden_states.masked_fill(MASK[..., None] == 0, 1e4)
    assert torch.equal(module(spoilt, MASK)[0], module(hidden_states, MASK)[0])
    without_mask, with_mask = module(hidden_states, None)[0], module(hidden_states, torch.ones_like(MASK))[0]
    assert torch.equal(without_mask, with_mask)


@pytest.mark.parametrize("pooling", ["mean", "max", "attention"])
def test_empty_row_is_zero(hidden_states: torch.Tensor, pooling: str) -> None:
    mask = MASK.clone()
    mask[2] = 0
    pooled, _ = SequencePooling(SIZE, pooling)(hidden_states, mask)
    assert (pooled[2] == 0).all()
    assert pooled.isfinite().all()
