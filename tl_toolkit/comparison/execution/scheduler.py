"""Execution of a grid: run the missing jobs, each after its dependencies, and save each record immediately."""

from __future__ import annotations

import functools
import json
import shutil
import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self, TextIO

from ...atomic_files import write_text
from ...data.sources import load_source
from ...records.output_dir import make_folder, without_empty_folder
from ...shared_work import sharing
from ..planning.grid import Grid
from ..planning.planned_run import PlannedRun
from .failures import quiet
from .jobs import Job, RunJob, StageJob, Train
from .lock import Lock
from .pace import Pace
from .processes import is_alive
from .progress import Progress
from .ray_execution import INCOMING
from .rehearsals import FOLDER as REHEARSALS
from .rehearsals import Rehearse, check, rehearsals
from .tuning import SearchJob

RESULTS_NAME = "results.jsonl"
_NAME_A_DATASET = ("dataset_name", "dataset_config_name", "dataset_revision", "stream_rows")
_POLL_SECONDS = 1.0  # interval at which the live line is rewritten
_LEFT_TO_MEASURE = 60.0  # seconds before a deadline in which nothing is measured any more
_REPORT_SECONDS = 180.0  # interval at which the report is rebuilt, for at most 2 % of the time


class Executor(Protocol):
    """Executes jobs. It is a context manager, entered once; on exit it ends everything that it has started."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """End everything that it has started."""

    @property
    def at_once(self) -> int:
        """The approximate number of concurrent jobs."""

    def warm_up(self) -> None:
        """Prepare for the first job, where that takes time."""

    def check(self, jobs: Sequence[Job]) -> None:
        """Check that it can execute all of `jobs`.

        Raises:
            UserError: a job requests more than is available.
        """

    def has_room(self, job: Job) -> bool:
        """Whether `job` could start now. An idle executor has room for every job."""

    def begin(self, job: Job, output_dir: Path) -> None:
        """Start `job`."""

    def finished(self, timeout: float) -> list[tuple[Job, dict[str, Any]]]:
        """The jobs that have ended since the last call, including killed ones, with their records; waits up to
        `timeout` seconds for one."""


class InProcess(Executor):
    """Executes jobs one after another in this process; a killed job ends the process."""

    at_once = 1

    def __init__(self, train: Train) -> None:
        self.train = train
        self._next: list[tuple[Job, Path]] = []

    def has_room(self, job: Job) -> bool:
        return not self._next

    def begin(self, job: Job, output_dir: Path) -> None:
        self._next.append((job, output_dir))

    def finished(self, timeout: float) -> list[tuple[Job, dict[str, Any]]]:
        ended = [(job, job.make(output_dir, self.train)) for job, output_dir in self._next]
        self._next = []
        return ended


def make_executor(kind: str, parallel_runs: int, ray_address: str | None, lock: Lock | None, train: Train) -> Executor:
    """The executor named by `--executor`, `workers` or `ray`; `train` trains its runs.

    Raises:
        UserError: Ray is not installed.
    """
    if kind == "ray":
        from .ray_execution import RayTasks

        return RayTasks(train, ray_address)
    from .workers import Workers

    return Workers(train, parallel_runs, lock)


def jobs_of(grid: Grid, output_dir: Path) -> list[Job]:
    """All jobs of `grid`, each after its dependencies; runs are in the order of the grid.

    Raises:
        UserError: a dataset cannot be read.
    """
    stages: dict[str, StageJob] = {}
    for name, stage in grid.stages.items():  # each stage comes after its dependencies
        rows = load_source(stage.arguments(output_dir).data).record["fingerprint"]
        stages[name] = StageJob(stage, stage.key(rows, [stages[source].key for source in stage.sources]))
    fingerprints: dict[tuple[Any, ...], str] = {}  # so that arguments are parsed once for each dataset
    teachers = {run.taught_by.folder for run in grid.runs if run.taught_by is not None}  # their models are read
    runs: dict[str, Job] = {}  # including each search, before the first run that needs it
    for planned in grid.runs:
        dataset = tuple(planned.settings.get(name) for name in _NAME_A_DATASET)
        if dataset not in fingerprints:
            fingerprints[dataset] = load_source(planned.arguments(output_dir).data).record["fingerprint"]
        own = {name: stages[name].key for name in planned.stages}
        key = functools.partial(_key, stages=stages, fingerprint=fingerprints[dataset])
        if planned.search is not None and planned.search_folder not in runs:
            trial = planned.tuned_at(planned.search)
            search = SearchJob(trial, key(trial), own)
            runs[search.name] = search
        job = RunJob(planned, key(planned), own, grid.keep_models or planned.folder in teachers)
        runs[job.name] = job
    return [*stages.values(), *runs.values()]


def _key(planned: PlannedRun, stages: Mapping[str, StageJob], fingerprint: str) -> str:
    """The key of a run, which depends on those of its stages and its teacher."""
    teacher = [_key(planned.taught_by, stages, fingerprint)] if planned.taught_by is not None else []
    return planned.key(fingerprint, [*(stages[name].key for name in planned.stages), *teacher])


def missing(jobs: Sequence[Job], made: Container[str]) -> list[Job]:
    """The runs that are not in `made`, and their dependencies that are not, in the given order.

    Args:
        jobs: all jobs, each after its dependencies.
        made: the names of the completed jobs.
    """
    needed: set[str] = set()
    for job in reversed(jobs):
        if job.name not in made and (isinstance(job, RunJob) or job.name in needed):
            needed |= {job.name, *job.needs}
    return [job for job in jobs if job.name in needed and job.name not in made]


def check_data(grid: Grid, output_dir: Path) -> None:
    """Prepare the data of one run for each dataset and budget, so that errors show before the first run.

    The datasets of the stages are read as well.

    Raises:
        UserError: as `Task.prepare`, or if the folder cannot be created.
    """
    with without_empty_folder(output_dir), sharing():
        make_folder(output_dir)
        check_rows(grid, output_dir)
        jobs_of(grid, output_dir)


def check_rows(grid: Grid, output_dir: Path) -> None:
    """Prepare the data of one run for each dataset and budget, look at the checkpoints, and write nothing.

    Raises:
        UserError: as `Task.prepare`.
    """
    for planned in {(run.dataset, *run.budget.values()): run for run in grid.runs}.values():
        planned.check_data(output_dir)
    for planned in {(run.entry, run.dataset): run for run in grid.runs}.values():
        planned.check_checkpoint(output_dir)


def execute(
    grid: Grid,
    output_dir: Path,
    *,
    retry_failed: bool,
    executor: Executor,
    say: Callable[[str], None] = print,
    live: TextIO | None = None,
    report: Callable[[], object] = lambda: None,
    pace: Pace | None = None,
    last: Callable[[], Job | None] = lambda: None,
    rehearse: Rehearse | None = None,
) -> int:
    """Execute every run of `grid` that has no valid record, and keep `results.jsonl` up to date.

    A recorded run is skipped if its settings, data and toolkit version are unchanged, and if its model exists where
    models are kept. A failed run is repeated only with `retry_failed`. Stages are trained only if a pending run needs
    them. A job that fails is recorded with its error, and the grid continues; jobs that depend on it are recorded as
    failed with the same error.

    Args:
        executor: executes the jobs.
        say: prints a line for each job that has ended.
        live: a terminal whose last line shows the running jobs.
        report: called every few minutes. Its errors are printed and do not stop the grid.
        pace: starts no run that cannot end in time, and stops those that run at the end of it. They are not recorded,
            so that the next call runs them.
        last: returns a job to do after the runs, within the time of `pace`; None for none.
        rehearse: tries each entry before the first run.

    Returns:
        The number of failed runs of the grid.

    Raises:
        UserError: the folder of a stage holds something else, a job requests more than the executor has, or an entry
            cannot be trained.
    """
    with quiet(), sharing():
        jobs = jobs_of(grid, output_dir)
        (output_dir / "runs").mkdir(parents=True, exist_ok=True)
        with executor:
            progress = Progress(jobs, say, executor.at_once, live, None if pace is None else lambda: pace.left)
            execution = _Execution(jobs, output_dir, retry_failed, executor, progress, pace)
            if rehearse is not None:
                execution.rehearse(rehearsals(execution.waiting, execution.records, grid.stages, rehearse))
            failed = execution.work(report)
            if (job := last()) is not None:
                execution.finish(job)
            return failed


class _Execution:
    """One pass through the jobs of a grid."""

    def __init__(
        self,
        jobs: Sequence[Job],
        output_dir: Path,
        retry_failed: bool,
        executor: Executor,
        progress: Progress,
        pace: Pace | None = None,
    ) -> None:
        self.pace = pace
        self.jobs = {job.name: job for job in jobs}
        self.runs = [job.name for job in jobs if isinstance(job, RunJob)]
        self.output_dir, self.executor, self.progress = output_dir, executor, progress
        made = {job.name: job.made(output_dir, retry_failed) for job in jobs}
        self.records: dict[str, dict[str, Any]] = {name: record for name, record in made.items() if record is not None}
        self.lines: dict[str, str] = {}  # lines of results.jsonl by the name of a run
        self.waiting = missing(jobs, self.records)
        for job in self.waiting:
            job.check(output_dir)
        executor.check(self.waiting)
        _remove_leftovers(output_dir)

    def rehearse(self, jobs: Iterable[Job]) -> None:
        """Execute rehearsals; `UserError` for the first that finds an error."""
        waiting, at_work, found = list(jobs), 0, dict[str, dict[str, Any]]()
        while waiting or at_work:
            while waiting and self.executor.has_room(waiting[0]):
                self.executor.begin(waiting.pop(0), self.output_dir)
                at_work += 1
            for job, record in self.executor.finished(_POLL_SECONDS):
                at_work -= 1
                found[job.name] = record
        shutil.rmtree(self.output_dir / REHEARSALS, ignore_errors=True)
        for name in sorted(found):
            check(found[name])

    def work(self, report: Callable[[], object]) -> int:
        """Execute the missing jobs; returns the number of failed runs."""
        for name, record in self.records.items():
            self.jobs[name].tidy(self.output_dir)
            if name in self.runs or any(name in job.needs for job in self.waiting):
                self.progress.skip(self.jobs[name], record)
                if self.pace is not None:
                    self.pace.scored(self.jobs[name], record)
        self._write_results(self.records)
        reported, took = time.monotonic(), 0.0
        try:
            at_work = self._begin()
            while at_work:
                for job, record in self.executor.finished(_POLL_SECONDS):
                    at_work -= 1
                    self._keep(job, record)
                if at_work and self.pace is not None and self.pace.is_over:
                    self.progress.stop()
                    self.executor.__exit__(None, None, None)  # stops what is running
                    self.executor.__enter__()
                    break
                at_work += self._begin()
                self.progress.refresh()
                if self.pace is not None and self.pace.more is not None and self.pace.left > _LEFT_TO_MEASURE:
                    self.pace.more()
                due = time.monotonic() - reported >= max(_REPORT_SECONDS, 50 * took)
                if self.lines and (due if self.pace is None else self.pace.wants_report):
                    began = time.monotonic()
                    try:
                        report()
                    except Exception as error:  # the final report will raise it if it persists
                        self.progress.note(f"The report could not be rebuilt: {error}")
                    reported = time.monotonic()
                    took = reported - began
                    if self.pace is not None:
                        self.pace.reported(took)
        finally:
            self.progress.close()
        return sum(self._status(name) == "failed" for name in self.runs)

    def finish(self, job: Job) -> None:
        """Execute one more job; at the end of the time it is left, and its executor stops it."""
        self.progress.begin(job)
        self.executor.begin(job, self.output_dir)
        ended: list[tuple[Job, dict[str, Any]]] = []
        while not ended and (self.pace is None or self.pace.left > 0):
            ended = self.executor.finished(_POLL_SECONDS)
            self.progress.refresh()
        for own, record in ended:
            self.progress.end(own, record)
        self.progress.close()

    def _begin(self) -> int:
        """Start all jobs that can start, and fail those with failed dependencies; returns how many were started."""
        begun = 0
        for job in list(self.waiting):
            states = {need: self._status(need) for need in job.needs}
            if failed := next((need for need, status in states.items() if status == "failed"), None):
                self.waiting.remove(job)
                self._keep(job, job.block(self.output_dir, self.jobs[failed], self.records[failed]))
            elif None in states.values() or (self.pace is not None and not self.pace.fits(job)):
                continue
            elif not self.executor.has_room(job):
                break  # do not let later, smaller jobs take the room that this one waits for
            else:
                self.waiting.remove(job)
                self.progress.begin(job)
                if self.pace is not None:
                    self.pace.begin(job)
                self.executor.begin(job, self.output_dir)
                begun += 1
        return begun

    def _status(self, name: str) -> str | None:
        return self.records[name]["status"] if name in self.records else None

    def _keep(self, job: Job, record: dict[str, Any]) -> None:
        if self.pace is not None:
            self.pace.end(job, record)
        self.records[job.name] = record
        self._write_results([job.name])
        self.progress.end(job, record)

    def _write_results(self, changed: Iterable[str]) -> None:
        """Write `results.jsonl`: the existing records of the runs in the order of the grid.

        It is written from memory, without reading records again. Without any record there is no file.
        """
        self.lines |= {name: json.dumps(self.records[name]) + "\n" for name in changed if name in self.runs}
        path = self.output_dir / RESULTS_NAME
        if self.lines:
            write_text(path, "".join(self.lines.get(name, "") for name in self.runs))
        else:
            path.unlink(missing_ok=True)


def _remove_leftovers(output_dir: Path) -> None:
    """Remove partly written files of a killed comparison; files of a living process are kept."""
    for folder in [output_dir / INCOMING, output_dir / REHEARSALS, *output_dir.glob("stages/.*.old")]:
        shutil.rmtree(folder, ignore_errors=True)
    for path in [*output_dir.glob(".*"), *output_dir.glob("figures/.*")]:
        written_by = next((int(part) for part in reversed(path.name.split(".")) if part.isdigit()), None)
        if path.is_file() and written_by is not None and not is_alive(written_by):
            path.unlink(missing_ok=True)


def count_results(output_dir: Path) -> int:
    """The number of runs with a record in `output_dir`, including failed ones."""
    path = output_dir / RESULTS_NAME
    return len(path.read_text(encoding="utf-8").splitlines()) if path.exists() else 0
