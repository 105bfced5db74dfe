"""Precision, recall and F1 of each class, label or entity type: means over seeds, with intervals over rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..intervals import Estimate, ratios
from ..predictions import PredictionReader, class_name, clusters
from ..statistics.cells import Cell, at_largest_budget
from ..statistics.row_metrics import found_entities

if TYPE_CHECKING:
    from scipy.sparse import csr_array


@dataclass(frozen=True)
class Counts:
    """How often each row of a run has each class, (rows, classes): right, predicted and true."""

    right: csr_array
    predicted: csr_array
    true: csr_array


@dataclass(frozen=True)
class ClassScore:
    """The scores of one class, over the seeds of an entry.

    `support` is the number of test rows of the class (words or entities for tags). The mean of a score leaves out seeds
    in which it is undefined: precision if the class was never predicted, recall if it never occurs, F1 if both hold.
    None if it is undefined for all seeds.
    """

    name: str
    support: int
    precision: Estimate | None
    recall: Estimate | None
    f1: Estimate | None


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
        names, counts, groups = _tag_counts(cell, reader, bool(task.get("tag_scheme")))
    elif task.get("problem_type") in ("single_label_classification", "multi_label_classification"):
        what = "test rows"
        names, counts, groups = _label_counts(cell, reader)
    else:
        return None
    if not counts:
        return None
    return EntryClasses(cell.entry, cell.budget, len(counts), what, class_scores(names, counts, groups))


def class_scores(names: Sequence[str], runs: Sequence[Counts], groups: np.ndarray | None = None) -> list[ClassScore]:
    """The scores from the counts of runs on the same rows, which may be dependent within `groups` (rows,)."""
    right = [run.right for run in runs]
    scores = (
        ratios(right, [run.predicted for run in runs], groups),
        ratios(right, [run.true for run in runs], groups),
        ratios([2 * own for own in right], [run.predicted + run.true for run in runs], groups),
    )
    support = runs[0].true.sum(axis=0)
    return [ClassScore(name, int(support[index]), *(own[index] for own in scores)) for index, name in enumerate(names)]


def _label_counts(cell: Cell, reader: PredictionReader) -> tuple[list[str], list[Counts], np.ndarray | None]:
    from scipy.sparse import csr_array

    runs = [read for result in cell.results if (read := reader.labels(result)) is not None]
    runs = [run for run in runs if len(run.row) == len(runs[0].row)]
    if not runs:
        return [], [], None
    names, rows = cell.results[0].label_names(), np.arange(len(runs[0].row))
    classes = max(len(names or ()), 1 + max(int(max(run.label.max(), run.prediction.max())) for run in runs))
    if runs[0].label.ndim == 2:
        classes = runs[0].label.shape[1]

    def counted(chosen: np.ndarray) -> csr_array:
        if chosen.ndim == 2:
            return csr_array(chosen.astype(float))
        return csr_array((np.ones(len(rows)), (rows, chosen)), shape=(len(rows), classes))

    pairs = [(counted(run.prediction), counted(run.label)) for run in runs]
    counts = [Counts(csr_array(predicted.multiply(true)), predicted, true) for predicted, true in pairs]
    return [class_name(index, names) for index in range(classes)], counts, runs[0].group


def _tag_counts(
    cell: Cell, reader: PredictionReader, entity: bool
) -> tuple[list[str], list[Counts], np.ndarray | None]:
    """Names and counts by entity type or by tag, a sentence being a row; truncated words have no tag."""
    from scipy.sparse import csr_array

    wanted = ["row", "label", "prediction", "group"]
    tables = [reader.columns(result, wanted) for result in cell.results]
    whole = [table for table in tables if table is not None and {"label", "prediction"} <= set(table.column_names)]
    whole = [table for table in whole if table.num_rows == whole[0].num_rows]
    if not whole:
        return [], [], None
    expected = _units(whole[0]["label"].to_pylist(), entity)
    given = [_units(table["prediction"].to_pylist(), entity) for table in whole]
    names = sorted({kind for units in (expected, *given) for kind, *_ in units})
    place, shape = {name: index for index, name in enumerate(names)}, (whole[0].num_rows, len(names))

    def counted(units: set[tuple[str, int, int, int]]) -> csr_array:
        at = Counter((number, place[kind]) for kind, number, *_ in units)
        index = np.array(list(at), dtype=int).reshape(-1, 2).T
        return csr_array((np.array(list(at.values()), dtype=float), (index[0], index[1])), shape=shape)

    counts = [Counts(counted(own & expected), counted(own), counted(expected)) for own in given]
    return names, counts, clusters(whole[0])


def _units(sentences: Sequence[Sequence[str | None]], entity: bool) -> set[tuple[str, int, int, int]]:
    """(type, sentence, start, end) of all entities, or of all words with their tag as type."""

    def found(tags: Sequence[str | None]) -> list[tuple[str, int, int]]:
        if entity:
            return [(own.type, own.start, own.end) for own in found_entities(tuple(tags))]
        return [(tag, place, place + 1) for place, tag in enumerate(tags) if tag is not None]

    return {(kind, number, start, end) for number, tags in enumerate(sentences) for kind, start, end in found(tags)}
