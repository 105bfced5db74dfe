"""How sure a difference between two entries is: over the seeds of their runs, and over the rows they are tested on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
RESAMPLES = 2000
BLOCK = 4_000_000
"""Drawn row numbers held in memory at a time by the bootstrap."""


@dataclass(frozen=True)
class Spread:
    """Mean of `count` runs and their sample standard deviation (None with a single run)."""

    mean: float
    deviation: float | None
    count: int


@dataclass(frozen=True)
class Interval:
    """A confidence interval for a difference."""

    low: float
    high: float

    def excludes_zero(self) -> bool:
        """Whether the sign of the difference is beyond the noise; never so for an undefined interval."""
        return self.low > 0 or self.high < 0

    def hull(self, other: Interval) -> Interval:
        """The smallest interval that holds both: it excludes zero only when both do, on the same side."""
        return Interval(min(self.low, other.low), max(self.high, other.high))


def spread(values: Sequence[float]) -> Spread:
    """Mean and sample standard deviation (n − 1 in the denominator) of at least one value."""
    array = np.asarray(values, dtype=float)
    deviation = float(array.std(ddof=1)) if array.size > 1 else None
    return Spread(mean=float(array.mean()), deviation=deviation, count=int(array.size))


def welch_interval(first: Sequence[float], second: Sequence[float], confidence: float = CONFIDENCE) -> Interval | None:
    """Interval for mean(second) − mean(first) from independent runs with unequal variances.

    With s² the sample variances and n the counts, the half width is t · sqrt(s₁²/n₁ + s₂²/n₂), where t is Student's
    quantile at the Welch–Satterthwaite degrees of freedom. Welch (1947), "The generalization of 'Student's' problem
    when several different population variances are involved", Biometrika 34, equation 28.

    Returns None when a side has fewer than two runs. Runs that do not vary at all give an interval of zero width.
    """
    from scipy.stats import t

    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if min(a.size, b.size) < 2:
        return None
    part_a, part_b = a.var(ddof=1) / a.size, b.var(ddof=1) / b.size
    difference, error = float(b.mean() - a.mean()), math.sqrt(part_a + part_b)
    if error == 0:
        return Interval(difference, difference)
    freedom = (part_a + part_b) ** 2 / (part_a**2 / (a.size - 1) + part_b**2 / (b.size - 1))
    half = float(t.ppf((1 + confidence) / 2, freedom)) * error
    return Interval(difference - half, difference + half)


def paired_bootstrap(
    first: Sequence[np.ndarray],
    second: Sequence[np.ndarray],
    value: Callable[[np.ndarray], np.ndarray],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Interval | None:
    """Percentile interval for metric(second) − metric(first) when the test rows are drawn again, with replacement.

    Every resample takes the same rows for all runs of both sides, so what makes a row hard for everybody cancels.
    Efron and Tibshirani (1993), "An Introduction to the Bootstrap", chapter 13; for paired test sets in language
    processing, Berg-Kirkpatrick et al. (2012), "An Empirical Investigation of Statistical Significance in NLP".

    Args:
        first: for each run of one side, an array (rows, quantities) whose mean over rows determines the metric.
        second: the same for the other side; all arrays share their rows, in the same order.
        value: maps means (resamples, quantities) to metrics (resamples,); a side's metric is the mean over its runs.

    Returns None when the metric is undefined on some resample (a correlation with a constant, for example).
    """
    rows = len(first[0])
    if any(len(run) != rows for run in (*first, *second)):
        raise ValueError("a paired bootstrap needs the same test rows for every run")
    generator = np.random.default_rng(seed)
    differences = []
    for start in range(0, resamples, block := max(1, BLOCK // rows)):
        count = min(block, resamples - start)
        drawn = generator.integers(rows, size=(count, rows)) + rows * np.arange(count)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=count * rows).reshape(count, rows) / rows
        sides = [np.mean([value(weights @ run) for run in side], axis=0) for side in (first, second)]
        differences.append(sides[1] - sides[0])
    drawn_differences = np.concatenate(differences)
    if not np.isfinite(drawn_differences).all():
        return None
    low, high = np.quantile(drawn_differences, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))
