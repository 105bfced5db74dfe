"""Paired tests of two entries on the same test rows, and correction for the number of pairs.

All p-values are two-sided and conditional on the given runs: the rows are the sample, the seeds are fixed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from ..intervals import BLOCK, cluster_sums

EXACT_BELOW = 25
"""The number of discordant rows below which McNemar's test is exact."""
PERMUTATIONS = 9_999
LEAST_PERMUTATIONS = 1_999
MOST_WORK = 2e10
"""The maximum number of multiplications for the permutations of a family; above it there are fewer permutations."""
ALPHA = 0.05
"""Family-wise error rate."""


def mcnemar(lost: int, won: int) -> tuple[float, str]:
    """The p-value of the hypothesis that two entries are wrong on equally many rows, and the name of the test.

    McNemar (1947), "Note on the sampling error of the difference between correlated proportions or percentages",
    Psychometrika 12; recommended for a single run of each of two learners by Dietterich (1998), "Approximate
    Statistical Tests for Comparing Supervised Classification Learning Algorithms", Neural Computation 10, section 3.1.
    With few discordant rows it is the exact binomial test, otherwise χ² = (|b − c| − 1)² / (b + c) with one degree of
    freedom and the continuity correction of Edwards (1948), Psychometrika 13.

    Args:
        lost: number of rows that only the first entry got right.
        won: number of rows that only the second entry got right.
    """
    from scipy.special import bdtr, erfc

    discordant = lost + won
    if discordant < EXACT_BELOW:
        return min(1.0, 2 * float(bdtr(min(lost, won), discordant, 0.5))), "McNemar, exact"
    statistic = max(abs(lost - won) - 1, 0) ** 2 / discordant
    return float(erfc(math.sqrt(statistic / 2))), "McNemar, χ²"


def permutations(rows: int, columns: int, pairs: int) -> int:
    """The number of permutations for a family of `pairs`: enough for Holm's smallest threshold, within `MOST_WORK`."""
    wanted = max(PERMUTATIONS, math.ceil(4 * pairs / ALPHA))
    return int(max(LEAST_PERMUTATIONS, min(wanted, MOST_WORK / (2 * rows * columns))))


def swapped_means(quantities: np.ndarray, clusters: np.ndarray | None, count: int, seed: int = 0) -> np.ndarray:
    """The contribution of random halves of the rows to the means: (rows, columns) -> (permutations, columns).

    The halves depend only on the seed, so one product serves all pairs of entries: swapping the predictions of two
    entries on a half subtracts this from the mean of one and adds it to the other. Rows of a cluster are swapped
    together.
    """
    sums, sizes = cluster_sums(quantities, clusters)
    generator, units = np.random.default_rng(seed), len(sizes)
    parts = np.empty((count, quantities.shape[1]))
    block = max(1, BLOCK // units)
    for start in range(0, count, block):
        size = min(block, count - start)
        bits = np.unpackbits(generator.integers(256, size=(size, (units + 7) // 8), dtype=np.uint8), axis=1)
        parts[start : start + size] = bits[:, :units].astype(float) @ sums
    return parts / len(quantities)


def randomisation(
    means: tuple[np.ndarray, np.ndarray],
    swapped: tuple[np.ndarray, np.ndarray],
    value: Callable[[np.ndarray], np.ndarray],
) -> float:
    """The p-value of approximate randomisation: how often random swaps of predictions differ at least as much.

    Noreen (1989), "Computer-Intensive Methods for Testing Hypotheses", chapter 2; for F1 and other scores of a corpus
    Yeh (2000), "More accurate tests for the statistical significance of result differences", COLING. The observed
    difference counts as one of the permutations (Phipson and Smyth 2010, "Permutation P-values should never be zero").

    Args:
        means: for each entry the means (columns,) of the quantities of a metric over rows.
        swapped: for each entry its `swapped_means` (permutations, columns).
        value: maps means (..., columns) to the metric (...).
    """
    moved = swapped[1] - swapped[0]
    observed = abs(float(value(means[1]) - value(means[0])))
    differences = np.abs(value(means[1] - moved) - value(means[0] + moved))
    reached = np.count_nonzero(~(differences < observed * (1 - 1e-9) - 1e-12))  # undefined ones count as reached
    return (1 + int(reached)) / (1 + len(differences))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values of a family: rejecting those up to α has a family-wise error rate of at most α.

    Holm (1979), "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6: the
    k-th smallest of m is multiplied by m − k + 1, and none may be smaller than the previous one.
    """
    values = np.asarray(p_values, dtype=float)
    order, adjusted = np.argsort(values, kind="stable"), np.empty(len(values))
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)), 1.0)
    return adjusted.tolist()
