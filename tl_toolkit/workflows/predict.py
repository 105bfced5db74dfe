"""Prediction with a trained model folder on any dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..atomic_files import write_json
from ..config.arguments import DataArguments, ModelArguments, RunArguments
from ..config.fields import flag
from ..config.parsing import read_arguments
from ..errors import UserError
from ..loading.model import load_config, load_trained, longest_input, shortest
from ..records.output_dir import for_output_dir, make_folder, staged
from ..tasks import task_for_model
from .failures import explaining


@dataclass
class PredictArguments:
    """Which rows to answer."""

    split: str | None = flag("The split to predict; by default the test split, or the only one there is.")


class PredictionArguments(NamedTuple):
    """Everything that was asked of a prediction."""

    predict: PredictArguments
    data: DataArguments
    model: ModelArguments
    run: RunArguments


def parse_predict_arguments(argv: Sequence[str] | None = None, description: str | None = None) -> PredictionArguments:
    """The arguments of `predict.py` from a command line.

    Raises:
        UserError: an unknown flag or key, a value of the wrong type, or no model.
    """
    kinds = (PredictArguments, DataArguments, ModelArguments, RunArguments)
    # Texts are cut as they were in training: the saved tokenizer knows the length. Nothing is trained.
    idle: dict[str, Any] = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
    arguments = PredictionArguments(*read_arguments(kinds, argv, description, max_length=None, **idle))
    if arguments.model.model_name_or_path is None:
        raise UserError("predict.py needs --model_name_or_path: the output folder of finetune.py, or a Hub id.")
    if arguments.run.push_to_hub:
        raise UserError("predict.py trains no model that --push_to_hub could publish. publish.py publishes a folder.")
    return arguments


@for_output_dir
def predict(arguments: PredictionArguments) -> dict[str, float]:
    """Write `predictions.parquet` and, where there are labels, `metrics.json`; the metrics are returned.

    Raises:
        UserError: a model or dataset that cannot be used, or a label that the model does not know.
    """
    from datasets import DatasetDict

    from ..training.trainer import ToolkitTrainer
    from .predictions import predict_in_order

    name = arguments.model.model_name_or_path
    output_dir = Path(arguments.run.output_dir)
    make_folder(output_dir)
    task = task_for_model(arguments.data, load_config(arguments.model))
    processing = task.load_processing(arguments.model)
    tokenizer = task.tokenizer(processing)
    model = load_trained(arguments.model, task.auto_class, tokenizer)
    rows = task.prepare_for_prediction(arguments.predict.split)
    limits = (arguments.data.max_length, longest_input(model), tokenizer and tokenizer.model_max_length)
    encoded = task.encode(DatasetDict({"rows": rows}), processing, shortest(*limits))["rows"]
    with explaining():
        trainer = ToolkitTrainer(
            model,
            arguments.run,
            task=task,
            data_collator=task.collator(processing, model),
            processing_class=processing,
        )
        answers, metrics = predict_in_order(trainer, encoded)
    if trainer.is_world_process_zero():
        with staged(output_dir) as staging:
            task.predictions(answers, rows).to_parquet(staging / "predictions.parquet", index=False)
        (output_dir / "metrics.json").unlink(missing_ok=True)  # of an earlier dataset
        if metrics:
            dataset = {"name": arguments.data.dataset_name, "rows": len(rows)}
            write_json(output_dir / "metrics.json", {"model": name, "dataset": dataset, "metrics": metrics})
    return metrics
