"""Comparisons of entries: between the selected entries of the approaches, and between all pairs of entries."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from ...evaluation import formatting as show
from ...evaluation.statistics.cells import KINDS, Goal, Kind
from ...evaluation.statistics.pairwise import Pair, pairwise
from ..verdict.headline import LONG, NO_DIFFERENCE
from .panel import Panel
from .results import budget_key

READING = {
    "transfer": "transfer ahead",
    "scratch": "from scratch ahead",
    "recurrent": "ULMFiT-style transfer ahead",
    "transformer": "transformer ahead",
    "none": NO_DIFFERENCE,
}
MOST_PAIRS = 120
"""Maximum number of pairs in the table of all numbers."""


def describe_contests(rounds: Sequence[Pair]) -> list[dict[str, Any]]:
    """The comparisons grouped by pair of approaches, each group with a heading and a row for each budget."""
    kinds = sorted({_approaches(contest) for contest in rounds}, key=lambda pair: [KINDS.index(kind) for kind in pair])
    several = len({kind for pair in kinds for kind in pair}) > 2
    groups = []
    for pair in kinds:
        names = [LONG[kind] if several else LONG["scratch"] if kind == "scratch" else "transfer" for kind in pair]
        columns = [show.capital(name.removeprefix("training ")) for name in names]
        members = [contest for contest in rounds if _approaches(contest) == pair]
        heading = f"{show.capital(names[0])} against {names[1]}" if several else "From scratch against transfer"
        groups.append({"heading": heading, "columns": columns, "rounds": members})
    return groups


def _approaches(contest: Pair) -> tuple[Kind, Kind]:
    return contest.first.kind, contest.second.kind


def headline_round(rounds: Sequence[Pair]) -> Pair | None:
    """The main comparison: training from scratch against the most transfer, at the largest budget."""
    wanted = [contest for contest in rounds if contest.first.kind == "scratch"] or list(rounds)
    return wanted[-1] if wanted else None


def reading(contest: Pair) -> str:
    """Who is ahead, in words."""
    alone = contest.single and contest.winner is not None
    return f"{READING[contest.outcome]}{', in single runs' if alone else ''}"


def describe_pairs(panel: Panel) -> dict[str, Any] | None:
    """A matrix of differences for each budget, and all numbers of the pairs at the largest; None without pairs."""
    goal = panel.goal
    pairs = pairwise(panel.cells, goal, panel.reader)
    if not pairs:
        return None
    matrices = []
    for budget, members in groupby(pairs, key=lambda pair: pair.budget):
        here = list(members)
        reached = {cell.entry: cell.test[goal.metric].mean for pair in here for cell in (pair.first, pair.second)}
        names = sorted(reached, key=lambda name: -reached[name] * goal.sign)
        told = {(pair.first.entry, pair.second.entry): pair for pair in here}
        matrices.append(
            {
                "key": budget_key(budget),
                "labels": here[0].second.budget_name,
                "names": names,
                "rows": [(row, [_matrix_cell(row, column, told, goal) for column in names]) for row in names],
                "family": here[0].family,
            }
        )
    largest = [pair for pair in pairs if pair.budget == pairs[-1].budget]
    ordered = sorted(largest, key=lambda pair: (2.0 if pair.adjusted is None else pair.adjusted, -abs(pair.difference)))
    return {
        "matrices": matrices,
        "effects": list(dict.fromkeys(effect.name for pair in largest for effect in pair.effects)),
        "reads": list(dict.fromkeys(f"{effect.name}: {effect.reads}." for pair in largest for effect in pair.effects)),
        "rows": ordered[:MOST_PAIRS],
        "hidden": max(0, len(ordered) - MOST_PAIRS),
        "labels": matrices[-1]["labels"],
    }


def _matrix_cell(row: str, column: str, told: dict[tuple[str, str], Pair], goal: Goal) -> dict[str, Any] | None:
    """The cell of a matrix with the difference row minus column; None on the diagonal."""
    if row == column:
        return None
    pair = told.get((column, row)) or told[(row, column)]
    sign = 1 if pair.second.entry == row else -1
    ahead = {"none": 0, "first": -1, "second": 1}[pair.better] * sign
    said = "ahead" if ahead > 0 else "behind" if ahead < 0 else "not significant"
    return {
        "text": show.signed_gap(sign * pair.difference, goal.metric),
        "ahead": ahead,
        "said": f"{said}; p {show.p_value(pair.adjusted)}" if pair.adjusted is not None else said,
    }
