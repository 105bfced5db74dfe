"""The tests of a panel: leads of kinds and their trends, entries against the best, entries against the constant.

Of the error rate of a panel, 90 % belong to the average leads of kinds, 5 % to the trends of these leads over labels,
and 5 % to comparisons of entries with the best. If all leads are found, the trends have all of it, and the other way
round (Holm 1979, with weights). If one of them is found (the gate), the comparisons have all of it, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from .inputs import KINDS
from .layout import Layout
from .noise import Family, Noise, quantile

LEADS, TRENDS, DIRECT = 0.9, 0.05, 0.05
"""The parts of the error rate of leads, trends, and comparisons without the gate. With one budget, and so no trend, its
part is kept back: there the prior of the variances is fitted to few cells, and the leads are slightly above level."""
FAR = 2.0
"""The factor of the half-lengths without the gate: so far out, with two seeds, the tails of the draws are too thin."""


@dataclass(frozen=True)
class Lead:
    """The lead of one kind (or entry) over another: contrasts (C,) of its average and of its slope per doubling."""

    a: str
    b: str
    budgets: list[float]
    average: np.ndarray
    slope: np.ndarray | None


def leads(layout: Layout) -> tuple[list[Lead], list[Lead]]:
    """The leads of all pairs of kinds, and those that are the gate: of entries if no two kinds share a budget."""
    kinds = [kind for kind in KINDS if any(own == kind for own, _ in layout.kind)]
    between = _leads(kinds, layout.kind, layout)
    names = list(dict.fromkeys(name for name, _ in layout.entry))
    return between, between or _leads(names, layout.entry, layout)


def _leads(names: Sequence[str], cells: dict[tuple[str, float], int], layout: Layout) -> list[Lead]:
    found = []
    for a, b in combinations(names, 2):
        shared = [labels for labels in layout.budgets if (a, labels) in cells and (b, labels) in cells]
        if not shared:
            continue
        differences = np.zeros((len(shared), len(layout.means)))
        for row, labels in enumerate(shared):
            differences[row, cells[b, labels]] += 1
            differences[row, cells[a, labels]] -= 1
        logs = np.log2(np.maximum(shared, 1.0))
        centred = logs - logs.mean()
        slope = centred / (centred @ centred) if len(shared) > 1 and centred @ centred > 0 else None
        found.append(Lead(a, b, shared, differences.mean(axis=0), None if slope is None else slope @ differences))
    return found


@dataclass(frozen=True)
class Tested:
    """A family with its half-lengths of intervals (K,) and adjusted p-values (K,) at the error rate `level`."""

    family: Family
    half: np.ndarray
    p: np.ndarray
    level: float


def tested(noise: Noise, contrasts: Sequence[np.ndarray], level: float, worst: np.ndarray | None = None) -> Tested:
    """Contrasts as one family; `worst` (DRAWS,) replaces the two-sided max-t."""
    family = Family(noise, np.reshape(contrasts, (len(contrasts), len(noise.parts.means))))
    if worst is None:
        worst = family.worst()
    return Tested(family, family.half_lengths(worst, level), family.adjusted(worst), level)


@dataclass(frozen=True)
class Gate:
    """The leads of kinds with the tests of their averages and of their slopes (of the leads that have one).

    `p` is that of the gate: at most the error rate if, and only if, an average or a slope is significant.
    """

    between: list[Lead]
    averages: Tested
    trends: Tested
    p: float


def gate(layout: Layout, level: float) -> Gate:
    """The tests of the leads of kinds; of entries, for the gate alone, if no two kinds share a budget."""
    between, gates = leads(layout)
    tested_leads = _test_leads(layout, between, level)
    if gates is between:
        return tested_leads
    return Gate(between, tested_leads.averages, tested_leads.trends, _test_leads(layout, gates, level).p)


def _test_leads(layout: Layout, own: list[Lead], level: float) -> Gate:
    assert layout.noise is not None
    slopes = [lead.slope for lead in own if lead.slope is not None]
    averages = tested(layout.noise, [lead.average for lead in own], LEADS * level)
    trends = tested(layout.noise, slopes, TRENDS * level)
    found = averages.p <= LEADS * level, trends.p <= TRENDS * level
    p = min([1.0, *(averages.p / LEADS), *(trends.p / TRENDS)])
    if slopes and found[0].all():
        trends = tested(layout.noise, slopes, level)
    if slopes and len(slopes) == len(own) and found[1].all():
        averages = tested(layout.noise, [lead.average for lead in own], level)
    return Gate(own, averages, trends, float(p))


def with_the_best(layout: Layout, level: float) -> tuple[list[tuple[float, int, int]], Tested, Tested]:
    """(budget, best cell, other cell) of all budgets, tested as one family: multiple comparisons with the best.

    Last, the same with the part of the error rate that needs no gate.

    As in Hsu (1984), "Constrained simultaneous confidence intervals for multiple comparisons with the best", Annals of
    Statistics 12, only comparisons with the best count; which is the best by chance is part of each draw.
    """
    noise = layout.noise
    assert noise is not None
    pairs: list[tuple[float, int, int]] = []
    contrasts: list[np.ndarray] = []
    worst = np.zeros(len(noise.draws))
    for labels in layout.budgets:
        cells = np.array([cell for _, cell in layout.here(labels)])
        best = int(cells[layout.means[cells].argmax()])
        for other in cells:
            if other != best:
                contrast = np.zeros(len(layout.means))
                contrast[other], contrast[best] = 1, -1
                pairs.append((labels, best, int(other)))
                contrasts.append(contrast)
        if len(cells) > 1:
            own = noise.draws[:, cells]
            top = own.argmax(axis=1)
            ahead = own[np.arange(len(own)), top][:, None] - own
            np.maximum(worst, (ahead / pair_scales(noise, cells)[top]).max(axis=1), out=worst)
    return pairs, tested(noise, contrasts, level, worst), tested(noise, contrasts, DIRECT * level, FAR * worst)


def pair_scales(noise: Noise, cells: np.ndarray) -> np.ndarray:
    """The scales (E, E) of the differences of all pairs of cells (E,)."""
    first, second = np.triu_indices(len(cells), 1)
    contrasts = np.zeros((len(first), len(noise.parts.means)))
    pair = np.arange(len(first))
    contrasts[pair, cells[first]], contrasts[pair, cells[second]] = 1, -1
    scales = np.ones((len(cells), len(cells)))
    scales[first, second] = scales[second, first] = np.maximum(noise.scale(contrasts), 1e-12)
    return scales


def beats_constant(layout: Layout, level: float) -> dict[int, bool] | None:
    """Whether each entry's cell beats the constant answer (simultaneous one-sided bounds); None without a constant."""
    if layout.constant is None or layout.noise is None:
        return None
    cells = list(layout.entry.values())
    contrasts = np.zeros((len(cells), len(layout.means)))
    contrasts[np.arange(len(cells)), cells] = 1
    contrasts[:, layout.constant] = -1
    family = Family(layout.noise, contrasts)
    critical = float(quantile(family.worst(sided=1), 1 - level))
    return dict(zip(cells, (family.estimates > critical * family.scales).tolist(), strict=True))


def all_pairs(layout: Layout, level: float) -> tuple[list[tuple[float, int, int]], Tested]:
    """All pairs of entries at all budgets as one family, for the fold."""
    assert layout.noise is not None
    pairs = [
        (labels, first, second)
        for labels in layout.budgets
        for first, second in combinations([cell for _, cell in layout.here(labels)], 2)
    ]
    contrasts = np.zeros((len(pairs), len(layout.means)))
    for row, (_, first, second) in enumerate(pairs):
        contrasts[row, second], contrasts[row, first] = 1, -1
    return pairs, tested(layout.noise, list(contrasts), level)
