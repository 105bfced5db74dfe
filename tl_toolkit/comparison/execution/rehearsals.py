"""Rehearsals: one of each entry before the first run, so that no entry fails for what can be known before it trains."""

from __future__ import annotations

import functools
import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import STOPS, UserError, as_user_error
from ..planning.launch_settings import Launch
from ..planning.planned_run import PlannedRun
from ..planning.stages import Stage
from .accelerate_processes import through
from .failures import Failure, free_memory
from .jobs import Job, RunJob, Train

FOLDER = ".rehearsals"
"""The folder, below that of the comparison, that exists while entries are rehearsed."""

Rehearse = Callable[[Any, bool], None]
"""Does what a run with these arguments does, with few rows and without training; a function that can be imported. It
leaves its model in its folder if the second argument says so."""


@dataclass(frozen=True)
class Rehearsal(Job):
    """Rehearses a run, after the stages and the teacher that it starts from. Its record has the `error`, or None."""

    planned: PlannedRun
    stages: tuple[Stage, ...]
    rehearse: Rehearse
    number: int
    key: str = ""

    @property
    def launch(self) -> Launch:
        return self.planned.launch

    @property
    def name(self) -> str:
        return f"{FOLDER}/{self.number}"

    @property
    def called(self) -> str:
        return f"the rehearsal of {self.planned.entry!r}"

    def made(self, output_dir: Path, retry_failed: bool) -> None:
        return None

    def make(self, output_dir: Path, train: Train) -> dict[str, Any]:
        folder, where, error = output_dir / self.name, "", None
        folder.mkdir(parents=True)
        try:
            parts: tuple[Stage | PlannedRun, ...] = (*self.stages, *_with_teachers(self.planned))
            for own in parts:
                where = f"the stage {own.name!r}" if isinstance(own, Stage) else f"the entry {own.entry!r}"
                through(own.launch, functools.partial(_rehearsed, self.rehearse, own, folder, own is not self.planned))
        except STOPS:
            raise
        except BaseException as problem:
            explained = as_user_error(problem)  # a bug is reported by the run itself, with its traceback
            if explained is not None:
                error = f"In {where}: {explained}"
        for left in folder.iterdir():
            shutil.rmtree(left, ignore_errors=True)
        free_memory()
        return {"status": "completed", "error": error}

    def fail(self, output_dir: Path, failure: Failure, error: str) -> dict[str, Any]:
        """A rehearsal that was killed has shown nothing; the run will be killed, too, or not."""
        return {"status": "failed", "error": None}

    def _work(self, output_dir: Path, train: Train) -> dict[str, Any]:
        raise NotImplementedError("A rehearsal overrides `make`, which calls this for runs that train.")

    def _known_record(self, output_dir: Path) -> dict[str, Any]:
        return {}

    def _finish(self, record: dict[str, Any], output_dir: Path) -> dict[str, Any]:
        return record


def _rehearsed(rehearse: Rehearse, own: Stage | PlannedRun, folder: Path, keep: bool) -> dict[str, Any]:
    rehearse(own.arguments(folder), keep)
    return {}


def _with_teachers(run: PlannedRun) -> tuple[PlannedRun, ...]:
    """The run after its teacher, and after that one's."""
    return (run,) if run.taught_by is None else (*_with_teachers(run.taught_by), run)


def rehearsals(
    waiting: Iterable[Job], records: Mapping[str, Mapping[str, Any]], stages: Mapping[str, Stage], rehearse: Rehearse
) -> Iterator[Rehearsal]:
    """A rehearsal of each entry on each dataset, of the waiting run with the fewest labels; none if one has completed.

    Args:
        waiting: the jobs to do.
        records: the records of the jobs that are done.
        stages: all stages by name.
    """
    done = {(record.get("entry"), record.get("grid_dataset")) for record in records.values()
            if record.get("status") == "completed"}  # fmt: skip
    first: dict[tuple[str, str | None], PlannedRun] = {}
    for job in waiting:
        if isinstance(job, RunJob) and (place := (job.planned.entry, job.planned.dataset)) not in done:
            first[place] = min(first.get(place, job.planned), job.planned, key=_rows)
    for number, run in enumerate(first.values(), 1):
        names = dict.fromkeys(name for own in _with_teachers(run) for name in own.stages)
        yield Rehearsal(run, tuple(stages[name] for name in names), rehearse, number)


def _rows(run: PlannedRun) -> float:
    ((_, number),) = run.budget.items()
    return math.inf if number is None else number


def check(record: Mapping[str, Any]) -> None:
    """Raise the error that a rehearsal has found as a `UserError`."""
    if record["error"] is not None:
        raise UserError(record["error"])
