"""Means with their deviation over runs, and intervals over test rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_array


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation of `count` runs (deviation None for a single run)."""

    mean: float
    deviation: float | None
    count: int


@dataclass(frozen=True)
class Estimate(Spread):
    """A spread with the 95 % interval of its mean on new rows: `low` to `high`."""

    low: float
    high: float


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


def ratios(
    parts: Sequence[csr_array], wholes: Sequence[csr_array], clusters: np.ndarray | None = None
) -> list[Estimate | None]:
    """The mean over runs of sum(part) / sum(whole) over rows, with an interval, of each column; None without a whole.

    The variance over rows is that of the linearised ratio (Cochran 1977, equation 6.13; the infinitesimal jackknife of
    Efron 1982), summed over clusters; the interval is Wilson's, with the rows (clusters) that have a whole. Recall is
    right / true, F1 is 2 · right / (predicted + true). Runs in which a column has no whole are left out.

    Args:
        parts: (rows, columns) for each run; `wholes` are at least as large.
        clusters: (rows,) numbers of the clusters of dependent rows; None if all rows are independent.
    """
    from scipy.sparse import csr_array, diags_array
    from scipy.special import stdtrit

    from .decision.readings import score_interval

    rows = wholes[0].shape[0]
    group = np.arange(rows) if clusters is None else clusters
    count = int(group.max()) + 1
    member = csr_array((np.ones(rows), (group, np.arange(rows))), shape=(count, rows))
    totals = np.array([whole.sum(axis=0) for whole in wholes], dtype=float)  # (runs, columns)
    values = np.array([part.sum(axis=0) for part in parts]) / np.where(totals > 0, totals, np.nan)
    runs = (totals > 0).sum(axis=0)
    scales = 1 / np.maximum(totals * np.maximum(runs, 1), 1e-300) * (totals > 0)
    noise, units = csr_array((rows, len(runs))), np.zeros(len(runs))
    for part, whole, scale, value in zip(parts, wholes, scales, np.nan_to_num(values), strict=True):
        noise = noise + part @ diags_array(scale) - whole @ diags_array(scale * value)
        units += csr_array(member @ whole != 0).sum(axis=0) / np.maximum(runs, 1)
    noise = member @ noise
    variances = count / max(count - 1, 1) * noise.multiply(noise).sum(axis=0)
    critical = float(stdtrit(max(count - 1, 1), 0.975))
    found: list[Estimate | None] = []
    for column in range(len(runs)):
        own = values[:, column][~np.isnan(values[:, column])]
        if own.size:
            mean = spread(own.tolist())
            ends = score_interval(mean.mean, variances[column], critical, max(round(units[column]), 1), (0.0, 1.0))
            found.append(Estimate(mean.mean, mean.deviation, mean.count, *ends))
        else:
            found.append(None)
    return found


def mean_over_rows(
    runs: np.ndarray, clusters: np.ndarray | None = None, bounds: tuple[float, float] | None = None
) -> Estimate:
    """The mean of the scores (runs, rows) of rows, with an interval over rows that stays within `bounds`."""
    from scipy.special import stdtrit

    from .decision.readings import score_interval
    from .decision.variance import cluster_scores

    each = runs.mean(axis=0) if clusters is None else cluster_scores(runs.mean(axis=0), clusters)
    count, mean = len(each), spread(runs.mean(axis=1).tolist())
    variance = float(each.var(ddof=1)) / count if count > 1 else 0.0
    ends = score_interval(mean.mean, variance, float(stdtrit(max(count - 1, 1), 0.975)), count, bounds)
    return Estimate(mean.mean, mean.deviation, mean.count, *ends)
