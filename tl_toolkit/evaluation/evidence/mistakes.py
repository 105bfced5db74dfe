"""The mistakes of an entry at its largest budget: confusions or counts by label, and the worst rows, by task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .. import formatting as show
from ..predictions import PredictionReader, Predictions, class_name, confusion_matrix, label_counts
from ..results import Result
from ..statistics.cells import Cell
from .worst_rows import HEADINGS, ShownMistake, worst_rows

MOST_CLASSES = 20
"""A heat map of more classes shows those with the most errors and combines the rest."""


@dataclass(frozen=True)
class Heat:
    """A confusion matrix to show: `rows` are (true name, [(count, strength 0 to 1)], recall as text)."""

    names: list[str]
    rows: list[tuple[str, list[tuple[int, float]], str]]
    hidden: int = 0


@dataclass(frozen=True)
class LabelRow:
    """The scores of one label of a multi-label task: counts, and precision and recall as text."""

    name: str
    hits: int
    false_alarms: int
    misses: int
    precision: str
    recall: str


@dataclass(frozen=True)
class Evidence:
    """The evidence shown for an entry's predictions; all fields are empty if they are not available."""

    heat: Heat | None = None
    labels: list[LabelRow] = field(default_factory=list)
    numbers: tuple[np.ndarray, np.ndarray] | None = None
    mistakes: list[ShownMistake] = field(default_factory=list)


def gather(cell: Cell, reader: PredictionReader) -> Evidence:
    """The evidence of a cell: confusions are summed over seeds; mistakes and scatter points are from the first run."""
    first = cell.results[0]
    task, names, mistakes = first.section("task"), first.label_names(), worst_rows(first, reader)
    if task.get("name") in HEADINGS:
        return Evidence(mistakes=mistakes)
    runs = [run for result in cell.results if (run := reader.labels(result)) is not None]
    if not runs:
        return Evidence()
    if task.get("problem_type") == "regression":
        return Evidence(numbers=(runs[0].label, runs[0].prediction), mistakes=mistakes)
    if task.get("problem_type") == "multi_label_classification":
        return Evidence(labels=_by_label(runs, names), mistakes=mistakes)
    return Evidence(heat=heat_map(runs, names), mistakes=mistakes)


def heat_map(runs: Sequence[Predictions], names: list[str] | None, most: int = MOST_CLASSES) -> Heat:
    """The confusion matrix over runs; colours follow the fraction of a true class's rows, small values amplified."""
    classes = 1 + max(int(max(run.label.max(), run.prediction.max())) for run in runs)
    classes = max(classes, len(names or []))
    counts = confusion_matrix(runs, classes)
    shown = [class_name(index, names) for index in range(classes)]
    hidden = max(0, classes - most)
    if hidden:
        errors = counts.sum(0) + counts.sum(1) - 2 * counts.diagonal()
        kept = np.sort(np.argsort(-errors, kind="stable")[:most])
        group = np.full(classes, len(kept))
        group[kept] = np.arange(len(kept))
        membership = (group[:, None] == np.arange(len(kept) + 1)).astype(int)
        right = membership.T @ counts.diagonal()
        counts = membership.T @ counts @ membership
        shown = [shown[index] for index in kept] + [f"{hidden} others"]
    else:
        right = counts.diagonal()
    totals = counts.sum(axis=1)
    strength = (counts / np.maximum(totals, 1)[:, None]) ** 0.6
    rows = [
        (
            shown[true],
            [(int(number), round(float(heat), 3)) for number, heat in zip(counts[true], strength[true], strict=True)],
            f"{100 * right[true] / totals[true]:.0f}{show.SPACE}%" if totals[true] else show.MISSING,
        )
        for true in range(len(shown))
    ]
    return Heat(names=shown, rows=rows, hidden=hidden)


def _by_label(runs: Sequence[Predictions], names: list[str] | None) -> list[LabelRow]:
    rows = []
    for index, (hits, alarms, misses) in enumerate(label_counts(runs).tolist()):
        precision, recall = (_share(hits, hits + other) for other in (alarms, misses))
        rows.append(LabelRow(class_name(index, names), hits, alarms, misses, precision, recall))
    return rows


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f}{show.SPACE}%" if whole else show.MISSING


def mistakes_heading(first: Result) -> str:
    """The heading of the list of mistakes for the task."""
    task = first.section("task")
    if task.get("name") in HEADINGS:
        return HEADINGS[str(task["name"])]
    return "Largest errors" if task.get("problem_type") == "regression" else "Most confident mistakes"
