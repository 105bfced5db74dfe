"""Ranks and mean differences over datasets."""

import math

import numpy as np
import pytest
from scipy.stats import friedmanchisquare, t

from tl_toolkit.evaluation.decision.several import mean_difference, ranks

RNG = np.random.default_rng(11)


def test_friedman_as_in_scipy_with_and_without_ties():
    for means in (RNG.normal(size=(7, 4)), np.round(RNG.normal(size=(7, 4)))):
        found = ranks(list("abcd"), means, 0.05)
        assert found["p"] == pytest.approx(friedmanchisquare(*means.T).pvalue)


@pytest.mark.parametrize("entries, q", [(2, 1.960), (4, 2.569), (6, 2.850)])
def test_critical_difference_of_demsars_table(entries, q):
    """Demšar (2006), table 5a."""
    found = ranks([str(place) for place in range(entries)], RNG.normal(size=(9, entries)), 0.05)
    assert found["critical_difference"] == pytest.approx(q * math.sqrt(entries * (entries + 1) / 54), rel=1e-3)


def test_the_best_entry_has_rank_one():
    found = ranks(["a", "b"], np.array([[2.0, 1.0]] * 5), 0.05)
    assert found["average"] == {"a": 1.0, "b": 2.0}


def test_few_datasets_have_no_ranks():
    assert ranks(["a", "b"], RNG.normal(size=(4, 2)), 0.05) is None


def test_mean_difference_of_equal_datasets():
    mean, half, between, p = mean_difference(np.array([0.1, 0.1, 0.1]), np.full(3, 0.03), 0.05)
    assert (mean, between) == (pytest.approx(0.1), 0.0)
    assert half == pytest.approx(t.ppf(0.975, 2) * 0.1)
    assert p == pytest.approx(2 * t.sf(1, 2))


def test_variance_between_datasets_by_hand():
    # Weights 1: Q = Σ (d − mean)² = 8, df 1, C = 2 − 2/2 = 1: between = 7.
    assert mean_difference(np.array([1.0, 5.0]), np.ones(2), 0.05)[2] == pytest.approx(math.sqrt(7))
