"""`compare`: train the runs of a grid, and write the report."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..comparison.arguments import FromResults, ParsedComparison
from ..comparison.execution.dry_run import plan
from ..comparison.execution.lock import locked
from ..comparison.execution.scheduler import check_data, count_results, execute, make_executor
from ..comparison.planning.folds import FOLDS, with_default_folds
from ..comparison.planning.grid import Grid
from ..comparison.report.merging import report_from_results
from ..comparison.report.writing import write_report
from ..comparison.verdict.decision import asked_in
from ..comparison.verdict.settle import settling_seeds, with_more_seeds
from ..comparison.verdict.wording import cross_validation
from ..config.arguments import Arguments
from ..config.pretrain_arguments import PretrainArguments
from ..errors import UserError
from ..shared_work import sharing
from .failures import explaining
from .finetune import FineTuning, finetune
from .lifecycle import without_progress_bars
from .measuring import measure
from .pretrain import pretrain, pretraining
from .pretraining import Pretraining

_FEW_ROWS, _FEW_TOKENS = 512, 20_000


def train(arguments: Arguments | PretrainArguments) -> dict[str, Any]:
    """Train one run of a comparison, a language model or another task, and return its record."""
    return pretrain(arguments) if isinstance(arguments, PretrainArguments) else finetune(arguments)


@without_progress_bars()
def rehearse(arguments: Arguments | PretrainArguments, keep: bool = False) -> None:
    """Do what `train` does with few rows and tokens, but train nothing. With `keep`, the model is saved.

    Raises:
        Exception: whatever the run would raise before, or at, its first update.
    """
    model = replace(arguments.model, tokenizer_min_frequency=min(arguments.model.tokenizer_min_frequency, 1))
    run: FineTuning | Pretraining
    if isinstance(arguments, PretrainArguments):
        few: dict[str, Any] = {
            name: min(getattr(arguments.language_model, name) or _FEW_TOKENS, _FEW_TOKENS)
            for name in ("max_train_tokens", "max_eval_tokens")
        }
        run = pretraining(arguments._replace(model=model, language_model=replace(arguments.language_model, **few)))
    else:
        run = FineTuning(arguments._replace(model=model))
        run.most_rows = None if arguments.run.dataloader_drop_last else _FEW_ROWS
    run.set_up()
    with explaining():
        run.rehearse()
        if keep:
            run.save()


def compare(arguments: ParsedComparison | FromResults) -> Path | None:
    """Train the missing runs, write the report, and return the path of its page; None after a dry run.

    Raises:
        UserError: the grid cannot be used and nothing was trained, or every run has failed.
        KeyboardInterrupt: the comparison was stopped. The report is written; the message counts the finished runs.
    """
    if isinstance(arguments, FromResults):
        return report_from_results(*arguments)
    with sharing():
        return _compare(arguments)


def say_folds(grid: Grid, divided: Mapping[str | None, int]) -> None:
    """Print on which datasets cross-validation is the default, from their numbers of rows."""
    for name, rows in divided.items():
        seeds = {run.seed for run in grid.runs if run.dataset == name}
        how = cross_validation(f"{rows} rows without a test split", FOLDS, len(seeds))
        print(f"{'' if name is None else f'{name}: '}{how} --folds 1 switches it off.", flush=True)


def _compare(arguments: ParsedComparison) -> Path | None:
    output_dir = arguments.output_dir
    grid, divided = with_default_folds(arguments.grid, output_dir)
    say_folds(grid, divided)
    asked = asked_in(output_dir, arguments.margin, arguments.target)
    if arguments.settle:
        before = len(with_more_seeds(grid, asked["settle"]).runs)
        asked["settle"] = settling_seeds(grid, output_dir, asked)
        added = len(with_more_seeds(grid, asked["settle"]).runs) - before
        print(f"--settle adds {added} runs." if added else "--settle adds no run: no comparison is open.", flush=True)
    grid = with_more_seeds(grid, asked["settle"])
    at_once = arguments.parallel_runs
    if arguments.dry_run:
        print(
            plan(
                grid,
                output_dir,
                retry_failed=arguments.retry_failed,
                at_once=at_once,
                measure=measure,
                rehearse=rehearse,
            )
        )
        return None
    check_data(grid, output_dir)
    print(f"{len(grid.runs)} runs of {len(grid.entries)} entries; results go to {output_dir}", flush=True)
    report = functools.partial(write_report, output_dir, grid.title, arguments.report_texts, asked=asked)
    with locked(output_dir) as lock:
        try:
            failed = execute(
                grid,
                output_dir,
                retry_failed=arguments.retry_failed,
                executor=make_executor(arguments.executor, at_once, arguments.ray_address, lock, train),
                say=functools.partial(print, flush=True),
                live=sys.stdout if sys.stdout.isatty() else None,
                report=report,
                rehearse=rehearse,
            )
        except KeyboardInterrupt:
            done = count_results(output_dir)
            raise KeyboardInterrupt(f"{done} of {len(grid.runs)} runs are done.") from None
        finally:  # also after an interrupt, for the runs so far
            if (output_dir / "results.jsonl").exists():
                page = report()
    if failed == len(grid.runs):
        raise UserError(f"All runs of the comparison failed. The report shows the errors: {page.resolve()}")
    if failed:
        print(f"{failed} runs failed; the report names them. Rerun them with --retry_failed.")
    return page
