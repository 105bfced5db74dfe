"""Best from scratch against best transferred, budget by budget: what is different beyond the noise, and what is not.

The best entry of each kind is picked on the validation rows, which every run was allowed to see, and compared on the
test rows, which none was: picking on the test rows would flatter whichever kind has more entries.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .cells import Cell
from .predictions import PredictionReader
from .row_metrics import ROW_METRICS
from .statistics import Interval, paired_bootstrap, welch_interval

Outcome = Literal["transfer", "scratch", "none"]


@dataclass(frozen=True)
class Goal:
    """The metric that decides, and which way it points."""

    metric: str
    greater_is_better: bool = True

    @property
    def sign(self) -> int:
        """+1 when more is better, −1 when less is."""
        return 1 if self.greater_is_better else -1


@dataclass(frozen=True)
class Contest:
    """Best from scratch against best transferred at one budget.

    `difference` is transfer minus scratch on the test metric; `over_seeds` (Welch) and `over_rows` (paired bootstrap)
    are its 95 % intervals, None where the runs do not allow one.
    """

    budget: float
    scratch: Cell
    transfer: Cell
    goal: Goal
    difference: float
    over_seeds: Interval | None
    over_rows: Interval | None

    @property
    def interval(self) -> Interval | None:
        """The interval that covers both sources of noise separately, the wider end on each side."""
        if self.over_seeds and self.over_rows:
            return self.over_seeds.hull(self.over_rows)
        return self.over_seeds or self.over_rows

    @property
    def single(self) -> bool:
        """Whether a side has a single run, so that nothing is known of the noise of its seed."""
        return self.over_seeds is None

    @property
    def outcome(self) -> Outcome:
        """Who is ahead beyond the noise; "none" when nothing shows that either is."""
        if self.interval is None or not self.interval.excludes_zero():
            return "none"
        return "transfer" if self.difference * self.goal.sign > 0 else "scratch"


def best(cells: Sequence[Cell], goal: Goal) -> Cell | None:
    """The cell with the best validation metric (of the test metric where no cell was validated); None without one."""
    split = "validation" if any(goal.metric in cell.validation for cell in cells) else "test"

    def merit(cell: Cell) -> float:
        reached = getattr(cell, split).get(goal.metric)
        return -math.inf if reached is None or math.isnan(reached.mean) else reached.mean * goal.sign

    able = [cell for cell in cells if goal.metric in cell.test and math.isfinite(cell.test[goal.metric].mean)]
    return max(able, key=merit, default=None)


def contests(cells: Sequence[Cell], goal: Goal, reader: PredictionReader) -> list[Contest]:
    """A contest for each budget at which both kinds have completed runs, smallest budget first."""
    found = []
    for budget in sorted({cell.budget for cell in cells}):
        here = [cell for cell in cells if cell.budget == budget]
        scratch = best([cell for cell in here if not cell.transfer], goal)
        transfer = best([cell for cell in here if cell.transfer], goal)
        if scratch and transfer:
            found.append(compare(scratch, transfer, goal, reader))
    return found


def compare(scratch: Cell, transfer: Cell, goal: Goal, reader: PredictionReader) -> Contest:
    """Two cells side by side; their budgets may differ (the contest then carries the transferred one's)."""
    return Contest(
        budget=transfer.budget,
        scratch=scratch,
        transfer=transfer,
        goal=goal,
        difference=transfer.test[goal.metric].mean - scratch.test[goal.metric].mean,
        over_seeds=welch_interval(scratch.values(goal.metric), transfer.values(goal.metric)),
        over_rows=rows_interval(scratch, transfer, goal.metric, reader),
    )


def rows_interval(first: Cell, second: Cell, metric: str, reader: PredictionReader) -> Interval | None:
    """The bootstrap interval of second − first; None when a run's predictions are missing or rows differ."""
    known = ROW_METRICS.get(metric)
    sides = [[reader.labels(result) for result in cell.results] for cell in (first, second)]
    runs = [run for side in sides for run in side if run is not None]
    if known is None or len(runs) < first.seeds + second.seeds:
        return None
    if any(not np.array_equal(run.row, runs[0].row) for run in runs):
        return None
    quantities = [known.quantities(run.label, run.prediction) for run in runs]
    return paired_bootstrap(quantities[: first.seeds], quantities[first.seeds :], known.value)


def overtaken(
    picked: Cell, cells: Sequence[Cell], goal: Goal, reader: PredictionReader
) -> tuple[Cell, Interval] | None:
    """The entry that is best on the test rows of `picked`'s kind and budget, if it is ahead of it beyond their noise.

    Returns it with the bootstrap interval of its lead (rival − picked), or None.
    """
    rivals = [cell for cell in cells if (cell.budget, cell.transfer) == (picked.budget, picked.transfer)]
    able = [cell for cell in rivals if goal.metric in cell.test and math.isfinite(cell.test[goal.metric].mean)]
    rival = max(able, key=lambda cell: cell.test[goal.metric].mean * goal.sign)
    if rival.entry == picked.entry:
        return None
    lead = rows_interval(picked, rival, goal.metric, reader)
    return (rival, lead) if lead is not None and lead.excludes_zero() else None


def labels_to_match(contest: Contest, rounds: Sequence[Contest]) -> tuple[float, float, float] | None:
    """How many training labels the best from-scratch entries need to reach what transfer reached in `contest`.

    The learning curve joins the best from-scratch entry of each budget, straight lines over the logarithm of the
    labels. Returns (labels, the measured budget below, the one above), or None when the curve never gets there.
    """
    goal, target = contest.goal, contest.transfer.test[contest.goal.metric].mean
    curve = [
        (float(round_.scratch.train_labels), round_.scratch.test[goal.metric].mean)
        for round_ in rounds
        if round_.budget >= contest.budget and round_.scratch.train_labels
    ]
    for (labels, reached), (more_labels, more_reached) in zip(curve, curve[1:], strict=False):
        if (reached - target) * goal.sign < 0 <= (more_reached - target) * goal.sign:
            part = (target - reached) / (more_reached - reached)
            return labels * (more_labels / labels) ** part, labels, more_labels
    return None
