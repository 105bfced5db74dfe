"""The formulas of the metrics of runs.

All functions take predictions and references of all rows of a split. Class ids are integers `[rows]`, label sets are
0/1 `[rows, classes]`, and numbers are real `[rows]`.
"""

from __future__ import annotations

import numpy as np

CLASS_SCORES = ("f1", "recall", "precision")
"""The scores of a single class, which name it in records: `recall:spam`."""


def accuracy(predictions: np.ndarray, references: np.ndarray) -> float:
    """Return the fraction of correct rows; a label set is correct if all its labels are."""
    predictions, references = _checked(predictions, references)
    right = predictions == references
    return float((right.all(axis=1) if right.ndim == 2 else right).mean())


def macro_f1(predictions: np.ndarray, references: np.ndarray, num_classes: int | None = None) -> float:
    """Return the mean over classes of F1 = 2 TP / (2 TP + FP + FN).

    With `num_classes`, the mean is over all classes, and a class that neither predictions nor references contain counts
    as 0 (scikit-learn's `zero_division=0` with all classes as `labels`). So the value does not depend on the classes
    that occur in a sample. Without it, the mean is over the classes that occur, which is scikit-learn's default. Label
    sets have as many classes as columns.
    """
    predictions, references = _checked(predictions, references)
    true_positive, predicted, actual = _counts(predictions, references, num_classes)
    if predictions.ndim == 1 and num_classes is None:
        occurs = predicted + actual > 0
        true_positive, predicted, actual = true_positive[occurs], predicted[occurs], actual[occurs]
    total = predicted + actual
    return float(np.divide(2 * true_positive, total, out=np.zeros(len(total)), where=total > 0).mean())


def micro_f1(predictions: np.ndarray, references: np.ndarray) -> float:
    """Return the F1 over the pooled decisions of all classes; 0 if there are no predicted and no true labels."""
    predictions, references = _checked(predictions, references)
    true_positive, predicted, actual = (counts.sum() for counts in _counts(predictions, references, None))
    return float(2 * true_positive / (predicted + actual)) if predicted + actual > 0 else 0.0


def named_class(metric: str) -> tuple[str, str] | None:
    """Return the score and the class that a metric such as `recall:spam` names; None for other metrics."""
    score, colon, name = metric.partition(":")
    return (score, name) if colon and score in CLASS_SCORES else None


def class_score(name: str, predictions: np.ndarray, references: np.ndarray, index: int) -> float:
    """Return one of `CLASS_SCORES` for a class id or the column of a label; 0 if its denominator is 0."""
    predictions, references = _checked(predictions, references)
    predicted, actual = (
        values[:, index] > 0 if values.ndim == 2 else values == index for values in (predictions, references)
    )
    return score_of_counts(name, int((predicted & actual).sum()), int(predicted.sum()), int(actual.sum()))


def score_of_counts(name: str, right: int, predicted: int, actual: int) -> float:
    """Return one of `CLASS_SCORES` from counts; 0 if its denominator is 0."""
    counts = {"f1": (2 * right, predicted + actual), "recall": (right, actual), "precision": (right, predicted)}
    part, whole = counts[name]
    return part / whole if whole else 0.0


def pearson(predictions: np.ndarray, references: np.ndarray) -> float:
    """Return Pearson's linear correlation, from -1 to 1.

    The correlation of constant values is undefined. It is set to 0.0, because constant predictions contain no
    information on the order of rows, and because result records in JSON and the selection of the best model cannot use
    NaN. If a prediction is not finite, the result is NaN.
    """
    predictions, references = _checked(predictions, references)
    if len(predictions) < 2 or any((values == values[0]).all() for values in (predictions, references)):
        return 0.0
    x, y = predictions.astype(np.float64), references.astype(np.float64)
    x, y = x - x.mean(), y - y.mean()
    # Scale before squaring, so that tiny and huge numbers stay in the range of floats.
    x, y = x / np.abs(x).max(), y / np.abs(y).max()
    return float(np.clip((x * y).sum() / np.sqrt((x * x).sum() * (y * y).sum()), -1.0, 1.0))


def spearman(predictions: np.ndarray, references: np.ndarray) -> float:
    """Return Spearman's rank correlation, from -1 to 1; equal values have their mean rank."""
    predictions, references = _checked(predictions, references)
    if not (np.isfinite(predictions).all() and np.isfinite(references).all()):
        return float("nan")
    from scipy.stats import rankdata

    return pearson(rankdata(predictions), rankdata(references))


def mse(predictions: np.ndarray, references: np.ndarray) -> float:
    """Return the mean squared error."""
    predictions, references = _checked(predictions, references)
    return float(np.square(predictions.astype(np.float64) - references).mean())


def mae(predictions: np.ndarray, references: np.ndarray) -> float:
    """Return the mean absolute error."""
    predictions, references = _checked(predictions, references)
    return float(np.abs(predictions.astype(np.float64) - references).mean())


def constant_answer(labels: np.ndarray) -> int | float | list[int]:
    """Return the best constant prediction, a baseline that ignores the input.

    It is the most frequent class id of `[rows]`, the most frequent label set of 0/1 `[rows, classes]`, or the mean of
    real `[rows]`. Among equally frequent predictions, it is the lowest id, or the label set that comes first in order
    of its columns.
    """
    if np.issubdtype(labels.dtype, np.floating) and labels.ndim == 1:
        return float(labels.mean())
    values, counts = np.unique(labels, axis=0, return_counts=True)
    answer: int | list[int] = values[counts.argmax()].astype(int).tolist()
    return answer


def _checked(predictions: np.ndarray, references: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    predictions, references = np.asarray(predictions), np.asarray(references)
    if predictions.shape != references.shape or len(predictions) == 0:
        raise ValueError(f"predictions {predictions.shape} and references {references.shape} need one non-empty shape")
    return predictions, references


def _counts(
    predictions: np.ndarray, references: np.ndarray, num_classes: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the numbers of true positives, predictions and references of each class."""
    if predictions.ndim == 2:
        both = (predictions > 0) & (references > 0)
        return both.sum(axis=0), (predictions > 0).sum(axis=0), (references > 0).sum(axis=0)
    size = num_classes or int(max(predictions.max(), references.max())) + 1
    return (
        np.bincount(references[predictions == references], minlength=size),
        np.bincount(predictions, minlength=size),
        np.bincount(references, minlength=size),
    )
