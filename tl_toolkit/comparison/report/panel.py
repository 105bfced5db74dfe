"""What one panel of a report is about: the runs on one dataset, and what all of its sections ask of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ...evaluation.intervals import Interval
from ...evaluation.predictions import PredictionReader
from ...evaluation.results import Result
from ...evaluation.statistics.baseline import Baseline, baselines
from ...evaluation.statistics.cells import Cell, Goal, goal_of, make_cells
from ...evaluation.statistics.pairwise import Pair, contests
from ...evaluation.statistics.uncertainty import row_intervals


@dataclass(frozen=True)
class Panel:
    """The runs on one dataset, recorded in the comparison's `folder`. Panels know nothing of each other.

    `prefix` stands before the ids of the page and the names of the pictures, to tell the panels apart. Without
    `texts`, nothing that holds words of the dataset is shown.
    """

    results: Sequence[Result]
    folder: Path
    prefix: str = ""
    texts: bool = True

    @cached_property
    def goal(self) -> Goal:
        """The metric that decides."""
        return goal_of(self.results)

    @cached_property
    def cells(self) -> list[Cell]:
        """The completed runs by entry and budget."""
        return make_cells(self.results)

    @cached_property
    def entries(self) -> list[str]:
        """The names of all entries; an entry's position fixes its colour and marker, also when runs are added."""
        return list(dict.fromkeys(result.entry for result in self.results))

    @cached_property
    def reader(self) -> PredictionReader:
        """Reads the runs' predictions."""
        return PredictionReader(self.folder)

    @cached_property
    def rounds(self) -> list[Pair]:
        """The contests between the entries picked on validation rows."""
        return contests(self.cells, self.goal, self.reader)

    @cached_property
    def picked(self) -> set[tuple[str, float]]:
        """(entry, budget) of those picked on validation rows."""
        return {(cell.entry, cell.budget) for contest in self.rounds for cell in (contest.first, contest.second)}

    @cached_property
    def constant(self) -> list[Baseline]:
        """The baselines that need no model."""
        return baselines(self.cells, self.reader)

    @property
    def everybody(self) -> list[Cell | Baseline]:
        """All that has scores: the cells and the baselines."""
        return [*self.cells, *self.constant]

    @cached_property
    def over_rows(self) -> dict[tuple[str, float], Interval]:
        """By (entry, budget) the interval of the mean score over test rows."""
        return row_intervals(self.cells, self.goal.metric, self.reader)
