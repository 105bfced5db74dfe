"""Readings, equivalence, what would settle a difference, and intervals of scores."""

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from tl_toolkit.evaluation.decision.readings import equivalent, reading, score_interval, to_settle
from tl_toolkit.evaluation.decision.variance import Components


def test_readings():
    assert reading(0.1, 0.2, True) == "ahead"
    assert reading(-0.2, -0.1, True) == "behind"
    assert reading(-0.1, 0.2, True) == "equivalent"
    assert reading(-0.1, 0.2, False) == "undecided"


def test_equivalence_is_two_one_sided_tests():
    noise = 0.01 * norm.ppf((np.arange(4000) + 0.5) / 4000)
    limit = 0.02 - 0.01 * norm.ppf(0.95)
    assert equivalent(limit - 1e-4, noise, 0.02) and equivalent(1e-4 - limit, noise, 0.02)
    assert not equivalent(limit + 1e-4, noise, 0.02)


@pytest.mark.parametrize("right, rows", [(99, 100), (100, 100), (3, 50), (80, 100)])
def test_independent_rows_have_wilsons_interval(right, rows):
    mean = right / rows
    expected = binomtest(right, rows).proportion_ci(method="wilson")
    found = score_interval(mean, mean * (1 - mean) / rows, norm.ppf(0.975), rows, (0.0, 1.0))
    assert found == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_a_variance_estimated_from_one_wrong_row_is_not_believed():
    """Ten times too small by chance: the interval stays near Wilson's. With many wrong rows it is believed."""
    near = binomtest(99, 100).proportion_ci(method="wilson")
    low, high = score_interval(0.99, 0.1 * 0.99 * 0.01 / 100, norm.ppf(0.975), 100, (0.0, 1.0))
    assert high - low > 0.85 * (near.high - near.low)
    low, high = score_interval(0.8, 0.1 * 0.8 * 0.2 / 10000, norm.ppf(0.975), 10000, (0.0, 1.0))
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.1) * 0.004, rel=0.02)


def test_interval_in_other_units_and_without_bounds():
    inside = score_interval(0.7, 0.001, 1.96, 100, (0.0, 1.0))
    assert score_interval(70.0, 10.0, 1.96, 100, (0.0, 100.0)) == pytest.approx((100 * inside[0], 100 * inside[1]))
    assert score_interval(-3.0, 0.25, 2.0, 100, None) == (-4.0, -2.0)
    assert score_interval(-0.5, 0.25, 2.0, 100, (-np.inf, 0.0)) == (-1.5, 0.0)


def parts(rows, runs, residual=0.0, counts=2):
    freedom = np.full(2, np.inf)
    means, over_runs, rest = np.zeros(2), np.full(2, runs), np.full(2, residual)
    return Components(
        means, rows * np.eye(2), 1e6, over_runs, freedom, np.full(2, False), rest, np.full(2, counts), 100
    )


def test_seeds_and_rows_that_would_settle_a_difference():
    # No noise of rows: the variance of a difference is 2 · 0.0008 / S. Wanted: 0.02 / (1.96 + 0.8416) = 0.00714.
    found = to_settle(0.02, np.array([1.0, -1.0]), parts(0.0, 0.0004), 1.96, 0.001, 100)
    assert found == {"seeds": int(np.ceil(2 * 0.0008 / (0.02 / 2.8016) ** 2)), "test_rows": 100}
    # No noise of runs: rows have to grow by 2 · 0.0001 / 0.00714² = 3.9.
    found = to_settle(0.02, np.array([1.0, -1.0]), parts(0.0001, 0.0), 1.96, 0.001, 100)
    assert found == {"seeds": 2, "test_rows": 400}


def test_a_small_difference_is_settled_as_equivalent():
    small = to_settle(0.001, np.array([1.0, -1.0]), parts(0.0, 0.0004), 1.96, 0.02, 100)
    assert small["seeds"] == int(np.ceil(2 * 0.0008 / (0.019 / (1.6449 + 0.8416)) ** 2))


def test_nothing_settles_a_difference_halfway_to_the_margin_with_too_much_noise():
    found = to_settle(0.01, np.array([1.0, -1.0]), parts(1.0, 1.0), 1.96, 0.02, 100)
    assert found == {"seeds": None, "test_rows": None}
