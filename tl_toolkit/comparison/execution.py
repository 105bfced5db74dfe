"""Working through a grid: one run after another in this process, each leaving its record at once."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..strategies import make_strategy
from ..training.arguments import Arguments
from ..training.output_dir import make_folder, without_empty_folder
from ..training.record import RESULT_NAME, SCHEMA_VERSION, changed_arguments, read_record, write_json
from .grid import Grid, PlannedRun
from .housekeeping import failed, forget, quiet
from .stage_execution import check_stages, describe_stages, run_stages, stage_keys
from .stages import in_order

RESULTS_NAME = "results.jsonl"


def check_data(grid: Grid, output_dir: Path) -> None:
    """Prepare the data of one run for each label budget: what is wrong with it would be wrong with every run.

    The datasets of the stages are read as well.

    Raises:
        UserError: as `Task.prepare`; the folder cannot be made.
    """
    from ..data.sources import remember_sources
    from ..tasks import make_task

    with without_empty_folder(output_dir), remember_sources():
        make_folder(output_dir)
        for planned in {run.label_budget: run for run in grid.runs}.values():
            make_task(planned.arguments(output_dir).data).prepare(planned.seed)
        stage_keys(grid.stages, output_dir)


def execute(grid: Grid, output_dir: Path, *, retry_failed: bool, say: Callable[[str], None] = print) -> int:
    """Make every run of `grid` that has no record yet, and keep `results.jsonl` in step.

    A run whose record is there is left alone if its settings, data and toolkit version are what they were, and its
    model is there if models are kept; a failed one is repeated only with `retry_failed`. A run that fails is recorded
    with its error, and the grid goes on.

    Returns:
        How many runs of the grid have failed.
    """
    from ..data.sources import remember_sources

    with quiet(), remember_sources():
        return _execute(grid, output_dir, retry_failed, say)


def _execute(grid: Grid, output_dir: Path, retry_failed: bool, say: Callable[[str], None]) -> int:
    from ..data.sources import load_source
    from ..training.run import run

    (output_dir / "runs").mkdir(parents=True, exist_ok=True)
    progress = _Progress(grid.runs, say)
    fingerprint = load_source(grid.runs[0].arguments(output_dir).data).record["fingerprint"]
    of_stages = stage_keys(grid.stages, output_dir)
    keys = [planned.key(fingerprint, [of_stages[name] for name in planned.stages]) for planned in grid.runs]
    made = [
        _made_before(output_dir / planned.folder, key, grid.keep_models, retry_failed)
        for planned, key in zip(grid.runs, keys, strict=True)
    ]
    needed = (name for planned, record in zip(grid.runs, made, strict=True) if not record for name in planned.stages)
    stages = [grid.stages[name] for name in in_order(needed, grid.stages)]
    stage_records = run_stages(stages, of_stages, output_dir, retry_failed, say)
    failures = 0
    for planned, key, record in zip(grid.runs, keys, made, strict=True):
        folder = output_dir / planned.folder
        if record is None:
            arguments = planned.arguments(output_dir)
            progress.begin(planned)
            try:
                check_stages(planned.stages, stage_records)
                record = run(arguments)
            except Exception as error:  # whatever happens to one run must not end the others
                record = _failure(folder, planned, arguments, error)
            record |= {"key": key, "entry": planned.entry, "folder": planned.folder}
            record |= {"stages": describe_stages(planned.stages, of_stages, stage_records)} if planned.stages else {}
            _tidy(folder, grid.keep_models)
            write_json(folder / RESULT_NAME, record)
            progress.end(planned, record)
            forget()
        else:
            progress.skip(planned, record)
        failures += record["status"] == "failed"
        _write_results(grid, output_dir)
    return failures


def _made_before(folder: Path, key: str, keep_models: bool, retry_failed: bool) -> dict[str, Any] | None:
    """The record of a run that is not to be made again; None for one that is."""
    record = read_record(folder)
    known = record is not None and record.get("key") == key
    if record is None or not known or _is_wanted_again(record, folder, keep_models, retry_failed):
        return None
    return record


def _is_wanted_again(record: dict[str, Any], folder: Path, keep_models: bool, retry_failed: bool) -> bool:
    """Whether a run of the same settings is made again: it failed, or left no model where models are kept now."""
    if record["status"] == "failed":
        return retry_failed
    return keep_models and not any(folder.glob("*.safetensors"))


def _write_results(grid: Grid, output_dir: Path) -> None:
    """`results.jsonl` anew from the runs' own records, whole or not at all."""
    records = [read_record(output_dir / planned.folder) for planned in grid.runs]
    lines = [json.dumps(record) + "\n" for record in records if record is not None and "entry" in record]
    temporary = output_dir / f".{RESULTS_NAME}.{os.getpid()}"
    temporary.write_text("".join(lines), encoding="utf-8")
    os.replace(temporary, output_dir / RESULTS_NAME)


