"""From the records and predictions of a comparison to the arrays that its decision is made from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..records.kind import kind_of
from . import formatting as show
from .decision import Cell, Entry, Panel
from .predictions import PredictionReader
from .results import Result
from .statistics.baseline import Baseline, baselines, constant_scores
from .statistics.cells import Goal, goal_of, make_cells
from .statistics.forms import form_problems, mean_forms
from .statistics.repetitions import repetitions
from .statistics.scored_rows import FORECASTING, ScoredRows, score_rows

CORRELATIONS = ("pearson", "spearman")
MOST_NAMED = 3
"""The maximum number of runs that a note names."""
PART = 0.02
"""The margin that is used if none is given, as a part of the metric's range or, for errors, of the least error."""


@dataclass(frozen=True)
class ScoredPanel:
    """The arrays of one dataset, and sentences on runs that could not be used.

    `rows` are the test rows; with cross-validation in `folds` parts they are all rows, each tested at most `repeats`
    times.

    `constant` says what the constant answer is, such as "the most frequent class"; None if there is none.
    """

    panel: Panel
    goal: Goal
    unit: str
    rows: int = 0
    folds: int | None = None
    repeats: int = 0
    constant: str | None = None
    notes: list[str] = field(default_factory=list)


def bounds_of(metric: str) -> tuple[float, float] | None:
    """The least and the greatest possible value of a metric; None for errors, which have no greatest value."""
    if show.in_per_cent(metric):
        return 0.0, 1.0
    if metric in CORRELATIONS:
        return -1.0, 1.0
    return (0.0, 100.0) if metric in show.POINT_METRICS else None


def default_margin(panels: Sequence[ScoredPanel]) -> float:
    """0.02 for metrics up to 1 and 2 for those up to 100; for errors 2 % of the least mean error of an entry."""
    goal = panels[0].goal
    if (bounds := bounds_of(goal.metric)) is not None:
        return PART * bounds[1]
    cells = [cell for own in panels for entry in own.panel.entries for cell in entry.cells.values()]
    means = [abs(float(cell.scores.mean())) for cell in cells if cell.scores.size]
    return PART * (min(filter(None, means), default=0.0) or 1.0)


def scored_panel(dataset: str, results: Sequence[Result], reader: PredictionReader) -> ScoredPanel:
    """The scores of all runs on one dataset in each test row.

    A run that failed, or whose score is not finite, counts as a failure of its entry. A run whose predictions are
    missing or damaged, or were made on other test rows, is left out with a note.
    """
    goal, budgets = goal_of(results), labels_of_budgets(results)
    results, incomplete = repetitions(results, reader)
    cells = make_cells(results)
    done = [run for run in results if run.completed and math.isfinite(run.metrics("test").get(goal.metric, math.nan))]
    scored = {run.run_id: _scored(run, goal.metric, reader) for run in done}
    keys = [rows.key for rows in scored.values() if rows is not None]
    same = max(dict.fromkeys(keys), key=keys.count, default=None)
    usable = {run: rows for run, rows in scored.items() if rows is not None and rows.key == same}
    finished = {run.run_id for run in done}
    folds = _folds([run for run in results if run.parts and run.run_id in usable], reader)
    other = [run for run in done if (rows := scored[run.run_id]) is not None and rows.key != same]
    notes = [
        *_left_out([run for run in done if scored[run.run_id] is None], "there are no predictions for each test row"),
        *_left_out(other, "the predictions are for other test rows"),
        *_left_out([run for run in results if run.budget not in budgets], "the number of labels is unknown"),
        *_left_out(incomplete, "not all folds have finished"),
        *form_problems(results),
    ]
    entries = []
    for name in dict.fromkeys(run.entry for run in results):
        by_labels: dict[float, list[Result]] = {}
        for run in (run for run in results if run.entry == name and run.budget in budgets):
            by_labels.setdefault(budgets[run.budget], []).append(run)
        found = {labels: _cell(runs, finished, usable, goal, list(folds)) for labels, runs in sorted(by_labels.items())}
        kept = {labels: cell for labels, cell in found.items() if len(cell.scores) or cell.failed}
        known = [cell for cell in cells if cell.entry == name and cell.budget in budgets]
        if kept:
            own = [run for runs in by_labels.values() for run in runs]
            told = next((run for run in own if run.completed), own[0])
            forms = {budgets[cell.budget]: mean_forms(cell.results) for cell in known}
            costs = {budgets[cell.budget]: _cost(cell.costs, forms[budgets[cell.budget]]) for cell in known}
            entries.append(Entry(name, kind_of(told.record), kept, costs, forms))
    rows = next(iter(usable.values()), None)
    best = _best_constant(baselines(cells, reader), goal)
    constant = None if best is None or rows is None else constant_scores(best, goal.metric, rows)
    shown = best.what if best is not None and constant is not None else None
    return ScoredPanel(
        Panel(
            dataset,
            entries if rows is not None else [],
            constant=None if constant is None else goal.sign * constant,
            clusters=None if rows is None else rows.clusters,
            folds=np.stack(list(folds.values())) if folds else None,
            ordered=any(run.section("task").get("name") == FORECASTING for run in done),
        ),
        goal,
        show.unit_of(results),
        0 if rows is None else len(rows.quantities),
        max((int(own.max()) for own in folds.values()), default=None),
        len(folds),
        shown,
        notes,
    )


