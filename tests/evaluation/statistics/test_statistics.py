from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tl_toolkit.evaluation.intervals import (
    Estimate,
    Interval,
    RowBootstrap,
    over_both,
    percentile_interval,
    spread,
    welch,
)


def test_spread_is_the_sample_deviation():
    reached = spread([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0])
    assert reached.mean == 5.0
    assert reached.deviation == pytest.approx((32 / 7) ** 0.5)  # 32 squared units over n - 1
    assert reached.count == 8


def test_a_single_run_has_no_deviation():
    assert spread([0.3]).deviation is None


@pytest.mark.parametrize("sizes", [(5, 3), (2, 2), (2, 7)])
def test_welch_interval_equals_scipy(sizes):
    generator = np.random.default_rng(3)
    first, second = generator.normal(0.5, 0.02, sizes[0]), generator.normal(0.6, 0.005, sizes[1])
    expected = stats.ttest_ind(second, first, equal_var=False)
    bounds = expected.confidence_interval(0.95)
    found = welch(first, second)
    assert found is not None
    assert (found.interval().low, found.interval().high) == pytest.approx((bounds.low, bounds.high))
    assert (found.p(), found.freedom) == pytest.approx((expected.pvalue, expected.df))


def test_welch_interval_needs_two_runs_per_side():
    assert welch([0.5], [0.6, 0.7]) is None


def test_welch_interval_of_runs_without_variance():
    found = welch([0.5, 0.5], [0.75, 0.75])
    assert found is not None and found.interval() == Interval(0.25, 0.25) and found.p() == 0
    same = welch([0.5, 0.5], [0.5, 0.5])
    assert same is not None and same.interval() == Interval(0, 0) and same.p() == 1


def test_variances_of_seeds_and_rows_add():
    """Errors of 0.03 over seeds with 4 degrees of freedom and 0.04 over 401 rows combine to 0.05."""
    both = over_both(Estimate(0.1, 0.03, 4), 0.04, 401)
    assert both.error == pytest.approx(0.05)
    assert both.freedom == pytest.approx(0.05**4 / (0.03**4 / 4 + 0.04**4 / 400))
    assert over_both(Estimate(0.1, 0.03, 4), 0.0, 401) == Estimate(0.1, 0.03, 4)
    assert over_both(Estimate(0.0, 0.0, 4), 0.04, 401).freedom == pytest.approx(400)


def test_interval_and_hull():
    assert Interval(0.1, 0.2).excludes_zero() and Interval(-0.2, -0.1).excludes_zero()
    assert not Interval(-0.1, 0.2).excludes_zero() and not Interval(0.0, 0.0).excludes_zero()
    assert not Interval(float("nan"), float("nan")).excludes_zero()
    assert Interval(0.1, 0.2).hull(Interval(-0.3, 0.15)) == Interval(-0.3, 0.2)


def interval_of(first, second, resamples=2000):
    """The interval of mean(second) − mean(first), with values (rows,)."""
    draw = RowBootstrap(len(first), resamples=resamples)
    a, b = draw.means(first[:, None]), draw.means(second[:, None])
    found = percentile_interval(b[:, 0] - a[:, 0])
    assert found is not None
    return found.low, found.high


def test_paired_bootstrap_agrees_with_scipy():
    generator = np.random.default_rng(5)
    first = (generator.random(401) < 0.5).astype(float)
    second = np.where(generator.random(401) < 0.8, first, 1 - first)
    expected = stats.bootstrap(
        (first, second),
        lambda a, b, axis: b.mean(axis=axis) - a.mean(axis=axis),
        paired=True,
        method="percentile",
        n_resamples=20_000,
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert interval_of(first, second, 20_000) == pytest.approx((expected.low, expected.high), abs=0.004)


def test_paired_bootstrap_uses_shared_rows():
    """Two entries that are right on the same rows except one have a narrow interval, however hard the rows are."""
    first = (np.arange(1000) % 2).astype(float)
    second = first.copy()
    second[0] = 1.0
    low, high = interval_of(first, second)
    assert low >= 0 and high < 0.005


def test_bootstrap_in_blocks_gives_all_resamples(monkeypatch):
    values = np.random.default_rng(0).random((53, 1))
    whole = RowBootstrap(53, resamples=4001).means(values)
    monkeypatch.setattr("tl_toolkit.evaluation.intervals.BLOCK", 53 * 7)
    found = RowBootstrap(53, resamples=4001).means(values)
    assert found.shape == (4001, 1) and np.allclose(found, whole)
    error = values.std() / 53**0.5
    assert np.quantile(found, [0.025, 0.975]) == pytest.approx(
        values.mean() + np.array([-1.96, 1.96]) * error, abs=0.01
    )


def test_rows_of_a_cluster_are_drawn_together():
    """Twenty-three clusters of seven equal rows have the same interval as twenty-three rows."""
    values = np.random.default_rng(1).random(23)
    alone = RowBootstrap(23).means(values[:, None])
    together = RowBootstrap(161, np.repeat(np.arange(23), 7)).means(np.repeat(values, 7)[:, None])
    assert np.allclose(alone, together)


def test_clusters_are_weighted_by_their_number_of_rows():
    """Resamples of one row of 3 and two rows of 0: the mean is 3 · k / (k + 2 · (2 − k)) for k draws of the first."""
    means = RowBootstrap(3, np.array([0, 1, 1])).means(np.array([[3.0], [0.0], [0.0]]))
    assert set(np.round(means[:, 0], 9)) == {0.0, 1.0, 3.0}


def test_an_undefined_resample_gives_no_interval():
    assert percentile_interval(np.array([0.1, np.nan, 0.3])) is None
