"""The common part of tasks on labelled texts: checked, budgeted and tokenised splits."""

from __future__ import annotations

import functools
import hashlib
import logging
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..data.column_roles import Columns, check_texts, find_columns, is_label_name
from ..data.column_types import is_float
from ..data.encoding import TextCollator, encode_texts, truncation
from ..data.fingerprints import fingerprint
from ..data.rows_on_disk import as_dataset, select_rows
from ..data.sources import load_source
from ..errors import UserError
from ..metrics.scores import constant_answer
from ..shared_work import shared
from .base import RowTask, check_rows
from .split_roles import named_splits

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from datasets import Dataset, DatasetDict
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase
    from transformers.utils import ModelOutput

    from ..config.arguments import ModelArguments

logger = logging.getLogger(__name__)

_SHOWN_CHARACTERS = 400
_BATCH = 1000
# The types of labels in predictions.
_LABEL_TYPES = {
    "single_label_classification": np.int64,
    "multi_label_classification": np.int8,
    "regression": np.float64,
}


class TextTask(RowTask):
    """A label or a number for each text, or pair of texts.

    Rows have the columns `row`, `text`, optionally `text_pair`, and `label`: a class id, 0/1 per class, or a number.
    """

    auto_class: ClassVar[str] = "AutoModelForSequenceClassification"
    is_stratified: ClassVar[bool] = True
    texts: ClassVar[tuple[str, ...]] = ("text", "text_pair")
    columns: Columns
    problem_type: str

    # Methods of each task

    @abstractmethod
    def _scores(self, logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """Metrics over all rows of a split, from logits `[rows, num_labels]` and labels in the form of `encode`."""

    @abstractmethod
    def _prediction_columns(self, logits: np.ndarray) -> dict[str, Any]:
        """Columns `prediction` and `scores` from logits."""

    # Rows

    def _find_columns(self, features: Any, required: bool = True) -> Columns:
        return find_columns(
            features,
            text_column=self.arguments.text_column,
            text_pair_column=self.arguments.text_pair_column,
            label_column=self.arguments.label_column,
            regression=self.problem_type == "regression",
            label_required=required,
        )

    def look_at_columns(self) -> None:
        """Set `columns` and `problem_type`, as `prepare` does.

        Raises:
            UserError: the source or the columns are not valid.
        """
        source = load_source(self.arguments).dataset
        self.columns = self._find_columns(source[named_splits(list(source), self.arguments)["train"]].features)

    def _label_columns(self) -> tuple[str, ...]:
        label = self.columns.label
        return (label,) if isinstance(label, str) else label or ()

    def _label_name(self) -> str | None:
        return ",".join(self._label_columns()) or None

    def _used_columns(self) -> list[str]:
        return [name for name in (self.columns.text, self.columns.text_pair, *self._label_columns()) if name]

    def _roles(self) -> dict[str, str | None]:
        return {"text": self.columns.text, "text_pair": self.columns.text_pair, "label": self._label_name()}

    def _has_targets(self, role: str, split: Dataset) -> bool:
        return set(self._label_columns()) <= set(split.column_names)

    def _read_inputs(self, split: Dataset, name: str) -> Dataset:
        texts = [column for column in (self.columns.text, self.columns.text_pair) if column is not None]
        check_texts(split, name, texts, self._label_columns())
        return split

    def _training_facts(self, targets: np.ndarray, rows: np.ndarray) -> dict[str, Any]:
        return {"constant_answer": constant_answer(targets[rows])}

    def _known_targets(self, split: Dataset, name: str, inputs: Dataset) -> np.ndarray | None:
        try:
            return super()._known_targets(split, name, inputs)
        except UserError:
            # A column that was guessed to be the label, as the only one left, may contain something else.
            label = self.columns.label
            if self.arguments.label_column is not None or not isinstance(label, str):
                raise
            if is_label_name(label) and not is_float(split.features[label]):
                raise
            logger.warning("Column %r does not contain labels of this model: no metrics are computed.", label)
            return None

    def _rows(self, inputs: Dataset, targets: np.ndarray | None, rows: np.ndarray) -> Dataset:
        import pyarrow as pa

        columns: dict[str, Any] = {"row": pa.array(rows.astype(np.int64))}
        roles = {role: name for role in ("text", "text_pair") if (name := getattr(self.columns, role)) is not None}
        table = inputs.with_format("arrow")[:]
        # 64-bit offsets: with more than 2 GB of text, selecting rows would overflow 32-bit offsets.
        texts = pa.table({role: table.column(name).cast(pa.large_string()) for role, name in roles.items()})
        columns |= dict(zip(roles, select_rows(texts, rows).columns, strict=True))
        if targets is not None:
            columns["label"] = _label_array(targets[rows])
        return as_dataset(pa.table(columns))

    # From splits to model inputs, and from model outputs to predictions

    def make_processing(self, arguments: ModelArguments, splits: DatasetDict) -> PreTrainedTokenizerBase:
        from ..data.tokenizers import kind_for
        from ..loading.tokenizer import make_tokenizer

        training = splits["train"]
        if arguments.model_type and not arguments.tokenizer_name:
            arguments = replace(arguments, tokenizer_name=kind_for(_texts(training.take(min(1000, len(training))))))
        return make_tokenizer(arguments, lambda: _texts(training), self.arguments.max_length)

    def load_processing(self, arguments: ModelArguments) -> PreTrainedTokenizerBase:
        from ..loading.tokenizer import load_tokenizer

        return load_tokenizer(arguments)

    def encode(self, dataset: DatasetDict, processing: PreTrainedTokenizerBase, max_length: int | None) -> DatasetDict:
        """Tokenised splits: the tokenizer's outputs, `length`, `is_cut`, and `labels` if the split has `label`.

        Texts are truncated to `max_length` tokens, and to the tokenizer's own limit.
        """
        import pyarrow as pa
        from datasets import DatasetDict

        # The types that the loss expects: int64 class ids, float32 for all others.
        types = {"single_label_classification": pa.int64(), "multi_label_classification": pa.list_(pa.float32())}
        label_type = types.get(self.problem_type, pa.float32())
        encoded = {}
        rules = functools.cache(functools.partial(_rules_of, processing))  # those before the first call
        for name, split in dataset.items():
            columns = self._encoded_texts(split, processing, max_length, rules)
            if "label" in split.column_names:
                labels = split.with_format("arrow")[:]["label"].cast(label_type)
                columns = columns.append_column("labels", labels)
            encoded[name] = as_dataset(columns)
        return DatasetDict(encoded)

    def _encoded_texts(
        self,
        split: Dataset,
        tokenizer: PreTrainedTokenizerBase,
        max_length: int | None,
        rules: Callable[[], str | None],
    ) -> pa.Table:
        """The columns of `encode_texts`, which runs with the same texts and `rules` of their tokenizer share."""
        import pyarrow as pa
        from datasets import DatasetDict

        texts = split.select_columns([name for name in self.texts if name in split.column_names])
        encoded = shared(
            "encoded texts",
            lambda: rules() and (rules(), max_length, fingerprint(DatasetDict({"": texts}))),
            lambda: pa.table(encode_texts(texts, tokenizer, max_length)),
            lambda table: table.nbytes,
        )
        tokenizer("", **truncation(tokenizer, max_length, "text_pair" in texts.column_names))  # saved with this limit
        return encoded

    def collator(self, processing: PreTrainedTokenizerBase, model: Any = None) -> TextCollator:
        return TextCollator(processing)

    def loss(self, label_smoothing: float) -> Callable[..., Tensor]:
        from .losses import batch_mean_loss

        return batch_mean_loss(self.problem_type, label_smoothing, self.class_weights)

    def answers(self, outputs: ModelOutput, labels: Tensor | None) -> Tensor:
        return outputs["logits"]

    def metrics(self, answers: np.ndarray, labels: np.ndarray, rows: Dataset | None = None) -> dict[str, float]:
        """The loss and the metrics of the problem type, from logits `[rows, num_labels]`."""
        from .losses import mean_loss

        return {"loss": mean_loss(answers, labels, self.problem_type), **self._scores(answers, labels)}

    def predictions(self, answers: np.ndarray, split: Dataset) -> pd.DataFrame:
        """One line per row: `row`, `text` (its beginning), `text_pair`, `label`, `prediction`, `scores`.

        With classes, `label_name` and `prediction_name` follow the ids; for a multi-label problem they are lists of the
        names of the classes that apply.
        """
        import pandas as pd

        check_rows(len(answers), len(split))
        columns: dict[str, Any] = {"row": split.with_format("arrow")[:]["row"].to_numpy()}
        for name in ("text", "text_pair"):
            if name in split.column_names:
                columns[name] = [text[:_SHOWN_CHARACTERS] for text in split[name][:]]
        if "label" in split.column_names:
            labels = np.asarray(split["label"][:], dtype=_LABEL_TYPES[self.problem_type])
            columns["label"] = list(labels) if labels.ndim == 2 else labels
            columns |= self._named("label", labels)
        found = self._prediction_columns(np.asarray(answers))
        named = self._named("prediction", np.asarray(list(found["prediction"])))
        return pd.DataFrame({**columns, "prediction": found["prediction"], **named, **found})

    def _named(self, column: str, ids: np.ndarray) -> dict[str, list[Any]]:
        """The class names of a column: one name per id, or a list of names per row of 0/1 indicators."""
        if self.labels is None:
            return {}
        if ids.ndim == 2:
            return {f"{column}_name": [[self.labels[place] for place in np.flatnonzero(row)] for row in ids]}
        return {f"{column}_name": [self.labels[place] for place in ids]}


def _rules_of(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """A hash of all that determines the tokens of a text; None for a tokenizer in Python, which may do anything."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    limits = (tokenizer.model_max_length, tokenizer.truncation_side, tokenizer.padding_side)
    settings = [type(tokenizer).__name__, tokenizer.model_input_names, tokenizer.special_tokens_map, limits]
    return hashlib.blake2b(repr([settings, backend.to_str()]).encode(), digest_size=16).hexdigest()


def _texts(dataset: Dataset) -> Iterator[str]:
    table = dataset.with_format("arrow")[:]
    for column in sorted({"text", "text_pair"} & set(table.column_names)):
        for batch in table.select([column]).to_batches(_BATCH):
            yield from batch.column(0).to_pylist()


def _label_array(labels: np.ndarray) -> Any:
    import pyarrow as pa

    if labels.ndim == 1:
        return pa.array(labels)
    offsets = np.arange(len(labels) + 1, dtype=np.int32) * labels.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.ascontiguousarray(labels).reshape(-1)))
