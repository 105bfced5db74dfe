"""What the picked entries cost, in words: to train, in size, to answer with, and before that in pre-training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

from ...evaluation import formatting as show
from ...evaluation.statistics.cells import Cell
from ...evaluation.statistics.contest import Contest
from .standings import budget_of

Unit = Callable[[float | None], str]
MEASURES: tuple[tuple[str, Unit, str, str], ...] = (
    ("train_seconds", show.seconds, "took {} as long to train", "took about as long"),
    ("parameters", show.parameters, "has {} as many parameters", "has about as many parameters"),
    ("latency_seconds", show.milliseconds, "takes {} as long for one row at a time", "answers one row about as fast"),
)
"""Of each cost its name, its unit, and how a difference and none of it are said."""


def costs(contest: Contest) -> str:
    """What the two sides cost at the contest's budget; empty when nothing is known."""
    clauses: list[tuple[str, str]] = []
    for name, unit, more, same in MEASURES:
        pair = contest.second.costs.get(name), contest.first.costs.get(name)
        if pair[0] and pair[1]:
            clauses.append(_clause(contest, (pair[0], pair[1]), unit, more, same, named=not clauses))
    if not clauses:
        return ""
    told = [(who, [what for _, what in own]) for who, own in groupby(clauses, key=lambda clause: clause[0])]
    sentence = ", while ".join(f"{who} {show.joined(own)}" for who, own in told)
    return f"With {budget_of(contest)} labels, {sentence}."


def pretraining(cells: Sequence[Cell]) -> str:
    """What the stages before the runs of each entry took; empty when there were none."""
    said = {
        cell.entry: f"The pre-training of {cell.entry}, made once for all of its runs, took {show.seconds(before)}."
        for cell in cells
        if (before := cell.costs.get("pretrain_seconds")) is not None
    }
    return " ".join(said.values())


def _clause(
    contest: Contest, pair: tuple[float, float], unit: Unit, more: str, same: str, named: bool
) -> tuple[str, str]:
    """(who costs more, how much more): `("minilm", "took 14 times as long to train as lstm (48 s against 3.4 s)")`."""
    sides = [(pair[0], contest.second.entry), (pair[1], contest.first.entry)]
    (low, cheap), (high, dear) = sorted(sides)
    if high < 1.15 * low:
        return contest.second.entry, f"{same} ({unit(pair[0])} against {unit(pair[1])})"
    other = f" as {cheap}" if named else ""
    return dear, f"{more.format(show.times(high / low))}{other} ({unit(high)} against {unit(low)})"
