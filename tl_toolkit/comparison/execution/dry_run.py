"""What a comparison would do, and about what it would cost, without doing any of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ...data.sources import load_source, remember_sources
from ...data.splits import find_split
from ...evaluation.formatting import memory
from ...evaluation.formatting import seconds as in_words
from ...records.record import read_record
from ..planning.grid import Grid
from ..planning.planned_run import PlannedRun
from .estimates import BASES, SAME, UNKNOWN, Estimate, Estimator, disk_of, seconds_of, train_rows_in
from .failures import quiet
from .jobs import Job, PlannedJob, RunJob, StageJob
from .scheduler import check_rows, jobs_of, missing
from .tuning import SearchJob


class _Row(NamedTuple):
    """A line of the table; `cost` is that of what is still to be made, None where nothing is."""

    cells: tuple[str, ...]
    cost: Estimate | None


def plan(grid: Grid, output_dir: Path, *, retry_failed: bool = False, at_once: int = 1) -> str:
    """The runs of a grid with the stages and searches before them, as a table, with what is left to do and its cost.

    Nothing is trained or written; the datasets are read, since a run is known by its rows.

    Args:
        at_once: how many runs are made at the same time. The time is divided by them, as if they did not slow each
            other down.

    Raises:
        UserError: a dataset cannot be read, or not as the grid says: what would stop the comparison itself.
    """
    with quiet(), remember_sources():
        check_rows(grid, output_dir)
        jobs = jobs_of(grid, output_dir)
        made = _made_runs(jobs, output_dir)
        estimator = Estimator(made, {**_train_rows(grid, output_dir), **train_rows_in(made, grid.runs)})
    kept = {job.name: record for job in jobs if (record := job.made(output_dir, retry_failed)) is not None}
    to_make = {job.name for job in missing(jobs, kept)}
    rows = [_row(job, kept.get(job.name), job.name in to_make, output_dir, estimator) for job in jobs]
    head = ("", "dataset", "budget", "seed", "state", "time")
    table = _table([head, *(row.cells for row in rows)])
    return "\n".join([*table, "", *_totals(jobs, rows, grid.keep_models, at_once)])


def _row(job: Job, kept: Mapping[str, Any] | None, to_make: bool, output_dir: Path, estimator: Estimator) -> _Row:
    cost = _cost(job, output_dir, estimator) if to_make else None
    time = "" if cost is None else "unknown" if cost.seconds is None else f"about {in_words(cost.seconds)}"
    what = ("", "", "", "")
    if isinstance(job, StageJob):
        what = (f"stage {job.stage.name}", "", "", "")
    elif isinstance(job, PlannedJob):
        run, tuning = job.planned, isinstance(job, SearchJob)
        name = f"tuning of {run.entry}" if tuning else run.entry
        what = (name, run.dataset or "", run.budget_text, "" if tuning else str(run.seed))
    return _Row((*what, _state(job, kept, to_make, output_dir), time), cost)


def _state(job: Job, kept: Mapping[str, Any] | None, to_make: bool, output_dir: Path) -> str:
    if kept is not None:
        return "failed (kept)" if kept["status"] == "failed" else "made"
    if not to_make:
        return "not needed"
    left = read_record(output_dir / job.name)
    if left is None:
        return f"{job.trials_left(output_dir)} trials to make" if isinstance(job, SearchJob) else "to make"
    if not isinstance(job, StageJob) and left.get("key") != job.key:
        return "again, because changed"
    return "again, because failed" if left["status"] == "failed" else "again, because changed or without its model"


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
    lines = [f"{len(runs)} runs, {left} of them to make."]
    if not costs:
        return lines
    known = [cost.seconds for cost in costs if cost.seconds is not None]
    if not known:
        return [*lines, "No run of this grid is recorded yet, so that nothing is known of the time it takes."]
    # Nothing is over before its longest run is.
    seconds = max(sum(known) / at_once, max(known))
    unknown = f", and {len(costs) - len(known)} of unknown length" if len(known) < len(costs) else ""
    together = f", {at_once} at once" if at_once > 1 else ""
    lines.append(f"Time: about {in_words(seconds)}{together}{unknown}.")
    basis = Counter(cost.basis for cost in costs)
    rests = [f"{basis[name]} on {words}" for name, words in BASES.items() if basis[name]]
    lines.append(f"Of {len(costs)} estimates, {'; '.join(rests)}.")
    sizes = [cost.disk_bytes for cost in costs if cost.disk_bytes is not None]
    if not keep_models:
        lines.append("Disk: no models are kept, only records and predictions.")
    elif sizes:
        lines.append(f"Disk: about {memory(sum(sizes))} for models.")
    return lines


def _made_runs(jobs: Sequence[Job], output_dir: Path) -> list[tuple[PlannedRun, Mapping[str, Any]]]:
    """Runs and trials with what they left, earlier settings of the same entries among them."""
    made: list[tuple[PlannedRun, Mapping[str, Any]]] = []
    for job in jobs:
        if isinstance(job, PlannedJob):
            folder = output_dir / job.name
            folders = sorted(folder.glob("trial-*")) if isinstance(job, SearchJob) else [folder]
            made += [(job.planned, record) for folder in folders if (record := read_record(folder)) is not None]
    return made


def _train_rows(grid: Grid, output_dir: Path) -> dict[str, int]:
    """By the name of a dataset, about how many rows there are to train on, less none that may be held out."""
    found: dict[str, int] = {}
    for name, run in {str(run.dataset): run for run in grid.runs if not run.language_model}.items():
        data = run.arguments(output_dir).data
        dataset = load_source(data).dataset
        if (split := find_split(list(dataset), "train", data.train_split_name)) is not None:
            found[name] = len(dataset[split])
    return found


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Columns as wide as they need to be; those that are empty but for their heading are left out."""
    used = [place for place in range(len(rows[0])) if any(row[place] for row in rows[1:])]
    widths = [max(len(row[place]) for row in rows) for place in used]
    return ["  ".join(row[p].ljust(width) for p, width in zip(used, widths, strict=True)).rstrip() for row in rows]
