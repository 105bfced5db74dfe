"""Scores of rows for metrics that are not means over rows, so that one theory serves all metrics."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def pseudo_values(quantities: np.ndarray, value: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Jackknife pseudo-values (rows,) of a metric of mean quantities, centred so that their mean is the metric.

    m + (n − 1) (mean of the m₍₋ᵢ₎ − m₍₋ᵢ₎), where m₍₋ᵢ₎ is the metric without row i (Efron and Tibshirani 1993, "An
    Introduction to the Bootstrap", section 11.5). For the mean of one quantity they are this quantity.

    Args:
        quantities: (rows, Q), as from `RowMetric.quantities`.
        value: the metric (...) of mean quantities (..., Q), as `RowMetric.value`.
    """
    rows = len(quantities)
    total = quantities.sum(axis=0)  # counts stay whole numbers: a class without rows has exactly none
    without = np.asarray(value((total - quantities) / (rows - 1)), dtype=float)
    return float(value(total / rows)) + (rows - 1) * (without.mean() - without)
