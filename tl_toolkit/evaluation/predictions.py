"""The per-row predictions that runs leave behind: reading them, counting confusions, finding the worst mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .formatting import MINUS
from .results import Result

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Predictions:
    """Labels and predictions for the rows of a split, sorted by row.

    Shapes: `row` (n,); `label` and `prediction` (n,) class ids or numbers, or (n, labels) of 0 and 1.
    """

    row: np.ndarray
    label: np.ndarray
    prediction: np.ndarray


_LABELLED = ("single_label_classification", "multi_label_classification", "regression")


@dataclass(frozen=True)
class Mistake:
    """A row that a run got wrong. `certainty` is the probability of the wrong answer, or None where there is none;
    `error` is prediction minus label for numbers."""

    row: int
    text: str
    text_pair: str | None
    label: Any
    prediction: Any
    certainty: float | None = None
    error: float | None = None


class PredictionReader:
    """Reads the predictions of runs below a comparison's folder, each file's labels once.

    A missing or unreadable file, or one without labels, is None: a comparison is reported while it runs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._read: dict[str, Predictions | None] = {}
        self.shared: dict[str, Any] = {}
        """What is computed of the predictions once for all who ask, by its name."""

    def labels(self, result: Result) -> Predictions | None:
        """Labels and predictions of the run's test rows."""
        if result.folder not in self._read:
            table = self._columns(result, ["row", "label", "prediction"])
            self._read[result.folder] = None if table is None else _predictions(table)
        return self._read[result.folder]

    def mistakes(self, result: Result, most: int = 8) -> list[Mistake]:
        """The wrong predictions that the run was surest of, or for numbers the largest errors; surest first."""
        table = self._columns(result, ["row", "text", "text_pair", "label", "prediction", "scores"])
        return [] if table is None else _worst(table, most)

    def scores(self, result: Result) -> np.ndarray | None:
        """The probabilities of the classes (rows, classes) for each test row, in the order of `labels`."""
        table = self._columns(result, ["row", "label", "prediction", "scores"])
        if table is None or "scores" not in table.column_names:
            return None
        return _array(table, "scores")

    def columns(self, result: Result, wanted: Sequence[str]) -> pa.Table | None:
        """Those of the wanted columns that the run's test predictions have, whatever its task, sorted by `row`."""
        import pyarrow.parquet as pq

        name = result.section("predictions").get("test")
        if not name:
            return None
        try:
            file = pq.ParquetFile(self.folder / result.folder / name)
            table = file.read(columns=[column for column in wanted if column in file.schema_arrow.names])
        except (OSError, ValueError):  # pyarrow's errors for a file that is missing, cut short or no parquet
            return None
        if not table.num_rows or "row" not in table.column_names:
            return None
        row = _array(table, "row")
        return table if (np.diff(row) >= 0).all() else table.take(np.argsort(row, kind="stable"))

    def _columns(self, result: Result, wanted: Sequence[str]) -> pa.Table | None:
        kind = result.section("task").get("problem_type", _LABELLED[0])
        if kind not in _LABELLED:  # there is no table of mistakes for texts, pictures or series
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


def _array(table: pa.Table, name: str) -> np.ndarray:
    """A column as (n,), or as (n, k) when its cells are lists of one length."""
    import pyarrow as pa

    column = table.column(name).combine_chunks()
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type) or pa.types.is_fixed_size_list(column.type):
        return np.asarray(column.flatten()).reshape(len(column), -1)
    return np.asarray(column)


def _predictions(table: pa.Table) -> Predictions:
    return Predictions(_array(table, "row"), _array(table, "label"), _array(table, "prediction"))


def _worst(table: pa.Table, most: int) -> list[Mistake]:
    label, prediction = _array(table, "label"), _array(table, "prediction")
    scores = _array(table, "scores") if "scores" in table.column_names else None
    error = certainty = None
    if np.issubdtype(label.dtype, np.floating):
        error = prediction - label
        badness = np.abs(error)
        wrong = badness > 0
    else:
        differs = label != prediction
        wrong = differs if differs.ndim == 1 else differs.any(axis=1)
        if scores is not None:
            certainty = _certainty(prediction, scores, differs)
        badness = certainty if certainty is not None else np.zeros(len(label))
    chosen = np.flatnonzero(wrong)
    chosen = chosen[np.argsort(-badness[chosen], kind="stable")][:most]
    rows = table.take(chosen).to_pylist()
    return [
        Mistake(
            row=int(row["row"]),
            text=str(row.get("text") or ""),
            text_pair=row.get("text_pair"),
            label=row["label"],
            prediction=row["prediction"],
            certainty=None if certainty is None else float(certainty[index]),
            error=None if error is None else float(error[index]),
        )
        for index, row in zip(chosen, rows, strict=True)
    ]


def _certainty(prediction: np.ndarray, scores: np.ndarray, differs: np.ndarray) -> np.ndarray:
    """Probability (n,) given to the predicted class; with several labels, to the surest of the wrong decisions."""
    if prediction.ndim == 1:
        return scores[np.arange(len(prediction)), prediction]
    decided = np.where(prediction == 1, scores, 1 - scores)
    return np.where(differs, decided, 0.0).max(axis=1)


def answer_in_words(value: Any, names: list[str] | None) -> str:
    """A label or a prediction as a reader knows it: a class name, the names of a label set, or a number."""
    if isinstance(value, list):
        chosen = [class_name(index, names) for index, on in enumerate(value) if on]
        return ", ".join(chosen) if chosen else "no label"
    if isinstance(value, float):
        return f"{value:.4g}".replace("-", MINUS)
    return class_name(int(value), names)


def class_name(index: int, names: list[str] | None) -> str:
    """The name of a class id, also where the record has none."""
    return names[index] if names is not None and 0 <= index < len(names) else f"class {index}"
