"""Measure what a run would cost on this machine, by a few of its steps on a sample of its rows."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ..comparison.execution.measuring import Measured
from ..config.arguments import Arguments
from ..config.processes import global_batch
from ..shared_work import not_sharing
from ..strategies.bag_of_ngrams import NgramProbe, solve_weights
from ..strategies.contrastive import Contrastive
from ..strategies.recommended import EVALUATIONS, recommended
from .finetune import FineTuning
from .predictions import predict_in_order

if TYPE_CHECKING:
    from datasets import Dataset

_SAMPLE = {"train": 512, "validation": 64, "test": 32}
_WARM_UP = 2
_PAIR_UPDATES = 4


def measure(arguments: Arguments, rows: Mapping[str, int], seconds: float) -> Measured:
    """The times of `Measured` for the run with these arguments; nothing stays on disk.

    Args:
        rows: the number of rows of "train", "validation" and "test".
        seconds: the time in which updates, or features, are measured.
    """
    # Other folds may have a row less, and no budget may exceed them.
    budgets = {role: count if count < rows[role] - 1 else None for role, count in _SAMPLE.items()}
    data = replace(
        arguments.data,
        label_budget=budgets["train"],
        validation_budget=budgets["validation"],
        test_budget=budgets["test"],
    )
    with TemporaryDirectory() as folder:
        arguments.run.output_dir = folder
        run = FineTuning(arguments._replace(data=data))
        asked = {name: getattr(run.args, name) for name in ("num_train_epochs", "max_steps", "min_train_steps")}
        began = time.perf_counter()
        run.set_up()
        start = time.perf_counter() - began
        sample = run.encoded["train"]
        with not_sharing():
            encode = _timed(lambda: run.task.encode(run.splits, run.processing, run.max_length))
        encode /= sum(map(len, run.splits.values()))
        found = Measured(start, encode, save=_timed(lambda: run.trainer.save_model(folder)))
        if isinstance(run.strategy, NgramProbe):
            few = sample.select(range(0, len(sample), 4))
            _count_and_solve(run, few)  # loads the libraries
            short, long = (_timed(functools.partial(_count_and_solve, run, part)) for part in (few, sample))
            fit = max(long - short, 0.0) / max(len(sample) - len(few), 1)
            found = replace(found, fit=fit, start=start + max(short - fit * len(few), 0.0))
        elif run.strategy.fits and run.features is not None:
            features, fit = _solving(run, seconds)
            if isinstance(run.strategy, Contrastive):  # no other run has its features
                run.args.max_steps = _PAIR_UPDATES
                took = _timed(functools.partial(run.tune, run.strategy, run.features))
                pair = took / (_PAIR_UPDATES * run.args.train_batch_size)
                return replace(found, evaluate=features, fit=features + fit, pair=pair)
            return replace(found, features=features, fit=fit)
        elif not run.strategy.fits:
            found = _with_updates(found, run, asked, _update_seconds(run, seconds))
        evaluated = run.encoded["validation"]
        if run.features is not None:
            run.features.fill("validation")
            evaluated = run.features.splits["validation"]
        took = _timed(lambda: predict_in_order(run.trainer, evaluated))
        return replace(found, evaluate=took / len(evaluated))


def _count_and_solve(run: FineTuning, rows: Dataset) -> None:
    run.strategy.adapt(run.model, rows)
    solve_weights(run.model, rows, rows[run.task.label_name], run.args.seed)


def _solving(run: FineTuning, seconds: float) -> tuple[float, float]:
    """The seconds of the features of a row, and those of solving the head, by row."""
    import numpy as np

    from ..strategies.probe import solve

    assert run.features is not None
    sample, features = run.encoded["train"], run.features
    columns = [name for name in sample.column_names if name in {*features.inputs, "length"}]
    lengths = np.asarray(sample["length"][:])
    order = np.argsort(lengths, kind="stable")  # batches of similar lengths, as a run has them
    batches = np.array_split(order, max(len(order) // 32, 1))
    batches = [batches[place] for place in np.random.default_rng(0).permutation(len(batches))]
    rows, computed = list[int](), list[Any]()
    features._compute(sample.select(batches[0][:4]).select_columns(columns))  # loads kernels
    began = time.perf_counter()
    for batch in batches:
        computed += features._compute(sample.select(batch).select_columns(columns))
        rows += batch.tolist()
        if time.perf_counter() - began > seconds:
            break
    took = (time.perf_counter() - began) * float(lengths.mean() / lengths[rows].mean())
    labels = sample.select(rows)[run.task.label_name]
    solving = _timed(lambda: solve(features.head.final, computed, labels, run.task.problem_type, run.args.seed))
    return took / len(computed), solving / len(computed)


def _update_seconds(run: FineTuning, seconds: float) -> float:
    """The mean seconds of an update, after a few to warm up."""
    from transformers import EarlyStoppingCallback, TrainerCallback

    times: list[float] = []

    class Timing(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            times.append(time.perf_counter())
            control.should_evaluate = control.should_save = control.should_log = False
            if len(times) > _WARM_UP + 1 and times[-1] - times[0] > seconds:
                control.should_training_stop = True

        def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            control.should_evaluate = control.should_save = control.should_log = False

    trainer = run.trainer
    trainer.args.load_best_model_at_end = False
    trainer.args.eval_strategy = trainer.args.save_strategy = "no"
    trainer.remove_callback(EarlyStoppingCallback)
    trainer.add_callback(Timing())
    if run.features is not None:
        run.features.fill("train")
    trainer.train()
    first = min(_WARM_UP, len(times) - 2)
    return (times[-1] - times[first]) / (len(times) - 1 - first) if len(times) > 1 else 0.0


def _with_updates(found: Measured, run: FineTuning, asked: Mapping[str, Any], update: float) -> Measured:
    args = run.args
    rule = recommended(run.strategy.name, run.task.name, run.model.config.model_type)
    named = bool(asked["num_train_epochs"]) or asked["max_steps"] > 0
    floor = asked["min_train_steps"]
    return replace(
        found,
        update=update,
        batch=global_batch(args),
        epochs=asked["num_train_epochs"] or max(rule.epochs, run.strategy.least_epochs),
        updates=floor if floor is not None else 0 if named else rule.updates,
        max_steps=max(asked["max_steps"], 0),
        evaluations=EVALUATIONS if args.evaluates_by_rule and not named else None,
    )


def _timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
