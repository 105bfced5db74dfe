"""What a run asks of every task, whatever its rows are: texts, tagged words, pairs of sentences, images or series."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from ..data.splits import SYNONYMS, find_split
from ..errors import UserError, listing

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from datasets import Dataset, DatasetDict
    from torch import Tensor
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase
    from transformers.utils import ModelOutput

    from ..config.arguments import DataArguments, ModelArguments
    from ..data.sources import Source

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
            asked = "no test split" if split is None else f"no split {split!r}"
            raise UserError(f"The dataset {source.record['name']!r} has {asked}; its splits are {listing(names)}.")
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
                f"--label_smoothing_factor is {label_smoothing:g}, and --task {self.name} has no smoothed loss: leave "
                "it out."
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


def _ignored(labels: Any) -> Any:
    """Labels of the same shape and type, all of them -100."""
    return [_ignored(label) for label in labels] if isinstance(labels, list) else type(labels)(-100)


def check_rows(answers: int, rows: int) -> None:
    """Every row has its answer, or something is wrong with how they were gathered."""
    if answers != rows:
        raise ValueError(f"there are {answers} predictions for {rows} rows")
