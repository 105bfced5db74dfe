"""The interface of every task, whatever its rows are: texts, tagged words, pairs of sentences, images or series."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from ..data.look import look, without_duplicates
from ..data.sources import Source, load_source
from ..data.splits import SYNONYMS, find_split
from ..errors import UserError, listing
from .class_weights import class_weights
from .main_metric import Scored
from .split_roles import Part, assign_parts, named_splits, within_budgets

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from datasets import Dataset, DatasetDict
    from torch import Tensor
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase
    from transformers.utils import ModelOutput

    from ..config.arguments import DataArguments, ModelArguments

logger = logging.getLogger(__name__)

# The gathered outputs of an evaluation: one array or several, each with one entry per row.
Answers = Any


class Task(Scored, ABC):
    """A task on a dataset: its rows, the model inputs made from them, the type of head, and the metrics.

    Call `prepare` (or `prepare_for_prediction`) first; all other methods describe the prepared data. A "processing" is
    the processor that turns rows into inputs: a tokenizer, two tokenizers, a tokenizer and an image processor, or
    scaling constants. It has `save_pretrained` and is saved with the model.

    Class attributes:
        auto_class: the Auto class of transformers that builds the model.
        generates: predictions come from `generate`; the generated ids are gathered after the outputs of `answers`.
        label_name: the model argument that takes the targets.
        collated_columns: columns that the collator reads in addition to the model's arguments.
        texts: the columns of prepared rows whose texts (or lists of words) are compared to find duplicates.
        has_folds: rows can be divided for cross-validation.

    Attributes:
        class_weights: the weights of the classes in the training loss (classes,), see `losses.summed_loss`; None for
            equal weights.
    """

    auto_class: ClassVar[str]
    generates: ClassVar[bool] = False
    label_name: ClassVar[str] = "labels"
    collated_columns: ClassVar[tuple[str, ...]] = ()
    texts: ClassVar[tuple[str, ...]] = ()
    has_folds: ClassVar[bool] = False
    problem_type: str | None = None
    class_weights: Tensor | None = None

    def __init__(self, arguments: DataArguments) -> None:
        if arguments.class_weight is not None and not self.has_classes:
            raise UserError(f"--class_weight does not apply to --task {self.name}, which has no classes: remove it.")
        if arguments.folds is not None and not self.has_folds:
            raise UserError(f"--folds does not apply to --task {self.name}, whose rows are not independent: remove it.")
        self.arguments = arguments
        self.labels: list[str] | None = None
        self.groups: dict[str, np.ndarray] = {}
        """The group (rows,) of each row of a split, by its role; empty without --group_column."""
        self._record: dict[str, Any] = {}

    # Rows

    @abstractmethod
    def prepare(self, seed: int) -> DatasetDict:
        """Load and check the data, split it, and apply the budgets.

        Returns:
            "train", "validation" and "test", each with `row` (the index in the source split) and the task's columns.

        Raises:
            UserError: the source, columns, values, splits or budgets are not valid.
        """

    def rows_to_divide(self) -> int | None:
        """The number of labelled rows if all are training rows that can be divided into folds, otherwise None."""
        return None

    def record(self) -> dict[str, Any]:
        """The sections "dataset", "task" and "budget" of the result record, after `prepare`."""
        if not self._record:
            raise RuntimeError("Task.record() describes prepared data: call prepare() first")
        return self._record

    def _describe(
        self, source: Source, columns: Mapping[str, Any], rows: Mapping[str, int], origins: Mapping[str, str], *,
        constant_answer: Any = None, **more: Any,
    ) -> dict[str, Any]:  # fmt: skip
        """The value of `record`.

        Args:
            columns: column names by role.
            rows: the number of rows of "train", "validation" and "test".
            origins: the role of the split that the "validation" and "test" rows come from.
            constant_answer: the best constant prediction, for tasks that have one.
            more: further fields of the section "task".

        Raises:
            UserError: the task has no such main metric.
        """
        self.metric_of_class()
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
        """The task of a trained model, with the settings from its configuration."""
        task = cls(arguments)
        task._adopt(config)
        return task

    def _adopt(self, config: PreTrainedConfig) -> None:  # noqa: B027  most tasks need nothing from it
        """Copy the task's settings, such as the classes, from a trained model's configuration."""

    @abstractmethod
    def prepare_for_prediction(self, split: str | None = None, source: Source | None = None) -> Dataset:
        """The rows of one split, with targets if the dataset has them.

        Args:
            split: the split's name or a common synonym; by default the test split, or the only split.
            source: rows that are already loaded; by default those of the dataset that the arguments name.

        Raises:
            UserError: as `prepare`.
        """

    def prediction_split(self, source: Source, split: str | None) -> str:
        """The name of the split to predict; the arguments and errors are those of `prepare_for_prediction`."""
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
        """Create the processing for the requested model, from the training rows if necessary."""

    @abstractmethod
    def load_processing(self, arguments: ModelArguments) -> Any:
        """Load the processing that was saved with a trained model."""

    def tokenizer(self, processing: Any) -> PreTrainedTokenizerBase | None:
        """The tokenizer of the model's inputs in a processing; None if inputs are not tokens."""
        return processing

    @abstractmethod
    def config_arguments(self, processing: Any) -> dict[str, Any]:
        """Arguments for a model's configuration: classes and problem type, vocabularies, input sizes.

        Each architecture gets only those that its configuration has fields for.
        """

    def _class_arguments(self) -> dict[str, Any]:
        """The configuration fields for the classes: their number, and names by id and ids by name."""
        assert self.labels is not None
        return {
            "num_labels": len(self.labels),
            "id2label": dict(enumerate(self.labels)),
            "label2id": {name: index for index, name in enumerate(self.labels)},
        }

    def _set_class_weights(self, counts: np.ndarray, rows: int | None = None) -> dict[str, Any]:
        """Set the weights that `--class_weight` asks for, and return them by name; arguments as of `class_weights`."""
        if self.arguments.class_weight is None or self.labels is None:
            return {}
        import torch

        weights = class_weights(self.arguments.class_weight, self.labels, counts, rows)
        self.class_weights = torch.tensor(weights, dtype=torch.float32)
        return {"class_weights": dict(zip(self.labels, weights.tolist(), strict=True))}

    def adapt(self, model: Any, processing: Any) -> None:  # noqa: B027  most models need nothing more
        """Set values of a model that are neither in its configuration nor trained, such as scaling constants."""

    @abstractmethod
    def encode(self, dataset: DatasetDict, processing: Any, max_length: int | None) -> DatasetDict:
        """Model inputs of every split, `length` (used to group rows), and `label_name` if there are targets.

        Args:
            max_length: maximum number of tokens per text; None for no limit.
        """

    @abstractmethod
    def collator(self, processing: Any, model: Any) -> Callable[[list[dict[str, Any]]], dict[str, Any]]:
        """A function that builds a padded batch from encoded rows."""

    # The loss

    def loss(self, label_smoothing: float) -> Callable[..., Tensor] | None:
        """A function of `outputs, labels, num_items_in_batch` that returns the loss of a batch; None: the model's own.

        The model's own loss does not support label smoothing.
        """
        if label_smoothing:
            raise UserError(
                f"--label_smoothing_factor is {label_smoothing:g}, but --task {self.name} does not support label "
                "smoothing: remove it."
            )
        return None

    def counted(self, batch: dict[str, Any]) -> Tensor:
        """The targets of a batch, with -100 where the loss ignores them; losses are divided by the number of others."""
        return batch[self.label_name]

    def blank(self, row: dict[str, Any]) -> dict[str, Any]:
        """An encoded row whose targets the loss ignores, to fill the last batch across several processes."""
        return {**row, self.label_name: _ignored(row[self.label_name])}

    # Predictions

    @abstractmethod
    def answers(self, outputs: ModelOutput, labels: Tensor | None) -> Any:
        """The outputs of a batch that metrics need: a tensor or a tuple of tensors, with one entry per row."""

    @abstractmethod
    def metrics(self, answers: Answers, labels: np.ndarray, rows: Dataset | None = None) -> dict[str, float]:
        """The loss and all metrics over the rows of a split.

        Args:
            answers: the gathered results of `answers` (with `generates`, followed by the generated ids); dimensions
                that differ between batches are padded with -100.
            labels: the targets, padded in the same way.
            rows: the encoded rows in the same order, with all columns from `encode`, including those that the model
                does not read, such as references. Optional for tasks that do not need them.
        """

    @abstractmethod
    def predictions(self, answers: Answers, split: Dataset) -> pd.DataFrame:
        """One line per row of `split`, which `prepare` or `prepare_for_prediction` returned; `row` comes first."""

    def draw(self, answers: Answers, split: Dataset, folder: Path) -> None:  # noqa: B027  most tasks have none
        """Save figures of the predictions in a folder, under names from `PICTURES` of `records/output_dir.py`."""

    def details(self, answers: Answers, split: Dataset) -> dict[str, Any]:
        """Further fields of the result record: how predictions were scored, and some of those on the test split."""
        return {}


