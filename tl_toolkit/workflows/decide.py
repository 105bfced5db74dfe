"""`decide`: from labelled rows to a decision and a model to use, within some minutes."""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..atomic_files import write_text
from ..comparison.arguments import ParsedComparison
from ..comparison.execution.dry_run import made_runs
from ..comparison.execution.estimates import SAME, SCALED, Estimator, train_rows_in
from ..comparison.execution.failures import quiet
from ..comparison.execution.final_model import FOLDER, FinalModel, final_model
from ..comparison.execution.jobs import RunJob
from ..comparison.execution.lock import locked
from ..comparison.execution.measuring import MeasuredEstimates, measure_entries
from ..comparison.execution.pace import Pace, report_seconds
from ..comparison.execution.processes import changed_environment, idle_processors, processors
from ..comparison.execution.scheduler import Executor, count_results, execute, jobs_of, make_executor
from ..comparison.execution.workers import THREADS
from ..comparison.planning.folds import with_default_folds
from ..comparison.planning.grid import Grid
from ..comparison.planning.planned_run import PlannedRun
from ..comparison.planning.time_plan import TimePlan, curve_budgets, in_order, is_constant, plan_within, with_curve
from ..comparison.report.writing import write_report
from ..comparison.verdict.decision import asked_in, decision_in
from ..comparison.verdict.words import Words
from ..errors import UserError
from ..evaluation import formatting as show
from ..evaluation.evidence.suspicious_labels import confusions, suspicious_rows
from ..evaluation.predictions import PredictionReader
from ..evaluation.results import Result, read_results
from ..records.output_dir import make_folder, without_empty_folder
from ..records.record import read_record
from ..shared_work import sharing
from ..tasks import make_task
from .compare import say_folds, train
from .lifecycle import without_progress_bars
from .measuring import measure
from .summary import print_data

SUSPICIOUS = "suspicious_labels.csv"


def decide(arguments: ParsedComparison, began: float | None = None) -> Path | None:
    """Compare what fits in `arguments.minutes`, train the recommended entry, and return the page; None after a dry run.

    Args:
        began: when the time began, by `time.monotonic`; by default now.

    Raises:
        UserError: the data cannot be used, or every run has failed.
        KeyboardInterrupt: it was stopped. The report is written.
    """
    minutes = arguments.minutes or 10.0
    now = time.monotonic()
    began = now if began is None else began
    deadline, importing = began + 60 * minutes, now - began
    output_dir = arguments.output_dir
    with without_empty_folder(output_dir), sharing(), ExitStack() as stack:
        grid, divided = with_default_folds(arguments.grid, output_dir)
        rows, classes = _look(grid, output_dir)
        say_folds(grid, divided)
        for note in arguments.notes:
            print(note)
        executor = None
        _use_idle_processors(stack, arguments.parallel_runs)
        if not arguments.dry_run:
            make_folder(output_dir)
            lock = stack.enter_context(locked(output_dir))
            executor = stack.enter_context(
                make_executor(arguments.executor, arguments.parallel_runs, arguments.ray_address, lock, train)
            )
            executor.warm_up()
        grid = _with_budgets(grid, rows, classes)
        with quiet(), without_progress_bars():
            estimates = _Estimates(grid, output_dir, arguments.retry_failed, rows)
        available = deadline - time.monotonic() - report_seconds(importing)
        order = in_order(grid.runs, estimates.seconds, available)
        plan = plan_within(
            order, available, estimates.seconds, estimates.final_seconds, estimates.done, arguments.parallel_runs
        )
        if (problem := estimates.measured.problem) is not None and not (plan.runs or estimates.done):
            raise problem  # no entry can be run
        print(_table(plan, estimates, grid, minutes), flush=True)
        if executor is None:
            return None
        first = {run.folder for run in plan.runs} | estimates.done
        runs = sorted(order, key=lambda run: run.folder not in first)
        pace = Pace(
            deadline,
            *estimates.of(runs),
            growth=max((sum(own.values()) / own["train"] for own in rows.values()), default=1.0),
            start=importing,
        )

        def measure_more() -> None:
            if not estimates.measured.waiting:
                pace.more = None
                return
            with without_progress_bars():
                estimates.measured.measure_next()
            pace.estimates, pace.final = estimates.of(runs)

        pace.more = measure_more
        return _run(arguments, replace(grid, runs=runs), pace, executor)


def _run(arguments: ParsedComparison, grid: Grid, pace: Pace, executor: Executor) -> Path:
    output_dir = arguments.output_dir
    asked = asked_in(output_dir, arguments.margin, arguments.target)
    chosen = _Choice(grid, output_dir, asked, pace)
    report = functools.partial(write_report, output_dir, grid.title, arguments.report_texts, asked=asked)
    page, links, failed = output_dir / "report.html", [], 0
    try:
        failed = execute(
            grid,
            output_dir,
            retry_failed=arguments.retry_failed,
            executor=executor,
            say=functools.partial(print, flush=True),
            live=sys.stdout if sys.stdout.isatty() else None,
            report=report,
            pace=pace,
            last=chosen.job,
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"{count_results(output_dir)} runs are done.") from None
    finally:  # also after an interrupt, for the runs so far
        if (output_dir / "results.jsonl").exists():
            links = [*_not_tried(grid, output_dir), *_findings(output_dir, chosen, arguments.report_texts)]
            page = report(links=links)
    done = count_results(output_dir)
    if not done:
        raise UserError("No run ended within the time: give more --minutes, or cheaper models with --entries quick.")
    if failed == done:
        raise UserError(f"All runs failed. The report shows the errors: {page.resolve()}")
    print("\n".join(["", chosen.outcome(), *(text for text, _ in links)]))
    return page


