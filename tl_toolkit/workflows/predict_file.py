"""`predict` on a file: read in chunks, and given back with the predictions as columns."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from ..data.column_roles import TEXT_NAMES, is_label_name
from ..data.local_files import local_paths
from ..data.returned_files import Added, ReturnedFile, returned_file, stream_suffix
from ..data.rows_on_disk import as_dataset
from ..data.sources import Source
from ..data.special_column_roles import TAGS_NAMES
from ..errors import UserError, listing
from ..tasks.text import TextTask
from ..tasks.text_classification import MULTI_LABEL
from .failures import explaining
from .predictions import answers_in_order, join_rows

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from datasets import Dataset

    from .predictor import PredictArguments, Predictor

logger = logging.getLogger(__name__)

STREAM = "-"
"""The name of a dataset that is read from standard input and given back on standard output."""
PREDICTIONS = "predictions.parquet"
RETURNED = "csv, tsv, jsonl, parquet or txt"
OPTIONS = ("scores", "threshold", "min_confidence")
"""The arguments about the file that is given back."""
_DIGITS = 6


class Written(NamedTuple):
    """What was written: the metrics, the first predictions or all, and how many there are.

    Attributes:
        abstained: rows whose prediction is empty in the file.
        returned: the name of the file with the predictions as columns; None without one.
    """

    metrics: dict[str, float]
    head: pd.DataFrame
    rows: int
    abstained: int = 0
    returned: str | None = None


@contextlib.contextmanager
def opened(name: str | None, text_columns: list[str]) -> Iterator[ReturnedFile | None]:
    """Provide the file of `--dataset_name` if it can be given back; standard input is copied to a file first."""
    if name != STREAM:
        paths = local_paths(name) if name and not name.startswith("builtin:") else []
        yield returned_file(paths[0]) if len(paths) == 1 and paths[0].is_file() else None
        return
    first = sys.stdin.buffer.readline()
    suffix = stream_suffix(first.decode("utf-8", errors="ignore"), [*text_columns, *TEXT_NAMES])
    with NamedTemporaryFile(prefix="standard-input-", suffix=suffix) as copy:
        copy.write(first)
        while block := sys.stdin.buffer.read(1 << 20):
            copy.write(block)
        copy.flush()
        if not copy.tell():
            raise UserError("Standard input, which --dataset_name - reads, is empty. Pipe rows into the command.")
        yield returned_file(Path(copy.name))


def answer_file(predictor: Predictor, file: ReturnedFile, folder: Path | None, stream: BinaryIO | None) -> Written:
    """Predict the rows of a file, chunk by chunk.

    Args:
        folder: gets `predictions.parquet`, and the file with the predictions as columns; None for another process.
        stream: gets that file instead.

    Raises:
        UserError: a row that cannot be read, an argument that does not apply, a column that is there already, or a
            label that the model does not know.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq
    from tqdm.auto import tqdm

    arguments = predictor.arguments
    name = "standard input" if arguments.data.dataset_name == STREAM else repr(str(file.path))
    _check_options(arguments.predict, predictor.task)
    output_dir = Path(arguments.run.output_dir)
    returned = "predicted.parquet" if file.suffix == ".parquet" else f"predictions{file.suffix}"
    if file.path.resolve() in {(output_dir / own).resolve() for own in (returned, PREDICTIONS)}:
        raise UserError(f"{name} would be overwritten with its predictions: choose another --output_dir.")
    file.scan()
    added = _AddedColumns(arguments.predict, predictor.task, list(file.types), name)
    rows = _Rows(predictor, file, name)
    if folder is not None:
        notes = f" ({file.notes})" if file.notes else ""
        print(f"Read {file.rows:,} rows of {file.rows:,} from {name}{notes}.", file=sys.stderr)
    head: pd.DataFrame | None = None
    quiet = True if folder is None or arguments.run.disable_tqdm else None  # None: unless it is a terminal
    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(tqdm(total=file.rows, desc="Predicting", unit=" rows", disable=quiet))
        if folder is not None:
            output = stream or stack.enter_context((folder / returned).open("wb"))
            write = stack.enter_context(file.writing(output, added.types))
        for chunk in file.chunks():
            has_text = rows.have_text(chunk.table)
            frame = rows.predictions(chunk.table, has_text)
            if folder is not None:
                write(chunk, added.of(frame, has_text))
            if folder is not None and frame is not None:
                table = pa.Table.from_pandas(frame, preserve_index=False)
                if head is None:
                    schema = pa.schema([(own.name, _filled(own.type)) for own in table.schema])
                    parquet = stack.enter_context(pq.ParquetWriter(folder / PREDICTIONS, schema))
                parquet.write_table(_with_schema(table, schema))
            head = frame if head is None else head
            bar.update(len(has_text))
    if head is None:
        raise UserError(f"No row of {name} has a text in each of the columns {listing(rows.inputs)}.")
    return Written(rows.finish(), head, file.rows, added.abstained, None if stream else returned)


