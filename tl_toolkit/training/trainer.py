"""Extensions of transformers' Trainer."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch.utils.data import Sampler, SequentialSampler
from transformers import EvalPrediction, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState, TrainerCallback
from transformers.trainer_pt_utils import nested_detach, nested_gather
from transformers.trainer_utils import HubStrategy
from transformers.utils import PushInProgress

from ..config.arguments import SLANTED_TRIANGULAR
from ..data.encoding import PaddedRows, TextCollator
from ..errors import UserError
from ..records.cost import wait_for_device
from ..records.identity import write_identity
from ..strategies.optimisation import parameter_groups, slanted_triangular
from ..tasks import Task
from ..tasks.losses import total_weight
from .nt_asgd import AveragingTrainer
from .sampling import epoch_sampler, row_lengths, with_blank_row
from .sharding import ShardingTrainer, gathered


class NonFiniteLoss(UserError):
    """The loss is infinite or not a number; the run stopped without saving the model."""


class Publisher(Protocol):
    """An open repository for the models of a run."""

    @property
    def repo_id(self) -> str:
        """Id of the repository."""

    def start(self, checkpoint: Path, step: int) -> list[Any]:
        """Publish a checkpoint in the background; return futures that finish when it is published."""

    def model(self, folder: Path, message: str) -> Any:
        """Publish the model saved in `folder`."""


def no_publisher(args: TrainingArguments) -> Publisher:
    """Raise `UserError`: the default of trainers without a publisher."""
    raise UserError("--push_to_hub is not available: this trainer has no publisher.")


class Stopwatch(TrainerCallback, ExportableState):
    """Measures the seconds of training, without those of evaluating and saving.

    As an `ExportableState`, the callback saves its seconds in every checkpoint, so that a resumed run continues them.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self._running_since: float | None = None

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._running_since is None:
            self._running_since = time.perf_counter()

    on_epoch_begin = on_step_begin

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if control.should_evaluate or control.should_save:
            self.on_epoch_end(args, state, control)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._running_since is not None:
            wait_for_device()
            self.seconds += time.perf_counter() - self._running_since
            self._running_since = None

    on_train_end = on_epoch_end

    def state(self) -> dict[str, Any]:
        return {"args": {"seconds": self.seconds}, "attributes": {}}


