"""Which entry to use: the cheapest one that loses no more than the margin."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .inputs import Entry, Panel, Settings
from .layout import Layout

ALIKE = 1.1
"""Times of an answer within this factor are alike; the time of training then decides."""


def cheaper(costs: Mapping[str, tuple[float, float]], first: str, second: str) -> bool:
    """Whether the first of two entries costs less: time of an answer, then of training. Unknown is dearest."""
    a, b = (tuple(math.inf if math.isnan(part) else part for part in costs[name]) for name in (first, second))
    if max(a[0], b[0]) > ALIKE * min(a[0], b[0]):
        return a[0] < b[0]
    return a[1] < b[1]


def costs_at(panel: Panel, labels: float) -> dict[str, tuple[float, float]]:
    """(seconds of an answer, seconds of training) by entry; nan is unknown."""
    return {entry.name: entry.cost.get(labels, (math.nan, math.nan)) for entry in panel.entries}


def cheapest(names: Sequence[str], costs: Mapping[str, tuple[float, float]], scores: Mapping[str, float]) -> str:
    """The cheapest entry: of those alike in the time of an answer, the one trained fastest, then the best."""

    def known(value: float) -> float:
        return math.inf if math.isnan(value) else value

    fastest = min(known(costs[name][0]) for name in names)
    alike = [name for name in names if known(costs[name][0]) <= ALIKE * fastest]
    return min(alike, key=lambda name: (known(costs[name][1]), -scores[name]))


def fastest_form(entry: Entry, labels: float, room: float) -> str | None:
    """The form of an entry's model with the fastest answer, of those whose loss of score is at most `room`.

    None if no form was measured.
    """
    able = {name: own["latency_seconds"] for name, own in entry.forms.get(labels, {}).items()
            if name == "pytorch" or own.get("score_lost", math.inf) <= room}  # fmt: skip
    return min(able, key=lambda name: able[name], default=None)


def recommend(panel: Panel, layout: Layout, labels: float, allowed: Sequence[str], margin: float) -> str:
    """The cheapest allowed entry whose estimated shortfall against the best allowed one is within the margin."""
    scores = {name: float(layout.means[layout.entry[name, labels]]) for name in allowed}
    best = max(scores.values())
    near = [name for name in allowed if best - scores[name] <= margin]
    return cheapest(near, costs_at(panel, labels), scores)


def status(panel: Panel, labels: float, recommended: str, best: str, comparisons: Sequence[Mapping[str, Any]]) -> str:
    """How sure the recommendation is.

    `ahead`: it is the best, and all others are behind. `equivalent_and_cheaper`: it is equivalent to the best and
    cheaper; or it is the best, and all others are behind or equivalent and dearer. Else `undecided`.
    """
    costs = costs_at(panel, labels)
    against = {one["b"]: one for one in comparisons}
    if recommended != best:
        sure = against[recommended]["within_margin"] and cheaper(costs, recommended, best)
        return "equivalent_and_cheaper" if sure else "undecided"
    behind = [one["reading"] == "behind" for one in comparisons]
    if behind and all(behind):
        return "ahead"
    dearer = [
        ok or (one["within_margin"] and cheaper(costs, best, one["b"]))
        for ok, one in zip(behind, comparisons, strict=True)
    ]
    return "equivalent_and_cheaper" if behind and all(dearer) else "undecided"


def recommend_overall(
    panels: Sequence[Panel], layouts: Sequence[Layout], budgets: Sequence[Mapping[str, Any]], settings: Settings
) -> str | None:
    """The entry for all labels at hand: of one dataset, that of the largest budget.

    Of several datasets, the cheapest one whose mean shortfall over their largest budgets is within the margin, of the
    entries that are on all of them and beat the constant answer there.
    """
    if len(panels) == 1:
        return budgets[-1]["recommended"] if budgets else None
    tops = [[one for one in budgets if one["dataset"] == panel.dataset][-1:] for panel in panels]
    last = [one[0] for one in tops if one and one[0]["recommended"] is not None]
    if not last:
        return None
    places = [place for place, one in enumerate(tops) if one and one[0]["recommended"] is not None]
    able = set.intersection(
        *({own["entry"] for own in one["entries"] if own["beats_constant"] is not False} for one in last)
    )
    short: dict[str, float] = {}
    for name in able:
        parts = [
            layouts[place].means[[cell for _, cell in layouts[place].here(one["labels"])]].max()
            - layouts[place].means[layouts[place].entry[name, one["labels"]]]
            for place, one in zip(places, last, strict=True)
        ]
        short[name] = float(np.mean(parts))
    if not short:
        return None
    least = min(short.values())
    near = [name for name in short if short[name] - least <= settings.margin]
    costs = {}
    for name in near:
        own = [_cost(panels[place], name, one["labels"]) for place, one in zip(places, last, strict=True)]
        costs[name] = (float(np.mean([one[0] for one in own])), float(np.mean([one[1] for one in own])))
    return cheapest(sorted(near), costs, {name: -short[name] for name in near})


def _cost(panel: Panel, name: str, labels: float) -> tuple[float, float]:
    entry: Entry = next(entry for entry in panel.entries if entry.name == name)
    return entry.cost.get(labels, (math.nan, math.nan))