class _Estimates:
    """The seconds of runs: those of recorded runs of the entry, else measured on this machine."""

    def __init__(self, grid: Grid, output_dir: Path, retry_failed: bool, rows: Mapping[str, Mapping[str, int]]) -> None:
        jobs = jobs_of(grid, output_dir)
        made = made_runs(jobs, output_dir)
        self.done = {job.name for job in jobs if job.made(output_dir, retry_failed) is not None}
        known = {name: own["train"] for name, own in rows.items()}
        self._recorded = Estimator(made, {**known, **train_rows_in(made, grid.runs)})
        unknown = [run for run in grid.runs if self._recorded.estimate(run).basis not in (SAME, SCALED)]
        self.measured: MeasuredEstimates = measure_entries(unknown, rows, output_dir, measure)

    def of(self, runs: Sequence[PlannedRun]) -> tuple[dict[str, float], dict[str, float]]:
        """The known seconds of runs by their folder, and those of the final models by their entry."""
        known = {run.folder: own for run in runs if (own := self.seconds(run, False)) is not None}
        return known, {run.entry: own for run in runs if (own := self.final_seconds(run))}

    def seconds(self, run: PlannedRun, known: bool) -> float | None:
        one = self._recorded.estimate(run)
        return one.seconds if one.basis in (SAME, SCALED) else self.measured.seconds(run, known=known)

    def final_seconds(self, run: PlannedRun) -> float | None:
        if is_constant(run):
            return 0.0
        one = self._recorded.estimate(replace(run, label_budget=None))
        if one.seconds is not None and one.basis in (SAME, SCALED):
            rows = self.measured.rows[str(run.dataset)]
            return one.seconds * sum(rows.values()) / rows["train"]
        return self.measured.final_seconds(run)


class _Choice:
    """The entry to train on all labels, when the runs have ended."""

    def __init__(self, grid: Grid, output_dir: Path, asked: Mapping[str, Any], pace: Pace) -> None:
        self.grid, self.output_dir, self.asked, self.pace = grid, output_dir, asked, pace
        self.entry: str | None = None
        self.labels: int | None = None
        self._said = ""

    def job(self) -> FinalModel | None:
        """The final model; None if there is none to train, which `outcome` explains."""
        if not (self.output_dir / "results.jsonl").exists():
            return None
        decision = decision_in(self.output_dir, self.asked["margin"], self.asked["target"])
        if len(decision["panels"]) > 1:
            self._said = "No model was trained: there is a decision for each dataset. Decide on one of them."
            return None
        if not decision["budgets"]:
            self._said = (
                "No model was trained: no entry has finished all of its runs. Give more --minutes, or --folds 1."
            )
            return None
        top, words = decision["budgets"][-1], Words(decision["panels"][0])
        self.entry, self.labels = top["recommended"] or top["best"], top["labels"]
        if top["status"] == "nothing_beats_constant":
            self._said = (
                f"No model was trained: none is shown to beat always predicting {words.constant or 'the same'}."
            )
            return None
        run = next(run for run in self.grid.runs if run.entry == self.entry)
        value, ends = words.score(top["expected"]["value"]), words.interval(top["expected"])
        of = f"measured in the comparison, after training on {words.trained(top['labels'])}"
        sure = "" if top["recommended"] else " It is the best estimate: nothing is decided yet."
        expected = {"metric": decision["metric"], **top["expected"], "labels": top["labels"], "of": of}
        expected |= {"status": top["status"], "text": f"Expect {value}{ends} on new rows, {of}.{sure}"}
        compared = next(
            job
            for job in jobs_of(replace(self.grid, runs=[replace(run, label_budget=None)]), self.output_dir)
            if isinstance(job, RunJob)
        )
        job = final_model(compared, self.output_dir, expected)
        self._said = f"{self.output_dir / FOLDER} holds {self.entry}, trained on all labels. {expected['text']}"
        if job.made(self.output_dir, retry_failed=True) is not None:
            job.describe_again(self.output_dir)
            return None
        needed = self.pace.final_seconds(self.entry)
        if needed > self.pace.left:
            self._said = f"No model was trained: {self.entry} needs about {show.seconds(needed)} on all labels."
            self._said += " Give more --minutes; what is done is kept."
            return None
        return job

    def outcome(self) -> str:
        """What became of the final model, in a sentence or two."""
        record = read_record(self.output_dir / FOLDER)
        if "holds" not in self._said or (record is not None and record["status"] == "completed"):
            return self._said
        why = (
            f"it failed: {record['error']}" if record else "there was no time left. Run the command again to train it."
        )
        return f"The final model of {self.entry} is missing, because {why}"