class BaseTrainer(ShardingTrainer, AveragingTrainer):
    """Trainer with parameter groups over all parameters that stops if the loss is not finite.

    Args:
        learning_rates: learning rates by parameter name that differ from `args.learning_rate`.
        publisher: opens the repository for `--push_to_hub`.

    Attributes:
        identity: the identity of the run, saved with every checkpoint and model; None for a trainer without a run.
    """

    identity: Mapping[str, Any] | None = None
    optimizer: Any
    lr_scheduler: Any
    _signature_columns: Any
    push_in_progress: Any

    def __init__(
        self,
        *args: Any,
        learning_rates: Mapping[str, float] | None = None,
        publisher: Callable[[Any], Publisher] = no_publisher,
        **kwargs: Any,
    ) -> None:
        self.open_repository = publisher
        super().__init__(*args, **kwargs)
        self.learning_rates = learning_rates
        self.add_callback(Stopwatch())

    @property
    def train_seconds(self) -> float:
        """Seconds of training so far, without those of evaluating and saving."""
        callbacks = self.callback_handler.callbacks  # Trainer replaces the stopwatch when it resumes
        return next(callback.seconds for callback in callbacks if isinstance(callback, Stopwatch))

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            model = self.model if model is None else model
            optimizer_class, settings = self.get_optimizer_cls_and_kwargs(self.args, model)
            if settings.keys() & {"params", "model", "optimizer_dict"}:  # optimisers that build their own groups
                if self.learning_rates:
                    raise UserError(
                        f"--optim {self.args.optim.value} builds its own parameter groups and does not support "
                        "learning rates per layer. Use another optimiser, or --strategy full."
                    )
                return super().create_optimizer(model)
            groups = parameter_groups(model, self.args.weight_decay, self.learning_rates)
            self.optimizer = optimizer_class(groups, **settings)
        return self.optimizer

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        if self.lr_scheduler is None and self.args.lr_scheduler_type == SLANTED_TRIANGULAR:
            optimizer = self.optimizer if optimizer is None else optimizer
            self.lr_scheduler = slanted_triangular(
                optimizer, num_training_steps, self.args.cut_fraction, self.args.lr_ratio
            )
            self._created_lr_scheduler = True
        return super().create_scheduler(num_training_steps, optimizer)

    # On a CPU, a step of a small model takes milliseconds, and what follows a fifth of them.

    def create_accelerator_and_postprocess(self) -> None:
        super().create_accelerator_and_postprocess()
        if self._is_on_cpu:
            self.accelerator.free_memory = partial(_forget, self.accelerator)

    @cached_property
    def _is_on_cpu(self) -> bool:
        return self.args.device.type == "cpu" and not (self.is_deepspeed_enabled or self.is_fsdp_enabled)

    @cached_property
    def _num_parameters(self) -> int:
        return self.model.num_parameters(exclude_embeddings=True) if hasattr(self.model, "num_parameters") else 0

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """As in Trainer, which counts the parameters in every step."""
        tokens = inputs.get(getattr(self.model, "main_input_name", "input_ids"))
        return 0 if tokens is None else 6 * tokens.numel() * self._num_parameters

    def _clip_grad_norm(self, model: torch.nn.Module) -> Any:
        """As in Trainer, without a multiplication of gradients by 1."""
        if not self._is_on_cpu:
            return super()._clip_grad_norm(model)
        parameters, largest = list(model.parameters()), self.args.max_grad_norm
        norm = torch.nn.utils.get_total_norm([own.grad for own in parameters if own.grad is not None])
        if not norm + 1e-6 <= largest:  # as torch computes the factor; also true for nan
            torch.nn.utils.clip_grads_with_norm_(parameters, largest, norm)
        return norm

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        super().save_model(output_dir, _internal_call)
        if self.identity is not None and self.args.should_save:
            write_identity(Path(output_dir or self.args.output_dir), self.identity)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        super()._save(output_dir, state_dict)
        # Remove the pickle of all arguments: it has local paths and maybe a token, and nothing reads it.
        (Path(output_dir or self.args.output_dir) / "training_args.bin").unlink(missing_ok=True)

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        with self._weights_kept():
            return super().evaluation_loop(*args, **kwargs)

    @contextmanager
    def _weights_kept(self) -> Iterator[None]:
        """Restore the weights that Trainer casts in place for `--bf16_full_eval` and `--fp16_full_eval`."""
        if self.is_in_train or not (self.args.bf16_full_eval or self.args.fp16_full_eval):
            yield
            return
        model: Any = self.model
        weights = [(parameter, parameter.data) for parameter in model.parameters()]
        buffers = [(module, dict(module._buffers)) for module in model.modules()]
        try:
            yield
        finally:
            for parameter, data in weights:
                parameter.data = data
            for module, own in buffers:
                module._buffers.update(own)

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """Open the repository for `--push_to_hub` before training starts."""
        self.push_in_progress = None
        if self.is_world_process_zero():
            self.pushes = self.open_repository(self.args)
            self.hub_model_id = self.pushes.repo_id

    def push_to_hub(self, commit_message: str | None = "End of training", *_: Any, **__: Any) -> Any:
        """Publish the current model with its code and tokenizer; `tl-toolkit publish` adds the card.

        Trainer's own method would upload all files in `output_dir`, including predictions and local paths.
        """
        if self.hub_model_id is None:
            self.init_hf_repo()
        self._finish_current_push()
        folder = Path(self.args.output_dir) / ".pushing-model"
        self.save_model(str(folder), _internal_call=True)
        if not self.is_world_process_zero():
            return None
        try:
            return self.pushes.model(folder, commit_message or "End of training")
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        # Trainer's own method would upload the weights and a pickle of all arguments, without the code.
        if not self.is_world_process_zero() or self.args.hub_strategy == HubStrategy.END:
            return
        busy = self.push_in_progress is not None and not self.push_in_progress.is_done()
        if busy and not self.args.hub_always_push:
            return
        started = self.pushes.start(Path(checkpoint_folder), self.state.global_step)
        self.push_in_progress = PushInProgress([*(self.push_in_progress.jobs if busy else ()), *started])

    def _maybe_log_save_evaluate(self, tr_loss: torch.Tensor, *args: Any, **kwargs: Any) -> None:
        if self.control.should_log or self.control.should_evaluate or self.control.should_save:
            # Gathered, so that every process stops; the loss is read for logging anyway.
            loss = nested_gather(tr_loss, self.args.parallel_mode).mean().item()
            if not math.isfinite(loss):
                raise not_finite("training", loss, self.state.global_step, self.args.learning_rate)
        super()._maybe_log_save_evaluate(tr_loss, *args, **kwargs)

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        tie = breaks_tie(self.args, self.state, metrics)
        if tie:
            self.state.best_global_step = self.state.global_step
        return super()._determine_best_metric(metrics, trial) or tie