def _folds(runs: Sequence[Result], reader: PredictionReader) -> dict[int, np.ndarray]:
    """The fold (rows,) that tested each row, by the seed of a repetition of cross-validation."""
    read = {run.seed or 0: reader.columns(run, ["fold"]) for run in runs}
    return {seed: table["fold"].to_numpy() for seed, table in sorted(read.items()) if table is not None}


def _cell(
    runs: Sequence[Result], finished: set[str], usable: Mapping[str, ScoredRows], goal: Goal, divided: Sequence[int]
) -> Cell:
    """The runs of an entry with one number of labels; of runs with equal seeds, the last one that is usable.

    `divided` are the seeds of the repetitions of cross-validation, in order.
    """
    chosen = {run.seed: run for run in sorted(runs, key=lambda run: run.seed or 0) if run.run_id in usable}
    failed = len({run.seed for run in runs if run.run_id not in finished} - chosen.keys())
    scores, validation = [], []
    for run in chosen.values():
        scores.append(goal.sign * usable[run.run_id].scores)
        validation.append(goal.sign * run.metrics("validation").get(goal.metric, math.nan))
    width = len(next(iter(usable.values())).quantities) if usable else 0
    known = bool(validation) and all(map(math.isfinite, validation))
    return Cell(
        np.stack(scores) if scores else np.empty((0, width)),
        np.array(validation) if known else None,
        failed,
        [divided.index(seed or 0) for seed in chosen] if divided else None,
    )


def _scored(run: Result, metric: str, reader: PredictionReader) -> ScoredRows | None:
    rows = score_rows(run, metric, reader)
    return rows if rows is not None and np.isfinite(rows.quantities).all() else None


def labels_of_budgets(results: Sequence[Result]) -> dict[float, float]:
    """The number of training labels, or tokens, of each requested budget: the same for all entries."""
    found: dict[float, list[float]] = {}
    for run in results:
        used = run.section("budget").get("train_tokens") or run.section("budget").get("train_labels")
        if used:
            found.setdefault(run.budget, []).append(float(used))
    asked = {run.budget: [run.budget] for run in results if math.isfinite(run.budget)}
    return {budget: float(round(np.median(used))) for budget, used in (asked | found).items()}


def _cost(costs: Mapping[str, float | None], forms: Mapping[str, Mapping[str, float]]) -> tuple[float, float]:
    """Seconds of an answer and of training; of measured forms, of the fastest one with the model's own predictions."""
    answer, training = (costs[name] for name in ("latency_seconds", "train_seconds"))
    exact = [own["latency_seconds"] for name, own in forms.items() if name != "int8"]
    answer = min(exact, default=answer)
    return math.nan if answer is None else answer, math.nan if training is None else training


def _best_constant(found: Sequence[Baseline], goal: Goal) -> Baseline | None:
    """Of the baselines at the largest budget, the one with the best test score."""
    known = [own for own in found if goal.metric in own.test and own.budget == found[-1].budget]
    return max(known, key=lambda own: goal.sign * own.test[goal.metric].mean, default=None)


def _left_out(runs: Sequence[Result], why: str) -> list[str]:
    """A sentence on the runs that the decision does not use; none without such runs."""
    names = [
        f"{run.entry}, {show.budget(run.budget, None)} {show.unit_of([run])}, seed {run.seed_text}" for run in runs
    ]
    more = f"; and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    many = "1 run is" if len(names) == 1 else f"{len(names)} runs are"
    return [f"{many} left out of the decision, because {why}: {'; '.join(names[:MOST_NAMED])}{more}."] if names else []
