"""Entries over several datasets: average ranks and mean differences, at the largest budget of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import chdtrc, stdtr, stdtrit

from .inputs import Panel, Settings
from .layout import Layout

FOR_RANKS = 5


def over_datasets(panels: Sequence[Panel], layouts: Sequence[Layout], settings: Settings) -> dict[str, Any]:
    """Mean differences from the entry with the best mean, and from five datasets on average ranks.

    Only entries that are on all datasets are compared.
    """
    tops = [{name: cell for name, cell in own.here(own.budgets[-1])} if own.budgets else {} for own in layouts]
    names = [entry.name for entry in panels[0].entries if all(entry.name in top for top in tops)]
    if len(names) < 2:
        return {"differences": [], "ranks": None}
    means = np.array([[own.means[top[name]] for name in names] for own, top in zip(layouts, tops, strict=True)])
    best = names[int(means.mean(axis=0).argmax())]
    level = (1 - settings.confidence) / 2 / (len(names) - 1)  # Bonferroni over the comparisons with the best
    differences = []
    for place, name in enumerate(names):
        if name == best:
            continue
        values = means[:, place] - means[:, names.index(best)]
        variances = [_variance(own, top[name], top[best]) for own, top in zip(layouts, tops, strict=True)]
        mean, half, between, p = mean_difference(values, np.array(variances), level)
        ends = sorted((settings.sign * (mean - half), settings.sign * (mean + half)))
        decided = not any(math.isnan(value) for value in variances)
        differences.append(
            {
                "a": best,
                "b": name,
                "difference": settings.sign * mean,
                "low": ends[0] if decided else math.nan,
                "high": ends[1] if decided else math.nan,
                "p_adjusted": min(1.0, 2 * p * (len(names) - 1)) if decided else math.nan,
                "between_datasets": between,
                "reading": "behind" if decided and mean + half < 0 else "undecided",
            }
        )
    return {"differences": differences, "ranks": ranks(names, means, 1 - settings.confidence)}


def _variance(layout: Layout, first: int, second: int) -> float:
    if layout.parts is None:
        return math.nan
    rows = layout.parts.rows
    runs = layout.parts.runs[first] + layout.parts.runs[second]
    return float(rows[first, first] + rows[second, second] - 2 * rows[first, second] + runs)


def mean_difference(values: np.ndarray, variances: np.ndarray, level: float) -> tuple[float, float, float, float]:
    """The mean of differences (N,) over datasets: its value, half-length, SD between datasets and p-value.

    A random-effects model: the variance between datasets by DerSimonian and Laird (1986), the interval by Knapp and
    Hartung (2003) with N − 1 degrees of freedom, never narrower than the one without their factor.
    """
    known = np.where(np.isfinite(variances), np.maximum(variances, 1e-12), 1.0)
    weights = 1 / known
    centre = float(weights @ values / weights.sum())
    excess = float(weights @ (values - centre) ** 2) - (len(values) - 1)
    between = max(0.0, excess / float(weights.sum() - (weights**2).sum() / weights.sum()))
    weights = 1 / (known + between)
    mean = float(weights @ values / weights.sum())
    factor = max(1.0, float(weights @ (values - mean) ** 2) / (len(values) - 1))
    error = math.sqrt(factor / float(weights.sum()))
    freedom = len(values) - 1
    p = 2 * float(stdtr(freedom, -abs(mean) / error))
    return mean, float(stdtrit(freedom, 1 - level / 2)) * error, math.sqrt(between), p


def ranks(names: Sequence[str], means: np.ndarray, level: float) -> dict[str, Any] | None:
    """Average ranks of entries over datasets (N, E), with Friedman's test and Nemenyi's critical difference.

    Demšar (2006), "Statistical comparisons of classifiers over multiple data sets", sections 3.2.2 and 3.2.3. None for
    fewer than five datasets.
    """
    from scipy.stats import rankdata, studentized_range

    datasets, entries = means.shape
    if datasets < FOR_RANKS:
        return None
    each = rankdata(-means, axis=1)
    average = each.mean(axis=0)
    squares = float(((average - (entries + 1) / 2) ** 2).sum())
    ties = sum(float((count**3 - count).sum()) for count in (np.unique(row, return_counts=True)[1] for row in each))
    correction = 1 - ties / (datasets * entries * (entries**2 - 1))
    statistic = 12 * datasets / (entries * (entries + 1)) * squares / correction if correction > 0 else 0.0
    critical = float(studentized_range.ppf(1 - level, entries, np.inf)) / math.sqrt(2)
    return {
        "average": dict(zip(names, average.tolist(), strict=True)),
        "p": float(chdtrc(entries - 1, statistic)),
        "critical_difference": critical * math.sqrt(entries * (entries + 1) / (6 * datasets)),
    }