def _failure(folder: Path, planned: PlannedRun, arguments: Arguments, error: Exception) -> dict[str, Any]:
    """The record that the failed run left, or one that says what is known of it."""
    left = read_record(folder)
    if left is None or "key" in left:  # none, or that of an earlier run
        left = {
            "schema_version": SCHEMA_VERSION,
            "name": planned.entry,
            "strategy": make_strategy(arguments.strategy, arguments.model).record(),
            "budget": {"label_budget": planned.label_budget},
            "seed": planned.seed,
            "arguments": changed_arguments(arguments),
            "metrics": {},
        }
    return failed(left, folder, error)


def _tidy(folder: Path, keep_model: bool) -> None:
    """Leave the model, the record and the predictions; without `keep_model`, the record and the predictions."""
    for path in folder.iterdir():
        if path.is_dir():
            if path.name.startswith("checkpoint-") or not keep_model:
                shutil.rmtree(path)
        elif not keep_model and path.suffix != ".parquet" and path.name not in (RESULT_NAME, "error.txt"):
            path.unlink()


def count_results(output_dir: Path) -> int:
    """How many runs have left a record in `output_dir`, failed ones among them."""
    path = output_dir / RESULTS_NAME
    return len(path.read_text(encoding="utf-8").splitlines()) if path.exists() else 0


class _Progress:
    """A line a run: what it was, what came out, and about how long the rest will take."""

    def __init__(self, runs: list[PlannedRun], say: Callable[[str], None]) -> None:
        self.runs, self.say = runs, say
        self.done = 0
        self.seconds: dict[tuple[str, int | None], list[float]] = {}
        self.began = 0.0

    def begin(self, planned: PlannedRun) -> None:
        self.began = time.perf_counter()

    def end(self, planned: PlannedRun, record: dict[str, Any]) -> None:
        took = time.perf_counter() - self.began
        self.seconds.setdefault((planned.entry, planned.label_budget), []).append(took)
        self._report(planned, record, f"{took:6.1f} s   {self._left()}")

    def skip(self, planned: PlannedRun, record: dict[str, Any]) -> None:
        self._report(planned, record, "  (made before)")

    def _report(self, planned: PlannedRun, record: dict[str, Any], rest: str) -> None:
        self.done += 1
        budget = "all labels" if planned.label_budget is None else f"{planned.label_budget} labels"
        outcome = "FAILED" if record["status"] == "failed" else ""
        with contextlib.suppress(KeyError):
            metric = record["task"]["main_metric"]
            outcome = outcome or f"{metric} {record['metrics']['test'][metric]:.3f}"
        width = max(len(run.entry) for run in self.runs)
        total = len(self.runs)
        head = f"[{self.done:>{len(str(total))}}/{total}] {planned.entry:<{width}}  {budget:>11}  seed {planned.seed}"
        self.say(f"{head}  {outcome:<16} {rest}")
        if record["status"] == "failed":
            self.say(f"        {record['error'][:300]}")

    def _left(self) -> str:
        """The time left: as runs of the same entry and budget took, else the entry's longest, else the mean."""
        mean = {cell: sum(times) / len(times) for cell, times in self.seconds.items()}
        by_entry: dict[str, float] = {}
        for (entry, _), seconds in mean.items():
            by_entry[entry] = max(by_entry.get(entry, 0.0), seconds)
        overall = sum(mean.values()) / len(mean)
        seconds = sum(
            mean.get((run.entry, run.label_budget), by_entry.get(run.entry, overall))
            for run in self.runs[self.done + 1 :]
        )
        return f"about {seconds / 60:.0f} min left" if seconds > 90 else f"about {seconds:.0f} s left"
