"""The data of one panel of a report: the runs on one dataset, and values that its sections share."""

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
    """The runs on one dataset, recorded in the comparison's `folder`. Panels are independent of each other.

    `prefix` is prepended to the ids in the page and to the names of figures, to make them unique. Without `texts`,
    nothing with words of the dataset is shown.
    """

    results: Sequence[Result]
    folder: Path
    prefix: str = ""
    texts: bool = True

    @cached_property
    def goal(self) -> Goal:
        """The main metric."""
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
        """The comparisons between the entries selected on validation rows."""
        return contests(self.cells, self.goal, self.reader)

    @cached_property
    def picked(self) -> set[tuple[str, float]]:
        """(entry, budget) of the entries selected on validation rows."""
        return {(cell.entry, cell.budget) for contest in self.rounds for cell in (contest.first, contest.second)}

    @cached_property
    def constant(self) -> list[Baseline]:
        """The baselines without a model."""
        return baselines(self.cells, self.reader)

    @property
    def scored(self) -> list[Cell | Baseline]:
        """Everything with scores: the cells and the baselines."""
        return [*self.cells, *self.constant]

    @cached_property
    def over_rows(self) -> dict[tuple[str, float], Interval]:
        """The interval of the mean score over test rows, by (entry, budget)."""
        return row_intervals(self.cells, self.goal.metric, self.reader)
