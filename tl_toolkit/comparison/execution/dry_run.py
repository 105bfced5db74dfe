"""Dry run: list what a comparison would do and estimate its cost, without doing it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from ...data.sources import load_source
from ...data.splits import find_split
from ...evaluation.formatting import memory
from ...evaluation.formatting import seconds as in_words
from ...records.record import damage_of_record, read_record
from ...shared_work import sharing
from ..planning.grid import Grid
from ..planning.planned_run import PlannedRun
from .estimates import BASES, OTHERS, SAME, UNKNOWN, Estimate, Estimator, disk_of, seconds_of, train_rows_in
from .failures import quiet
from .jobs import Job, PlannedJob, RunJob, StageJob
from .measuring import Measure, count_rows, measure_entries
from .rehearsals import Rehearse, check, rehearsals
from .scheduler import check_rows, jobs_of, missing
from .tuning import SearchJob


class _Row(NamedTuple):
    """A line of the table; `cost` is the cost of the remaining work, None if there is none."""

    cells: tuple[str, ...]
    cost: Estimate | None


def plan(
    grid: Grid,
    output_dir: Path,
    *,
    retry_failed: bool = False,
    at_once: int = 1,
    measure: Measure | None = None,
    rehearse: Rehearse | None = None,
) -> str:
    """A table of the runs, stages and searches of a grid, with their state and the estimated cost of the rest.

    Nothing is trained to its end or written. The datasets are read, because a run's key has their fingerprint.

    Args:
        measure: measures the entries that have no records.
        rehearse: tries each entry.
        at_once: number of concurrent runs. The time is divided by it, ignoring that concurrent runs slow each other.

    Raises:
        UserError: a dataset cannot be read as the grid specifies, or an entry cannot be trained, which would also stop
            the comparison itself.
    """
    with quiet(), sharing():
        check_rows(grid, output_dir)
        jobs = jobs_of(grid, output_dir)
        made = made_runs(jobs, output_dir)
        estimator = Estimator(made, {**_train_rows(grid, output_dir), **train_rows_in(made, grid.runs)})
        existing = {job.name: record for job in jobs if (record := job.made(output_dir, retry_failed)) is not None}
        pending = {job.name for job in missing(jobs, existing)}
        if rehearse is not None:
            waiting = [job for job in jobs if job.name in pending]
            with TemporaryDirectory() as folder:
                for job in rehearsals(waiting, existing, grid.stages, rehearse):
                    check(job.make(Path(folder), lambda arguments: {}))
        if measure is not None:
            todo = [job.planned for job in jobs if isinstance(job, RunJob) and job.name in pending]
            unknown = [run for run in todo if estimator.estimate(run).basis in (OTHERS, UNKNOWN)]
            if unknown:
                known = count_rows(grid, output_dir)
                estimator.measured = measure_entries(unknown, known, output_dir, measure).seconds
    rows = [_row(job, existing.get(job.name), job.name in pending, output_dir, estimator) for job in jobs]
    head = ("", "dataset", "budget", "seed", "state", "time")
    table = _table([head, *(row.cells for row in rows)])
    return "\n".join([*table, "", *_totals(jobs, rows, grid.keep_models, at_once)])


def _row(job: Job, existing: Mapping[str, Any] | None, pending: bool, output_dir: Path, estimator: Estimator) -> _Row:
    cost = _cost(job, output_dir, estimator) if pending else None
    time = "" if cost is None else "unknown" if cost.seconds is None else f"about {in_words(cost.seconds)}"
    what = ("", "", "", "")
    if isinstance(job, StageJob):
        what = (f"stage {job.stage.name}", "", "", "")
    elif isinstance(job, PlannedJob):
        run, tuning = job.planned, isinstance(job, SearchJob)
        name = f"tuning of {run.entry}" if tuning else run.entry
        what = (name, run.dataset or "", run.budget_text, "" if tuning else run.seed_text)
    return _Row((*what, _state(job, existing, pending, output_dir), time), cost)


def _state(job: Job, existing: Mapping[str, Any] | None, pending: bool, output_dir: Path) -> str:
    if existing is not None:
        return "failed (kept)" if existing["status"] == "failed" else "done"
    if not pending:
        return "not needed"
    left = read_record(output_dir / job.name)
    if left is None:
        if isinstance(job, SearchJob):
            return f"{job.trials_left(output_dir)} trials to run"
        return "to run" if damage_of_record(output_dir / job.name) is None else "rerun: damaged record"
    if not job.is_current(output_dir, left):
        return "rerun: changed"
    return "rerun: failed before" if left.get("status") == "failed" else "rerun: missing or damaged files"


def _cost(job: Job, output_dir: Path, estimator: Estimator) -> Estimate:
    if not isinstance(job, PlannedJob):
        left = read_record(output_dir / job.name) or {}
        seconds = seconds_of(left)
        return Estimate(seconds, disk_of(left), UNKNOWN if seconds is None else SAME)
    one = estimator.estimate(job.planned)
    if isinstance(job, SearchJob):
        return Estimate(None if one.seconds is None else one.seconds * job.trials_left(output_dir), 0.0, one.basis)
    return one


def _totals(jobs: Sequence[Job], rows: Sequence[_Row], keep_models: bool, at_once: int) -> list[str]:
    costs = [row.cost for row in rows if row.cost is not None]
    runs = [row.cost for job, row in zip(jobs, rows, strict=True) if isinstance(job, RunJob)]
    left = sum(cost is not None for cost in runs)
    lines = [f"{len(runs)} runs, {left} of them to run."]
    if not costs:
        return lines
    known = [cost.seconds for cost in costs if cost.seconds is not None]
    if not known:
        return [*lines, "Time: unknown, because no run of this grid is recorded yet."]
    # The total cannot be shorter than the longest run.
    seconds = max(sum(known) / at_once, max(known))
    unknown = f", and {len(costs) - len(known)} of unknown length" if len(known) < len(costs) else ""
    together = f", {at_once} at once" if at_once > 1 else ""
    lines.append(f"Time: about {in_words(seconds)}{together}{unknown}.")
    basis = Counter(cost.basis for cost in costs)
    rests = [f"{basis[name]} based on {words}" for name, words in BASES.items() if basis[name]]
    lines.append(f"Of {len(costs)} estimates: {'; '.join(rests)}.")
    sizes = [cost.disk_bytes for cost in costs if cost.disk_bytes is not None]
    if not keep_models:
        lines.append("Disk: only records and predictions, no models are kept.")
    elif sizes:
        lines.append(f"Disk: about {memory(sum(sizes))} for models.")
    return lines


def made_runs(jobs: Sequence[Job], output_dir: Path) -> list[tuple[PlannedRun, Mapping[str, Any]]]:
    """Runs and trials with their records, including those of earlier settings of the same entries."""
    made: list[tuple[PlannedRun, Mapping[str, Any]]] = []
    for job in jobs:
        if isinstance(job, PlannedJob):
            folder = output_dir / job.name
            folders = sorted(folder.glob("trial-*")) if isinstance(job, SearchJob) else [folder]
            made += [(job.planned, record) for folder in folders if (record := read_record(folder)) is not None]
    return made


def _train_rows(grid: Grid, output_dir: Path) -> dict[str, int]:
    """The approximate number of training rows by dataset name; rows that may be held out are not subtracted."""
    found: dict[str, int] = {}
    for name, run in {str(run.dataset): run for run in grid.runs if not run.language_model}.items():
        data = run.arguments(output_dir).data
        dataset = load_source(data).dataset
        if (split := find_split(list(dataset), "train", data.train_split_name)) is not None:
            found[name] = len(dataset[split])
    return found


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """The lines of a table with aligned columns; columns that are empty below their heading are left out."""
    used = [place for place in range(len(rows[0])) if any(row[place] for row in rows[1:])]
    widths = [max(len(row[place]) for row in rows) for place in used]
    return ["  ".join(row[p].ljust(width) for p, width in zip(used, widths, strict=True)).rstrip() for row in rows]
