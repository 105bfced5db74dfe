"""Compare entries on the same test rows: differences, significance and effect sizes.

All pairs of entries at a budget are compared, and the best entries of each approach, which decide a comparison. The
best entry of each approach is picked on the validation rows and compared on the test rows, which no run has seen:
picking on the test rows would favour the approach with more entries.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations, groupby
from typing import Literal

import numpy as np

from ..intervals import Interval, over_both, percentile_interval, welch
from ..predictions import PredictionReader
from .cells import KINDS, Cell, Goal, Kind
from .significance import ALPHA, holm, mcnemar, randomisation
from .uncertainty import RowNoise, row_noise

RIGHT_OR_WRONG = ("accuracy", "exact_match")
"""Metrics that count a row as right or wrong; for accuracy only if a row has a single prediction."""
RANDOMISATION = "approximate randomisation"
Better = Literal["first", "second", "none"]
ROUNDING = 1e-12
"""Relative deviations below this value are rounding errors."""


@dataclass(frozen=True)
class Effect:
    """An effect size: `name` with its symbol, `value`, and `reads`, its interpretation with the source.

    Positive if the second of two entries has the larger value (for an odds ratio: above 1).
    """

    name: str
    value: float
    reads: str


@dataclass(frozen=True)
class Pair:
    """The comparison of two cells; differences are second − first, of the mean test metric over seeds.

    Intervals (95 %), None if the runs do not allow one:
        over_rows: paired bootstrap over test rows, given these runs.
        over_seeds: Welch's interval over the runs, given these test rows.
        over_both: both sources of noise combined.

    p-values (two-sided), None in the same cases:
        p_rows: of `test` on the same rows, given these runs (the seeds are fixed, the rows are the sample). `test` is
            "" if there is none.
        p_seeds, p_both: of the Student intervals of these names.
        p: the largest of them, because a difference must exceed each source of noise (the intersection–union test of
            Berger 1982, "Multiparameter hypothesis testing and acceptance sampling", Technometrics 24).
        adjusted: p corrected by Holm for a family of `family` pairs; p itself for a family of one.
    """

    budget: float
    first: Cell
    second: Cell
    goal: Goal
    difference: float
    over_rows: Interval | None
    over_seeds: Interval | None
    over_both: Interval | None
    test: str
    p_rows: float | None
    p_seeds: float | None
    p_both: float | None
    effects: tuple[Effect, ...] = ()
    adjusted: float | None = None
    family: int = 1

    @property
    def p(self) -> float | None:
        """The largest p-value over all known sources of noise; None without one."""
        return max((p for p in (self.p_rows, self.p_seeds, self.p_both) if p is not None), default=None)

    @property
    def interval(self) -> Interval | None:
        """The hull of the intervals of all known sources of noise."""
        known = [bounds for bounds in (self.over_rows, self.over_seeds, self.over_both) if bounds is not None]
        hull = None
        for bounds in known:
            hull = bounds.hull(hull)
        return hull

    @property
    def single(self) -> bool:
        """Whether a side has a single run, so that the noise of its seed is unknown."""
        return self.over_seeds is None

    @property
    def better(self) -> Better:
        """The side that is significantly better over rows and seeds after correction, or "none"."""
        if self.interval is None or not self.interval.excludes_zero():
            return "none"
        if self.adjusted is not None and self.adjusted > ALPHA:
            return "none"
        return "second" if self.difference * self.goal.sign > 0 else "first"

    @property
    def budget_name(self) -> str:
        """The label budget in words."""
        return self.second.budget_name

    @property
    def winner(self) -> Cell | None:
        """The cell that is significantly better, or None."""
        return {"first": self.first, "second": self.second, "none": None}[self.better]

    @property
    def outcome(self) -> str:
        """The better approach: "scratch" or "transfer", the kind if both sides are transfer, or "none"."""
        if self.winner is None:
            return "none"
        if self.first.kind == "scratch":
            return "scratch" if self.winner is self.first else "transfer"
        return self.winner.kind


def pairwise(cells: Sequence[Cell], goal: Goal, reader: PredictionReader) -> list[Pair]:
    """All pairs of entries at each budget, in the order of `cells` (by budget): first before second.

    The p-values of the pairs of one budget are one family, corrected by Holm.
    """
    able = [cell for cell in cells if cell.scored(goal)]
    families = [list(members) for _, members in groupby(able, key=lambda cell: cell.budget)]
    noise = row_noise(reader, goal.metric).prepare_swaps(able, most_pairs(able))
    found: list[Pair] = []
    for family in families:
        found += corrected([compare(first, second, goal, noise) for first, second in combinations(family, 2)])
    return found


def best(cells: Sequence[Cell], goal: Goal) -> Cell | None:
    """The cell with the best validation metric (test metric if no cell has a validation metric), or None.

    Among cells with equal metrics, it is the one with the lowest validation loss, if their records have it.
    """
    split = "validation" if any(goal.metric in cell.validation for cell in cells) else "test"

    def merit(cell: Cell) -> tuple[float, float]:
        reached, loss = getattr(cell, split).get(goal.metric), cell.validation.get("loss")
        return (
            -math.inf if reached is None or math.isnan(reached.mean) else reached.mean * goal.sign,
            -math.inf if loss is None or math.isnan(loss.mean) else -loss.mean,
        )

    able = [cell for cell in cells if cell.scored(goal)]
    return max(able, key=merit, default=None)


def picked_of(kind: Kind, cells: Sequence[Cell], goal: Goal) -> list[Cell]:
    """The picked entry of a kind at each budget, smallest budget first: the learning curve of the kind."""
    own = [cell for cell in cells if cell.kind == kind]
    picked = [best([cell for cell in own if cell.budget == budget], goal) for budget in sorted({c.budget for c in own})]
    return [cell for cell in picked if cell is not None]


def contests(cells: Sequence[Cell], goal: Goal, reader: PredictionReader) -> list[Pair]:
    """Pairs of the picked entries of all kinds with completed runs at a budget, smallest budget first.

    The pairs of a budget are a family with a family-wise error rate of 5 %, by Holm.
    """
    noise = row_noise(reader, goal.metric).prepare_swaps(cells, most_pairs(cells))
    found: list[Pair] = []
    for budget in sorted({cell.budget for cell in cells}):
        here = [cell for cell in cells if cell.budget == budget]
        picked = [best([cell for cell in here if cell.kind == kind], goal) for kind in KINDS]
        sides = [cell for cell in picked if cell is not None]
        found += corrected([compare(first, second, goal, noise) for first, second in combinations(sides, 2)])
    return found


def overtaken(picked: Cell, cells: Sequence[Cell], goal: Goal, reader: PredictionReader) -> Pair | None:
    """The pair of `picked` with the best rival of its kind and budget that is significantly better on the test rows.

    p-values are corrected by Holm for the number of rivals; None if no rival is significantly better.
    """
    noise = row_noise(reader, goal.metric)
    rivals = [
        cell
        for cell in cells
        if (cell.budget, cell.kind) == (picked.budget, picked.kind) and cell.entry != picked.entry and cell.scored(goal)
    ]
    pairs = corrected([compare(picked, rival, goal, noise) for rival in rivals])
    ahead = [pair for pair in pairs if pair.better == "second"]
    return max(ahead, key=lambda pair: pair.difference * goal.sign, default=None)


def most_pairs(cells: Sequence[Cell]) -> int:
    """The number of pairs in the largest family, that of the budget with the most cells."""
    most = max(Counter(cell.budget for cell in cells).values(), default=0)
    return most * (most - 1) // 2


def corrected(pairs: Sequence[Pair]) -> list[Pair]:
    """The same pairs corrected as one family of tests; pairs without a p-value are not counted."""
    tested = [pair for pair in pairs if pair.p is not None]
    adjusted = iter(holm([pair.p for pair in tested if pair.p is not None]))
    return [pair if pair.p is None else replace(pair, adjusted=next(adjusted), family=len(tested)) for pair in pairs]


def compare(first: Cell, second: Cell, goal: Goal, noise: RowNoise) -> Pair:
    """Compare two cells of any budgets as a family of one; the pair has the budget of the second."""
    metric, values = goal.metric, noise.difference(first, second)
    values = None if values is None or not np.isfinite(values).all() else values
    seeds = welch(first.values(metric), second.values(metric))
    both = None
    if seeds is not None and values is not None:
        runs = noise.runs(first)
        assert runs is not None
        units = len(runs[0].quantities) if runs[0].clusters is None else int(runs[0].clusters.max()) + 1
        both = over_both(seeds, float(values.std(ddof=1)), units)
    p_rows, test = _row_test(first, second, metric, noise)
    pair = Pair(
        budget=second.budget,
        first=first,
        second=second,
        goal=goal,
        difference=second.test[metric].mean - first.test[metric].mean,
        over_rows=None if values is None else percentile_interval(values),
        over_seeds=None if seeds is None else seeds.interval(),
        over_both=None if both is None else both.interval(),
        test=test,
        p_rows=p_rows,
        p_seeds=None if seeds is None else seeds.p(),
        p_both=None if both is None else both.p(),
        effects=_effects(first, second, goal, noise),
    )
    return replace(pair, adjusted=pair.p)


def _row_test(first: Cell, second: Cell, metric: str, noise: RowNoise) -> tuple[float | None, str]:
    if not noise.paired(first, second):
        return None, ""
    a, b = noise.mean_rows(first), noise.mean_rows(second)
    if a is None or b is None or a.quantities.shape != b.quantities.shape:
        return None, ""
    if metric in RIGHT_OR_WRONG and a.metric.additive and first.seeds == second.seeds == 1:
        lost, won = _discordant(a.quantities[:, 0], b.quantities[:, 0])
        return mcnemar(round(lost), round(won))
    swapped = noise.swapped(first), noise.swapped(second)
    assert swapped[0] is not None and swapped[1] is not None
    shorter = min(len(part) for part in swapped if part is not None)
    p = randomisation(
        (a.quantities.mean(axis=0), b.quantities.mean(axis=0)),
        (swapped[0][:shorter], swapped[1][:shorter]),
        a.metric.value,
    )
    return p, RANDOMISATION


def _discordant(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """The numbers of rows that only the first and only the second got right; means over all pairs of runs.

    Args:
        first: the fraction of its runs that got each row right (rows,).
        second: the same for the second entry.
    """
    return float((first * (1 - second)).sum()), float(((1 - first) * second).sum())


def _effects(first: Cell, second: Cell, goal: Goal, noise: RowNoise) -> tuple[Effect, ...]:
    metric = goal.metric
    found: list[Effect | None] = []
    means = first.test[metric].mean, second.test[metric].mean
    if metric in RIGHT_OR_WRONG:
        found.append(cohens_h(*means))
    a, b = (noise.mean_rows(cell) for cell in (first, second)) if noise.paired(first, second) else (None, None)
    if a is not None and b is not None:
        if metric in RIGHT_OR_WRONG and a.metric.additive:
            found.append(odds_ratio(*_discordant(a.quantities[:, 0], b.quantities[:, 0])))
        elif not goal.greater_is_better:  # an error with a value for each row
            found.append(cohens_dz(a.metric.value(a.quantities), b.metric.value(b.quantities)))
    found.append(hedges_g(first.values(metric), second.values(metric)))
    return tuple(effect for effect in found if effect is not None)


def cohens_h(first: float, second: float) -> Effect:
    """For two proportions: 2 arcsin √p₂ − 2 arcsin √p₁. Cohen (1988), "Statistical Power Analysis", equation 6.2.1."""
    low, high = (2 * math.asin(math.sqrt(min(max(part, 0.0), 1.0))) for part in (first, second))
    return Effect("Cohen's h", high - low, "0.2 small, 0.5 medium, 0.8 large (Cohen 1988, section 6.2)")


def odds_ratio(lost: float, won: float) -> Effect:
    """Odds ratio of discordant rows: won / lost, the conditional maximum likelihood estimate for paired predictions.

    Agresti (2013), "Categorical Data Analysis", section 11.2. Infinite if no row is lost, 1 if no row is discordant.

    Args:
        lost: rows that only the first got right; with several runs their mean over all pairs of runs.
        won: rows that only the second got right.
    """
    value = won / lost if lost > 0 else (math.inf if won > 0 else 1.0)
    return Effect("odds ratio", value, "rows won per row lost, of those that only one gets right (Agresti 2013)")


def hedges_g(first: Sequence[float], second: Sequence[float]) -> Effect | None:
    """Effect size of two groups of runs: difference in pooled standard deviations, corrected for few runs.

    g = J · (ȳ₂ − ȳ₁) / s, with J = Γ(ν/2) / (√(ν/2) Γ((ν−1)/2)) and ν = n₁ + n₂ − 2. Hedges (1981), "Distribution
    theory for Glass's estimator of effect size and related estimators", Journal of Educational Statistics 6, eq. 6e.
    None if a side has fewer than two runs, or nothing varies.
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
    """Effect size of paired numbers (rows,): d_z = mean(d) / sd(d), d = second − first. Cohen (1988), section 2.3.5.

    None if the differences do not vary.
    """
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    differences = b - a
    deviation = float(differences.std(ddof=1)) if len(differences) > 1 else 0.0
    if not deviation > ROUNDING * max(np.abs(a).max(), np.abs(b).max()):
        return None
    reads = "in standard deviations of the rows' differences (Cohen 1988, section 2.3.5)"
    return Effect("Cohen's d_z", float(differences.mean()) / deviation, reads)
