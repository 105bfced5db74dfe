"""Means with their deviation over runs, and intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation of `count` runs (deviation None for a single run)."""

    mean: float
    deviation: float | None
    count: int


@dataclass(frozen=True)
class Interval:
    """A confidence interval of a score or a difference."""

    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Mean and sample standard deviation (n − 1 in the denominator) of at least one value."""
    array = np.asarray(values, dtype=float)
    deviation = float(array.std(ddof=1)) if array.size > 1 else None
    return Spread(mean=float(array.mean()), deviation=deviation, count=int(array.size))
