"""The input of a decision: scores of runs on test rows, as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...errors import UserError

KINDS = ("constant", "linear", "word_vectors", "scratch", "ulmfit", "transformer", "distilled", "prompt")
"""The kinds of entries, in the order in which they are compared: `a` is before `b`."""


@dataclass(frozen=True)
class Cell:
    """The runs of one entry at one budget.

    Args:
        scores: (runs, rows) the score of each run on each test row, greater is better. For a metric that is not a mean
            over rows, `pseudo_values`, whose mean over rows is the run's metric. With repeated
            cross-validation, a run is a repetition: each row's score is that of the model that did not train on it.
        validation: (runs,) the main metric on validation rows, greater is better.
        failed: runs that diverged or failed. They are outcomes of the entry: each counts as one more run that gives
            the constant answer; without a constant, as a run with the worst mean score at this budget.
        repetitions: (runs,) with repeated cross-validation, the place in `Panel.folds` of each run; None: the first.
    """

    scores: np.ndarray
    validation: np.ndarray | None = None
    failed: int = 0
    repetitions: Sequence[int] | None = None


@dataclass(frozen=True)
class Entry:
    """One entry: its cells by budget, the number of training labels that were used.

    `cost` maps a budget to (seconds of an answer, seconds of training); nan is unknown. `forms` maps it to the measured
    forms of the model (`statistics.forms`).
    """

    name: str
    kind: str
    cells: Mapping[float, Cell]
    cost: Mapping[float, tuple[float, float]] = field(default_factory=dict)
    forms: Mapping[float, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Panel:
    """The entries of one dataset, all scored on the same test rows.

    Args:
        constant: (rows,) scores of the constant answer; None if the task has none.
        clusters: (rows,) ids of rows that belong together; None if all rows are independent.
        folds: (repetitions, rows) with repeated cross-validation, the fold that tested the row in each repetition; the
            same for all entries. None: one fixed test set.
        ordered: the rows follow each other in time. Dependent neighbours are then grouped into blocks
            (`blocks.time_blocks`), unless `clusters` are given.
    """

    dataset: str
    entries: Sequence[Entry]
    constant: np.ndarray | None = None
    clusters: np.ndarray | None = None
    folds: np.ndarray | None = None
    ordered: bool = False


@dataclass(frozen=True)
class Settings:
    """What is decided.

    Args:
        metric: its name.
        greater_is_better: False for errors: scores are then negated errors, and results are errors again.
        margin: the difference, in the metric's unit, that a user would not pay for.
        confidence: 1 − the error rate of a report.
        target: a value of the metric, to whose labels `more_labels` extrapolates.
        bounds: the least and the greatest possible value of the metric, such as (0, 1).
    """

    metric: str
    greater_is_better: bool = True
    margin: float = 0.02
    confidence: float = 0.95
    target: float | None = None
    bounds: tuple[float, float] | None = None

    @property
    def sign(self) -> float:
        """Factor from the metric to scores."""
        return 1.0 if self.greater_is_better else -1.0


def check(panels: Sequence[Panel], settings: Settings) -> None:
    """Raise `UserError` for shapes that do not fit together, unknown kinds and numbers out of range."""
    if not panels:
        raise UserError("There is no dataset to decide about: give at least one panel.")
    if not settings.margin > 0:
        raise UserError(f"The margin is {settings.margin}: it must be above 0, in the unit of {settings.metric}.")
    if not 0.5 <= settings.confidence < 1:
        raise UserError(f"The confidence is {settings.confidence}: it must be from 0.5 to below 1.")
    for panel in panels:
        _check_panel(panel)


def _check_panel(panel: Panel) -> None:
    rows = None if panel.constant is None else len(panel.constant)
    names = [entry.name for entry in panel.entries]
    if len(set(names)) < len(names):
        raise UserError(f"Two entries of {panel.dataset} have the same name: {', '.join(names)}.")
    for entry in panel.entries:
        if entry.kind not in KINDS:
            raise UserError(f"{entry.name} is of kind {entry.kind!r}: it must be one of {', '.join(KINDS)}.")
        for labels, cell in entry.cells.items():
            where = f"The scores of {entry.name} at {labels:g} labels of {panel.dataset}"
            if cell.scores.ndim != 2 or rows not in (None, cell.scores.shape[1]):
                expected = "(runs, rows)" if rows is None else f"(runs, {rows})"
                raise UserError(f"{where} have the shape {cell.scores.shape}: it must be {expected}.")
            rows = cell.scores.shape[1]
            if rows < 2:
                raise UserError(f"{where} are of {rows} test row: a decision needs at least 2.")
            if not np.isfinite(cell.scores).all():
                raise UserError(f"{where} are not all finite: count a diverged run in `failed` instead.")
            own = range(len(cell.scores)) if cell.repetitions is None else cell.repetitions
            if panel.folds is not None and (len(own) != len(cell.scores) or max(own, default=0) >= len(panel.folds)):
                raise UserError(
                    f"{where} need the folds of each run: there are {len(panel.folds)} repetitions of folds."
                )
    if panel.clusters is not None and len(np.unique(panel.clusters)) < 2:
        raise UserError(f"All test rows of {panel.dataset} are in one cluster: a decision needs at least 2 clusters.")
    if panel.folds is not None and (panel.folds.ndim != 2 or min(len(np.unique(own)) for own in panel.folds) < 2):
        raise UserError(f"The folds of {panel.dataset} must be (repetitions, rows), with at least 2 folds in each.")
    for name, values in (("clusters", panel.clusters), ("folds", panel.folds)):
        if values is not None and rows is not None and values.shape[-1] != rows:
            raise UserError(f"The {name} of {panel.dataset} are for {values.shape[-1]} rows; there are {rows} rows.")
