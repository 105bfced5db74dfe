"""`finetune`: train a model on a task, and write a model folder and a result record."""

from __future__ import annotations

import copy
import math
import shutil
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..config.arguments import Arguments, ModelArguments
from ..data.look import truncated
from ..deployment.folder import check_forms
from ..errors import UserError
from ..figures.attention_weights import save_attention
from ..loading.model import load_trained, longest_input, make_model, shortest
from ..loading.pooled_encoder import check_pooling
from ..records.checkpoints import checkpoints
from ..records.identity import rows_of
from ..records.output_dir import for_output_dir
from ..strategies.bag_of_ngrams import NgramProbe, solve_weights
from ..strategies.contrastive import Contrastive
from ..strategies.distilled import Distilled
from ..strategies.probe import solve
from ..strategies.prompt import Prompt
from ..tasks import make_task
from ..tasks.generation import GREEDY, settle_generation
from .calibration import calibrate, error_of
from .distillation import Distillation
from .exported_forms import measure_forms
from .inference_cost import measure_inference
from .lifecycle import Training, without_progress_bars
from .predictions import by_length, predict_in_order, save_predictions
from .summary import print_data, print_findings, say

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict
    from transformers import PreTrainedModel

    from ..training.features import Features
    from ..training.trainer import BaseTrainer, ToolkitTrainer


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
    """Training on a task with labelled rows, with model selection on validation rows.

    Attributes:
        splits: the rows.
        encoded: the model inputs of the rows.
        features: of the rows, if only a head is trained; None if the model is trained on its inputs.
        predictions: raw predictions by split.
        most_rows: the rows of a split that are used, if not all.
        solution: how the head was solved, for the record; empty if it was trained.
    """

    measures: ClassVar[bool] = True
    trainer: ToolkitTrainer
    splits: DatasetDict
    encoded: DatasetDict
    features: Features | None = None
    most_rows: int | None = None
    predictions: dict[str, Any]
    solution: dict[str, Any]

    def __init__(self, arguments: Arguments) -> None:
        super().__init__(arguments)
        self.calibration: dict[str, Any] = {}
        self.task = make_task(arguments.data)
        self.solution = {}
        if arguments.data.train_on != "train":
            self.args.skip_test = True
        check_pooling(arguments.model, self.task.name)
        check_forms(self.args.measure or ())

    def prepare(self) -> None:
        from datasets import DatasetDict

        self.splits = self.task.prepare(self.args.seed)
        if (most := self.most_rows) is not None:
            for role, rows in self.splits.items():
                self.splits[role] = rows.select(range(min(len(rows), most)))
        print_data(self.task.record(), self.args)
        self.strategy.check_rows(self.task.problem_type, "text_pair" in self.splits["train"].column_names)
        learned = self.splits
        if isinstance(self.strategy, Distilled):
            self.distillation = Distillation(self.arguments, self.strategy, self.task, self.splits)
            self.distillation.texts = self.distillation.texts[: self.most_rows]
            learned = DatasetDict(train=self.distillation.with_texts(self.splits["train"]))
        self.processing = self.task.make_processing(self.model_arguments, learned)
        self.tokenizer = self.task.tokenizer(self.processing)

    def build(self) -> PreTrainedModel:
        task, processing, tokenizer = self.task, self.processing, self.tokenizer
        head = task.config_arguments(processing)
        if isinstance(self.strategy, Prompt):
            language_model = load_trained(self.model_arguments, "AutoModelForCausalLM", tokenizer)
            model: PreTrainedModel = self.strategy.prompted(
                language_model, tokenizer, self.splits["train"], head, self.arguments.data.max_length, self.args.seed
            )
        else:
            pooling = self.strategy.pooling
            model = make_model(self.model_arguments, task.auto_class, head, tokenizer, default_pooling=pooling)
        task.adapt(model, processing)
        own_limit = tokenizer and tokenizer.model_max_length
        self.max_length = shortest(self.arguments.data.max_length, longest_input(model), own_limit)
        if tokenizer is not None:  # saved, so that prediction truncates in the same way
            tokenizer.model_max_length = self.max_length or tokenizer.model_max_length
        self.stages.begin("data")
        self.encoded = task.encode(self.splits, processing, self.max_length)
        if (found := task.record()["dataset"].get("data_look")) is not None:
            cut = truncated(self.encoded, self.max_length)
            found |= cut
            print_findings(cut, self.args)
        self.stages.begin("model")
        began = time.perf_counter()
        self.strategy.adapt(model, self.encoded["train"])
        self.seconds_without_updates = time.perf_counter() - began
        if isinstance(self.strategy, Distilled):
            self.encoded["train"] = self.distillation.encoded(
                self.splits["train"], self.encoded["train"], tokenizer, self.max_length
            )
            self.seconds_without_updates = self.distillation.seconds
        if task.generates:
            settle_generation(model, self.args, self.encoded["train"])
        return model

    @property
    def main_metric(self) -> tuple[str, bool]:
        return self.task.main_metric, self.task.greater_is_better

    @property
    def metric_names(self) -> list[str]:
        return [*self.task.metric_names, "loss"]

    @property
    def task_name(self) -> str:
        return self.task.name

    def updates(self) -> int:
        whole = self.args.train_batch_size * self.args.world_size
        if self.args.dataloader_drop_last and len(self.encoded["train"]) < whole:
            raise UserError(
                f"--dataloader_drop_last leaves nothing to train on: there are {len(self.encoded['train'])} training "
                f"rows, and a batch has {whole}. Leave it out, or lower --per_device_train_batch_size."
            )
        batch = whole * self.args.gradient_accumulation_steps
        rows = self.strategy.pairs[0] if isinstance(self.strategy, Contrastive) else self.encoded["train"]
        return math.ceil(len(rows) / batch)

    def new_trainer(self, model: Any, **common: Any) -> ToolkitTrainer:
        from ..training.distillation import DistillingTrainer
        from ..training.features import features_of
        from ..training.trainer import ToolkitTrainer

        collator = self.task.collator(self.processing, model)
        if self.strategy.reads_features:
            self.features = features_of(model, self.task, self.encoded, collator, self.args)
            if self.features is not None and isinstance(self.strategy, Contrastive):
                self.features.shared = False
                if self.features.head.selects:
                    raise UserError(
                        f"The strategy 'contrastive' needs one vector of a text, but the head of "
                        f"{type(model).__name__} reads every token: set --pooling to mean, cls, last or max."
                    )
        if self.features is None and self.strategy.fits and self.strategy.reads_features:
            raise UserError(
                f"The strategy {self.strategy.name!r} needs a model whose last linear layer returns the logits, from "
                f"which --task {self.task.name} computes the loss; {type(model).__name__} has no such layer. Use the "
                "strategy 'frozen'."
            )
        rows = self.encoded if self.features is None else self.features.splits
        validation = rows["validation"]
        kind: Any = ToolkitTrainer
        if isinstance(self.strategy, Distilled):
            kind, common["distillation_temperature"] = (
                DistillingTrainer,
                self.strategy.arguments.distillation_temperature,
            )
        return kind(
            model,
            self.args,
            task=self.task,
            generation=GREEDY,
            train_dataset=rows["train"],
            eval_dataset=validation.select(by_length(self.encoded["validation"])),
            data_collator=collator if self.features is None else self.features.collate,
            **common,
        )

    def make_trainer(self) -> BaseTrainer:
        trainer = super().make_trainer()
        if self.features is not None and self.args.find_lr:  # trains without `work`
            self.features.fill("train")
        return trainer

    def rehearse(self) -> None:
        from ..training.rehearsal import rehearse_training

        if self.features is None and not self.strategy.fits:
            rehearse_training(self.trainer)
        super().rehearse()

    def work(self) -> None:
        began = time.perf_counter()
        weights = self.task.class_weights
        how: dict[str, Any] = {
            "class_weights": None if weights is None else weights.tolist(), "seed": self.args.seed
        }  # fmt: skip
        if isinstance(self.strategy, NgramProbe):
            train = self.encoded["train"]
            self.solution = solve_weights(self.model, train, train[self.task.label_name], **how)
            self.seconds_without_updates += time.perf_counter() - began
            return
        if isinstance(self.strategy, Prompt):
            self.strategy.calibrate(self.model, self.tokenizer)
            self.solution = {"prior": self.strategy.prior.tolist()}
            self.seconds_without_updates = time.perf_counter() - began
            return
        if isinstance(self.strategy, Distilled):
            return self._distil(self.strategy.label_weights)
        if self.features is None:
            return super().work()
        if isinstance(self.strategy, Contrastive):
            self.tune(self.strategy, self.features)
        self.features.fill("train")
        if self.strategy.fits:
            self.solution = solve(
                self.features.head.final,
                self.features.of("train"),
                self.encoded["train"][self.task.label_name],
                self.task.problem_type,
                **how,
            )
        self.seconds_without_updates = time.perf_counter() - began
        self.features.fill("validation")
        if not self.strategy.fits:
            super().work()

    def tune(self, strategy: Contrastive, features: Features) -> None:
        """Tune the body of the model on pairs of training rows."""
        from ..training.pairs import tune_on_pairs

        rows, collator = self.encoded["train"].select_columns(features.inputs), features.collate
        self.trainer.state = tune_on_pairs(self.model, features.head, rows, strategy.pairs, collator, self.args)
        self.parameters["trained"] = self.parameters["total"]

    def _distil(self, label_weights: Sequence[float]) -> None:
        """Train with each weight of the labels, and keep the model that is best on the validation rows."""
        from transformers import EarlyStoppingCallback, set_seed

        trainer, (metric, greater) = self.trainer, self.main_metric
        states: list[Any] = []
        start = copy.deepcopy(self.model.state_dict()) if len(label_weights) > 1 else None
        tried = []
        for place, weight in enumerate(label_weights):
            if place:
                self.model.load_state_dict(start)
                trainer.optimizer = trainer.lr_scheduler = None
                for callback in trainer.callback_handler.callbacks:
                    if isinstance(callback, EarlyStoppingCallback):
                        callback.early_stopping_patience_counter = 0
                for checkpoint in checkpoints(self.output_dir):
                    shutil.rmtree(checkpoint)
                set_seed(self.args.seed)
            trainer.label_weight = weight
            super().work()
            found = trainer.evaluate()
            tried.append({"label_weight": weight, metric: found[f"eval_{metric}"], "loss": found["eval_loss"]})
            states.append((trainer.state, copy.deepcopy(self.model.state_dict()) if start else None))
        signs = 1 if greater else -1
        best = max(range(len(tried)), key=lambda place: (signs * tried[place][metric], -tried[place]["loss"]))
        trainer.state, weights = states[best]
        if weights is not None:
            self.model.load_state_dict(weights)
        self.solution = {"label_weight": label_weights[best], "validation": tried}

    @property
    def epoch(self) -> tuple[int, int]:
        return len(self.encoded["train"]), sum(self.encoded["train"]["length"][:])

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), **self.task.record()}

    def rows(self) -> dict[str, Any]:
        return {role: rows_of(split) for role, split in self.splits.items()}

    def cost(self) -> dict[str, Any]:
        features = {} if self.features is None else {"features": self.features.record()}
        return {**super().cost(), **features}

    def evaluate(self) -> dict[str, dict[str, float]]:
        results = {"validation": predict_in_order(self.trainer, self._rows_of("validation"))}
        if self.task.problem_type == "single_label_classification":
            results["validation"] = self._calibrate(*results["validation"])
        if not self.args.skip_test:
            results["test"] = predict_in_order(self.trainer, self._rows_of("test"))
        self.predictions = {split: predictions for split, (predictions, _) in results.items()}
        return {split: metrics for split, (_, metrics) in results.items()}

    def _rows_of(self, split: str) -> Dataset:
        """The rows of a split as the trainer reads them."""
        if self.features is None:
            return self.encoded[split]
        self.features.fill(split)
        return self.features.splits[split]

    def _calibrate(self, logits: np.ndarray, metrics: dict[str, float]) -> tuple[np.ndarray, dict[str, float]]:
        """Calibrate the model on the validation rows, and return their logits and metrics afterwards."""
        rows = self._rows_of("validation")
        self.calibration = calibrate(self.trainer, rows, logits, self.args.temperature)
        if self.calibration["temperature"] == 1:
            return logits, metrics
        logits = logits / np.float32(self.calibration["temperature"])
        return logits, metrics | self.task.metrics(logits, np.asarray(rows["labels"][:]), rows)

    def findings(self) -> dict[str, Any]:
        """Save the predictions, and measure the inference cost and save the attention on the test rows."""
        if not self.trainer.is_world_process_zero():
            return {}
        files = save_predictions(self.task, self.splits, self.predictions, self.output_dir)
        found: dict[str, Any] = {"predictions": files, **({"solution": self.solution} if self.solution else {})}
        if self.calibration:
            found["calibration"] = self.calibration
        if "test" not in self.predictions:
            return found
        rows, encoded = self.splits["test"], self.encoded["test"]
        found |= self.task.details(self.predictions["test"], rows)
        if self.calibration:
            logits, labels = self.predictions["test"], np.asarray(encoded["labels"][:])
            errors = [error_of(own, labels) for own in (logits * self.calibration["temperature"], logits)]
            self.calibration |= dict(zip(("test_error_before", "test_error_after"), errors, strict=True))
        self.stages.begin("inference")
        inference = measure_inference(self.trainer, encoded) or {}
        if self.args.measure:
            inference["forms"] = self._measure_forms(self.args.measure)
        found["cost"] = {**found.get("cost", {}), "inference": inference or None}
        whole = not self.trainer.is_fsdp_enabled  # with FSDP, a forward pass needs all processes
        if whole and self.tokenizer is not None and "text" in rows.column_names:
            model = self.trainer.accelerator.unwrap_model(self.trainer.model)
            found["attention"] = save_attention(model, self.tokenizer, encoded, rows, self.output_dir)
        return found

    def _measure_forms(self, asked: Sequence[str]) -> dict[str, Any]:
        """The costs and scores on test rows of the saved model in these forms."""
        saved = ModelArguments(
            model_name_or_path=str(self.output_dir), trust_remote_code=self.model_arguments.trust_remote_code
        )
        model = load_trained(saved, self.task.auto_class, self.tokenizer)
        task, rows, encoded = self.task, self.splits["test"], self.encoded["test"]
        forms = measure_forms(self.output_dir, model, task, self.processing, self.max_length, asked, encoded, rows)
        for name, own in forms.items():
            if "problem" in own:
                say(f"--measure {name}: {own['problem']}", self.args)
        return forms
