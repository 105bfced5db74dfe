"""Precision, recall and F1 of each class, label or entity type, as means over an entry's seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..intervals import Spread, spread
from ..predictions import PredictionReader, class_name, confusion_matrix, label_counts
from ..statistics.cells import Cell, at_largest_budget
from ..statistics.row_metrics import found_entities

Counts = np.ndarray
"""Right, predicted and true counts of one run (classes, 3)."""


@dataclass(frozen=True)
class ClassScore:
    """The scores of one class, over the seeds of an entry.

    `support` is the number of test rows of the class (words or entities for tags). The mean of a score leaves out seeds
    in which it is undefined: precision if the class was never predicted, recall if it never occurs, F1 if both hold.
    None if it is undefined for all seeds.
    """

    name: str
    support: int
    precision: Spread | None
    recall: Spread | None
    f1: Spread | None


@dataclass(frozen=True)
class EntryClasses:
    """The classes of one entry at its largest budget, in the order of the label ids (entity types: by name).

    `what` is the unit of the counts: "test rows", "words" or "entities".
    """

    entry: str
    budget: float
    seeds: int
    what: str
    classes: list[ClassScore]


def classes_by_entry(cells: Sequence[Cell], reader: PredictionReader) -> list[EntryClasses]:
    """The classes of each entry at its largest budget, without entries that have no predictions or no classes.

    All entries of a dataset have the same classes in the same order, unless some predict tag types that others do not.
    """
    found = [entry_classes(cell, reader) for cell in at_largest_budget(cells)]
    return [own for own in found if own is not None]


def entry_classes(cell: Cell, reader: PredictionReader) -> EntryClasses | None:
    """The classes of a cell's runs; None if the task has no classes or the predictions are not available."""
    task = cell.results[0].section("task")
    if task.get("name") == "token-classification":
        what = "entities" if task.get("tag_scheme") else "words"
        names, counts = _tag_counts(cell, reader, bool(task.get("tag_scheme")))
    elif task.get("problem_type") in ("single_label_classification", "multi_label_classification"):
        what = "test rows"
        names, counts = _label_counts(cell, reader)
    else:
        return None
    if not counts:
        return None
    return EntryClasses(cell.entry, cell.budget, len(counts), what, class_scores(names, counts))


def class_scores(names: Sequence[str], runs: Sequence[Counts]) -> list[ClassScore]:
    """The scores from the counts (classes, 3) of each run; `support` is from the first, as test rows are the same."""
    scores = []
    for index, name in enumerate(names):
        right, predicted, true = np.array([run[index] for run in runs], dtype=float).T
        scores.append(
            ClassScore(
                name=name,
                support=int(true[0]),
                precision=_mean(right, predicted),
                recall=_mean(right, true),
                f1=_mean(2 * right, predicted + true),
            )
        )
    return scores


def _mean(part: np.ndarray, whole: np.ndarray) -> Spread | None:
    defined = whole > 0
    return spread((part[defined] / whole[defined]).tolist()) if defined.any() else None


def _label_counts(cell: Cell, reader: PredictionReader) -> tuple[list[str], list[Counts]]:
    runs = [read for result in cell.results if (read := reader.labels(result)) is not None]
    if not runs:
        return [], []
    names = cell.results[0].label_names()
    if runs[0].label.ndim == 2:
        counts = []
        for run in runs:
            right, alarms, misses = label_counts([run]).T
            counts.append(np.stack([right, right + alarms, right + misses], axis=1))
    else:
        classes = max(len(names or ()), 1 + max(int(max(run.label.max(), run.prediction.max())) for run in runs))
        matrices = [confusion_matrix([run], classes) for run in runs]
        counts = [np.stack([own.diagonal(), own.sum(axis=0), own.sum(axis=1)], axis=1) for own in matrices]
    return [class_name(index, names) for index in range(len(counts[0]))], counts


def _tag_counts(cell: Cell, reader: PredictionReader, entity: bool) -> tuple[list[str], list[Counts]]:
    """Names and counts by entity type or by tag; truncated words have no tag."""
    tables = [reader.columns(result, ["row", "label", "prediction"]) for result in cell.results]
    whole = [table for table in tables if table is not None and table.num_columns == 3]
    if not whole:
        return [], []
    truth = whole[0]["label"].to_pylist()
    expected = _units(truth, entity)
    found: list[tuple[Counter[str], Counter[str]]] = []
    for table in whole:
        given = _units(table["prediction"].to_pylist(), entity)
        right = Counter(kind for kind, *_ in given & expected)
        found.append((right, Counter(kind for kind, *_ in given)))
    true = Counter(kind for kind, *_ in expected)
    names = sorted(true | Counter(kind for _, predicted in found for kind in predicted))
    counts = [
        np.array([[right[name], predicted[name], true[name]] for name in names], dtype=int)
        for right, predicted in found
    ]
    return names, counts


def _units(sentences: Sequence[Sequence[str | None]], entity: bool) -> set[tuple[str, int, int, int]]:
    """(type, sentence, start, end) of all entities, or of all words with their tag as type."""

    def found(tags: Sequence[str | None]) -> list[tuple[str, int, int]]:
        if entity:
            return [(own.type, own.start, own.end) for own in found_entities(tuple(tags))]
        return [(tag, place, place + 1) for place, tag in enumerate(tags) if tag is not None]

    return {(kind, number, start, end) for number, tags in enumerate(sentences) for kind, start, end in found(tags)}
