"""From an estimate with its noise to a reading, its power, and what would settle it."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
from scipy.special import ndtri

from .noise import quantile
from .variance import Components

POWER = 0.8
_Z_POWER = float(ndtri(POWER))


def reading(low: float, high: float, equivalent: bool) -> str:
    """What the interval of a lead says of its owner: `ahead`, `behind`, `equivalent` or `undecided`."""
    if low > 0:
        return "ahead"
    if high < 0:
        return "behind"
    return "equivalent" if equivalent else "undecided"


def equivalent(estimate: float, noise: np.ndarray, margin: float) -> bool:
    """Two one-sided tests at 5 % (Schuirmann 1987): the 90 % interval lies within ± margin."""
    return bool(abs(estimate) + float(quantile(np.abs(noise), 0.9)) < margin)


def to_settle(
    estimate: float, contrast: np.ndarray, parts: Components, critical: float, margin: float, rows: int
) -> dict[str, float | None]:
    """Runs and test rows with which an observed difference would be decided with 80 % power.

    Decided means found, or shown to be within the margin, whichever is easier. Runs are increased first, up to 20; then
    rows by a factor of up to 100; then runs again, up to 100. Nothing (None) would settle it beyond that.

    Args:
        critical: the interval's half-length in standard errors.
        rows: test rows now.
    """
    error = max(abs(estimate) / (critical + _Z_POWER), (margin - abs(estimate)) / (float(ndtri(0.95)) + _Z_POWER))
    used = contrast != 0
    by_rows = float(contrast @ parts.rows @ contrast + (contrast**2 * parts.lasting).sum())
    counts = parts.counts[used]
    residual = float(contrast[used] ** 2 @ (parts.residual[used] * counts))
    runs = float(contrast[used] ** 2 @ (np.maximum(parts.runs - parts.residual - parts.lasting, 0)[used] * counts))
    now = int(counts.min())
    for most, factor in product((20, 100), (1, 1.5, 2, 3, 4, 5, 7, 10, 15, 20, 30, 50, 70, 100)):
        left = error**2 - by_rows / factor
        seeds = math.ceil((runs + residual / factor) / left) if left > 0 else math.inf
        if seeds <= max(most, now):
            return {"seeds": max(seeds, now), "test_rows": math.ceil(rows * factor)}
    return {"seeds": None, "test_rows": None}


def score_interval(
    mean: float, variance: float, critical: float, units: int, bounds: tuple[float, float] | None
) -> tuple[float, float]:
    """An interval of an expected score; with bounds, Wilson's, which stays within them and is right near them.

    Wilson (1927): the scores p with |m − p| ≤ c sqrt(p (1 − p) / n), where n is the effective number of rows,
    m (1 − m) / variance. With few rows on the rarer side the variance is itself unknown: it is drawn towards the
    binomial one with the weight of four such rows.
    """
    if bounds is None or not np.isfinite(bounds).all():
        half = critical * math.sqrt(variance)
        least, most = bounds or (-math.inf, math.inf)
        return max(mean - half, least), min(mean + half, most)
    low, width = bounds[0], bounds[1] - bounds[0]
    m = min(max((mean - low) / width, 0.0), 1.0)
    binomial = m * (1 - m) / units
    rarer = units * min(m, 1 - m)
    believed = (rarer * variance / width**2 + 4 * max(binomial, variance / width**2)) / (rarer + 4)
    n = m * (1 - m) / believed if believed > 0 and binomial > 0 else units
    centre = (m + critical**2 / (2 * n)) / (1 + critical**2 / n)
    half = critical / (1 + critical**2 / n) * math.sqrt(m * (1 - m) / n + critical**2 / (4 * n**2))
    return low + width * max(centre - half, 0.0), low + width * min(centre + half, 1.0)
