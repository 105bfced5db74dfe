"""The stages that all training verbs share: prepare, build, train, evaluate, save, record, publish."""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from .. import __version__
from ..config.processes import global_batch
from ..errors import UserError, nearest
from ..hub.pushing import HubPushes, publish_finished
from ..records.artefacts import artefacts_in
from ..records.checkpoints import check_same_architecture, resolve_resume
from ..records.cost import Stages, disk_bytes, hardware, peak_memory, trainable_parameters, versions
from ..records.energy import energy_used
from ..records.identity import check_same_run, identity_of, write_identity
from ..records.kind import kind_of
from ..records.output_dir import check_free, check_space, clear, staged
from ..records.record import SCHEMA_VERSION, changed_arguments, resolved_arguments, write_record
from ..strategies import make_strategy
from ..strategies.recommended import recommended, settle
from .failures import explaining, failures_recorded, now, setting_up
from .summary import say

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback

    from ..config.arguments import Arguments, ModelArguments, Request, RunArguments
    from ..config.pretrain_arguments import PretrainArguments
    from ..strategies import Strategy
    from ..training.trainer import BaseTrainer

A = TypeVar("A", bound="Request")


class Lifecycle(ABC, Generic[A]):
    """One run from its arguments to its folder. A verb implements the stages; `run` calls them in order.

    Attributes:
        args: the training settings, `arguments.run`.
        stages: measures the seconds of each stage.
        checkpoint: the checkpoint to resume from; None for a new run.
        tokenizer: set by `prepare`; None for a model without tokens.
        processing: the tokenizer or processor that turns rows into inputs, saved with the model; set by `prepare`.
        max_length: the tokens to which texts are truncated; None for no limit.
        model: the result of `build`.
        trainer: the result of `make_trainer`.
        peak, joules: peak memory in bytes and energy in joules of `work`.
    """

    tokenizer: PreTrainedTokenizerBase | None
    processing: Any
    max_length: int | None = None
    checkpoint: Path | None
    model: PreTrainedModel
    trainer: BaseTrainer
    peak: dict[str, int | None]
    joules: dict[str, float]

    measures: ClassVar[bool] = False
    """Whether the run heeds `--measure`."""

    def __init__(self, arguments: A) -> None:
        self.arguments = arguments
        self.args: RunArguments = arguments.run
        if self.args.measure and not self.measures:
            raise UserError("--measure is for tasks with labelled rows (finetune, compare) and export. Leave it out.")
        self.output_dir = Path(self.args.output_dir)
        self.started = now()
        self.stages = Stages("data")

    def run(self) -> dict[str, Any]:
        """Return the result record, after writing it to `output_dir` with the model and its predictions.

        With `find_lr`, return the result of `find_learning_rate` and write nothing else.
        """
        self.set_up()
        if self.args.find_lr:
            from ..training.lr_finder import find_learning_rate

            return find_learning_rate(self.trainer, self.output_dir)
        record = {**self._opening(), **self.describe()}
        record["kind"] = kind_of(record)
        record["identity"] = self.trainer.identity = self._identity(record)
        if self.checkpoint is not None and not check_same_run(self.checkpoint, record["identity"]):
            check_same_architecture(self.checkpoint, self.model)
        if self.checkpoint is None:
            with explaining():
                self.rehearse()
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
            record["artefacts"] = artefacts_in(self.output_dir)
            record = write_record(self.output_dir, record)  # last: this file marks a finished run
        self.publish()
        return record

    def set_up(self) -> None:
        """Read the data, and build the model and the trainer."""
        from transformers import set_seed

        self._open_folder()
        self.prepare()
        self.stages.begin("model")
        set_seed(self.args.seed)  # later random numbers are for the model and the trainer
        self.model = self.build()
        self.trainer = self.make_trainer()

    # Stages that a verb implements

    @property
    @abstractmethod
    def sources(self) -> list[str | None]:
        """The models, tokenizers and datasets that the run reads, by the names given."""

    @abstractmethod
    def prepare(self) -> None:
        """Read the data and create the tokenizer, before the model exists."""

    @abstractmethod
    def build(self) -> PreTrainedModel:
        """The model. Also encodes the data for it."""

    @abstractmethod
    def make_trainer(self) -> BaseTrainer:
        """A trainer for `model`."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """The parts of the record that are known before `work`: model, strategy, task, dataset."""

    @abstractmethod
    def rows(self) -> dict[str, Any]:
        """The rows of each split for the identity of the run: `rows_of` or `tokens_of` them."""

    def schedule(self) -> dict[str, Any]:
        """The schedule for the identity of the run; empty if nothing is trained."""
        return {}

    @property
    def start(self) -> ModelArguments | None:
        """The arguments that name the checkpoint which training starts from, if any."""
        return None

    def rehearse(self) -> None:  # noqa: B027 - most runs have nothing to try
        """Try what `work` and `save` do, without a trace, so that errors show before the work."""

    @abstractmethod
    def work(self) -> None:
        """Train the model, or do the other main work of the run. Peak memory and energy are measured."""

    @abstractmethod
    def evaluate(self) -> dict[str, dict[str, float]]:
        """Metrics by split."""

    @abstractmethod
    def save(self) -> None:
        """Write the model to `output_dir`; every process takes part."""

    def findings(self) -> dict[str, Any]:
        """Write further results beside the model, and return their parts of the record."""
        return {}

    @abstractmethod
    def cost(self) -> dict[str, Any]:
        """The costs of the run, for the record."""

    def publish(self) -> None:
        """Publish the finished folder if `push_to_hub` is set."""
        publish_finished(self.args)

    # Steps of every run

    def _open_folder(self) -> None:
        resume = self.args.resume_from_checkpoint
        self.checkpoint = resolve_resume(resume, self.output_dir)
        if resume is not None and self.checkpoint is None:
            say(
                f"There is no complete checkpoint in {str(self.output_dir)!r}: the run starts at the beginning.",
                self.args,
            )
        overwrite = self.args.overwrite_output_dir or resume is not None
        check_free(self.output_dir, overwrite=overwrite, sources=self.sources)

    def _opening(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "toolkit_version": __version__,
            "status": "failed",  # until the run completes
            "error": None,
            "started": self.started,
            "seed": self.args.seed,
            "arguments": changed_arguments(self.arguments),
            "hardware": hardware(self.args),
            "versions": versions(),
        }

    def _identity(self, record: dict[str, Any]) -> dict[str, Any]:
        return identity_of(
            record,
            rows=self.rows(),
            processing=self.processing,
            max_length=self.max_length,
            config=self.model.config,
            model_arguments=self.start,
            schedule=self.schedule(),
        )

    def _make_room(self) -> None:
        """Remove the files of an earlier run from `output_dir`, once every process has read it."""
        self.trainer.accelerator.wait_for_everyone()
        if self.trainer.is_world_process_zero():
            clear(self.output_dir, keep_checkpoints=self.checkpoint is not None)


T = TypeVar("T", bound="Arguments | PretrainArguments")


class Training(Lifecycle[T]):
    """A run that trains a model, as its strategy and schedule determine.

    Attributes:
        strategy: how knowledge is transferred to the model.
        seconds_without_updates: seconds of training beside those of the trainer: of computing features and of solving.
        parameters: numbers of parameters, `total` and `trained`.
        learning_rates: peak learning rates by parameter name that differ from the run's.
    """

    parameters: dict[str, int]
    learning_rates: dict[str, float]
    seconds_without_updates: float = 0.0

    def __init__(self, arguments: T) -> None:
        super().__init__(arguments)
        self.strategy: Strategy = make_strategy(arguments.strategy, arguments.model)
        self.strategy.check(self.args, arguments.data.task or "causal-lm")

    @property
    def model_arguments(self) -> ModelArguments:
        """The arguments that choose the model."""
        return self.arguments.model

    @property
    def start(self) -> ModelArguments:
        return self.model_arguments

    @property
    def sources(self) -> list[str | None]:
        model = self.model_arguments
        return [model.model_name_or_path, model.tokenizer_name, self.arguments.data.dataset_name]

    @property
    @abstractmethod
    def main_metric(self) -> tuple[str, bool]:
        """The metric that selects the model, and whether higher values are better."""

    @property
    @abstractmethod
    def metric_names(self) -> Sequence[str]:
        """The metrics of an evaluation."""

    @property
    def task_name(self) -> str | None:
        """The name of the task; None for a language model."""
        return None

    @abstractmethod
    def updates(self) -> int:
        """The number of updates in an epoch."""

    @abstractmethod
    def new_trainer(self, model: Any, **common: Any) -> BaseTrainer:
        """A trainer for `model`, which the strategy has prepared."""

    @property
    @abstractmethod
    def epoch(self) -> tuple[int | None, int]:
        """The numbers of rows (None for a language model, which has no rows) and tokens in an epoch."""

    def make_trainer(self) -> BaseTrainer:
        from transformers import PrinterCallback

        args, strategy = self.args, self.strategy
        self._check_flags()
        self.model_class = type(self.model)  # FSDP replaces the class
        total = sum(parameter.numel() for parameter in self.model.parameters())
        model = strategy.prepare(self.model)
        self.parameters = {"total": total, "trained": trainable_parameters(model)}
        rule = recommended(strategy.name, self.task_name, self.model.config.model_type)
        if args.batch_by_rule:
            args.per_device_train_batch_size = rule.batch_size
        updates = self.updates()
        head_rate = settle(args, rule, updates, strategy.least_epochs)
        self._steps = args.max_steps if args.max_steps > 0 else math.ceil(args.num_train_epochs * updates)
        self._epochs = args.num_train_epochs if args.max_steps <= 0 else args.max_steps / updates
        strategy.configure(args)
        if args.selects_on_main_metric:
            args.metric_for_best_model, args.greater_is_better = self.main_metric
        with setting_up():
            self.learning_rates = strategy.learning_rates(model, args.learning_rate, head_rate)
            trainer = self.new_trainer(
                model,
                learning_rates=self.learning_rates,
                processing_class=self.processing,
                callbacks=callbacks(args, strategy, model),
                publisher=HubPushes,
            )
            trainer.create_optimizer_and_scheduler(1)  # so that bad arguments fail before training
            trainer.optimizer = trainer.lr_scheduler = None
        if args.log_level == "error":
            trainer.remove_callback(PrinterCallback)  # transformers' replacement for a disabled progress bar
        return trainer

    def describe(self) -> dict[str, Any]:
        model = self.model_arguments
        learned = self.tokenizer.name_or_path if model.model_type and self.tokenizer is not None else None
        return {
            "name": self.args.name or model.model_type or model.model_name_or_path,
            "model": {
                "model_type": self.model.config.model_type,
                "model_name_or_path": model.model_name_or_path,
                "revision": getattr(self.model.config, "_commit_hash", None),  # for a Hub checkpoint
                "class": type(self.model).__name__,
                "tokenizer": model.tokenizer_name or learned,
                "vocab_size": len(self.tokenizer) if self.tokenizer is not None else None,
            },
            "strategy": self.strategy.record(),
            "resolved": resolved_arguments(self.args),
        }

    def rehearse(self) -> None:
        from ..training.rehearsal import rehearse_saving

        args, weights = self.args, [parameter.nbytes for parameter in self.trainer.model.parameters()]
        trained = sum(p.nbytes for p in self.trainer.model.parameters() if p.requires_grad)
        states = 0 if args.save_only_model else 2 * trained  # those of Adam
        kept = 0 if args.save_strategy == "no" or self.strategy.fits else (args.save_total_limit or 1) + 1
        if self.trainer.is_world_process_zero():
            check_space(self.output_dir, max(sum(weights), states), sum(weights) + kept * (sum(weights) + states))
        rehearse_saving(self.trainer, self.output_dir)

    def _check_flags(self) -> None:
        """Check the flags of transformers that depend on the model, its metrics or the number of updates."""
        args, model = self.args, self.model
        if args.gradient_checkpointing and not model.supports_gradient_checkpointing:
            raise UserError(f"Leave out --gradient_checkpointing: {type(model).__name__} does not support it.")
        named, known = args.metric_for_best_model, self.metric_names
        if not args.selects_on_main_metric and named.removeprefix("eval_") not in known:
            raise UserError(
                f"--metric_for_best_model {named} is not a metric of this run; choose one of {', '.join(known)}."
                f"{nearest(named, known)}"
            )

    def schedule(self) -> dict[str, Any]:
        args = self.args
        if self.strategy.fits:
            return {}
        return {
            "steps": self._steps,
            "epochs": self._epochs,
            "global_batch": global_batch(args),
            "learning_rates": sorted({args.learning_rate, *self.learning_rates.values()}, reverse=True),
        }

    def work(self) -> None:
        self.trainer.train(resume_from_checkpoint=str(self.checkpoint) if self.checkpoint else None)

    def save(self) -> None:
        """Write the model to `output_dir`. Every process takes part, because sharded weights are gathered from all."""
        trainer, first = self.trainer, self.trainer.is_world_process_zero()
        trainer.accelerator.wait_for_everyone()
        staging = staged(self.output_dir) if first else nullcontext(self.output_dir / ".staging-model")
        with staging as folder:
            if not self.strategy.wraps:
                trainer.save_model(str(folder), _internal_call=True)
            elif (model := self._whole_model()) is not None:
                self.strategy.finish(model, folder).save_pretrained(folder)
                trainer.processing_class.save_pretrained(folder)
                write_identity(folder, trainer.identity or {})
            trainer.accelerator.wait_for_everyone()
        trainer.accelerator.wait_for_everyone()

    def _whole_model(self) -> Any:
        """The trained module with its wrapper and the weights of all processes, in the first process; else None."""
        trainer, model = self.trainer, self.model
        sharded = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
        weights = trainer.accelerator.get_state_dict(trainer.model_wrapped) if sharded else {}
        if not trainer.is_world_process_zero():
            return None
        if not sharded:
            return trainer.accelerator.unwrap_model(trainer.model)
        whole = self.model_class(model.config)
        whole.name_or_path = model.name_or_path
        if model.can_generate():
            whole.generation_config = model.generation_config
        wrapped = self.strategy.prepare(whole)
        wrapped.load_state_dict(weights)
        return wrapped

    def cost(self) -> dict[str, Any]:
        """Parameters, time, throughput, memory, energy. `select` is the time of evaluation and saving in training."""
        (rows, tokens), epochs = self.epoch, self.trainer.state.epoch or 0.0
        train = self.trainer.train_seconds + self.seconds_without_updates
        passes = 1.0 if self.strategy.fits else epochs
        seconds = self.stages.seconds()
        training = seconds.pop("training")
        return {
            "parameters": self.parameters,
            "train_seconds": train,
            "examples_per_second": passes * rows / train if train and rows is not None else None,
            "tokens_per_second": passes * tokens / train if train else None,
            "steps": self.trainer.state.global_step,
            "epochs": epochs,
            "peak_memory_bytes": self.peak["bytes"],
            "evaluate_seconds": seconds["evaluate"],
            "seconds": {"train": train, "select": max(0.0, training - train), **seconds},
            **({"energy_joules": self.joules} if self.joules else {}),
        }


def callbacks(args: RunArguments, strategy: Strategy, model: Any) -> list[TrainerCallback]:
    """The strategy's callbacks, and early stopping if `early_stopping_patience` is set."""
    from transformers import EarlyStoppingCallback

    patience = args.early_stopping_patience
    if patience is not None and not args.load_best_model_at_end:
        raise UserError("--early_stopping_patience needs --load_best_model_at_end and an --eval_strategy.")
    return [*strategy.callbacks(model), *([EarlyStoppingCallback(patience)] if patience else [])]


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Hide the bars for loading and saving models, because a bar for every checkpoint breaks the training's bar.

    Also works as a decorator. Restores the caller's settings on exit.
    """
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from transformers.utils import logging

    enabled, hub_disabled = logging.is_progress_bar_enabled(), are_progress_bars_disabled()
    logging.disable_progress_bar()  # also disables the Hub's bars
    try:
        yield
    finally:
        with warnings.catch_warnings(action="ignore"):  # HF_HUB_DISABLE_PROGRESS_BARS overrides both calls
            if enabled:
                logging.enable_progress_bar()
            (disable_progress_bars if hub_disabled else enable_progress_bars)()
