"""The uncertainty of means and differences: over seeds, over test rows, and over both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
RESAMPLES = 2000
BLOCK = 4_000_000
"""The maximum number of drawn row numbers that the bootstrap holds in memory."""


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

    def excludes_zero(self) -> bool:
        """Whether the interval excludes zero; false for an undefined interval."""
        return self.low > 0 or self.high < 0

    def hull(self, other: Interval | None) -> Interval:
        """The smallest interval that contains both: it excludes zero only if both do, on the same side."""
        return self if other is None else Interval(min(self.low, other.low), max(self.high, other.high))


@dataclass(frozen=True)
class Estimate:
    """A difference with its standard error and degrees of freedom."""

    difference: float
    error: float
    freedom: float

    def interval(self, confidence: float = CONFIDENCE) -> Interval:
        """Student's interval; zero width if nothing varies."""
        from scipy.special import stdtrit

        half = float(stdtrit(self.freedom, (1 + confidence) / 2)) * self.error if self.error > 0 else 0.0
        return Interval(self.difference - half, self.difference + half)

    def p(self) -> float:
        """Two-sided p-value of the null hypothesis of no difference."""
        from scipy.special import stdtr

        if self.error == 0:
            return float(self.difference == 0)
        return float(2 * stdtr(self.freedom, -abs(self.difference) / self.error))


def spread(values: Sequence[float]) -> Spread:
    """Mean and sample standard deviation (n − 1 in the denominator) of at least one value."""
    array = np.asarray(values, dtype=float)
    deviation = float(array.std(ddof=1)) if array.size > 1 else None
    return Spread(mean=float(array.mean()), deviation=deviation, count=int(array.size))


def welch(first: Sequence[float], second: Sequence[float]) -> Estimate | None:
    """mean(second) − mean(first) of independent runs with unequal variances; None if a side has fewer than two runs.

    With sample variances s² and counts n, the standard error is sqrt(s₁²/n₁ + s₂²/n₂), with the Welch–Satterthwaite
    degrees of freedom. Welch (1947), "The generalization of 'Student's' problem when several different population
    variances are involved", Biometrika 34, equation 28.
    """
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if min(a.size, b.size) < 2:
        return None
    parts = ((a.var(ddof=1) / a.size, a.size - 1), (b.var(ddof=1) / b.size, b.size - 1))
    return _satterthwaite(float(b.mean() - a.mean()), parts)


def over_both(seeds: Estimate, rows_error: float, rows: int) -> Estimate:
    """The same difference with the noise of seeds and test rows combined.

    Runs and rows are crossed, so their variances add. Both errors include the residual variance of single predictions,
    which is thus counted twice and makes the interval slightly too wide, never too narrow (Owen 2007, "The pigeonhole
    bootstrap", Annals of Applied Statistics 1, theorem 3). Degrees of freedom: Satterthwaite (1946), "An approximate
    distribution of estimates of variance components", Biometrics Bulletin 2.

    Args:
        seeds: the difference over seeds, from `welch`.
        rows_error: the standard error of the difference over test rows, from the bootstrap.
        rows: the number of drawn rows, or clusters of rows.
    """
    return _satterthwaite(seeds.difference, ((seeds.error**2, seeds.freedom), (rows_error**2, max(rows - 1, 1))))


def _satterthwaite(difference: float, parts: Sequence[tuple[float, float]]) -> Estimate:
    """The estimate with the error of a sum of independent (variance, degrees of freedom) parts."""
    total = sum(variance for variance, _ in parts)
    if total == 0:
        return Estimate(difference, 0.0, math.inf)
    freedom = 1 / sum((variance / total) ** 2 / own for variance, own in parts)  # relative, or tiny squares underflow
    return Estimate(difference, math.sqrt(total), freedom)


class RowBootstrap:
    """A bootstrap over test rows that draws the same rows for all results.

    Shared draws make the difference of two results a paired one, because the common difficulty of rows cancels. Efron
    and Tibshirani (1993), "An Introduction to the Bootstrap", chapter 13; for paired test sets in language processing,
    Berg-Kirkpatrick et al. (2012), "An Empirical Investigation of Statistical Significance in NLP". Dependent rows are
    drawn together as a cluster (Davison and Hinkley 1997, "Bootstrap Methods and their Application", section 3.8).

    Args:
        clusters: (rows,) the cluster of each row, from 0; None if all rows are independent.
    """

    def __init__(self, rows: int, clusters: np.ndarray | None = None, resamples: int = RESAMPLES, seed: int = 0):
        self.rows, self.resamples, self.seed = rows, resamples, seed
        self.clusters = clusters
        self.drawn = rows if clusters is None else int(clusters.max()) + 1
        """The number of rows, or clusters, in a resample."""

    def means(self, quantities: np.ndarray) -> np.ndarray:
        """Means over the rows of each resample: (rows, columns) -> (resamples, columns)."""
        sums, sizes = cluster_sums(quantities, self.clusters)
        generator, drawn = np.random.default_rng(self.seed), self.drawn
        means = np.empty((self.resamples, quantities.shape[1]))
        block = max(1, BLOCK // drawn)
        for start in range(0, self.resamples, block):
            count = min(block, self.resamples - start)
            picks = generator.integers(drawn, size=(count, drawn)) + drawn * np.arange(count)[:, None]
            weights = np.bincount(picks.ravel(), minlength=count * drawn).reshape(count, drawn).astype(float)
            means[start : start + count] = (weights @ sums) / (weights @ sizes)[:, None]
        return means


def cluster_sums(quantities: np.ndarray, clusters: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Sums (clusters, columns) of quantities (rows, columns), and the number of rows per cluster (clusters,)."""
    if clusters is None:
        return quantities, np.ones(len(quantities))
    sizes = np.bincount(clusters).astype(float)
    sums = np.zeros((len(sizes), quantities.shape[1]))
    np.add.at(sums, clusters, quantities)
    return sums, sizes


def percentile_interval(values: np.ndarray, confidence: float = CONFIDENCE) -> Interval | None:
    """The percentile interval of resampled values (resamples,); None if a value is undefined."""
    if not np.isfinite(values).all():
        return None
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))
