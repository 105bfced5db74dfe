"""What every run does, whatever it trains: its record, its callbacks, its schedule and the model it leaves."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..errors import UserError, without_tokens
from ..records.cost import Stages, Stopwatch, hardware, versions
from ..records.output_dir import clear, staged
from ..records.record import RESULT_NAME, SCHEMA_VERSION, changed_arguments, resolved_arguments, write_json
from .failures import explained

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback

    from ..config.arguments import Arguments, RunArguments
    from ..config.pretrain_arguments import PretrainArguments
    from ..strategies import Strategy
    from ..training.trainer import BaseTrainer


def now() -> str:
    """The time as records have it: UTC, ISO 8601."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def opening(
    arguments: Arguments | PretrainArguments,
    strategy: Strategy,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    started: str,
) -> dict[str, Any]:
    """The parts of a result record that are known before training; its status is "failed" until it is completed."""
    asked = arguments.model
    return {
        "schema_version": SCHEMA_VERSION,
        "toolkit_version": __version__,
        "status": "failed",
        "error": None,
        "started": started,
        "name": arguments.run.name or asked.model_type or asked.model_name_or_path,
        "model": {
            "model_type": model.config.model_type,
            "model_name_or_path": asked.model_name_or_path,
            "revision": getattr(model.config, "_commit_hash", None),  # of a checkpoint of the Hub
            "class": type(model).__name__,
            "tokenizer": asked.tokenizer_name or ("word" if asked.model_type else None),
            "vocab_size": len(tokenizer) if tokenizer is not None else None,
        },
        "strategy": strategy.record(),
        "seed": arguments.run.seed,
        "arguments": changed_arguments(arguments),
        "resolved": resolved_arguments(arguments.run),
        "hardware": hardware(arguments.run),
        "versions": versions(),
    }


def resolve_schedule(args: RunArguments, strategy: Strategy, steps_per_epoch: int) -> None:
    """Put the strategy's usual learning rate and epochs where the user left them open, and see to `min_train_steps`."""
    args.learning_rate = args.learning_rate or strategy.learning_rate
    args.num_train_epochs = args.num_train_epochs or strategy.epochs
    args.num_train_epochs = max(args.num_train_epochs, math.ceil(args.min_train_steps / steps_per_epoch))


def callbacks(args: RunArguments, strategy: Strategy, model: Any) -> list[TrainerCallback]:
    """The stopwatch, the strategy's own callbacks, and early stopping where it was asked for."""
    from transformers import EarlyStoppingCallback

    patience = args.early_stopping_patience
    if patience is not None and not args.load_best_model_at_end:
        raise UserError("--early_stopping_patience needs --load_best_model_at_end and an --eval_strategy.")
    return [Stopwatch(), *strategy.callbacks(model), *([EarlyStoppingCallback(patience)] if patience else [])]


@contextmanager
def setting_up() -> Iterator[None]:
    """What transformers refuse of a trainer's arguments, as a `UserError`."""
    try:
        yield
    except UserError:
        raise
    except (ValueError, TypeError, RuntimeError, ImportError) as error:
        problem = " ".join(str(error).split())
        if "TensorBoardCallback requires" in problem:  # transformers advise an update of PyTorch, which does not help
            problem = "--report_to tensorboard needs a package that is not installed here: pip install tensorboard."
        raise UserError(f"Training cannot be set up: {problem}") from error


def try_out(trainer: BaseTrainer) -> None:
    """Make the optimiser once, where what is wrong with its arguments can still be said."""
    from transformers import PrinterCallback

    trainer.create_optimizer_and_scheduler(1)
    trainer.optimizer = trainer.lr_scheduler = None
    if trainer.args.log_level == "error":
        trainer.remove_callback(PrinterCallback)  # what stands in for the progress bar where that is disabled


def make_room(trainer: BaseTrainer, output_dir: Path, *, keep_checkpoints: bool) -> None:
    """Remove what an earlier run left in `output_dir`, once every process has looked at it."""
    trainer.accelerator.wait_for_everyone()
    if trainer.is_world_process_zero():
        clear(output_dir, keep_checkpoints=keep_checkpoints)


@contextmanager
def failures_recorded(record: dict[str, Any], trainer: BaseTrainer, output_dir: Path) -> Iterator[None]:
    """Leave a record of what stopped the run, and raise it as a `UserError` where a user can remove the cause."""
    try:
        yield
    except Exception as error:
        reason = explained(error)
        record |= {
            "error": without_tokens(" ".join(str(reason).split())),
            "finished": now(),
            "metrics": {},
            "predictions": {},
        }
        if trainer.is_world_process_zero():
            write_json(output_dir / RESULT_NAME, record)
        if reason is error:
            raise
        raise reason from error


def save_model(trainer: BaseTrainer, strategy: Strategy, output_dir: Path) -> None:
    """Leave the model in `output_dir`; every process takes part, since sharded weights are gathered by all together."""
    trainer.accelerator.wait_for_everyone()
    staging = staged(output_dir) if trainer.is_world_process_zero() else nullcontext(output_dir / ".staging-model")
    with staging as folder:
        if not strategy.wraps:
            trainer.save_model(str(folder), _internal_call=True)
        elif trainer.is_world_process_zero():
            model = strategy.finish(trainer.accelerator.unwrap_model(trainer.model), folder)
            model.save_pretrained(folder)
            trainer.processing_class.save_pretrained(folder)
        trainer.accelerator.wait_for_everyone()
    trainer.accelerator.wait_for_everyone()


def timing(stages: Stages, trainer: BaseTrainer) -> dict[str, Any]:
    """Seconds of the stages of a run; of `training`, which evaluates and saves as well, `train` is the learning."""
    seconds = stages.seconds()
    training, train = seconds.pop("training"), _stopwatch(trainer).seconds
    parts = {"train": train, "select": max(0.0, training - train), **seconds}
    return {"evaluate_seconds": seconds["evaluate"], "seconds": parts}


def speed(trainer: BaseTrainer, rows: int | None, tokens: int) -> dict[str, Any]:
    """Seconds, updates and epochs of a training, and its rates; `rows` and `tokens` are those of an epoch."""
    epochs, seconds = trainer.state.epoch or 0.0, _stopwatch(trainer).seconds
    return {
        "train_seconds": seconds,
        "examples_per_second": epochs * rows / seconds if seconds and rows is not None else None,
        "tokens_per_second": epochs * tokens / seconds if seconds else None,
        "steps": trainer.state.global_step,
        "epochs": epochs,
    }


def _stopwatch(trainer: BaseTrainer) -> Stopwatch:
    return next(c for c in trainer.callback_handler.callbacks if isinstance(c, Stopwatch))