def _use_idle_processors(stack: ExitStack, parallel_runs: int) -> None:
    """Use no more threads than there are idle processors: on a busy one, a thread holds up all the others."""
    import torch
    from threadpoolctl import threadpool_limits

    if "OMP_NUM_THREADS" in os.environ or (idle := idle_processors()) == processors():
        return
    threads = max(1, idle // parallel_runs)
    print(f"{processors() - idle} of {processors()} processors are busy: each run uses {threads}.")
    torch.set_num_threads(threads)
    stack.enter_context(threadpool_limits(threads))  # of libraries that are loaded
    stack.enter_context(changed_environment(dict.fromkeys(THREADS, str(threads))))  # of others, and of workers


def _look(grid: Grid, output_dir: Path) -> tuple[dict[str, dict[str, int]], int]:
    """Print what was found in each dataset; returns the numbers of its rows, and the most classes."""
    rows, classes = {}, 0
    for name, run in {str(run.dataset): replace(run, label_budget=None) for run in grid.runs}.items():
        arguments = run.arguments(output_dir)
        task = make_task(arguments.data)
        rows[name] = {role: len(split) for role, split in task.prepare(run.seed).items()}
        arguments.run.log_level = "passive"
        print(f"Task: {task.name}", flush=True)
        print_data(task.record(), arguments.run)
        classes = max(classes, len(task.labels or ()))
    return rows, classes


def _with_budgets(grid: Grid, rows: Mapping[str, Mapping[str, int]], classes: int) -> Grid:
    """The grid with the budgets of a learning curve, unless it has budgets of its own."""
    if any(run.label_budget is not None for run in grid.runs):
        return grid
    runs = []
    for name, own in rows.items():
        mine = [run for run in grid.runs if str(run.dataset) == name]
        runs += with_curve(mine, curve_budgets(own["train"], classes))
    return replace(grid, runs=runs)


def _table(plan: TimePlan, estimates: _Estimates, grid: Grid, minutes: float) -> str:
    """What will be run and what is left out, a line for each entry and budget."""
    lines = [f"\nPlan for {minutes:g} minute{'' if minutes == 1 else 's'} on this machine (measured by a few steps):"]
    for heading, runs in (("", plan.runs), ("Left out, unless time remains:", [run for run, _ in plan.left_out])):
        cells: dict[tuple[str, str, str], list[PlannedRun]] = {}
        for run in runs:
            cells.setdefault((run.dataset or "", run.entry, run.budget_text), []).append(run)
        lines += [heading] if cells and heading else []
        width = max((len(entry) for _, entry, _ in cells), default=0)
        for (dataset, entry, budget), own in cells.items():
            one = estimates.seconds(own[0], False)
            took = "unknown" if one is None else show.seconds(one)
            what = "seed" if own[0].fold is None else "fold"
            seeds = f"{len(own)} {what}{'s' if len(own) > 1 else ''}"
            lines.append(
                f"  {f'{dataset}  ' if dataset else ''}{entry:<{width}}  {budget:>14}  {seeds:<8} {took:>9} each"
            )
    done = f" {len(estimates.done)} runs are done already." if estimates.done else ""
    lines.append(
        f"In all about {show.seconds(plan.total)} for {len(plan.runs)} runs, and up to {show.seconds(plan.reserve)} "
        f"for the model on all labels.{done}"
    )
    return "\n".join(lines)


def _not_tried(grid: Grid, output_dir: Path) -> list[tuple[str, str]]:
    """A sentence on the entries without a finished run on all labels, with the file that shows the others."""
    tried = {run.entry for run in read_results(output_dir / "results.jsonl")}
    missing = [entry for entry in grid.entries if entry not in tried]
    if not missing:
        return []
    return [
        (
            f"Not tried in this time: {show.joined(missing)}. The same command with more --minutes tries them.",
            "report.html",
        )
    ]


def _findings(output_dir: Path, chosen: _Choice, texts: bool) -> list[tuple[str, str]]:
    """Write the suspicious labels of the recommended entry; returns sentences with the file that they are about."""
    if chosen.entry is None:
        return []
    results = [run for run in read_results(output_dir / "results.jsonl") if run.completed and run.entry == chosen.entry]
    runs = _of_most_labels(results)
    links = []
    if told := confusions(runs, PredictionReader(output_dir)):
        parts = [f"{a!r} taken for {b!r} ({100 * share:.0f} % of its rows)" for a, b, share in told]
        links.append((f"{chosen.entry} confuses most: {', '.join(parts)}.", "report.html"))
    found = suspicious_rows(runs, output_dir) if texts else None
    if found is not None:
        write_text(output_dir / SUSPICIOUS, found.to_csv(index=False))
        links.append((f"{len(found):,} labels look wrong: {SUSPICIOUS} lists them to check.", SUSPICIOUS))
    return links


def _of_most_labels(results: Sequence[Result]) -> list[Result]:
    most = max((run.budget for run in results), default=None)
    return [run for run in results if run.budget == most]
