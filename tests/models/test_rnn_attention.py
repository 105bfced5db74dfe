"""Attention scores and windows compared with the published equations, number by number."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from tl_toolkit.models import RnnEncoderDecoderConfig
from tl_toolkit.models.rnn_attention import AttentionMemory, RnnAttention, make_attention

BATCH, TARGET, SOURCE, HIDDEN, MEMORY = 3, 2, 7, 5, 11
SCORES = ["dot", "general", "concat"]


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def ragged_mask() -> Tensor:
    """Masks: all positions, a gap and padding on both sides, no position."""
    return torch.tensor([[1, 1, 1, 1, 1, 1, 1], [0, 1, 1, 0, 1, 1, 0], [0, 0, 0, 0, 0, 0, 0]])


def made(memory_size: int, **fields: Any) -> RnnAttention | None:
    return make_attention(RnnEncoderDecoderConfig(hidden_size=HIDDEN, **fields), memory_size)


def luong(score: str, window: str = "global", half_width: int = 2) -> tuple[RnnAttention, int]:
    memory_size = HIDDEN if score == "dot" else MEMORY
    window_fields = {"attention_window": window, "attention_window_size": half_width}
    attention = made(memory_size, attention="luong", attention_score=score, **window_fields)
    assert attention is not None
    return attention, memory_size


def score_by_hand(attention: RnnAttention, score: str, query: Tensor, value: Tensor) -> float:
    """Luong et al. 2015, equation 8; `concat` is also the alignment model of Bahdanau et al. 2015."""
    weights = {name.rpartition(".")[0].rpartition(".")[2]: w for name, w in attention.named_parameters()}
    if score == "dot":
        return float(query @ value)
    if score == "general":
        return float(query @ weights["key_projection"] @ value)
    hidden = torch.tanh(weights["query_projection"] @ query + weights["key_projection"] @ value)
    return float(weights["energy"][0] @ hidden)


def softmax_by_hand(scores: dict[int, float]) -> dict[int, float]:
    total = sum(math.exp(score) for score in scores.values())
    return {position: math.exp(score) / total for position, score in scores.items()}


@torch.no_grad()
@pytest.mark.parametrize("score", [*SCORES, "bahdanau"])
def test_weights_and_contexts_by_hand(score: str) -> None:
    if score == "bahdanau":
        attention, memory_size = made(MEMORY, attention="bahdanau"), MEMORY
    else:
        attention, memory_size = luong(score)
    values, queries, mask = torch.randn(BATCH, SOURCE, memory_size), torch.randn(BATCH, TARGET, HIDDEN), ragged_mask()
    contexts, weights = attention(queries, attention.remember(values, mask))
    for row in range(BATCH):
        for step in range(TARGET):
            seen = [position for position in range(SOURCE) if mask[row, position]]
            scores = {s: score_by_hand(attention, score, queries[row, step], values[row, s]) for s in seen}
            expected = torch.zeros(SOURCE)
            for position, weight in softmax_by_hand(scores).items():
                expected[position] = weight
            torch.testing.assert_close(weights[row, step], expected)
            assert (weights[row, step][mask[row] == 0] == 0).all()  # exactly
            torch.testing.assert_close(contexts[row, step], expected @ values[row])


@torch.no_grad()
@pytest.mark.parametrize("score", SCORES)
def test_local_window_by_hand(score: str) -> None:
    """Luong et al. 2015, equations 9 and 10."""
    half_width = 2
    attention, memory_size = luong(score, "local_p", half_width)
    attention.position_energy.weight.mul_(5)  # so that windows are at different positions
    values, queries, mask = torch.randn(BATCH, SOURCE, memory_size), torch.randn(BATCH, TARGET, HIDDEN), ragged_mask()
    contexts, weights = attention(queries, attention.remember(values, mask))
    places = set()
    for row in range(2):
        real = [position for position in range(SOURCE) if mask[row, position]]
        for step in range(TARGET):
            query = queries[row, step]
            hidden = torch.tanh(attention.position_projection.weight @ query)
            centre = len(real) * float(torch.sigmoid(attention.position_energy.weight[0] @ hidden))
            window = [(s, place) for s, place in enumerate(real) if abs(s - centre) <= half_width]
            places.add(tuple(place for _, place in window))
            scores = {s: score_by_hand(attention.score, score, query, values[row, place]) for s, place in window}
            aligned = softmax_by_hand(scores)
            expected = torch.zeros(SOURCE)
            for s, place in window:
                expected[place] = aligned[s] * math.exp(-((s - centre) ** 2) / (2 * (half_width / 2) ** 2))
            torch.testing.assert_close(weights[row, step], expected)
            torch.testing.assert_close(contexts[row, step], expected @ values[row])
    assert len(places) > 1
    assert (weights[2] == 0).all()


@torch.no_grad()
@pytest.mark.parametrize("window", ["global", "local_p"])
def test_padding_in_the_memory_does_not_change_results(window: str) -> None:
    attention, _ = luong("general", window)
    values, queries = torch.randn(1, SOURCE, MEMORY), torch.randn(1, TARGET, HIDDEN)
    contexts, weights = attention(queries, attention.remember(values, None))
    places = [1, 2, 5, 6, 7, 9, 12]
    padded, mask = torch.randn(1, 13, MEMORY), torch.zeros(1, 13)
    padded[:, places], mask[:, places] = values, 1
    padded_contexts, padded_weights = attention(queries, attention.remember(padded, mask))
    torch.testing.assert_close(padded_contexts, contexts)
    torch.testing.assert_close(padded_weights[..., places], weights)


@torch.no_grad()
@pytest.mark.parametrize("score", SCORES)
def test_beams_share_a_memory(score: str) -> None:
    attention, memory_size = luong(score)
    values, queries, mask = (
        torch.randn(BATCH, SOURCE, memory_size),
        torch.randn(4 * BATCH, TARGET, HIDDEN),
        ragged_mask(),
    )
    shared = attention(queries, attention.remember(values, mask))
    repeated = attention(queries, attention.remember(values.repeat_interleave(4, 0), mask.repeat_interleave(4, 0)))
    for one, other in zip(shared, repeated, strict=True):
        torch.testing.assert_close(one, other)


def test_rows_of_a_memory() -> None:
    values, mask = torch.randn(BATCH, SOURCE, MEMORY), ragged_mask().bool()
    memory = AttentionMemory(values, 2 * values, mask)
    chosen = memory.repeat(2).select(torch.tensor([0, 5, 2]))
    assert torch.equal(chosen.values, values[[0, 2, 1]]) and torch.equal(chosen.keys, 2 * values[[0, 2, 1]])
    assert torch.equal(chosen.mask, mask[[0, 2, 1]])
    assert memory._replace(mask=None).select(torch.tensor([1])).mask is None


def test_dot_product_of_two_sizes_raises_an_error() -> None:
    with pytest.raises(ValueError, match="'dot' needs a memory of hidden_size=5 features, got 11"):
        made(MEMORY, attention="luong", attention_score="dot")
    assert made(MEMORY, attention_score="dot") is None
