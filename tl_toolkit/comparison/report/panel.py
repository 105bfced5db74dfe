"""The data of one panel of a report: the runs on one dataset, and values that its sections share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ...evaluation.evidence.class_scores import EntryClasses, classes_by_entry
from ...evaluation.intervals import Interval
from ...evaluation.predictions import PredictionReader
from ...evaluation.results import Result
from ...evaluation.scored_panels import labels_of_budgets
from ...evaluation.statistics.baseline import Baseline, baselines
from ...evaluation.statistics.cells import Cell, Goal, goal_of, make_cells
from ...evaluation.statistics.repetitions import repetitions
from ..verdict.wording import rivals


@dataclass(frozen=True)
class Panel:
    """The runs on one dataset, recorded in the comparison's `folder`. Panels are independent of each other.

    `prefix` is prepended to the ids in the page and to the names of figures, to make them unique. Without `texts`,
    nothing with words of the dataset is shown. `decision` is the part of the decision on this dataset.
    """

    results: Sequence[Result]
    folder: Path
    prefix: str = ""
    texts: bool = True
    decision: dict[str, Any] = field(default_factory=lambda: {"budgets": []})

    @cached_property
    def goal(self) -> Goal:
        """The main metric."""
        return goal_of(self.results)

    @cached_property
    def cells(self) -> list[Cell]:
        """The completed runs by entry and budget; with cross-validation, all folds together are one run."""
        return make_cells(repetitions(self.results, self.reader).runs)

    @cached_property
    def entries(self) -> list[str]:
        """The names of all entries; an entry's position fixes its colour and marker, also when runs are added."""
        return list(dict.fromkeys(result.entry for result in self.results))

    @cached_property
    def reader(self) -> PredictionReader:
        """Reads the runs' predictions."""
        return PredictionReader(self.folder)

    @cached_property
    def decided(self) -> dict[tuple[str, float], dict[str, Any]]:
        """What the decision says of each entry, by (entry, requested budget)."""
        labels = labels_of_budgets(self.results)
        told = {one["labels"]: {own["entry"]: own for own in one["entries"]} for one in self.decision["budgets"]}
        found = {
            (cell.entry, cell.budget): told.get(labels.get(cell.budget), {}).get(cell.entry) for cell in self.cells
        }
        return {place: own for place, own in found.items() if own is not None}

    @cached_property
    def recommended(self) -> set[tuple[str, float]]:
        """(entry, requested budget) of the recommended entries."""
        labels = labels_of_budgets(self.results)
        wanted = {(one["recommended"], one["labels"]) for one in self.decision["budgets"]}
        return {place for place in self.decided if (place[0], labels[place[1]]) in wanted}

    @cached_property
    def rivals(self) -> list[str]:
        """The recommended entry at the largest budget, and the one that it is shown against."""
        return rivals(self.decision["budgets"][-1]) if self.decision["budgets"] else []

    @cached_property
    def classes(self) -> dict[str, EntryClasses]:
        """The scores by class of each entry that has some, at its largest budget."""
        return {own.entry: own for own in classes_by_entry(self.cells, self.reader)}

    @cached_property
    def constant(self) -> list[Baseline]:
        """The baselines without a model."""
        return baselines(self.cells, self.reader)

    @property
    def scored(self) -> list[Cell | Baseline]:
        """Everything with scores: the cells and the baselines."""
        return [*self.cells, *self.constant]

    @cached_property
    def intervals(self) -> dict[tuple[str, float], Interval]:
        """The 95 % interval of the expected score, by (entry, requested budget)."""
        known = {place: own for place, own in self.decided.items() if own["low"] is not None}
        return {place: Interval(own["low"], own["high"]) for place, own in known.items()}