class _Rows:
    """Predicts the chunks of a file, and computes the metrics over all of them."""

    def __init__(self, predictor: Predictor, file: ReturnedFile, name: str) -> None:
        from datasets import Dataset

        self.predictor = predictor
        self.task: Any = predictor.task
        self.seen = self.done = self.cut = 0
        self.answers: list[Any] = []
        self.labels: list[np.ndarray] = []
        self.encoded: list[Dataset] = []
        features = Dataset(file.schema.empty_table()).features
        predictor.read_as_trained(features)
        arguments = self.task.arguments
        self.is_named = arguments.label_column is not None
        columns = self._find_columns(features, {arguments.text_column, arguments.text_pair_column})
        texts = [columns.text, getattr(columns, "text_pair", None)]
        label = columns.label if isinstance(columns.label, tuple) else (columns.label,)
        self.inputs = [text for text in texts if text is not None]
        self.targets = [target for target in label if target is not None]
        for text in self.inputs:
            if count := file.missing[text][0]:
                logger.warning(
                    f"{count:,} of {file.rows:,} rows of {name} have no text in column {text!r}, and get no "
                    f"prediction. The first one is row {file.missing[text][1]}."
                )
        if any(file.missing[target][0] for target in self.targets):
            if any(file.missing[target][0] < file.rows for target in self.targets):
                logger.warning("Some rows of %s have no label: no metrics are computed.", name)
            self.targets = []
        named = {"text_column": columns.text, "label_column": ",".join(self.targets) or None}
        if len(texts) > 1 and texts[1]:
            named["text_pair_column"] = texts[1]
        self.task.arguments = replace(self.task.arguments, **named)

    def _find_columns(self, features: Any, texts: set[str | None]) -> Any:
        """The columns to read. Labels that nobody named have a usual name, because a file may have other columns."""
        if not self.is_named and texts & set(features):
            usual = (*TAGS_NAMES, *(name for name in features if is_label_name(name)))
            with contextlib.suppress(UserError):
                labelled = {name: kind for name, kind in features.items() if name in texts or name in usual}
                return self.task._find_columns(labelled, required=False)
            features = {name: kind for name, kind in features.items() if name in texts}
        return self.task._find_columns(features, required=False)

    def _prepared(self, table: pa.Table) -> Dataset:
        from datasets import DatasetDict

        chosen = as_dataset(table.select([*self.inputs, *self.targets]))
        source = Source(DatasetDict({"train": chosen}), {"name": self.predictor.data.dataset_name})
        try:
            return self.task.prepare_for_prediction(self.predictor.arguments.predict.split, source)
        except UserError:
            if self.is_named or not self.targets:
                raise
        logger.warning("Column %r does not contain labels of this model: no metrics are computed.", self.targets[0])
        self.targets = []
        self.task.arguments = replace(self.task.arguments, label_column=None)
        return self._prepared(table)

    def have_text(self, table: pa.Table) -> np.ndarray:
        """Whether each row has its texts, bool (rows,)."""
        columns = [np.asarray(table.column(text).is_valid()) for text in self.inputs]
        return np.logical_and.reduce(columns)

    def predictions(self, table: pa.Table, has_text: np.ndarray) -> pd.DataFrame | None:
        """The predictions of those of the next rows that have texts; None if none has."""
        places = self.seen + np.flatnonzero(has_text)
        self.seen += len(has_text)
        if not len(places):
            return None
        rows = self._prepared(table.filter(has_text))
        if not self.done:
            self.predictor.warn_about_targets(rows.column_names)
        encoded = self.predictor.encode(rows)
        with explaining():
            answers, labels = answers_in_order(self.predictor.trainer, encoded)
        frame = self.task.predictions(answers, rows)
        frame["row"] = places
        self.done += len(rows)
        self.cut += int(np.count_nonzero(encoded.with_format("arrow")[:]["is_cut"]))
        if self.targets:
            self.answers.append(answers)
            self.labels.append(labels)
            self.encoded.append(encoded.remove_columns(["input_ids", "attention_mask"]))
        return frame

    def finish(self) -> dict[str, float]:
        """Warn of truncated texts, and return the metrics; they are empty without labels."""
        from datasets import concatenate_datasets
        from transformers import EvalPrediction

        if self.cut:
            splits = {"split 'train'": {"count": self.cut, "of": self.done}}
            self.predictor.warn_about_length({"truncated": {"length": self.predictor.limit, "splits": splits}})
        if not self.targets:
            return {}
        trainer = self.predictor.trainer
        trainer._rows = concatenate_datasets(self.encoded)
        places = np.split(np.arange(self.done), np.cumsum([len(own) for own in self.labels])[:-1])
        return trainer._metrics(EvalPrediction(join_rows(self.answers, places), join_rows(self.labels, places)))


