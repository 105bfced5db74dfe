from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score

from tl_toolkit.comparison.row_metrics import ROW_METRICS
from tl_toolkit.comparison.statistics import Interval, paired_bootstrap, spread, welch_interval


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
    expected = stats.ttest_ind(second, first, equal_var=False).confidence_interval(0.95)
    found = welch_interval(first, second)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_welch_interval_needs_two_runs_a_side():
    assert welch_interval([0.5], [0.6, 0.7]) is None


def test_welch_interval_of_runs_that_do_not_vary():
    assert welch_interval([0.5, 0.5], [0.75, 0.75]) == Interval(0.25, 0.25)


def test_interval_and_hull():
    assert Interval(0.1, 0.2).excludes_zero() and Interval(-0.2, -0.1).excludes_zero()
    assert not Interval(-0.1, 0.2).excludes_zero() and not Interval(0.0, 0.0).excludes_zero()
    assert not Interval(float("nan"), float("nan")).excludes_zero()
    assert Interval(0.1, 0.2).hull(Interval(-0.3, 0.15)) == Interval(-0.3, 0.2)


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
    found = paired_bootstrap([first[:, None]], [second[:, None]], lambda means: means[..., 0], resamples=20_000)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.004)


def test_paired_bootstrap_uses_that_rows_are_shared():
    """Two entries right on the very same rows but one differ by little more than nothing, however hard the rows."""
    first = (np.arange(1000) % 2).astype(float)[:, None]
    second = first.copy()
    second[0] = 1.0
    found = paired_bootstrap([first, first], [second], lambda means: means[..., 0])
    assert found is not None
    assert found.low >= 0 and found.high < 0.005


def test_paired_bootstrap_in_blocks_gives_every_resample(monkeypatch):
    values = np.random.default_rng(0).random((53, 1))
    monkeypatch.setattr("tl_toolkit.comparison.statistics.BLOCK", 53 * 7)
    found = paired_bootstrap([values * 0], [values], lambda means: means[..., 0], resamples=4001)
    assert found is not None
    error = values.std() / 53**0.5
    assert (found.low, found.high) == pytest.approx(
        (values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.01
    )


def test_paired_bootstrap_is_none_where_the_metric_is_undefined():
    constant = ROW_METRICS["pearson"].quantities(np.arange(11.0), np.ones(11))
    assert paired_bootstrap([constant], [constant], ROW_METRICS["pearson"].value) is None


def test_paired_bootstrap_refuses_other_rows():
    with pytest.raises(ValueError, match="same test rows"):
        paired_bootstrap([np.ones((5, 1))], [np.ones((7, 1))], lambda means: means[..., 0])


@pytest.mark.parametrize("name", ["macro_f1", "micro_f1"])
def test_f1_equals_scikit_learn(name):
    generator = np.random.default_rng(11)
    label = generator.integers(5, size=211)
    prediction = np.where(generator.random(211) < 0.6, label, generator.integers(4, size=211))
    metric = ROW_METRICS[name]
    found = metric.value(metric.quantities(label, prediction).mean(axis=0))
    assert found == pytest.approx(f1_score(label, prediction, average=name.removesuffix("_f1")))


@pytest.mark.parametrize("name", ["macro_f1", "micro_f1"])
def test_multi_label_f1_equals_scikit_learn(name):
    generator = np.random.default_rng(13)
    label, prediction = generator.integers(2, size=(2, 101, 7))
    metric = ROW_METRICS[name]
    found = metric.value(metric.quantities(label, prediction).mean(axis=0))
    assert found == pytest.approx(f1_score(label, prediction, average=name.removesuffix("_f1")))


def test_subset_accuracy_wants_all_labels_of_a_row():
    label, prediction = np.array([[1, 0], [1, 1], [0, 0]]), np.array([[1, 0], [1, 0], [0, 0]])
    assert ROW_METRICS["accuracy"].quantities(label, prediction).mean() == pytest.approx(2 / 3)


def test_correlations_and_errors_equal_scipy():
    generator = np.random.default_rng(17)
    label = generator.normal(1e4, 1, 97)  # far from zero, where a difference of raw moments would lose its digits
    prediction = label + generator.normal(0, 0.5, 97) ** 3
    found = {name: ROW_METRICS[name] for name in ("pearson", "spearman", "mse", "mae")}
    values = {name: float(m.value(m.quantities(label, prediction).mean(axis=0))) for name, m in found.items()}
    assert values["pearson"] == pytest.approx(stats.pearsonr(label, prediction).statistic)
    assert values["spearman"] == pytest.approx(stats.spearmanr(label, prediction).statistic)
    assert values["mse"] == pytest.approx(((label - prediction) ** 2).mean())
    assert values["mae"] == pytest.approx(np.abs(label - prediction).mean())
