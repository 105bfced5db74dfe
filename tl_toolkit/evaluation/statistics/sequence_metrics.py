"""Metrics of tags, forecasts and language models as functions of means over rows (see `row_metrics.py`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ...metrics.entities import Entity, entities
from .row_metrics import RowMetric, f1_of_counts, quotient

Tags = Sequence[Sequence[str | None]]


def _words(label: Tags, prediction: Tags) -> np.ndarray:
    """(sentences, 2): right words, words. What was cut off (None) is wrong."""
    right = [sum(a == b for a, b in zip(true, own, strict=True)) for true, own in zip(label, prediction, strict=True)]
    return np.array([right, [len(true) for true in label]], dtype=float).T


def _entities(label: Tags, prediction: Tags) -> np.ndarray:
    """(sentences, 3): right, predicted and true entities, counted as conlleval does."""
    counts = []
    for true, own in zip(label, prediction, strict=True):
        expected, given = found_entities(tuple(true)), found_entities(tuple(own))
        counts.append((len(expected & given), len(given), len(expected)))
    return np.array(counts, dtype=float)


@lru_cache(maxsize=100_000)
def found_entities(tags: tuple[str | None, ...]) -> frozenset[Entity]:
    """The entities of a sentence, found once: runs share their labels, and many of their answers."""
    return frozenset(entities(tags))


TAGS: dict[str, RowMetric] = {
    "accuracy": RowMetric(_words, quotient),
    "f1": RowMetric(_entities, f1_of_counts),
    "precision": RowMetric(_entities, quotient),
    "recall": RowMetric(_entities, lambda means: quotient(means, 0, 2)),
}
"""Of tags, a list of names for each sentence. Sentences are the rows: their words depend on each other."""


def forecasts(scale: np.ndarray | None) -> dict[str, RowMetric]:
    """The metrics of forecasts (windows, steps) or (windows, steps, variables); NaN in the truth counts nowhere.

    Args:
        scale: (variables,) the error that `mase` divides by, NaN or 0 for a variable that has none; None: no `mase`.
    """

    def counted(error: np.ndarray) -> np.ndarray:
        """(windows, 2): the summed errors, and how many there are."""
        flat = error.reshape(len(error), -1)
        return np.stack([np.nansum(flat, axis=1), (~np.isnan(flat)).sum(axis=1)], axis=1)

    def absolute(label: np.ndarray, prediction: np.ndarray) -> np.ndarray:
        return counted(np.abs(label - prediction))

    def squared(label: np.ndarray, prediction: np.ndarray) -> np.ndarray:
        return counted(np.square(label - prediction))

    def symmetric(label: np.ndarray, prediction: np.ndarray) -> np.ndarray:
        total = np.abs(label) + np.abs(prediction)
        error = np.divide(2 * np.abs(label - prediction), total, out=np.zeros_like(total), where=total != 0)
        return counted(error + 0 * label)

    def scaled(label: np.ndarray, prediction: np.ndarray) -> np.ndarray:
        error = np.abs(label - prediction)
        assert scale is not None
        usable = np.isfinite(scale) & (scale > 0)
        return counted(error.reshape(*label.shape[:2], -1)[..., usable] / scale[usable])

    known = {
        "mae": RowMetric(absolute, quotient),
        "mse": RowMetric(squared, quotient),
        "rmse": RowMetric(squared, lambda means: np.sqrt(quotient(means))),
        "smape": RowMetric(symmetric, quotient),
    }
    return known if scale is None else known | {"mase": RowMetric(scaled, quotient)}


def _losses(label: Any, prediction: Any) -> np.ndarray:
    """(rows, 3): summed loss, tokens, bytes."""
    return np.column_stack([prediction, label]).astype(float)


LANGUAGE_MODELS: dict[str, RowMetric] = {
    "loss": RowMetric(_losses, quotient),
    "perplexity": RowMetric(_losses, lambda means: np.exp(quotient(means))),
    "bits_per_byte": RowMetric(_losses, lambda means: quotient(means, 0, 2) / math.log(2)),
}
"""Of the tokens and bytes of each row (rows, 2) and its loss in nats, summed over its tokens (rows,)."""