class _AddedColumns:
    """The columns that are added to the rows of a file.

    Attributes:
        types: their Arrow types by name.
        abstained: how many rows have got an empty prediction.
    """

    def __init__(self, arguments: PredictArguments, task: Any, names: list[str], file: str) -> None:
        import pyarrow as pa

        self.arguments, self.labels = arguments, task.labels
        self.several = task.problem_type == MULTI_LABEL
        self.abstained = 0
        kind = pa.float64() if self.labels is None else pa.string()
        self.types = {"prediction": pa.list_(kind) if self.several or not isinstance(task, TextTask) else kind}
        if _has_scores(task):
            self.types["confidence"] = pa.float64()
            if arguments.scores:
                self.types |= {f"score_{label}": pa.float64() for label in self.labels}
        if taken := [name for name in self.types if name in names]:
            raise UserError(
                f"The column {taken[0]!r}, which predict adds, is already in {file}. Rename it: nothing in the file is "
                "overwritten."
            )

    def of(self, frame: pd.DataFrame | None, has_text: np.ndarray) -> Added:
        """The added columns of rows: values for those with texts, whose `Task.predictions` are in `frame`."""
        found = {} if frame is None else self._of(frame)
        values = {name: iter(found.get(name, ())) for name in self.types}
        return {name: [next(own) if has else None for has in has_text] for name, own in values.items()}

    def _of(self, frame: pd.DataFrame) -> Added:
        if "scores" not in frame:
            found = frame["prediction"].tolist()
            return {"prediction": [float(f"{one:.7g}") for one in found] if self.labels is None else found}
        scores = np.stack(frame["scores"].tolist()).astype(np.float64)
        if self.several:
            applies = scores >= (0.5 if self.arguments.threshold is None else self.arguments.threshold)
            named: list[Any] = [[self.labels[place] for place in np.flatnonzero(row)] for row in applies]
            confidence = np.where(applies, scores, 1 - scores).min(axis=1)
        else:
            named, confidence = frame["prediction_name"].tolist(), scores.max(axis=1)
        unsure = confidence < (self.arguments.min_confidence or 0)
        self.abstained += int(unsure.sum())
        for place in np.flatnonzero(unsure):
            named[place] = None
        added: dict[str, list[Any]] = {"prediction": named, "confidence": confidence.round(_DIGITS).tolist()}
        own = zip(list(self.types)[2:], scores.T, strict=False)  # no further columns without --scores
        return added | {name: column.round(_DIGITS).tolist() for name, column in own}


def _has_scores(task: Any) -> bool:
    return isinstance(task, TextTask) and task.labels is not None


def _check_options(arguments: PredictArguments, task: Any) -> None:
    """Raise `UserError` if an argument about probabilities does not apply to the task."""
    for name in OPTIONS:
        if getattr(arguments, name) not in (None, False) and not _has_scores(task):
            raise UserError(f"--{name} does not apply to {task.name}, which has no probabilities: leave it out.")
    if arguments.threshold is not None and task.problem_type != MULTI_LABEL:
        raise UserError(
            f"--threshold {arguments.threshold:g} is for models with several labels per row, but this one predicts one "
            "class. Use --min_confidence to leave unsure predictions empty."
        )


def _filled(kind: pa.DataType) -> pa.DataType:
    """A type in place of one that the first rows leave open: that of names."""
    import pyarrow as pa

    if pa.types.is_null(kind):
        return pa.string()
    return pa.list_(_filled(kind.value_type)) if pa.types.is_list(kind) else kind


def _with_schema(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """A table with the columns of a schema; those that it lacks are empty."""
    import pyarrow as pa

    known = set(table.column_names)
    columns = [table.column(own.name).cast(own.type) if own.name in known else pa.nulls(len(table), own.type)
               for own in schema]  # fmt: skip
    return pa.table(columns, schema=schema)
