"""What a run asks of every task, whatever its rows are: texts, tagged words, pairs of sentences, images or series."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from ..data.sources import Source, load_source
from ..data.splits import SYNONYMS, find_split
from ..errors import UserError, listing
from .split_roles import assign_parts, named_splits, within_budgets

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from datasets import Dataset, DatasetDict
    from torch import Tensor
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase
    from transformers.utils import ModelOutput

    from ..config.arguments import DataArguments, ModelArguments

logger = logging.getLogger(__name__)

# What evaluation gathers: one array, or several, with a line for each row.
Answers = Any


class Task(ABC):
    """What is learned from a dataset: its rows, how they become model inputs, the kind of head, how answers are judged.

    Call `prepare` (or `prepare_for_prediction`) first; everything else describes what it found. A "processing" is
    whatever turns rows into inputs: a tokenizer, two of them, an image processor with one, constants of scale. It has
    `save_pretrained`, and is saved with the model.

    Class attributes:
        auto_class: the Auto class of transformers that makes the model.
        generates: answers are what `generate` writes; the generated ids are gathered behind those of `answers`.
        label_name: the argument of the model that takes the targets.
        collated_columns: columns that the collator reads, beside those that are arguments of the model.
    """

    name: ClassVar[str]
    auto_class: ClassVar[str]
    generates: ClassVar[bool] = False
    label_name: ClassVar[str] = "labels"
    collated_columns: ClassVar[tuple[str, ...]] = ()
    problem_type: str | None = None
    main_metric: str
    greater_is_better: bool = True

    def __init__(self, arguments: DataArguments) -> None:
        self.arguments = arguments
        self.labels: list[str] | None = None
        self._record: dict[str, Any] = {}

    # Rows

    @abstractmethod
    def prepare(self, seed: int) -> DatasetDict:
        """Load, check, cut and budget the data.

        Returns:
            "train", "validation" and "test", each with `row` (its index in the source's split) and what the task keeps.

        Raises:
            UserError: whatever is wrong with the source, columns, values, splits or budgets.
        """

    def record(self) -> dict[str, Any]:
        """The parts "dataset", "task" and "budget" of the result record, after `prepare`."""
        if not self._record:
            raise RuntimeError("Task.record() describes prepared data: call prepare() first")
        return self._record

    def _describe(
        self, source: Source, columns: Mapping[str, Any], rows: Mapping[str, int], origins: Mapping[str, str], *,
        constant_answer: Any = None, **more: Any,
    ) -> dict[str, Any]:  # fmt: skip
        """What `record` returns.

        Args:
            columns: the names of the columns by their roles.
            rows: how many rows each of "train", "validation" and "test" has.
            origins: the role whose split the rows of "validation" and of "test" come from.
            constant_answer: the best that can be said without reading, where that makes sense.
            more: what else there is to say of the task.
        """
        return {
            "dataset": {
                **source.record,
                "columns": dict(columns),
                "rows": dict(rows),
                "validation_from": origins["validation"],
                "test_from": origins["test"],
            },
            "task": {
                "name": self.name,
                "problem_type": self.problem_type,
                "labels": self.labels,
                "main_metric": self.main_metric,
                "greater_is_better": self.greater_is_better,
                **more,
            },
            "budget": {
                "label_budget": self.arguments.label_budget,
                "validation_budget": self.arguments.validation_budget,
                "train_labels": rows["train"],
                "validation_labels": rows["validation"],
                "constant_answer": constant_answer,
            },
        }

    @classmethod
    def for_model(cls, arguments: DataArguments, config: PreTrainedConfig) -> Self:
        """The task of a trained model, with what its configuration says of it."""
        task = cls(arguments)
        task._adopt(config)
        return task

    def _adopt(self, config: PreTrainedConfig) -> None:  # noqa: B027  most tasks have nothing to learn from it
        """Take from a trained model's configuration what the task needs: its classes, for one."""

    @abstractmethod
    def prepare_for_prediction(self, split: str | None = None) -> Dataset:
        """The rows of one split, with their targets where the dataset has them.

        Args:
            split: a name, or a usual synonym of it; by default the test split, or the only one there is.

        Raises:
            UserError: as `prepare`.
        """

    def _prediction_split(self, source: Source, split: str | None) -> str:
        names = list(source.dataset)
        if split is None:
            found = find_split(names, "test", self.arguments.test_split_name) or (names[0] if len(names) == 1 else None)
        elif split in names:
            found = split
        else:
            role = next((role for role, synonyms in SYNONYMS.items() if split in synonyms), None)
            found = find_split(names, role) if role is not None else None
        if found is None:
            missing = "no test split" if split is None else f"no split {split!r}"
            raise UserError(f"The dataset {source.record['name']!r} has {missing}; its splits are {listing(names)}.")
        return found

    # From rows to model inputs

    @abstractmethod
    def make_processing(self, arguments: ModelArguments, splits: DatasetDict) -> Any:
        """What turns rows into inputs of the model that is asked for, made from the training rows where need be."""

    @abstractmethod
    def load_processing(self, arguments: ModelArguments) -> Any:
        """The same as it was saved with a trained model."""

    def tokenizer(self, processing: Any) -> PreTrainedTokenizerBase | None:
        """The tokenizer of the model's inputs within a processing; None where there are no tokens."""
        return processing

    @abstractmethod
    def config_arguments(self, processing: Any) -> dict[str, Any]:
        """What a model's configuration has to be told: classes and problem type, vocabularies, sizes of inputs.

        Of these an architecture is told what its configuration has fields for.
        """

    def _class_arguments(self) -> dict[str, Any]:
        """The classes by id and by name, as configurations have them."""
        assert self.labels is not None
        return {
            "num_labels": len(self.labels),
            "id2label": dict(enumerate(self.labels)),
            "label2id": {name: index for index, name in enumerate(self.labels)},
        }

    def adapt(self, model: Any, processing: Any) -> None:  # noqa: B027  most models have nothing of the kind
        """Give a model what is neither in its configuration nor learned, such as constants of scale."""

    @abstractmethod
    def encode(self, dataset: DatasetDict, processing: Any, max_length: int | None) -> DatasetDict:
        """Model inputs of every split, `length` (by which rows are grouped), and `label_name` where there are targets.

        Args:
            max_length: the most tokens of a text; None for no limit.
        """

    @abstractmethod
    def collator(self, processing: Any, model: Any) -> Callable[[list[dict[str, Any]]], dict[str, Any]]:
        """Makes a padded batch of encoded rows."""

    # The loss

    def loss(self, label_smoothing: float) -> Callable[..., Tensor] | None:
        """From `outputs, labels, num_items_in_batch` to the loss of a batch; None for the model's own.

        A loss that is its own does not smooth labels.
        """
        if label_smoothing:
            raise UserError(
                f"--label_smoothing_factor is {label_smoothing:g}, but --task {self.name} does not support label "
                "smoothing: remove it."
            )
        return None

    def counted(self, batch: dict[str, Any]) -> Tensor:
        """The targets of a batch with -100 at those that no loss counts: their number is what losses are divided by."""
        return batch[self.label_name]

    def blank(self, row: dict[str, Any]) -> dict[str, Any]:
        """An encoded row without a target that counts, to fill the last batch of several processes."""
        return {**row, self.label_name: _ignored(row[self.label_name])}

    # Answers

    @abstractmethod
    def answers(self, outputs: ModelOutput, labels: Tensor | None) -> Any:
        """What is gathered of a batch to judge it: a tensor, or a tuple of them, with a line for each row."""

    @abstractmethod
    def metrics(self, answers: Answers, labels: np.ndarray, rows: Dataset | None = None) -> dict[str, float]:
        """The loss and all metrics over the rows of a split.

        Args:
            answers: what `answers` returned (with `generates`, and the generated ids behind it), gathered; what differs
                in length from batch to batch is filled with -100.
            labels: the targets, filled likewise.
            rows: the encoded rows in the same order, with all columns that `encode` left in them, such as references
                that the model itself never sees. Tasks that need none can do without.
        """

    @abstractmethod
    def predictions(self, answers: Answers, split: Dataset) -> pd.DataFrame:
        """A line for each row of `split`, as `prepare` or `prepare_for_prediction` returned it; `row` comes first."""

    def draw(self, answers: Answers, split: Dataset, folder: Path) -> None:  # noqa: B027  most tasks have none
        """Leave pictures of the answers in a folder, named in `PICTURES` of `records/output_dir.py`."""

    def details(self, answers: Answers, split: Dataset) -> dict[str, Any]:
        """More to say in the result record: how answers were judged, and a few of those for the test split."""
        return {}


class RowTask(Task):
    """A task whose examples are rows of a dataset, each by itself, so that they can be held out and budgeted at random.

    Class attributes:
        target: what a row is labelled with, in words.
        is_stratified: whether encoded targets are labels as `strata` takes them; otherwise all rows count as alike.
    """

    target: ClassVar[str] = "a label"
    is_stratified: ClassVar[bool] = False
    columns: Any

    @abstractmethod
    def _find_columns(self, features: Any, required: bool = True) -> Any:
        """The roles of the columns; unless `required`, there may be none for targets."""

    @abstractmethod
    def _roles(self) -> dict[str, str | None]:
        """The names of the columns by their roles, as the result record has them."""

    @abstractmethod
    def _read_inputs(self, split: Dataset, name: str) -> Any:
        """What `_rows` takes inputs out of, checked."""

    @abstractmethod
    def _read_targets(self, split: Dataset, name: str, inputs: Any) -> tuple[Any, np.ndarray]:
        """The targets of a split as they stand there, and which rows have one (rows,)."""

    @abstractmethod
    def _rows(self, inputs: Any, targets: Any, rows: np.ndarray) -> Dataset:
        """Rows of a split by their numbers, `row` first; `targets` is None where there are none."""

    def _has_targets(self, role: str, split: Dataset) -> bool:
        """Whether a split may play a role: the authors of some keep the targets of a test split to themselves."""
        return True

    def _learn(self, targets: list[Any]) -> None:  # noqa: B027  most tasks have no classes
        """Settle the classes from the targets of all splits in use."""

    def _encode(self, targets: Any, name: str) -> Any:
        """Targets as `_rows` takes them, once the classes are settled."""
        return targets

    def _training_facts(self, targets: Any, rows: np.ndarray) -> dict[str, Any]:
        """Check the targets of the training rows; returns what else `_describe` is told."""
        return {}

    def prepare(self, seed: int) -> DatasetDict:
        """As in `Task`.

        Without a validation split, rows of the training split are held out by the run's seed. Without a test split
        that has targets, the validation split becomes the test split; without that either, rows of the training split
        are held out, the same for every seed.
        """
        from datasets import DatasetDict

        source = load_source(self.arguments)
        splits = named_splits(list(source.dataset), self.arguments)
        self.columns = self._find_columns(source.dataset[splits["train"]].features)
        inputs, read, labelled = {}, {}, {}
        for role, name in list(splits.items()):
            split = source.dataset[name]
            is_meant = role == "train" or getattr(self.arguments, f"{role}_split_name") is not None
            if is_meant or self._has_targets(role, split):
                own = self._read_inputs(split, name)
                targets, has_target = self._read_targets(split, name, own)
                if has_target.any():
                    inputs[name], read[name], labelled[name] = own, targets, has_target
                    if not has_target.all():
                        logger.warning(
                            "%d of %d rows of split %r have no label and are not used.",
                            (~has_target).sum(), len(has_target), name,
                        )  # fmt: skip
                    continue
                if is_meant:
                    column = self._roles()["label"]
                    raise UserError(f"No row of the {role} split {name!r} has {self.target} in column {column!r}.")
            del splits[role]
        self._learn(list(read.values()))
        encoded = {name: self._encode(own, name) for name, own in read.items()}
        strata = encoded if self.is_stratified else {name: np.zeros(len(own), int) for name, own in labelled.items()}
        numbers = {name: np.flatnonzero(own) for name, own in labelled.items()}
        parts = assign_parts(splits, strata, numbers, self.arguments, seed)
        parts = within_budgets(parts, strata, self.arguments, seed)
        facts = self._training_facts(encoded[parts["train"].split], parts["train"].rows)
        rows = {role: len(part.rows) for role, part in parts.items()}
        origins = {role: part.origin for role, part in parts.items()}
        self._record = self._describe(source, self._roles(), rows, origins, **facts)
        return DatasetDict(
            {role: self._rows(inputs[part.split], encoded[part.split], part.rows) for role, part in parts.items()}
        )

    def prepare_for_prediction(self, split: str | None = None) -> Dataset:
        """As in `Task`."""
        source = load_source(self.arguments)
        name = self._prediction_split(source, split)
        rows = source.dataset[name]
        self.columns = self._find_columns(rows.features, required=False)
        inputs = self._read_inputs(rows, name)
        return self._rows(inputs, self._known_targets(rows, name, inputs), np.arange(len(rows)))

    def _known_targets(self, split: Dataset, name: str, inputs: Any) -> Any:
        """The encoded targets of a split if every row has one, else None: then there are no metrics."""
        if self._roles()["label"] is None:
            return None
        targets, has_target = self._read_targets(split, name, inputs)
        if has_target.all():
            return self._encode(targets, name)
        if has_target.any():
            logger.warning("Some rows of split %r do not have %s: no metrics are computed.", name, self.target)
        return None


def classes_of(config: PreTrainedConfig) -> list[str]:
    """The names of a trained model's classes in the order of their ids, which transformers read as integers again."""
    return [str(name) for _, name in sorted((config.id2label or {}).items())]


def _ignored(labels: Any) -> Any:
    """Labels of the same shape and type, all of them -100."""
    return [_ignored(label) for label in labels] if isinstance(labels, list) else type(labels)(-100)


def check_rows(answers: int, rows: int) -> None:
    """Every row has its answer, or something is wrong with how they were gathered."""
    if answers != rows:
        raise ValueError(f"there are {answers} predictions for {rows} rows")
