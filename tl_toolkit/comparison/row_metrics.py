"""Metrics written as functions of means over rows, so that a resampled test set is one matrix product.

Each metric is a pair: `quantities(label, prediction)` gives an array (rows, quantities), and `value` maps the means
of those quantities, (..., quantities), to the metric, (...). Accuracy is the mean of one quantity; an F1 needs three
for each class; a correlation needs the first and second moments.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RowMetric:
    """A metric that depends on the rows only through the means of a few quantities."""

    quantities: Callable[[np.ndarray, np.ndarray], np.ndarray]
    value: Callable[[np.ndarray], np.ndarray]


def _correct(label: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    same = label == prediction
    return (same if same.ndim == 1 else same.all(axis=1))[:, None].astype(float)


def _one_hot(ids: np.ndarray, classes: int) -> np.ndarray:
    return ids if ids.ndim == 2 else ids[:, None] == np.arange(classes)


def _class_counts(label: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """(rows, 3 · classes): hit, predicted and true, for each class or label."""
    classes = int(max(label.max(), prediction.max())) + 1
    true, predicted = _one_hot(label, classes).astype(float), _one_hot(prediction, classes).astype(float)
    return np.concatenate([true * predicted, predicted, true], axis=1)


def _f1(hit: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return 2 * hit / (predicted + true)


def _macro_f1(means: np.ndarray) -> np.ndarray:
    """Mean of the F1 of each class; a class that is neither true nor predicted in any row has none."""
    return np.nanmean(_f1(*np.split(means, 3, axis=-1)), axis=-1)


def _micro_f1(means: np.ndarray) -> np.ndarray:
    return _f1(*(part.sum(axis=-1) for part in np.split(means, 3, axis=-1)))


def _moments(label: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    # Centred and scaled first: a correlation does not change, and the difference of moments loses no digits.
    x, y = (_standardised(values.astype(float)) for values in (label, prediction))
    return np.stack([x, y, x * x, y * y, x * y], axis=1)


def _standardised(values: np.ndarray) -> np.ndarray:
    if (values == values[0]).all():
        return np.zeros(len(values))  # the mean of equal numbers may be a digit off, which scaling would blow up
    return (values - values.mean()) / values.std()


def _ranked_moments(label: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Moments of the ranks in the whole test set; a resample keeps them, which saves sorting each one anew."""
    from scipy.stats import rankdata

    return _moments(rankdata(label), rankdata(prediction))


def _correlation(means: np.ndarray) -> np.ndarray:
    x, y, xx, yy, xy = np.moveaxis(means, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (xy - x * y) / np.sqrt((xx - x * x) * (yy - y * y))


def _only(means: np.ndarray) -> np.ndarray:
    return means[..., 0]


ROW_METRICS: dict[str, RowMetric] = {
    "accuracy": RowMetric(_correct, _only),
    "macro_f1": RowMetric(_class_counts, _macro_f1),
    "micro_f1": RowMetric(_class_counts, _micro_f1),
    "pearson": RowMetric(_moments, _correlation),
    "spearman": RowMetric(_ranked_moments, _correlation),
    "mse": RowMetric(lambda label, prediction: ((label - prediction) ** 2)[:, None], _only),
    "mae": RowMetric(lambda label, prediction: np.abs(label - prediction)[:, None], _only),
}
