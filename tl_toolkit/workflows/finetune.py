"""`finetune`: train a model on a task, and write a model folder and a result record."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..config.arguments import Arguments
from ..figures.attention_weights import save_attention
from ..loading.model import longest_input, make_model, shortest
from ..records.identity import rows_of
from ..records.output_dir import for_output_dir
from ..tasks import make_task
from ..tasks.generation import GREEDY, settle_generation
from .calibration import calibrate, error_of
from .inference_cost import measure_inference
from .lifecycle import Training, without_progress_bars
from .predictions import by_length, predict_in_order, save_predictions
from .summary import print_data

if TYPE_CHECKING:
    from datasets import DatasetDict
    from transformers import PreTrainedModel

    from ..training.trainer import ToolkitTrainer


@without_progress_bars()
@for_output_dir
def finetune(arguments: Arguments) -> dict[str, Any]:
    """Train and evaluate a model, and write the model folder, the predictions and `result.json` to `output_dir`.

    Returns:
        The result record. With `find_lr`, the result of `find_learning_rate`; nothing else is written then.

    Raises:
        UserError: an input cannot be used; nothing was trained.
        NonFiniteLoss: training diverged. The result record has the `status` "failed".
    """
    return FineTuning(arguments).run()


class FineTuning(Training[Arguments]):
    """Training on a task with labelled rows, with model selection on validation rows."""

    trainer: ToolkitTrainer
    splits: DatasetDict
    encoded: DatasetDict
    predictions: dict[str, Any]

    def __init__(self, arguments: Arguments) -> None:
        super().__init__(arguments)
        self.calibration: dict[str, Any] = {}
        self.task = make_task(arguments.data)

    def prepare(self) -> None:
        self.splits = self.task.prepare(self.args.seed)
        print_data(self.task.record(), self.args)
        self.processing = self.task.make_processing(self.model_arguments, self.splits)
        self.tokenizer = self.task.tokenizer(self.processing)

    def build(self) -> PreTrainedModel:
        task, processing, tokenizer = self.task, self.processing, self.tokenizer
        model = make_model(self.model_arguments, task.auto_class, task.config_arguments(processing), tokenizer)
        task.adapt(model, processing)
        own_limit = tokenizer and tokenizer.model_max_length
        self.max_length = shortest(self.arguments.data.max_length, longest_input(model), own_limit)
        if tokenizer is not None:  # saved, so that prediction truncates in the same way
            tokenizer.model_max_length = self.max_length or tokenizer.model_max_length
        self.stages.begin("data")
        self.encoded = task.encode(self.splits, processing, self.max_length)
        self.stages.begin("model")
        if task.generates:
            settle_generation(model, self.args, self.encoded["train"])
        return model

    @property
    def main_metric(self) -> tuple[str, bool]:
        return self.task.main_metric, self.task.greater_is_better

    def updates(self) -> int:
        batch = self.args.train_batch_size * self.args.world_size * self.args.gradient_accumulation_steps
        return math.ceil(len(self.encoded["train"]) / batch)

    def new_trainer(self, model: Any, **common: Any) -> ToolkitTrainer:
        from ..training.trainer import ToolkitTrainer

        validation = self.encoded["validation"]
        return ToolkitTrainer(
            model,
            self.args,
            task=self.task,
            generation=GREEDY,
            train_dataset=self.encoded["train"],
            eval_dataset=validation.select(by_length(validation)),
            data_collator=self.task.collator(self.processing, model),
            **common,
        )

    @property
    def epoch(self) -> tuple[int, int]:
        return len(self.encoded["train"]), sum(self.encoded["train"]["length"])

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), **self.task.record()}

    def rows(self) -> dict[str, Any]:
        return {role: rows_of(split) for role, split in self.splits.items()}

    def evaluate(self) -> dict[str, dict[str, float]]:
        results = {"validation": predict_in_order(self.trainer, self.encoded["validation"])}
        if self.task.problem_type == "single_label_classification":
            results["validation"] = self._calibrate(*results["validation"])
        if not self.args.skip_test:
            results["test"] = predict_in_order(self.trainer, self.encoded["test"])
        self.predictions = {split: predictions for split, (predictions, _) in results.items()}
        return {split: metrics for split, (_, metrics) in results.items()}

    def _calibrate(self, logits: np.ndarray, metrics: dict[str, float]) -> tuple[np.ndarray, dict[str, float]]:
        """Calibrate the model on the validation rows, and return their logits and metrics afterwards."""
        rows = self.encoded["validation"]
        self.calibration = calibrate(self.trainer, rows, logits)
        if self.calibration["temperature"] == 1:
            return logits, metrics
        logits = logits / np.float32(self.calibration["temperature"])
        return logits, metrics | self.task.metrics(logits, np.asarray(rows["labels"]), rows)

    def findings(self) -> dict[str, Any]:
        """Save the predictions, and measure the inference cost and save the attention on the test rows."""
        if not self.trainer.is_world_process_zero():
            return {}
        files = save_predictions(self.task, self.splits, self.predictions, self.output_dir)
        found: dict[str, Any] = {"predictions": files}
        if self.calibration:
            found["calibration"] = self.calibration
        if "test" not in self.predictions:
            return found
        rows, encoded = self.splits["test"], self.encoded["test"]
        found |= self.task.details(self.predictions["test"], rows)
        if self.calibration:
            logits, labels = self.predictions["test"], np.asarray(encoded["labels"])
            errors = [error_of(own, labels) for own in (logits * self.calibration["temperature"], logits)]
            self.calibration |= dict(zip(("test_error_before", "test_error_after"), errors, strict=True))
        self.stages.begin("inference")
        found["cost"] = {"inference": measure_inference(self.trainer, encoded)}
        if self.tokenizer is not None and "text" in rows.column_names:
            model = self.trainer.accelerator.unwrap_model(self.trainer.model)
            found["attention"] = save_attention(model, self.tokenizer, encoded, rows, self.output_dir)
        return found
