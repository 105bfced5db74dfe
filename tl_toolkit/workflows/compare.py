"""`compare`: every run of a grid, and the report of what they say."""

from __future__ import annotations

import functools
import sys
from typing import Any

from ..comparison.arguments import FromResults, ParsedComparison
from ..comparison.execution.dry_run import plan
from ..comparison.execution.lock import locked
from ..comparison.execution.scheduler import check_data, count_results, execute, make_executor
from ..comparison.report.merging import report_from_results
from ..comparison.report.writing import write_report
from ..config.arguments import Arguments
from ..config.pretrain_arguments import PretrainArguments
from ..errors import UserError
from .finetune import finetune
from .pretrain import pretrain


def train(arguments: Arguments | PretrainArguments) -> dict[str, Any]:
    """The record of one run of a comparison, of whichever kind its arguments are."""
    return pretrain(arguments) if isinstance(arguments, PretrainArguments) else finetune(arguments)


def compare(arguments: ParsedComparison | FromResults) -> None:
    """Make the runs that are missing, write the report, and print its verdict.

    Raises:
        UserError: something in the grid cannot be used, and nothing was trained; or every run has failed.
        KeyboardInterrupt: it was stopped; the message says how many runs are made. The report is written all the same.
    """
    if isinstance(arguments, FromResults):
        print(f"The report: {report_from_results(*arguments).resolve()}")
        return
    grid, output_dir = arguments.grid, arguments.output_dir
    at_once = arguments.parallel_runs
    if arguments.dry_run:
        print(plan(grid, output_dir, retry_failed=arguments.retry_failed, at_once=at_once))
        return
    check_data(grid, output_dir)
    print(f"{len(grid.runs)} runs of {len(grid.entries)} entries; results go to {output_dir}", flush=True)
    report = functools.partial(write_report, output_dir, grid.title, arguments.report_texts)
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
            )
        except KeyboardInterrupt:
            made = count_results(output_dir)
            raise KeyboardInterrupt(f"{made} of {len(grid.runs)} runs are made.") from None
        finally:  # also when it was interrupted: what has been compared so far is worth reading
            if (output_dir / "results.jsonl").exists():
                page = report()
    print(f"\n{(output_dir / 'report.md').read_text(encoding='utf-8').split('##')[0].strip()}\n")
    if failed:
        print(f"{failed} runs failed; the report names them. --retry_failed repeats them.")
    print(f"The report: {page.resolve()}")
    if failed == len(grid.runs):
        raise UserError("Every run of the comparison failed; the report says why.")
