"""One run: a task, a model and a strategy become a model folder and a result record."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..hub.pushing import publish_finished
from ..strategies import make_strategy
from ..tasks import make_task
from .arguments import Arguments, RunArguments
from .attention import save_attention
from .checkpoints import check_same_architecture, resolve_resume
from .cost import Stages, disk_bytes, peak_memory, trainable_parameters
from .energy import energy_used
from .evaluation import by_length, predict_in_order, save_predictions
from .generation import GREEDY, settle_generation
from .inference import measure_inference
from .lr_finder import find_learning_rate
from .model import longest_input, make_model, shortest
from .output_dir import check_free, for_output_dir
from .progress_bars import without_progress_bars
from .record import RESULT_NAME, write_json
from .run_parts import (
    callbacks,
    failures_recorded,
    make_room,
    now,
    opening,
    resolve_schedule,
    save_model,
    setting_up,
    speed,
    timing,
    try_out,
)
from .summary import print_data

if TYPE_CHECKING:
    from datasets import DatasetDict

    from ..strategies import Strategy
    from ..tasks import Task
    from .trainer import ToolkitTrainer


@without_progress_bars()
@for_output_dir
def run(arguments: Arguments) -> dict[str, Any]:
    """Train, evaluate and save; the model folder, the predictions and `result.json` are left in `output_dir`.

    Returns:
        The result record; with `find_lr` what `find_learning_rate` returns, and then nothing else is left behind.

    Raises:
        UserError: something given cannot be used; nothing was trained.
        NonFiniteLoss: the training came apart. The result record says so (`status` is "failed").
    """
    from transformers import set_seed

    started = now()
    strategy = make_strategy(arguments.strategy, arguments.model)
    task = make_task(arguments.data)
    output_dir = Path(arguments.run.output_dir)
    checkpoint = resolve_resume(arguments.run.resume_from_checkpoint, output_dir)
    check_free(
        output_dir,
        overwrite=arguments.run.overwrite_output_dir or arguments.run.resume_from_checkpoint is not None,
        sources=[arguments.model.model_name_or_path, arguments.model.tokenizer_name, arguments.data.dataset_name],
    )

    stages = Stages("data")
    splits = task.prepare(arguments.run.seed)
    print_data(task.record(), arguments.run)
    processing = task.make_processing(arguments.model, splits)
    tokenizer = task.tokenizer(processing)
    stages.begin("model")
    set_seed(arguments.run.seed)  # from here on everything random is the model's and the trainer's
    model = make_model(arguments.model, task.auto_class, task.config_arguments(processing), tokenizer)
    task.adapt(model, processing)
    max_length = shortest(arguments.data.max_length, longest_input(model), tokenizer and tokenizer.model_max_length)
    if tokenizer is not None:  # saved with it, so that predict.py cuts alike
        tokenizer.model_max_length = max_length or tokenizer.model_max_length
    stages.begin("data")
    encoded = task.encode(splits, processing, max_length)
    stages.begin("model")
    if task.generates:
        settle_generation(model, arguments.run, encoded["train"])
    if checkpoint is not None:
        check_same_architecture(checkpoint, model)
    total = sum(parameter.numel() for parameter in model.parameters())
    trained = strategy.prepare(model)
    parameters = {"total": total, "trained": trainable_parameters(trained)}
    batch = arguments.run.train_batch_size * arguments.run.world_size * arguments.run.gradient_accumulation_steps
    resolve_schedule(arguments.run, strategy, math.ceil(len(encoded["train"]) / batch))
    strategy.configure(arguments.run)
    trainer = _make_trainer(arguments.run, task, trained, processing, encoded, strategy)
    if arguments.run.find_lr:
        return find_learning_rate(trainer, output_dir)

    record = {**opening(arguments, strategy, model, tokenizer, started), **task.record()}
    make_room(trainer, output_dir, keep_checkpoints=checkpoint is not None)
    with failures_recorded(record, trainer, output_dir):
        stages.begin("training")
        with peak_memory() as peak, energy_used() as joules:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        stages.begin("evaluate")
        evaluated = ("validation",) if arguments.run.skip_test else ("validation", "test")
        results = {split: predict_in_order(trainer, encoded[split]) for split in evaluated}
        stages.begin("save")
        save_model(trainer, strategy, output_dir)
        if trainer.is_world_process_zero():
            record["cost"] = {"disk_bytes": disk_bytes(output_dir)}
            answers = {split: own for split, (own, _) in results.items()}
            record["predictions"] = save_predictions(task, splits, answers, output_dir)
        if trainer.is_world_process_zero() and "test" in results:
            record |= task.details(answers["test"], splits["test"])
            stages.begin("inference")
            record["cost"]["inference"] = measure_inference(trainer, encoded["test"])
            if tokenizer is not None and "text" in splits["test"].column_names:
                unwrapped = trainer.accelerator.unwrap_model(trainer.model)
                record["attention"] = save_attention(unwrapped, tokenizer, encoded["test"], splits["test"], output_dir)
    record |= {
        "status": "completed",
        "finished": now(),
        "metrics": {split: metrics for split, (_, metrics) in results.items()},
        "history": trainer.state.log_history,
        "cost": {
            "parameters": parameters,
            **speed(trainer, len(encoded["train"]), sum(encoded["train"]["length"])),
            "peak_memory_bytes": peak["bytes"],
            **timing(stages, trainer),
            **({"energy_joules": joules} if joules else {}),
            **record.get("cost", {}),
        },
    }
    if trainer.is_world_process_zero():
        write_json(output_dir / RESULT_NAME, record)  # last: a folder with this file holds a finished run
    publish_finished(arguments.run)
    return record


def _make_trainer(
    args: RunArguments,
    task: Task,
    model: Any,
    processing: Any,
    encoded: DatasetDict,
    strategy: Strategy,
) -> ToolkitTrainer:
    from .trainer import ToolkitTrainer

    if args.selects_on_main_metric:
        args.metric_for_best_model, args.greater_is_better = task.main_metric, task.greater_is_better
    called = callbacks(args, strategy, model)
    with setting_up():
        trainer = ToolkitTrainer(
            model,
            args,
            task=task,
            generation=GREEDY,
            learning_rates=strategy.learning_rates(model, args.learning_rate),
            train_dataset=encoded["train"],
            eval_dataset=encoded["validation"].select(by_length(encoded["validation"])),
            data_collator=task.collator(processing, model),
            processing_class=processing,
            callbacks=called,
        )
        try_out(trainer)
    return trainer
