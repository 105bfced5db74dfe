"""A trained model that predicts for the rows of any dataset, and the arguments of `predict`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from ..config.arguments import DataArguments, ModelArguments, RunArguments
from ..config.fields import flag, require
from ..config.help import Help
from ..config.parsing import Given, read_arguments
from ..data.look import lines, truncated
from ..data.sources import load_source
from ..errors import UserError
from ..loading.model import load_config, load_trained, longest_input, shortest
from ..records.identity import identity_of_model
from ..tasks import task_for_model
from .failures import explaining
from .trained_columns import as_trained, warn_about_other_targets

if TYPE_CHECKING:
    import pandas as pd
    from datasets import Dataset

    from ..data.sources import Source
    from ..training.trainer import ToolkitTrainer

logger = logging.getLogger(__name__)


@dataclass
class PredictArguments:
    """Rows"""

    split: str | None = flag("The split to predict. By default the test split, or the only split.")
    scores: bool = flag("In the file that is given back, add a column score_CLASS with the probability of each class.")
    threshold: float | None = flag(
        "Several labels per row: in that file, a label applies if its probability is at least X. By default 0.5."
    )
    min_confidence: float | None = flag("In that file, leave a prediction empty if its confidence is below X.")

    def __post_init__(self) -> None:
        require(self, ("threshold", "min_confidence"), lambda value: 0 <= value <= 1, "between 0 and 1")


class PredictionArguments(NamedTuple):
    """All arguments of a prediction."""

    predict: PredictArguments
    data: DataArguments
    model: ModelArguments
    run: RunArguments


def parse_predict_arguments(given: Given = None, help: Help = Help("predict")) -> PredictionArguments:
    """The arguments of `predict`.

    Raises:
        UserError: an unknown flag or key, a value of the wrong type, or no model.
    """
    kinds = (PredictArguments, DataArguments, ModelArguments, RunArguments)
    # Texts are truncated as in training: the saved tokenizer contains the maximum length.
    no_training: dict[str, Any] = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
    arguments = PredictionArguments(*read_arguments(kinds, given, help, max_length=None, **no_training))
    if arguments.model.model_name_or_path is None:
        raise UserError("tl-toolkit predict needs a model: the output folder of finetune, or a Hub id.")
    if arguments.run.push_to_hub:
        raise UserError("--push_to_hub does not apply to predict, which trains no model. Use tl-toolkit publish.")
    if arguments.run.measure:
        raise UserError("--measure does not apply to predict. Use tl-toolkit export.")
    return arguments


class Predictions(NamedTuple):
    """Predictions and metrics for the rows of a dataset.

    Attributes:
        predictions: one row for each row of the dataset, in the columns of `Task.predictions`.
        metrics: empty if the dataset has no labels.
    """

    predictions: pd.DataFrame
    metrics: dict[str, float]


class Predictor:
    """A trained model, loaded once, that predicts for any rows.

    It reads the columns and truncates to the length that it was trained with, as its identity says, unless the
    arguments say otherwise.

    Raises:
        UserError: the model cannot be used.
    """

    def __init__(self, arguments: PredictionArguments) -> None:
        self.arguments = arguments
        config = load_config(arguments.model)
        self.trained = identity_of_model(str(arguments.model.model_name_or_path), arguments.model.model_revision)
        prefix = arguments.data.source_prefix or self.trained.get("settings", {}).get("source_prefix")
        self.data = replace(arguments.data, source_prefix=prefix)
        self.task = task_for_model(self.data, config)
        self.processing = self.task.load_processing(arguments.model)
        self.tokenizer = self.task.tokenizer(self.processing)
        self.model = load_trained(arguments.model, self.task.auto_class, self.tokenizer)

    def __call__(self, source: Source | None = None) -> Predictions:
        """Predictions for the rows of `source`, by default for the dataset in the arguments.

        Raises:
            UserError: the dataset cannot be used, or has a label that the model does not know.
        """
        from .predictions import predict_in_order

        source, split = source or load_source(self.data), self.arguments.predict.split
        name = self.task.prediction_split(source, split)
        self.read_as_trained(source.dataset[name].features)
        rows = self.task.prepare_for_prediction(split, source)
        self.warn_about_targets(rows.column_names)
        encoded = self.encode(rows)
        self.warn_about_length(truncated({f"split {name!r}": encoded}, self.limit))
        with explaining():
            predicted, metrics = predict_in_order(self.trainer, encoded)
        return Predictions(self.task.predictions(predicted, rows), metrics)

    def read_as_trained(self, features: Mapping[str, Any]) -> None:
        """Have the task read the columns that the model was trained on, of a dataset with these features."""
        self.task.arguments = as_trained(self.data, self.trained.get("columns", {}), features)

    def warn_about_targets(self, prepared: Sequence[str]) -> None:
        """Warn if the predictions of rows with these columns are compared with other targets than in training."""
        found = getattr(self.task, "columns", None)
        warn_about_other_targets(self.trained.get("columns", {}), self.data, found, prepared)

    def warn_about_length(self, cut: Mapping[str, Any]) -> None:
        """Warn of truncated texts, which `data.look.truncated` has counted."""
        for heading, text in lines(cut):
            logger.warning("%s: %s.", heading, text)

    @cached_property
    def limit(self) -> int | None:
        """The most tokens of an input."""
        own_limits = (self.trained.get("max_length"), self.tokenizer and self.tokenizer.model_max_length)
        return shortest(self.data.max_length, longest_input(self.model), *own_limits)

    def encode(self, rows: Dataset) -> Dataset:
        from datasets import DatasetDict

        return self.task.encode(DatasetDict({"rows": rows}), self.processing, self.limit)["rows"]

    @cached_property
    def trainer(self) -> ToolkitTrainer:
        """The trainer that predicts; rows must have been prepared."""
        from ..training.trainer import ToolkitTrainer

        collator = self.task.collator(self.processing, self.model)
        return ToolkitTrainer(
            self.model, self.arguments.run, task=self.task, data_collator=collator, processing_class=self.processing
        )