def _forget(accelerator: Any, *objects: Any) -> Any:
    """What `Accelerator.free_memory` does, without collecting garbage: 0.25 s of every run on a CPU."""
    accelerator._schedulers, accelerator._optimizers, accelerator._models, accelerator._dataloaders = [], [], [], []
    accelerator.step = 0
    return objects


class ToolkitTrainer(BaseTrainer):
    """The trainer of a task: exact losses and metrics, and the same order of rows for any number of processes.

    Args:
        task: defines the loss, the gathered predictions and the metrics.
        generation: for tasks that generate, arguments of `generate` in evaluations during training; `predict` only uses
            the model's `generation_config`.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        args: TrainingArguments,
        *,
        task: Task,
        generation: Mapping[str, Any] | None = None,
        train_dataset: Any = None,
        **kwargs: Any,
    ) -> None:
        self.task = task
        self.generation = dict(generation or {})
        if train_dataset is not None and args.world_size > 1:
            train_dataset = with_blank_row(train_dataset, task)
        args.label_names = [task.label_name]
        super().__init__(
            model,
            args,
            train_dataset=train_dataset,
            compute_loss_func=task.loss(args.label_smoothing_factor),
            compute_metrics=self._metrics,
            **kwargs,
        )

    def _set_signature_columns_if_needed(self) -> None:
        if self._signature_columns is None:
            super()._set_signature_columns_if_needed()
            self._signature_columns = [*(self._signature_columns or ()), *self.task.collated_columns]

    def _get_dataloader(self, dataset: Any, description: str, *args: Any, **kwargs: Any) -> Any:
        from datasets import Dataset

        if isinstance(dataset, Dataset) and isinstance(self.data_collator, TextCollator):
            own = self._remove_unused_columns(dataset, description=description)
            if PaddedRows.fits(own.column_names, self.data_collator):
                dataset = PaddedRows(own, self.data_collator, own.column_names)
        return super()._get_dataloader(dataset, description, *args, **kwargs)

    def _get_collator_with_removed_columns(self, data_collator: Any, description: str | None = None) -> Any:
        return partial(_collate, super()._get_collator_with_removed_columns(data_collator, description))

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> Any:
        counted = [self.task.counted(batch) for batch in batch_samples]
        weights = self.task.class_weights
        if weights is None or self.task.problem_type == "multi_label_classification":
            return super()._get_num_items_in_batch([{"labels": labels} for labels in counted], device)
        total = torch.stack([total_weight(labels, weights) for labels in counted]).sum().to(device)
        several = self.args.average_tokens_across_devices and self.args.world_size > 1
        return self.accelerator.gather(total).sum() if several else total

    def evaluate(self, eval_dataset: Any = None, *args: Any, **kwargs: Any) -> dict[str, float]:
        self._rows = self.eval_dataset if eval_dataset is None else eval_dataset
        return super().evaluate(eval_dataset, *args, **kwargs)

    def predict(self, test_dataset: Any, *args: Any, **kwargs: Any) -> Any:
        self._rows = test_dataset
        during_training, self.generation = self.generation, {}
        try:
            return super().predict(test_dataset, *args, **kwargs)
        finally:
            self.generation = during_training

    def prediction_step(
        self, model: torch.nn.Module, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[None, Any, torch.Tensor | None]:
        """Return what the task gathers for a batch, without the loss: `Task.metrics` computes it over all rows."""
        inputs = self._prepare_inputs(inputs)
        labels = inputs.get(self.task.label_name)
        answers: tuple[Any, ...] = ()
        with torch.no_grad():
            if labels is not None or not self.task.generates:
                with self.compute_loss_context_manager():
                    outputs = model(**inputs)
                judged = self.task.answers(outputs, labels)
                answers = judged if isinstance(judged, tuple) else (judged,)
            if self.task.generates:
                answers = (*answers, self.answer(inputs))
        return None, nested_detach(answers if len(answers) > 1 else answers[0]), labels

    def answer(self, inputs: Mapping[str, Any]) -> Any:
        """Predict a batch without its targets: return generated ids (rows, time) or the model's outputs."""
        targets = (self.task.label_name, "decoder_input_ids", "decoder_attention_mask")
        given = {name: value for name, value in inputs.items() if name not in targets}
        if not self.task.generates:
            return self.model(**given)
        return self.accelerator.unwrap_model(self.model).generate(**given, **self.generation)

    def evaluation_loop(self, dataloader: Any, *args: Any, **kwargs: Any) -> Any:
        with gathered(self.model) if self.task.generates else nullcontext():
            output = super().evaluation_loop(dataloader, *args, **kwargs)
        answers = output.predictions
        rows, predicted = len(dataloader.dataset), len(answers[0] if isinstance(answers, tuple) else answers)
        if rows != predicted:
            raise RuntimeError(f"Gathered {predicted} predictions for {rows} rows.")
        return output

    def _metrics(self, prediction: EvalPrediction) -> dict[str, float]:
        """Compute all metrics over the gathered rows; a mean over processes or batches would give other values."""
        metrics = self.task.metrics(prediction.predictions, prediction.label_ids, self._rows)
        if not math.isfinite(metrics["loss"]):
            raise not_finite("evaluation", metrics["loss"], self.state.global_step, self.args.learning_rate)
        return metrics

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler | None:
        dataset = self.train_dataset  # the argument has no column of lengths
        strategy = self.args.train_sampling_strategy
        if strategy not in ("random", "group_by_length"):
            return super()._get_train_sampler(train_dataset)
        several = self.args.world_size > 1
        rows = len(dataset) - several  # the last row is the blank one, see __init__
        lengths = row_lengths(dataset)[:rows].tolist() if strategy == "group_by_length" else None
        return epoch_sampler(self.args, rows, lengths)

    def _get_eval_sampler(self, eval_dataset: Any) -> Sampler | None:
        # Rows keep their order in evaluation; accelerate shards batches over processes.
        return SequentialSampler(eval_dataset) if self.args.world_size <= 1 else None


