"""One run: a task, a model and a strategy become a model folder and a result record."""

from __future__ import annotations

import datetime
import math
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..errors import UserError
from ..strategies import make_strategy
from ..tasks import make_task
from .arguments import Arguments, RunArguments
from .causes import explained
from .checkpoints import check_same_architecture, resolve_resume
from .cost import Stopwatch, hardware, peak_memory, trainable_parameters, versions
from .evaluation import by_length, predict_in_order
from .lr_finder import find_learning_rate
from .model import longest_input, make_model, make_tokenizer, shortest
from .output_dir import PREDICTIONS, check_free, clear, staged
from .progress_bars import without_progress_bars
from .record import RESULT_NAME, SCHEMA_VERSION, changed_arguments, write_json

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from ..strategies import Strategy
    from ..tasks import Task
    from .trainer import ToolkitTrainer


@without_progress_bars()
def run(arguments: Arguments) -> dict[str, Any]:
    """Train, evaluate and save; the model folder, the predictions and `result.json` are left in `output_dir`.

    Returns:
        The result record; with `find_lr` what `find_learning_rate` returns, and then nothing else is left behind.

    Raises:
        UserError: something given cannot be used; nothing was trained.
        NonFiniteLoss: the training came apart. The result record says so (`status` is "failed").
    """
    from transformers import set_seed

    started = _now()
    strategy = make_strategy(arguments.strategy, arguments.model)
    task = make_task(arguments.data)
    output_dir = Path(arguments.run.output_dir)
    checkpoint = resolve_resume(arguments.run.resume_from_checkpoint, output_dir)
    check_free(
        output_dir,
        overwrite=arguments.run.overwrite_output_dir or arguments.run.resume_from_checkpoint is not None,
        sources=[arguments.model.model_name_or_path, arguments.model.tokenizer_name, arguments.data.dataset_name],
    )

    splits = task.prepare(arguments.run.seed)
    tokenizer = make_tokenizer(arguments.model, lambda: _texts(splits["train"]), arguments.data.max_length)
    set_seed(arguments.run.seed)  # from here on everything random is the model's and the trainer's
    model = make_model(arguments.model, task.auto_class, task.config_arguments(), tokenizer)
    max_length = shortest(arguments.data.max_length, longest_input(model), tokenizer.model_max_length)
    tokenizer.model_max_length = (
        max_length or tokenizer.model_max_length
    )  # saved with it, so that predict.py cuts alike
    tokenised = task.tokenize(splits, tokenizer, max_length)
    if checkpoint is not None:
        check_same_architecture(checkpoint, model)
    total = sum(parameter.numel() for parameter in model.parameters())
    trained = strategy.prepare(model)
    parameters = {"total": total, "trained": trainable_parameters(trained)}
    _resolve_schedule(arguments.run, strategy, len(tokenised["train"]))
    strategy.configure(arguments.run)
    trainer = _make_trainer(arguments.run, task, trained, tokenizer, tokenised, strategy)
    if arguments.run.find_lr:
        return find_learning_rate(trainer, output_dir)

    record = {
        "schema_version": SCHEMA_VERSION,
        "toolkit_version": __version__,
        "status": "failed",
        "error": None,
        "started": started,
        **task.record(),
        **_describe(arguments, strategy, model, tokenizer),
    }
    trainer.accelerator.wait_for_everyone()  # every process has looked at the folder
    if trainer.is_world_process_zero():
        clear(output_dir, keep_checkpoints=checkpoint is not None)
    try:
        with peak_memory() as peak:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        began = time.perf_counter()
        results = {split: predict_in_order(trainer, tokenised[split]) for split in ("validation", "test")}
        evaluate_seconds = time.perf_counter() - began
        _save_model(trainer, strategy, output_dir)
        if trainer.is_world_process_zero():
            record["predictions"] = _save_predictions(task, splits, results, output_dir)
    except Exception as error:
        reason = explained(error)
        record |= {"error": " ".join(str(reason).split()), "finished": _now(), "metrics": {}, "predictions": {}}
        if trainer.is_world_process_zero():
            write_json(output_dir / RESULT_NAME, record)
        if reason is error:
            raise
        raise reason from error
    record |= {
        "status": "completed",
        "finished": _now(),
        "metrics": {split: metrics for split, (_, metrics) in results.items()},
        "history": trainer.state.log_history,
        "cost": {
            "parameters": parameters,
            **_speed(trainer, tokenised["train"]),
            "evaluate_seconds": evaluate_seconds,
            "peak_memory_bytes": peak["bytes"],
        },
    }
    if trainer.is_world_process_zero():
        write_json(output_dir / RESULT_NAME, record)  # last: a folder with this file holds a finished run
    return record


