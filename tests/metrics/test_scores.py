"""The formulas compared with scikit-learn and SciPy, and the `evaluate` classes compared with the formulas."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest

from tl_toolkit.metrics import scores

RANDOM = np.random.default_rng(11)
IDS = RANDOM.integers(0, 5, 211), RANDOM.integers(0, 5, 211)
SETS = (RANDOM.random((97, 7)) < 0.3).astype(int), (RANDOM.random((97, 7)) < 0.3).astype(int)
NUMBERS = RANDOM.normal(size=101), RANDOM.normal(size=101).round(1)  # rounded, so that ranks have ties


def test_classification_equals_sklearn():
    from sklearn.metrics import accuracy_score, f1_score

    predicted, actual = IDS
    assert scores.accuracy(*IDS) == pytest.approx(accuracy_score(actual, predicted))
    assert scores.macro_f1(*IDS) == pytest.approx(f1_score(actual, predicted, average="macro"))
    # in single-label problems each error is one false positive and one false negative: micro F1 is accuracy
    assert scores.micro_f1(*IDS) == pytest.approx(scores.accuracy(*IDS))
    predicted, actual = SETS
    assert scores.accuracy(*SETS) == pytest.approx(accuracy_score(actual, predicted))
    assert scores.micro_f1(*SETS) == pytest.approx(f1_score(actual, predicted, average="micro"))
    assert scores.macro_f1(*SETS) == pytest.approx(f1_score(actual, predicted, average="macro"))


def test_macro_f1_counts_classes_that_do_not_occur():
    from sklearn.metrics import f1_score

    predicted, actual = np.array([0, 1, 1, 3]), np.array([0, 1, 0, 0])
    assert scores.macro_f1(predicted, actual, num_classes=7) == pytest.approx(
        f1_score(actual, predicted, average="macro", labels=range(7), zero_division=0)
    )
    assert scores.macro_f1(predicted, actual) == pytest.approx(f1_score(actual, predicted, average="macro"))
    sets = np.array([[1, 0, 0], [0, 0, 1]]), np.array([[1, 0, 0], [1, 0, 0]])
    assert scores.macro_f1(*sets) == pytest.approx(f1_score(sets[1], sets[0], average="macro", zero_division=0))
    assert scores.micro_f1(np.zeros((3, 2)), np.zeros((3, 2))) == 0.0


def test_regression_equals_scipy_and_sklearn():
    from scipy.stats import pearsonr, spearmanr
    from sklearn.metrics import mean_absolute_error, mean_squared_error

    assert scores.pearson(*NUMBERS) == pytest.approx(pearsonr(*NUMBERS).statistic)
    assert scores.spearman(*NUMBERS) == pytest.approx(spearmanr(*NUMBERS).statistic)
    assert scores.mse(*NUMBERS) == pytest.approx(mean_squared_error(*NUMBERS))
    assert scores.mae(*NUMBERS) == pytest.approx(mean_absolute_error(*NUMBERS))


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_correlation_survives_extreme_scales(scale):
    x, y = NUMBERS
    assert scores.pearson(x * scale, y) == pytest.approx(scores.pearson(x, y))


def test_correlation_of_a_constant_is_zero_and_of_nan_is_nan():
    x = np.arange(5.0)
    for score in (scores.pearson, scores.spearman):
        assert score(np.full(5, 0.1), x) == score(x, np.full(5, 0.1)) == score(x[:1], x[:1]) == 0.0
        assert math.isnan(score(np.array([0, 1, np.nan, 3, 4]), x))
        assert score(x, x) == pytest.approx(1.0) and score(-x, x) == pytest.approx(-1.0)


def test_shapes_must_agree():
    for score in (scores.accuracy, scores.macro_f1, scores.pearson, scores.mse):
        with pytest.raises(ValueError, match="need one non-empty shape"):
            score(np.zeros(3, dtype=int), np.zeros(2, dtype=int))
        with pytest.raises(ValueError, match="need one non-empty shape"):
            score(np.zeros(0, dtype=int), np.zeros(0, dtype=int))


def test_evaluate_classes_need_no_network(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    from tl_toolkit import metrics

    predicted, actual = (ids.tolist() for ids in IDS)
    options = {"predictions": predicted, "references": actual}
    assert metrics.Accuracy().compute(**options) == {"accuracy": scores.accuracy(*IDS)}
    assert metrics.MacroF1().compute(**options, num_classes=9) == {"macro_f1": scores.macro_f1(*IDS, num_classes=9)}
    sets = {"predictions": SETS[0].tolist(), "references": SETS[1].tolist()}
    assert metrics.MicroF1().compute(**sets) == {"micro_f1": scores.micro_f1(*SETS)}
    assert metrics.Accuracy().compute(**sets) == {"accuracy": scores.accuracy(*SETS)}
    numbers = {"predictions": NUMBERS[0], "references": NUMBERS[1]}
    for name, score in (
        ("Pearson", "pearson"),
        ("Spearman", "spearman"),
        ("MeanSquaredError", "mse"),
        ("MeanAbsoluteError", "mae"),
    ):
        assert getattr(metrics, name)().compute(**numbers) == {score: pytest.approx(getattr(scores, score)(*NUMBERS))}
    batched = metrics.Accuracy()
    for start in range(0, 211, 50):
        batched.add_batch(predictions=predicted[start : start + 50], references=actual[start : start + 50])
    assert batched.compute() == {"accuracy": scores.accuracy(*IDS)}


def test_evaluate_is_imported_lazily():
    program = (
        "import sys, json, tl_toolkit.metrics, tl_toolkit.tasks\n"
        "print(json.dumps([m in sys.modules for m in ('evaluate', 'datasets', 'sklearn', 'pandas', 'scipy')]))"
    )
    output = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert json.loads(output) == [False] * 5
    with pytest.raises(AttributeError, match="Accurracy"):
        from tl_toolkit import metrics

        metrics.Accurracy  # noqa: B018


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (np.array([2, 0, 2, 1, 2]), 2),
        (np.array([3, 1, 1, 3, 0]), 1),  # the lower of two equally frequent ids
        (np.array([0.5, 2.0, 0.5]), 1.0),
        (np.array([[1, 0, 1], [0, 0, 1], [1, 0, 1]], dtype=np.int8), [1, 0, 1]),
        # Each label is in half of the rows or more, but no row has both.
        (np.array([[1, 0], [0, 1], [1, 0], [0, 1], [0, 1]], dtype=np.float32), [0, 1]),
    ],
)
def test_the_constant_prediction_is_the_most_frequent_one_or_the_mean(labels, expected):
    answer = scores.constant_answer(labels)
    assert answer == expected and type(answer) is type(expected)
    assert json.loads(json.dumps(answer)) == expected
