"""Jackknife pseudo-values."""

import numpy as np
import pytest

from tl_toolkit.evaluation.decision import pseudo_values

RNG = np.random.default_rng(2)


def test_those_of_a_mean_are_the_rows():
    rows = RNG.normal(size=(13, 1))
    assert pseudo_values(rows, lambda means: means[..., 0]) == pytest.approx(rows[:, 0])


def test_those_of_a_ratio_by_hand():
    # Ratios 6/9 of all, and 5/7, 4/6, 3/5 without a row.
    rows = np.array([[1.0, 2.0], [2.0, 3.0], [3.0, 4.0]])
    without = np.array([5 / 7, 4 / 6, 3 / 5])
    found = pseudo_values(rows, lambda means: means[..., 0] / means[..., 1])
    assert found == pytest.approx(6 / 9 + 2 * (without.mean() - without))
    assert found.mean() == pytest.approx(6 / 9)


def test_their_variance_is_that_of_the_metric():
    def ratio(means):
        return means[..., 0] / means[..., 1]

    samples = RNG.gamma(4.0, size=(4000, 47, 2)) + RNG.gamma(2.0, size=(4000, 47, 1))
    true = np.var([ratio(sample.mean(axis=0)) for sample in samples])
    own = np.mean([pseudo_values(sample, ratio).var(ddof=1) / 47 for sample in samples[:500]])
    assert own == pytest.approx(true, rel=0.1)