class RowTask(Task):
    """A task whose examples are independent rows of a dataset, so rows can be held out and budgeted at random.

    Class attributes:
        target: the noun for a row's target in messages.
        is_stratified: encoded targets are labels in the form of `strata`; otherwise all rows are in one stratum.
    """

    target: ClassVar[str] = "a label"
    is_stratified: ClassVar[bool] = False
    has_folds: ClassVar[bool] = True
    columns: Any
    spelling: Mapping[str, Mapping[str, Any]]  # of the loaded source

    @abstractmethod
    def _find_columns(self, features: Any, required: bool = True) -> Any:
        """The roles of the columns; without `required`, the target column may be missing."""

    def _used_columns(self) -> Sequence[str] | None:
        """The columns to keep, before anything else is done with a split; None for all."""
        return None

    def _split(self, source: Source, name: str) -> Dataset:
        """A split with the columns that have a role, if it has them all: a table may have thousands of others."""
        split, used = source.dataset[name], self._used_columns()
        return split if used is None or set(used) - set(split.column_names) else split.select_columns(list(used))

    @abstractmethod
    def _roles(self) -> dict[str, str | None]:
        """Column names by role, as in the result record."""

    @abstractmethod
    def _read_inputs(self, split: Dataset, name: str) -> Any:
        """The checked inputs of a split, in the form that `_rows` takes."""

    @abstractmethod
    def _read_targets(self, split: Dataset, name: str, inputs: Any) -> tuple[Any, np.ndarray]:
        """The targets of a split, not encoded yet, and a mask (rows,) of the rows that have one."""

    @abstractmethod
    def _rows(self, inputs: Any, targets: Any, rows: np.ndarray) -> Dataset:
        """Select rows of a split by index, `row` first; `targets` is None if there are none."""

    def _has_targets(self, role: str, split: Dataset) -> bool:
        """Whether a split can be used for a role: some datasets withhold the targets of the test split."""
        return True

    def _learn(self, targets: list[Any]) -> None:  # noqa: B027  most tasks have no classes
        """Determine the classes from the targets of all splits in use."""

    def _encode(self, targets: Any, name: str) -> Any:
        """Targets in the form that `_rows` takes; needs the classes from `_learn`."""
        return targets

    def _training_facts(self, targets: Any, rows: np.ndarray) -> dict[str, Any]:
        """Check the targets of the training rows; returns further arguments of `_describe`."""
        return {}

    def prepare(self, seed: int) -> DatasetDict:
        """As in `Task`.

        With `folds`, the test rows are a fold of the training split; all folds depend on the run's seed. Otherwise:

        Without a validation split, rows of the training split are held out with the run's seed. Without a test split
        that has targets, the validation split becomes the test split; without either, rows of the training split are
        held out, the same rows for every seed.
        """
        from datasets import DatasetDict, concatenate_datasets

        source = load_source(self.arguments)
        splits, inputs, read, labelled = self._read(source)
        groups = self._read_groups(source, splits)
        self._learn(list(read.values()))
        encoded = {name: self._encode(own, name) for name, own in read.items()}
        strata = encoded if self.is_stratified else {name: np.zeros(len(own), int) for name, own in labelled.items()}
        numbers = {name: np.flatnonzero(own) for name, own in labelled.items()}

        def prepared(parts: Mapping[str, Part]) -> DatasetDict:
            own = {role: self._rows(inputs[part.split], encoded[part.split], part.rows) for role, part in parts.items()}
            return DatasetDict({**own, "train": concatenate_datasets([own["train"], *(own[role] for role in more)])})

        more: Sequence[str] = ()
        parts = assign_parts(splits, strata, numbers, self.arguments, seed, groups)
        dropped: dict[str, int] = {}
        if self.arguments.drop_duplicates:
            kept, dropped = without_duplicates(prepared(parts), self.texts)
            parts["train"] = replace(parts["train"], rows=parts["train"].rows[kept])
        if self.arguments.train_on == "train":
            parts = within_budgets(parts, strata, self.arguments, seed)
        else:
            more = ("test",) if self.arguments.train_on == "all_but_validation" else ("test", "validation")
        facts = self._training_facts(encoded[parts["train"].split], parts["train"].rows)
        rows = {role: len(part.rows) for role, part in parts.items()}
        rows["train"] += sum(rows[role] for role in more)
        rows |= dict.fromkeys(more, 0)
        origins = {role: part.origin for role, part in parts.items()}
        roles = self._roles() | ({"group": self.arguments.group_column} if groups else {})
        self._record = self._describe(source, roles, rows, origins, **facts)
        self.groups = {role: groups[part.split][part.rows] for role, part in parts.items() if part.split in groups}
        result = prepared(parts)
        if self.arguments.folds is not None:
            divided = {
                "folds": self.arguments.folds,
                "fold": self.arguments.fold,
                "rows": len(numbers[splits["train"]]),
            }
            self._record["dataset"]["folds"] = divided
        if self.texts and not more:
            self._record["dataset"]["data_look"] = look(result, self.texts, self.labels, dropped)
        return result

    def rows_to_divide(self) -> int | None:
        splits, _, _, labelled = self._read(load_source(self.arguments))
        return int(labelled[splits["train"]].sum()) if len(splits) == 1 else None

    def _read(self, source: Source) -> tuple[dict[str, str], dict[str, Any], dict[str, Any], dict[str, np.ndarray]]:
        """The labelled split of each role, and for each split the inputs, the targets, and which rows have one."""
        self.spelling = source.spelling
        splits = named_splits(list(source.dataset), self.arguments)
        self.columns = self._find_columns(source.dataset[splits["train"]].features)
        inputs, read, labelled = {}, {}, {}
        for role, name in list(splits.items()):
            split = self._split(source, name)
            is_requested = role == "train" or getattr(self.arguments, f"{role}_split_name") is not None
            if is_requested or self._has_targets(role, split):
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
                if is_requested:
                    column = self._roles()["label"]
                    raise UserError(f"No row of the {role} split {name!r} has {self.target} in column {column!r}.")
            del splits[role]
        return splits, inputs, read, labelled

    def _read_groups(self, source: Source, splits: Mapping[str, str]) -> dict[str, np.ndarray]:
        """The groups (rows,) of each split, as texts; none without a group column."""
        column = self.arguments.group_column
        if column is None:
            return {}
        for name in splits.values():
            if column not in source.dataset[name].column_names:
                raise UserError(
                    f"--group_column {column!r} is not a column of the split {name!r}; its columns are "
                    f"{listing(source.dataset[name].column_names)}."
                )
        return {name: np.array([str(own) for own in source.dataset[name][column]]) for name in splits.values()}

    def prepare_for_prediction(self, split: str | None = None, source: Source | None = None) -> Dataset:
        """As in `Task`."""
        source = source or load_source(self.arguments)
        self.spelling = source.spelling
        name = self.prediction_split(source, split)
        self.columns = self._find_columns(source.dataset[name].features, required=False)
        rows = self._split(source, name)
        inputs = self._read_inputs(rows, name)
        return self._rows(inputs, self._known_targets(rows, name, inputs), np.arange(len(rows)))

    def _known_targets(self, split: Dataset, name: str, inputs: Any) -> Any:
        """The encoded targets of a split if every row has one, else None (no metrics are computed)."""
        if self._roles()["label"] is None:
            return None
        targets, has_target = self._read_targets(split, name, inputs)
        if has_target.all():
            return self._encode(targets, name)
        if has_target.any():
            logger.warning("Some rows of split %r do not have %s: no metrics are computed.", name, self.target)
        return None


def classes_of(config: PreTrainedConfig) -> list[str]:
    """The class names of a trained model in the order of their ids, which transformers loads as integers."""
    return [str(name) for _, name in sorted((config.id2label or {}).items())]


def _ignored(labels: Any) -> Any:
    """Labels of the same shape and type, all -100."""
    return [_ignored(label) for label in labels] if isinstance(labels, list) else type(labels)(-100)


def check_rows(predictions: int, rows: int) -> None:
    """Check that every row has a prediction; a ValueError means that they were not gathered correctly."""
    if predictions != rows:
        raise ValueError(f"there are {predictions} predictions for {rows} rows")
