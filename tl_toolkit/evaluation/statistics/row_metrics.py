"""Metrics written as functions of means over rows, so that a resampled test set is one matrix product.

Each metric is a pair: `quantities(label, prediction)` gives an array (rows, quantities), and `value` maps the means
of those quantities, (..., quantities), to the metric, (...). Accuracy is the mean of one quantity; an F1 needs three
for each class; a correlation needs the first and second moments. Here are classes and numbers; tags, forecasts and
language models are in `sequence_metrics.py`, written texts in `text_metrics.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class RowMetric:
    """A metric that depends on the rows only through the means of a few quantities.

    `additive` says that it is the mean of a number that every row has by itself, such as right or wrong.
    """

    quantities: Callable[[Any, Any], np.ndarray]
    value: Callable[[np.ndarray], np.ndarray]
    additive: bool = False


def mean_of(own: Callable[[Any, Any], np.ndarray]) -> RowMetric:
    """The mean of a number of each row: own(label, prediction) is (rows,)."""
    return RowMetric(lambda label, prediction: own(label, prediction)[:, None].astype(float), _only, additive=True)


def quotient(means: np.ndarray, part: int = 0, whole: int = 1) -> np.ndarray:
    """The quotient of two means; 0 where there is nothing to divide by."""
    a, b = means[..., part], means[..., whole]
    return np.divide(a, b, out=np.zeros(np.shape(a)), where=b != 0)


def classification(classes: int | None) -> dict[str, RowMetric]:
    """The metrics of class ids (rows,) and of label sets (rows, labels).

    Args:
        classes: how many classes the problem has: macro-F1 is their mean, and a class that no row has counts 0. None:
            the mean of those that occur.
    """

    def counts(label: np.ndarray, prediction: np.ndarray) -> np.ndarray:
        return _class_counts(label, prediction, classes)

    def macro_f1(means: np.ndarray) -> np.ndarray:
        hit, predicted, true = np.split(means, 3, axis=-1)
        there = predicted + true > 0
        scores = np.divide(2 * hit, predicted + true, out=np.zeros(hit.shape), where=there)
        return scores.mean(axis=-1) if classes else scores.sum(axis=-1) / there.sum(axis=-1)

    def all_counts(label: np.ndarray, prediction: np.ndarray) -> np.ndarray:
        return np.stack([part.sum(axis=1) for part in np.split(counts(label, prediction), 3, axis=1)], axis=1)

    return {
        "accuracy": mean_of(_correct),
        "macro_f1": RowMetric(counts, macro_f1),
        "micro_f1": RowMetric(all_counts, f1_of_counts),
    }


def f1_of_counts(means: np.ndarray) -> np.ndarray:
    """F1 of (hits, predicted, true) in the last dimension; 0 where nothing is predicted or true."""
    return quotient(np.stack([2 * means[..., 0], means[..., 1] + means[..., 2]], axis=-1))


def _correct(label: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    same = label == prediction
    return same if same.ndim == 1 else same.all(axis=1)


def _class_counts(label: np.ndarray, prediction: np.ndarray, classes: int | None) -> np.ndarray:
    """(rows, 3 · classes): hit, predicted and true, for each class or label."""
    if label.ndim == 2:
        true, predicted = label.astype(float), prediction.astype(float)
    else:
        ids = np.arange(classes or int(max(label.max(), prediction.max())) + 1)
        true, predicted = (label[:, None] == ids).astype(float), (prediction[:, None] == ids).astype(float)
    return np.concatenate([true * predicted, predicted, true], axis=1)


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
    """Pearson's correlation of moments; that with a constant counts as 0, as it does in the records."""
    x, y, xx, yy, xy = np.moveaxis(means, -1, 0)
    spread = np.clip(xx - x * x, 0, None) * np.clip(yy - y * y, 0, None)
    return np.divide(xy - x * y, np.sqrt(spread), out=np.zeros(np.shape(xy)), where=spread > 1e-24)


def _only(means: np.ndarray) -> np.ndarray:
    return means[..., 0]


NUMBERS: dict[str, RowMetric] = {
    "pearson": RowMetric(_moments, _correlation),
    "spearman": RowMetric(_ranked_moments, _correlation),
    "mse": mean_of(lambda label, prediction: (label - prediction) ** 2),
    "mae": mean_of(lambda label, prediction: np.abs(label - prediction)),
}
"""The metrics of numbers (rows,)."""

ROW_METRICS: dict[str, RowMetric] = classification(None) | NUMBERS
