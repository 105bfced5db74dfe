"""Blocks of neighbouring rows of a series."""

import numpy as np
import pytest

from tl_toolkit.evaluation.decision.blocks import correlation_time, time_blocks


def autoregressive(coefficient, rows, seed=0):
    noise, series = np.random.default_rng(seed).normal(size=rows), np.empty(rows)
    series[0] = noise[0] / np.sqrt(1 - coefficient**2)
    for row in range(1, rows):
        series[row] = coefficient * series[row - 1] + noise[row]
    return series


def test_correlation_time_of_an_autoregressive_series():
    # (1 + ρ) / (1 − ρ)
    assert correlation_time(autoregressive(0.8, 100_000)) == pytest.approx(9, rel=0.1)
    assert correlation_time(autoregressive(0.0, 100_000)) == pytest.approx(1, rel=0.05)


def test_independent_rows_are_blocks_of_their_own():
    assert len(np.unique(time_blocks(autoregressive(0.0, 997)[None]))) == 997


def test_blocks_are_neighbours_of_about_equal_size_and_at_least_five():
    blocks = time_blocks(np.linspace(0, 1, 203)[None])
    assert (np.diff(blocks) >= 0).all()
    sizes = np.bincount(blocks)
    assert len(sizes) == 5 and sizes.max() - sizes.min() <= 1


def test_longest_time_decides():
    short, long = autoregressive(0.0, 5000), autoregressive(0.9, 5000)
    assert (time_blocks(np.stack([short, long])) == time_blocks(long[None])).all()
