"""`predict`: predict with a trained model on any dataset, and evaluate it if there are labels."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..atomic_files import write_json
from ..config.arguments import DataArguments, ModelArguments, RunArguments
from ..config.fields import flag
from ..config.help import Help
from ..config.parsing import Given, read_arguments
from ..data.look import lines, truncated
from ..data.sources import load_source
from ..errors import UserError
from ..loading.model import load_config, load_trained, longest_input, shortest
from ..records.identity import identity_of_model
from ..records.output_dir import for_output_dir, make_folder, staged
from ..tasks import task_for_model
from .failures import explaining
from .trained_columns import as_trained, warn_about_other_targets

if TYPE_CHECKING:
    import pandas as pd

    from ..data.sources import Source

logger = logging.getLogger(__name__)


@dataclass
class PredictArguments:
    """Rows"""

    split: str | None = flag("The split to predict. By default the test split, or the only split.")


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
        from datasets import DatasetDict

        from ..training.trainer import ToolkitTrainer
        from .predictions import predict_in_order

        source, split = source or load_source(self.data), self.arguments.predict.split
        name = self.task.prediction_split(source, split)
        features = source.dataset[name].features
        columns = self.trained.get("columns", {})
        self.task.arguments = as_trained(self.data, columns, features)
        rows = self.task.prepare_for_prediction(split, source)
        warn_about_other_targets(columns, self.data, getattr(self.task, "columns", None), rows.column_names)
        own_limits = (self.trained.get("max_length"), self.tokenizer and self.tokenizer.model_max_length)
        limit = shortest(self.data.max_length, longest_input(self.model), *own_limits)
        encoded = self.task.encode(DatasetDict({"rows": rows}), self.processing, limit)["rows"]
        for heading, text in lines(truncated({f"split {name!r}": encoded}, limit)):
            logger.warning("%s: %s.", heading, text)
        with explaining():
            self.trainer = ToolkitTrainer(
                self.model,
                self.arguments.run,
                task=self.task,
                data_collator=self.task.collator(self.processing, self.model),
                processing_class=self.processing,
            )
            predicted, metrics = predict_in_order(self.trainer, encoded)
        return Predictions(self.task.predictions(predicted, rows), metrics)


@for_output_dir
def predict(arguments: PredictionArguments) -> Predictions:
    """Write `predictions.parquet` and, if there are labels, `metrics.json`, and return their contents.

    Raises:
        UserError: the model or the dataset cannot be used, or a label is unknown to the model.
    """
    output_dir = Path(arguments.run.output_dir)
    make_folder(output_dir)
    predictor = Predictor(arguments)
    found = predictor()
    if predictor.trainer.is_world_process_zero():
        with staged(output_dir) as staging:
            found.predictions.to_parquet(staging / "predictions.parquet", index=False)
        (output_dir / "metrics.json").unlink(missing_ok=True)  # left by an earlier dataset
        if found.metrics:
            dataset = {"name": arguments.data.dataset_name, "rows": len(found.predictions)}
            report = {"model": arguments.model.model_name_or_path, "dataset": dataset, "metrics": found.metrics}
            write_json(output_dir / "metrics.json", report)
    return found
