"""Read the test rows of a run of any task from its predictions, and compute the quantities of its metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import UserError
from ...metrics.scores import named_class
from ..decision import pseudo_values
from ..predictions import PredictionReader, clusters, column
from ..results import Result
from .row_metrics import (
    LANGUAGE_MODELS,
    NUMBERS,
    TAGS,
    TEXTS,
    RowMetric,
    class_counts,
    classification,
    forecasts,
    score_of_class,
    tag_counts,
)

if TYPE_CHECKING:
    import pyarrow as pa

TAGGING, FORECASTING = "token-classification", "forecasting"
GENERATION = ("translation", "captioning")
LANGUAGE = ("causal-language-modeling", "masked-language-modeling")


@dataclass(frozen=True)
class Rows:
    """Test rows in the order of `row` (n,), with `label` and `prediction` in the form of the task.

    Class ids, numbers and label sets are arrays; tag names a list per sentence; texts a list; forecasts arrays
    (n, steps) or (n, steps, variables) with NaN for unobserved values. For a language model, `label` has tokens and
    bytes (n, 2) and `prediction` the summed loss (n,).

    `clusters` (n,) groups dependent rows, such as those of one author, by number. None if all are independent.
    """

    row: np.ndarray
    label: Any
    prediction: Any
    clusters: np.ndarray | None = None
    tokens: bool = False

    @property
    def key(self) -> bytes:
        """A hash that is equal for runs with the same rows, labels and clusters; entries may count other tokens."""
        labels = self.label if isinstance(self.label, np.ndarray) and not self.tokens else None
        parts = (own.tobytes() for own in (self.row, labels, self.clusters) if own is not None)
        return sha256(b"|".join(parts)).digest()


@dataclass(frozen=True)
class ScoredRows:
    """The `quantities` (n, columns) of a metric in each test row of a run; `key` is the key of `Rows`."""

    key: bytes
    quantities: np.ndarray
    metric: RowMetric
    clusters: np.ndarray | None = None

    @property
    def scores(self) -> np.ndarray:
        """The score of each row (n,), with the metric as their mean: pseudo-values unless the metric is additive."""
        if self.metric.additive or len(self.quantities) < 2:
            return self.metric.value(self.quantities)
        return pseudo_values(self.quantities, self.metric.value)


def read_rows(result: Result, reader: PredictionReader) -> Rows | None:
    """The test rows of a run; None if its predictions are not available or lack columns."""
    name = result.section("task").get("name")
    if name == TAGGING:
        return _lists(reader.columns(result, ("row", "label", "prediction", "group")), "label")
    if name in GENERATION:
        return _lists(reader.columns(result, ("row", "reference", "prediction", "group")), "reference")
    if name == FORECASTING:
        return _windows(reader.columns(result, ("row", "label", "prediction")))
    if name in LANGUAGE:
        return _losses(reader.columns(result, ("row", "loss_sum", "tokens", "bytes")))
    read = reader.labels(result)
    return None if read is None else Rows(read.row, read.label, read.prediction, read.group)


def row_metrics(result: Result) -> dict[str, RowMetric]:
    """The metrics of a run's task that can be computed from rows, by their names in the record."""
    task = result.section("task")
    name = task.get("name")
    if name == TAGGING:
        return TAGS | _of_class(task, None)
    if name in GENERATION:
        return TEXTS
    if name == FORECASTING:
        return forecasts(_scale(result))
    if name in LANGUAGE:
        return LANGUAGE_MODELS
    if task.get("problem_type") == "regression":
        return NUMBERS
    names = result.label_names()
    return classification(None if names is None else len(names)) | _of_class(task, names or [])


def _of_class(task: Mapping[str, Any], names: Sequence[str] | None) -> dict[str, RowMetric]:
    """The main metric, if it is the score of a class; `names` are the names of class ids, None for tags."""
    main = str(task.get("main_metric"))
    if (found := named_class(main)) is None:
        return {}
    score, name = found
    if names is None:
        return {main: score_of_class(score, partial(tag_counts, name, bool(task.get("tag_scheme"))))}
    return {main: score_of_class(score, partial(class_counts, names.index(name)))} if name in names else {}


def score_rows(result: Result, metric: str, reader: PredictionReader) -> ScoredRows | None:
    """The quantities of `metric` in the run's test rows; None if they cannot be computed."""
    known = row_metrics(result).get(metric)
    rows = None if known is None else read_rows(result, reader)
    if known is None or rows is None:
        return None
    try:
        quantities = known.quantities(rows.label, rows.prediction)
    except UserError:  # sacrebleu is not installed here; the report works without it
        return None
    return ScoredRows(rows.key, quantities, known, rows.clusters)


def _lists(table: pa.Table | None, label: str) -> Rows | None:
    if table is None or not {label, "prediction"} <= set(table.column_names):
        return None
    expected, made = (table.column(name).to_pylist() for name in (label, "prediction"))
    return Rows(column(table, "row"), expected, made, clusters(table))


def _losses(table: pa.Table | None) -> Rows | None:
    if table is None or not {"loss_sum", "tokens"} <= set(table.column_names):
        return None
    tokens, loss = column(table, "tokens"), column(table, "loss_sum")
    size = column(table, "bytes") if "bytes" in table.column_names else np.full(len(tokens), np.nan)
    return Rows(column(table, "row"), np.column_stack([tokens, size]), loss, tokens=True)


def _windows(table: pa.Table | None) -> Rows | None:
    if table is None or not {"label", "prediction"} <= set(table.column_names):
        return None
    row, label = column(table, "row"), _nested(table, "label")
    return Rows(row, label, _nested(table, "prediction"))


def _scale(result: Result) -> np.ndarray | None:
    """The seasonal errors that `mase` divides by: from the record, or for one variable the ratio of MAE and MASE."""
    if (recorded := result.record.get("seasonal_error")) is not None:
        return np.array([np.nan if error is None else error for error in recorded], dtype=float)
    reached = result.metrics("test")
    several = any(name.startswith("mae_") for name in reached)
    if several or not reached.get("mase") or not reached.get("mae"):
        return None
    return np.array([reached["mae"] / reached["mase"]])


def _nested(table: pa.Table, name: str) -> np.ndarray:
    """A column of lists, or of lists of lists, as floats (rows, steps) or (rows, steps, variables); NaN for null."""
    import pyarrow as pa

    values, shape = table.column(name).combine_chunks(), [table.num_rows]
    while pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        inner = values.flatten()
        shape.append(len(inner) // len(values))
        values = inner
    return values.to_numpy(zero_copy_only=False).astype(float).reshape(shape)
