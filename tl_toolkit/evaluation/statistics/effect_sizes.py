"""How large a difference is, on scales that do not depend on how many rows or runs there were."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ROUNDING = 1e-12
"""Deviations below this part of the numbers are their rounding."""


@dataclass(frozen=True)
class Effect:
    """An effect size: `name` with its symbol, `value`, and `reads`, how it is to be read, with its source.

    Positive where the second of two entries has the larger number (for an odds ratio: above 1).
    """

    name: str
    value: float
    reads: str


def cohens_h(first: float, second: float) -> Effect:
    """Of two proportions: h = 2 arcsin √p₂ − 2 arcsin √p₁. Cohen (1988), "Statistical Power Analysis", eq. 6.2.1."""
    low, high = (2 * math.asin(math.sqrt(min(max(part, 0.0), 1.0))) for part in (first, second))
    return Effect("Cohen's h", high - low, "0.2 small, 0.5 medium, 0.8 large (Cohen 1988, section 6.2)")


def odds_ratio(lost: float, won: float) -> Effect:
    """Of discordant rows: won / lost, the maximum of the conditional likelihood of paired answers.

    Agresti (2013), "Categorical Data Analysis", section 11.2. Infinite where none is lost, 1 where none is either.

    Args:
        lost: rows that the first alone got right; with several runs their mean over all pairs of runs.
        won: rows that the second alone got right.
    """
    value = won / lost if lost > 0 else (math.inf if won > 0 else 1.0)
    return Effect("odds ratio", value, "rows won for each row lost, of those where one alone is right (Agresti 2013)")


def hedges_g(first: Sequence[float], second: Sequence[float]) -> Effect | None:
    """Of two groups of runs: their difference in pooled standard deviations, corrected for few runs.

    g = J · (ȳ₂ − ȳ₁) / s, with J = Γ(ν/2) / (√(ν/2) Γ((ν−1)/2)) and ν = n₁ + n₂ − 2. Hedges (1981), "Distribution
    theory for Glass's estimator of effect size and related estimators", Journal of Educational Statistics 6, eq. 6e.
    None with fewer than two runs on a side, or where none varies.
    """
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if min(a.size, b.size) < 2:
        return None
    freedom = a.size + b.size - 2
    pooled = math.sqrt(((a.size - 1) * a.var(ddof=1) + (b.size - 1) * b.var(ddof=1)) / freedom)
    if not pooled > ROUNDING * max(np.abs(a).max(), np.abs(b).max()):
        return None
    correction = math.exp(math.lgamma(freedom / 2) - math.lgamma((freedom - 1) / 2)) / math.sqrt(freedom / 2)
    return Effect(
        "Hedges' g", correction * float(b.mean() - a.mean()) / pooled, "in standard deviations over seeds (Hedges 1981)"
    )


def cohens_dz(first: np.ndarray, second: np.ndarray) -> Effect | None:
    """Of paired numbers (rows,): d_z = mean(d) / sd(d) with d = second − first. Cohen (1988), section 2.3.5.

    None where the differences do not vary.
    """
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    differences = b - a
    deviation = float(differences.std(ddof=1)) if len(differences) > 1 else 0.0
    if not deviation > ROUNDING * max(np.abs(a).max(), np.abs(b).max()):
        return None
    reads = "in standard deviations of the rows' differences (Cohen 1988, section 2.3.5)"
    return Effect("Cohen's d_z", float(differences.mean()) / deviation, reads)
