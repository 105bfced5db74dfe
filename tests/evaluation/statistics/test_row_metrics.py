from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score

from tl_toolkit.evaluation.statistics.row_metrics import NUMBERS, classification
from tl_toolkit.metrics import scores

ROW_METRICS = classification(None) | NUMBERS


def value(metric, label, prediction):
    return float(metric.value(metric.quantities(label, prediction).mean(axis=0)))


@pytest.mark.parametrize("name", ["macro_f1", "micro_f1"])
def test_f1_equals_scikit_learn(name):
    generator = np.random.default_rng(11)
    label = generator.integers(5, size=211)
    prediction = np.where(generator.random(211) < 0.6, label, generator.integers(4, size=211))
    assert value(ROW_METRICS[name], label, prediction) == pytest.approx(
        f1_score(label, prediction, average=name.removesuffix("_f1"))
    )


@pytest.mark.parametrize("name", ["macro_f1", "micro_f1"])
def test_multi_label_f1_equals_scikit_learn(name):
    generator = np.random.default_rng(13)
    label, prediction = generator.integers(2, size=(2, 101, 7))
    assert value(ROW_METRICS[name], label, prediction) == pytest.approx(
        f1_score(label, prediction, average=name.removesuffix("_f1"))
    )


def test_subset_accuracy_needs_all_labels_of_a_row():
    label, prediction = np.array([[1, 0], [1, 1], [0, 0]]), np.array([[1, 0], [1, 0], [0, 0]])
    assert ROW_METRICS["accuracy"].quantities(label, prediction).mean() == pytest.approx(2 / 3)


def test_correlations_and_errors_equal_scipy():
    generator = np.random.default_rng(17)
    label = generator.normal(1e4, 1, 97)  # far from zero, where raw moments lose precision
    prediction = label + generator.normal(0, 0.5, 97) ** 3
    found = {name: ROW_METRICS[name] for name in ("pearson", "spearman", "mse", "mae")}
    values = {name: float(m.value(m.quantities(label, prediction).mean(axis=0))) for name, m in found.items()}
    assert values["pearson"] == pytest.approx(stats.pearsonr(label, prediction).statistic)
    assert values["spearman"] == pytest.approx(stats.spearmanr(label, prediction).statistic)
    assert values["mse"] == pytest.approx(((label - prediction) ** 2).mean())
    assert values["mae"] == pytest.approx(np.abs(label - prediction).mean())


def test_macro_f1_counts_absent_classes():
    label, prediction = np.array([0, 0, 1, 4, 4]), np.array([0, 1, 1, 4, 0])
    found = value(classification(7)["macro_f1"], label, prediction)
    assert found == pytest.approx(scores.macro_f1(prediction, label, num_classes=7), abs=1e-12)
    assert found < value(ROW_METRICS["macro_f1"], label, prediction)


def test_the_correlation_with_a_constant_is_zero_as_in_the_records():
    label, constant = np.arange(11.0), np.full(11, 0.1)
    assert value(ROW_METRICS["pearson"], label, constant) == scores.pearson(constant, label) == 0


def test_means_of_rows_are_additive():
    assert {name for name, metric in ROW_METRICS.items() if metric.additive} == {"accuracy", "mse", "mae"}
