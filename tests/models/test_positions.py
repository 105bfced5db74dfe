from __future__ import annotations

import math

import pytest
import torch

from tl_toolkit.models.self_attention_layers import position_ids_from_mask, sinusoidal_positions


@pytest.mark.parametrize("size", [10, 7])
def test_sinusoids_follow_the_formula(size: int) -> None:
    vectors = sinusoidal_positions(torch.tensor([[0, 3, 700]]), size)
    assert vectors.shape == (1, 3, size)
    for row, position in enumerate([0, 3, 700]):
        for index in range(size):
            angle = position / 10000 ** ((index - index % 2) / size)
            expected = math.cos(angle) if index % 2 else math.sin(angle)
            assert vectors[0, row, index].item() == pytest.approx(expected, abs=2e-5)


def test_positions_count_real_tokens_only() -> None:
    mask = torch.tensor([[1, 1, 1, 0, 0], [0, 0, 1, 1, 1], [1, 0, 1, 0, 1], [0, 0, 0, 0, 0]])
    expected = [[0, 1, 2, 2, 2], [0, 0, 0, 1, 2], [0, 0, 1, 1, 2], [0, 0, 0, 0, 0]]
    assert position_ids_from_mask(mask, 5).tolist() == expected
    assert position_ids_from_mask(mask.bool(), 2).tolist() == [row[-2:] for row in expected]
