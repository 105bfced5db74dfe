"""The best of each kind of entry against each other, budget by budget: what differs beyond the noise, and what not.

The best entry of each kind is picked on the validation rows, which every run was allowed to see, and compared on the
test rows, which none was: picking on the test rows would flatter whichever kind has more entries.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from itertools import combinations

from ..predictions import PredictionReader
from .cells import KINDS, Cell, Goal, Kind
from .pairwise import Pair, compare, corrected, most_pairs
from .uncertainty import row_noise


class Contest(Pair):
    """The picked entries of two kinds at one budget; `first` is of the kind that transfers less."""

    @property
    def budget_name(self) -> str:
        """The label budget as a reader knows it."""
        return self.second.budget_name

    @property
    def winner(self) -> Cell | None:
        """The side that is ahead beyond the noise; None when nothing shows that either is."""
        return {"first": self.first, "second": self.second, "none": None}[self.better]

    @property
    def outcome(self) -> str:
        """What is ahead beyond the noise: "scratch" or "transfer", of two kinds of transfer the kind, or "none"."""
        if self.winner is None:
            return "none"
        if self.first.kind == "scratch":
            return "scratch" if self.winner is self.first else "transfer"
        return self.winner.kind


def best(cells: Sequence[Cell], goal: Goal) -> Cell | None:
    """The cell with the best validation metric (of the test metric where no cell was validated); None without one."""
    split = "validation" if any(goal.metric in cell.validation for cell in cells) else "test"

    def merit(cell: Cell) -> float:
        reached = getattr(cell, split).get(goal.metric)
        return -math.inf if reached is None or math.isnan(reached.mean) else reached.mean * goal.sign

    able = [cell for cell in cells if cell.scored(goal)]
    return max(able, key=merit, default=None)


def picked_of(kind: Kind, cells: Sequence[Cell], goal: Goal) -> list[Cell]:
    """The entry of a kind that is picked at each budget: the kind's own learning curve. Smallest budget first."""
    own = [cell for cell in cells if cell.kind == kind]
    picked = [best([cell for cell in own if cell.budget == budget], goal) for budget in sorted({c.budget for c in own})]
    return [cell for cell in picked if cell is not None]


def contests(cells: Sequence[Cell], goal: Goal, reader: PredictionReader) -> list[Contest]:
    """Contests of every two kinds with completed runs at a budget, smallest budget first.

    Those of one budget are a family: the chance that any of them is decided by noise alone is held at 5 %, by Holm.
    """
    noise = row_noise(reader, goal.metric).prepare_swaps(cells, most_pairs(cells))
    found: list[Pair] = []
    for budget in sorted({cell.budget for cell in cells}):
        here = [cell for cell in cells if cell.budget == budget]
        picked = [best([cell for cell in here if cell.kind == kind], goal) for kind in KINDS]
        sides = [cell for cell in picked if cell is not None]
        found += corrected([compare(first, second, goal, noise) for first, second in combinations(sides, 2)])
    return [Contest(**{field.name: getattr(pair, field.name) for field in fields(Pair)}) for pair in found]


def overtaken(picked: Cell, cells: Sequence[Cell], goal: Goal, reader: PredictionReader) -> Pair | None:
    """The pair of `picked` with the best of those of its kind and budget that are ahead of it on the test rows.

    That a rival is ahead has to be beyond the noise, corrected by Holm for the number of rivals; None where none is.
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