def _describe(
    arguments: Arguments, strategy: Strategy, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> dict[str, Any]:
    """The parts of the result record that are known before training."""
    asked = arguments.model
    return {
        "name": arguments.run.name or asked.model_type or asked.model_name_or_path,
        "model": {
            "model_type": model.config.model_type,
            "model_name_or_path": asked.model_name_or_path,
            "class": type(model).__name__,
            "tokenizer": asked.tokenizer_name or ("word" if asked.model_type else None),
            "vocab_size": len(tokenizer),
        },
        "strategy": strategy.record(),
        "seed": arguments.run.seed,
        "arguments": changed_arguments(arguments),
        "hardware": hardware(arguments.run),
        "versions": versions(),
    }


def _make_trainer(
    args: RunArguments,
    task: Task,
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    tokenised: DatasetDict,
    strategy: Strategy,
) -> ToolkitTrainer:
    from transformers import EarlyStoppingCallback, PrinterCallback

    from .trainer import ToolkitTrainer

    if args.selects_on_main_metric:
        args.metric_for_best_model, args.greater_is_better = task.main_metric, task.greater_is_better
    callbacks: list[Any] = [Stopwatch(), *strategy.callbacks(model)]
    if args.early_stopping_patience is not None:
        if not args.load_best_model_at_end:
            raise UserError("--early_stopping_patience needs --load_best_model_at_end and an --eval_strategy.")
        callbacks.append(EarlyStoppingCallback(args.early_stopping_patience))
    try:
        trainer = ToolkitTrainer(
            model,
            args,
            problem_type=task.problem_type,
            metrics=task.metrics,
            learning_rates=strategy.learning_rates(model, args.learning_rate),
            train_dataset=tokenised["train"],
            eval_dataset=tokenised["validation"].select(by_length(tokenised["validation"])),
            data_collator=task.collator(tokenizer),
            processing_class=tokenizer,
            callbacks=callbacks,
        )
        trainer.create_optimizer_and_scheduler(1)  # tried here, where what is wrong with its arguments can be said
        trainer.optimizer = trainer.lr_scheduler = None
    except (ValueError, TypeError, RuntimeError, ImportError) as error:
        raise UserError(f"Training cannot be set up: {' '.join(str(error).split())}") from error
    if args.log_level == "error":
        trainer.remove_callback(PrinterCallback)  # what stands in for the progress bar where that is disabled
    return trainer


def _resolve_schedule(args: RunArguments, strategy: Strategy, rows: int) -> None:
    """Put the strategy's usual learning rate and epochs where the user left them open, and see to `min_train_steps`."""
    args.learning_rate = args.learning_rate or strategy.learning_rate
    args.num_train_epochs = args.num_train_epochs or strategy.epochs
    batch = args.train_batch_size * args.world_size * args.gradient_accumulation_steps
    steps_per_epoch = math.ceil(rows / batch)
    args.num_train_epochs = max(args.num_train_epochs, math.ceil(args.min_train_steps / steps_per_epoch))


def _save_model(trainer: ToolkitTrainer, strategy: Strategy, output_dir: Path) -> None:
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


def _save_predictions(
    task: Task, splits: DatasetDict, results: dict[str, tuple[Any, dict[str, float]]], output_dir: Path
) -> dict[str, str]:
    """A parquet file for each split; their names by split."""
    with staged(output_dir) as staging:
        for split, (logits, _) in results.items():
            task.predictions(logits, splits[split]).to_parquet(staging / PREDICTIONS[split], index=False)
    return PREDICTIONS


def _speed(trainer: ToolkitTrainer, train: Dataset) -> dict[str, Any]:
    stopwatch = next(c for c in trainer.callback_handler.callbacks if isinstance(c, Stopwatch))
    epochs = trainer.state.epoch or 0.0
    seconds = stopwatch.seconds
    rows = epochs * len(train)
    tokens = epochs * sum(train["length"])
    return {
        "train_seconds": seconds,
        "examples_per_second": rows / seconds if seconds else None,
        "tokens_per_second": tokens / seconds if seconds else None,
        "steps": trainer.state.global_step,
        "epochs": epochs,
    }


def _texts(dataset: Dataset) -> list[str]:
    return [text for column in ("text", "text_pair") if column in dataset.column_names for text in dataset[column]]


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
