"""The lifecycle of a run, which every training verb shares: prepare, build, train, evaluate, save, record, publish."""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .. import __version__
from ..atomic_files import write_json
from ..errors import UserError
from ..hub.pushing import HubPushes, publish_finished
from ..records.checkpoints import check_same_architecture, resolve_resume
from ..records.cost import Stages, disk_bytes, hardware, peak_memory, trainable_parameters, versions
from ..records.energy import energy_used
from ..records.output_dir import check_free, clear, staged
from ..records.record import RESULT_NAME, SCHEMA_VERSION, changed_arguments, resolved_arguments
from ..strategies import make_strategy
from .failures import failures_recorded, now, setting_up

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback

    from ..config.arguments import Arguments, ModelArguments, Request, RunArguments
    from ..config.pretrain_arguments import PretrainArguments
    from ..strategies import Strategy
    from ..training.trainer import BaseTrainer

A = TypeVar("A", bound="Request")


class Lifecycle(ABC, Generic[A]):
    """One run from its arguments to its folder. A verb says what each stage is; `run` says in which order they come.

    Attributes:
        args: how the run is made, `arguments.run`.
        stages: the clock of the run.
        checkpoint: the one to resume from; None for a run that starts anew.
        tokenizer: set by `prepare`; None for a model that reads no tokens.
        model: what `build` returns.
        trainer: what `make_trainer` returns.
        peak, joules: memory and energy that `work` took.
    """

    tokenizer: PreTrainedTokenizerBase | None
    checkpoint: Path | None
    model: PreTrainedModel
    trainer: BaseTrainer
    peak: dict[str, int | None]
    joules: dict[str, float]

    def __init__(self, arguments: A) -> None:
        self.arguments = arguments
        self.args: RunArguments = arguments.run
        self.output_dir = Path(self.args.output_dir)
        self.started = now()
        self.stages = Stages("data")

    def run(self) -> dict[str, Any]:
        """The result record, which is left in `output_dir` with the model and its predictions.

        With `find_lr` it is what `find_learning_rate` returns, and then nothing else is left behind.
        """
        from transformers import set_seed

        self._open_folder()
        self.prepare()
        self.stages.begin("model")
        set_seed(self.args.seed)  # from here on everything random is the model's and the trainer's
        self.model = self.build()
        if self.checkpoint is not None:
            check_same_architecture(self.checkpoint, self.model)
        self.trainer = self.make_trainer()
        if self.args.find_lr:
            from ..training.lr_finder import find_learning_rate

            return find_learning_rate(self.trainer, self.output_dir)
        record = {**self._opening(), **self.describe()}
        self._make_room()
        with failures_recorded(record, self.trainer, self.output_dir):
            self.stages.begin("training")
            with peak_memory() as self.peak, energy_used() as self.joules:
                self.work()
            self.stages.begin("evaluate")
            record["metrics"] = self.evaluate()
            self.stages.begin("save")
            self.save()
            size = disk_bytes(self.output_dir)
            record |= self.findings()
        cost = {**self.cost(), "disk_bytes": size, **record.get("cost", {})}
        record |= {"status": "completed", "finished": now(), "history": self.trainer.state.log_history, "cost": cost}
        if self.trainer.is_world_process_zero():
            write_json(self.output_dir / RESULT_NAME, record)  # last: a folder with this file holds a finished run
        self.publish()
        return record

    # What a verb says

    @property
    @abstractmethod
    def sources(self) -> list[str | None]:
        """What the run reads: models, tokenizers, datasets, as they were named."""

    @abstractmethod
    def prepare(self) -> None:
        """Read the data and make the tokenizer, before any model is there."""

    @abstractmethod
    def build(self) -> PreTrainedModel:
        """The model, and the data as it reads them."""

    @abstractmethod
    def make_trainer(self) -> BaseTrainer:
        """The trainer of `model`, which has not begun yet."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """The parts of the record that are known before the work: model, strategy, task, dataset."""

    @abstractmethod
    def work(self) -> None:
        """What the run is for, and what its peak memory and energy are measured of."""

    @abstractmethod
    def evaluate(self) -> dict[str, dict[str, float]]:
        """Metrics by split."""

    @abstractmethod
    def save(self) -> None:
        """Leave the model in `output_dir`; every process takes part."""

    def findings(self) -> dict[str, Any]:
        """What is left beside the model, as parts of the record."""
        return {}

    @abstractmethod
    def cost(self) -> dict[str, Any]:
        """What the run cost."""

    def publish(self) -> None:
        """Publish the finished folder, if that was asked for."""
        publish_finished(self.args)

    # What every run does

    def _open_folder(self) -> None:
        resume = self.args.resume_from_checkpoint
        self.checkpoint = resolve_resume(resume, self.output_dir)
        overwrite = self.args.overwrite_output_dir or resume is not None
        check_free(self.output_dir, overwrite=overwrite, sources=self.sources)

    def _opening(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "toolkit_version": __version__,
            "status": "failed",  # until it is completed
            "error": None,
            "started": self.started,
            "seed": self.args.seed,
            "arguments": changed_arguments(self.arguments),
            "hardware": hardware(self.args),
            "versions": versions(),
        }

    def _make_room(self) -> None:
        """Remove what an earlier run left in `output_dir`, once every process has looked at it."""
        self.trainer.accelerator.wait_for_everyone()
        if self.trainer.is_world_process_zero():
            clear(self.output_dir, keep_checkpoints=self.checkpoint is not None)


T = TypeVar("T", bound="Arguments | PretrainArguments")


class Training(Lifecycle[T]):
    """A run that trains: a strategy prepares the model, and a schedule says for how long.

    Attributes:
        strategy: how knowledge moves into the model.
        processing: what turns rows into inputs, saved with the model.
        parameters: how many the model has, `total` and `trained`.
    """

    processing: Any
    parameters: dict[str, int]

    def __init__(self, arguments: T) -> None:
        super().__init__(arguments)
        self.strategy: Strategy = make_strategy(arguments.strategy, arguments.model)

    @property
    def asked(self) -> ModelArguments:
        """What was asked of the model."""
        return self.arguments.model

    @property
    def sources(self) -> list[str | None]:
        return [self.asked.model_name_or_path, self.asked.tokenizer_name, self.arguments.data.dataset_name]

    @property
    @abstractmethod
    def main_metric(self) -> tuple[str, bool]:
        """What the run is selected on, and whether more of it is better."""

    @abstractmethod
    def updates(self) -> int:
        """How many updates an epoch has."""

    @abstractmethod
    def new_trainer(self, model: Any, **common: Any) -> BaseTrainer:
        """The trainer of `model` as the strategy has prepared it."""

    @property
    @abstractmethod
    def epoch(self) -> tuple[int | None, int]:
        """The rows of an epoch, None where there are none to be counted, and its tokens."""

    def make_trainer(self) -> BaseTrainer:
        from transformers import PrinterCallback

        args, strategy = self.args, self.strategy
        total = sum(parameter.numel() for parameter in self.model.parameters())
        model = strategy.prepare(self.model)
        self.parameters = {"total": total, "trained": trainable_parameters(model)}
        # The strategy's usual learning rate and epochs, where the user left them open
        args.learning_rate = args.learning_rate or strategy.learning_rate
        args.num_train_epochs = args.num_train_epochs or strategy.epochs
        args.num_train_epochs = max(args.num_train_epochs, math.ceil(args.min_train_steps / self.updates()))
        strategy.configure(args)
        if args.selects_on_main_metric:
            args.metric_for_best_model, args.greater_is_better = self.main_metric
        with setting_up():
            trainer = self.new_trainer(
                model,
                learning_rates=strategy.learning_rates(model, args.learning_rate),
                processing_class=self.processing,
                callbacks=callbacks(args, strategy, model),
                publisher=HubPushes,
            )
            trainer.create_optimizer_and_scheduler(1)  # so that bad arguments fail before training
            trainer.optimizer = trainer.lr_scheduler = None
        if args.log_level == "error":
            trainer.remove_callback(PrinterCallback)  # what stands in for the progress bar where that is disabled
        return trainer

    def describe(self) -> dict[str, Any]:
        asked = self.asked
        return {
            "name": self.args.name or asked.model_type or asked.model_name_or_path,
            "model": {
                "model_type": self.model.config.model_type,
                "model_name_or_path": asked.model_name_or_path,
                "revision": getattr(self.model.config, "_commit_hash", None),  # of a checkpoint of the Hub
                "class": type(self.model).__name__,
                "tokenizer": asked.tokenizer_name or ("word" if asked.model_type else None),
                "vocab_size": len(self.tokenizer) if self.tokenizer is not None else None,
            },
            "strategy": self.strategy.record(),
            "resolved": resolved_arguments(self.args),
        }

    def work(self) -> None:
        self.trainer.train(resume_from_checkpoint=str(self.checkpoint) if self.checkpoint else None)

    def save(self) -> None:
        """Leave the model in `output_dir`; every process takes part, since sharded weights are gathered by all."""
        trainer, first = self.trainer, self.trainer.is_world_process_zero()
        trainer.accelerator.wait_for_everyone()
        staging = staged(self.output_dir) if first else nullcontext(self.output_dir / ".staging-model")
        with staging as folder:
            if not self.strategy.wraps:
                trainer.save_model(str(folder), _internal_call=True)
            elif first:
                self.strategy.finish(trainer.accelerator.unwrap_model(trainer.model), folder).save_pretrained(folder)
                trainer.processing_class.save_pretrained(folder)
            trainer.accelerator.wait_for_everyone()
        trainer.accelerator.wait_for_everyone()

    def cost(self) -> dict[str, Any]:
        """Parameters, seconds and rates of the training, memory, energy; `select` is evaluating and saving in it."""
        (rows, tokens), epochs, train = self.epoch, self.trainer.state.epoch or 0.0, self.trainer.train_seconds
        seconds = self.stages.seconds()
        training = seconds.pop("training")
        return {
            "parameters": self.parameters,
            "train_seconds": train,
            "examples_per_second": epochs * rows / train if train and rows is not None else None,
            "tokens_per_second": epochs * tokens / train if train else None,
            "steps": self.trainer.state.global_step,
            "epochs": epochs,
            "peak_memory_bytes": self.peak["bytes"],
            "evaluate_seconds": seconds["evaluate"],
            "seconds": {"train": train, "select": max(0.0, training - train), **seconds},
            **({"energy_joules": self.joules} if self.joules else {}),
        }


def callbacks(args: RunArguments, strategy: Strategy, model: Any) -> list[TrainerCallback]:
    """The strategy's own callbacks, and early stopping where it was asked for."""
    from transformers import EarlyStoppingCallback

    patience = args.early_stopping_patience
    if patience is not None and not args.load_best_model_at_end:
        raise UserError("--early_stopping_patience needs --load_best_model_at_end and an --eval_strategy.")
    return [*strategy.callbacks(model), *([EarlyStoppingCallback(patience)] if patience else [])]


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """No bars for loading and saving models: one for every checkpoint would break that of the training.

    Also a decorator. What the caller had chosen is in force again afterwards.
    """
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from transformers.utils import logging

    enabled, none_of_the_hub = logging.is_progress_bar_enabled(), are_progress_bars_disabled()
    logging.disable_progress_bar()  # those of the Hub as well
    try:
        yield
    finally:
        with warnings.catch_warnings(action="ignore"):  # where the environment forbids the Hub's, nothing was changed
            if enabled:
                logging.enable_progress_bar()
            (disable_progress_bars if none_of_the_hub else enable_progress_bars)()
