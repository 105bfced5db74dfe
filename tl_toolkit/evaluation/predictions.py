"""Read the per-row predictions of runs, and count confusions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..records.artefacts import damage
from .formatting import MINUS
from .results import Result

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Predictions:
    """Labels and predictions for the rows of a split, sorted by row.

    Shapes: `row` (n,); `label` and `prediction` (n,) class ids or numbers, or (n, labels) of 0 and 1. `group` (n,) is
    the number of each row's group; None without groups.
    """

    row: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    group: np.ndarray | None = None


_LABELLED = ("single_label_classification", "multi_label_classification", "regression")


class PredictionReader:
    """Reads the predictions of runs below a comparison's folder, and the labels of each file only once.

    A missing, unreadable or damaged file, or one without labels, gives None, because reports are written while runs go
    on. A file is damaged if it is not the one that the record describes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._read: dict[tuple[str, int], Predictions | None] = {}
        self._damaged: dict[Path, bool] = {}

    def labels(self, result: Result) -> Predictions | None:
        """Labels and predictions of the run's test rows."""
        place = result.folder, len(result.parts)
        if place not in self._read:
            names = ["row", "label", "prediction"]
            table = self.labelled(result, [*names, "group"])
            read = None
            if table is not None:
                row, label, prediction = (column(table, name) for name in names)
                read = Predictions(row, label, prediction, clusters(table))
            self._read[place] = read
        return self._read[place]

    def scores(self, result: Result) -> np.ndarray | None:
        """The probabilities of the classes (rows, classes) for each test row, in the order of `labels`."""
        table = self.labelled(result, ["row", "label", "prediction", "scores"])
        if table is None or "scores" not in table.column_names:
            return None
        return column(table, "scores")

    def columns(self, result: Result, wanted: Sequence[str]) -> pa.Table | None:
        """The wanted columns that the run's test predictions have, for any task, sorted by `row`.

        Those of a repetition are from all its folds, and can have a column `fold`.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        if result.parts:
            tables = [self.columns(part, ["row", *wanted]) for part in result.parts]
            known = [table for table in tables if table is not None]
            if len(known) < len(tables):
                return None
            fold = np.repeat([part.fold or 0 for part in result.parts], [table.num_rows for table in known])
            joined = pa.concat_tables(known).append_column("fold", pa.array(fold))
            kept = [name for name in joined.column_names if name in wanted]
            return joined.take(np.argsort(column(joined, "row"), kind="stable")).select(kept)
        name = result.section("predictions").get("test")
        if not name:
            return None
        path = self.folder / result.folder / name
        if path not in self._damaged:
            self._damaged[path] = damage(path, result.record, name) is not None
        if self._damaged[path]:
            return None
        try:
            file = pq.ParquetFile(path)
            table = file.read(columns=[name for name in wanted if name in file.schema_arrow.names])
        except (OSError, ValueError):  # pyarrow: a missing or truncated file, or not parquet
            return None
        if not table.num_rows or "row" not in table.column_names:
            return None
        row = column(table, "row")
        return table if (np.diff(row) >= 0).all() else table.take(np.argsort(row, kind="stable"))

    def labelled(self, result: Result, wanted: Sequence[str]) -> pa.Table | None:
        """As `columns`, but only for runs that predict class ids, label sets or numbers; None for others."""
        kind = result.section("task").get("problem_type", _LABELLED[0])
        if kind not in _LABELLED:  # texts, images and series have no table of mistakes
            return None
        table = self.columns(result, wanted)
        return table if table is not None and {"label", "prediction"} <= set(table.column_names) else None


def confusion_matrix(runs: Sequence[Predictions], classes: int) -> np.ndarray:
    """Counts (true, predicted) summed over runs, for class ids below `classes`."""
    codes = np.concatenate([run.label * classes + run.prediction for run in runs])
    return np.bincount(codes, minlength=classes * classes).reshape(classes, classes)


def label_counts(runs: Sequence[Predictions]) -> np.ndarray:
    """Multi-label counts (labels, 3) summed over runs: hits, false alarms, misses."""
    true = np.concatenate([run.label for run in runs]).astype(bool)
    predicted = np.concatenate([run.prediction for run in runs]).astype(bool)
    return np.stack([(true & predicted).sum(0), (~true & predicted).sum(0), (true & ~predicted).sum(0)], axis=1)


def column(table: pa.Table, name: str) -> np.ndarray:
    """A column as (n,), or as (n, k) if its cells are lists of equal length."""
    import pyarrow as pa

    found = table.column(name).combine_chunks()
    if pa.types.is_list(found.type) or pa.types.is_large_list(found.type) or pa.types.is_fixed_size_list(found.type):
        return np.asarray(found.flatten()).reshape(len(found), -1)
    return np.asarray(found)


def clusters(table: pa.Table) -> np.ndarray | None:
    """The number of each row's group (n,), from 0; None without a column `group`."""
    if "group" not in table.column_names:
        return None
    return np.unique(np.array([str(name) for name in table.column("group").to_pylist()]), return_inverse=True)[1]


def answer_in_words(value: Any, names: list[str] | None) -> str:
    """A label or prediction in words: a class name, the names of a label set, or a number."""
    if isinstance(value, list):
        chosen = [class_name(index, names) for index, on in enumerate(value) if on]
        return ", ".join(chosen) if chosen else "no label"
    if isinstance(value, float):
        return f"{value:.4g}".replace("-", MINUS)
    return class_name(int(value), names)


def class_name(index: int, names: list[str] | None) -> str:
    """The name of a class id, or `class N` if the record has no names."""
    return names[index] if names is not None and 0 <= index < len(names) else f"class {index}"