def _collate(collator: Any, rows: Any) -> Any:
    """A batch of rows; what `PaddedRows` returns is one."""
    return rows if isinstance(rows, dict) else collator(rows)


def breaks_tie(args: TrainingArguments, state: TrainerState, metrics: Mapping[str, float]) -> bool:
    """Return whether an evaluation equals the best so far in the main metric and has a lower loss.

    On a small validation split, many checkpoints have the same accuracy, and the first of them is often undertrained.
    The loss of the best evaluation is read from the history, which a resumed run restores.
    """
    name = str(args.metric_for_best_model)
    value = metrics.get(name if name.startswith("eval_") else f"eval_{name}")
    if value is None or value != state.best_metric or not state.best_global_step:
        return False
    then = [entry for entry in state.log_history if entry.get("step") == state.best_global_step]
    losses = [entry["eval_loss"] for entry in then if "eval_loss" in entry]
    return bool(losses) and metrics.get("eval_loss", math.inf) < losses[-1]


def not_finite(kind: str, loss: float, step: int, learning_rate: float) -> NonFiniteLoss:
    """Return the error for a training or evaluation loss that is infinite or not a number."""
    return NonFiniteLoss(
        f"The {kind} loss was {loss} at step {step}, so the run stopped without saving this state. Lower the learning "
        f"rate (--learning_rate was {learning_rate:g}), train without half precision, or check that labels and inputs "
        "are finite."
    )
