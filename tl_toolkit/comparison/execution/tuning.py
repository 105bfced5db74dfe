"""The search of an entry: sequential trials, evaluated on validation rows only, and the best values."""

from __future__ import annotations

import dataclasses
import functools
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import STOPS, UserError
from ...records.artefacts import keeping
from ...records.record import SCHEMA_VERSION, read_record, write_record
from ..planning.keys import key_of
from ..planning.search import Search
from .failures import failed, free_memory
from .jobs import PlannedJob, Train, train_through
from .proposals import Tried, load_optuna, propose, size_of


@dataclass(frozen=True)
class SearchJob(PlannedJob):
    """All trials of one entry at one budget on one dataset.

    The record of each trial is written before the next one starts, and the number of a trial and the earlier records
    determine its values. A killed search therefore resumes with the same trials.
    `planned` is the run that is varied, with the budget and the seed of the search.
    """

    @property
    def name(self) -> str:
        return str(self.planned.search_folder)

    @property
    def called(self) -> str:
        return f"the tuning of {self._cell}"

    @property
    def search(self) -> Search:
        """The search space and the number of trials."""
        assert self.planned.search is not None
        return self.planned.search

    def check(self, output_dir: Path) -> None:
        load_optuna()

    def _work(self, output_dir: Path, train: Train) -> dict[str, Any]:
        again = (read_record(output_dir / self.name) or {}).get("key") == self.key  # all trials failed: retry them
        trials: list[dict[str, Any]] = []
        while len(trials) < self.search.trials:
            values = propose(
                self.search.space,
                [Tried(trial["values"], trial["value"]) for trial in trials],
                seed=self.search.seed,
                trials=self.search.trials,
                greater_is_better=bool(next((t["greater_is_better"] for t in trials if t["value"] is not None), True)),
            )
            if values is None:
                break
            trials.append(self._trial(len(trials), values, output_dir, train, again))
        for folder in (output_dir / self.name).glob("trial-*"):  # of an earlier search with more trials
            if int(folder.name.removeprefix("trial-")) >= len(trials):
                shutil.rmtree(folder)
        completed = [trial for trial in trials if trial["value"] is not None]
        if not completed:
            raise UserError(f"All trials of {self.called} failed; error of the first: {trials[0]['error']}")
        sign = 1 if completed[0]["greater_is_better"] else -1
        # Among equals the one with the lowest loss, and then the first.
        best = max(completed, key=lambda trial: (sign * trial["value"], -(trial["loss"] or 0.0)))
        return {
            **self._known_record(output_dir),
            "status": "completed",
            "error": None,
            "trials": len(trials),
            "failed": len(trials) - len(completed),
            "seconds": sum(trial["seconds"] for trial in trials),
            "chosen": best["values"],
            "best": best["value"],
            "metric": best["metric"],
            "greater_is_better": best["greater_is_better"],
            "history": trials,
        }

    def _trial(
        self, number: int, values: dict[str, Any], output_dir: Path, train: Train, again: bool
    ) -> dict[str, Any]:
        """One trial, run now or read from its record: number, values, status, error, metric, value, and seconds."""
        folder, key = output_dir / self.name / f"trial-{number}", self._trial_key(number, values)
        record = read_record(folder)
        if record is None or record.get("key") != key or again and record["status"] == "failed":
            shutil.rmtree(folder, ignore_errors=True)
            record = {**self._make_trial(values, output_dir, train, folder), "key": key, "values": values}
            record = write_record(folder, record)  # in plain values: a metric that is not finite is None
            free_memory()
        validation, task = record["metrics"].get("validation") or {}, record.get("task") or {}
        value = validation.get(task.get("main_metric")) if record["status"] == "completed" else None
        return {
            "number": number,
            "values": values,
            "status": record["status"],
            "error": record.get("error"),
            "metric": task.get("main_metric"),
            "greater_is_better": task.get("greater_is_better"),
            "value": value,
            "loss": validation.get("loss"),
            "seconds": record["seconds"],
        }

    def _trial_key(self, number: int, values: dict[str, Any]) -> str:
        return key_of([self.key, number, values])

    def trials_left(self, output_dir: Path) -> int:
        """The number of remaining trials, also of a search that was stopped."""
        done = 0
        for path in (output_dir / self.name).glob("trial-*"):
            record, number = read_record(path) or {}, int(path.name.removeprefix("trial-"))
            done += record.get("key") == self._trial_key(number, record.get("values") or {})
        return max(0, int(min(self.search.trials, size_of(self.search.space))) - done)

    def _make_trial(self, values: dict[str, Any], output_dir: Path, train: Train, folder: Path) -> dict[str, Any]:
        """Run a trial and return its record; everything else in its folder but `error.txt` is removed."""
        began = time.perf_counter()
        planned = self.planned.with_values(values)
        planned = dataclasses.replace(planned, settings={**planned.settings, "skip_test": True, "push_to_hub": False})
        try:
            create = functools.partial(planned.arguments, output_dir, str(folder.relative_to(output_dir)))
            record = train_through(self.launch, train, create)
        except STOPS:
            raise
        except BaseException as error:  # a failed trial counts, and the search continues
            left = read_record(folder) or {"schema_version": SCHEMA_VERSION, "name": self.planned.entry}
            record = failed({**left, "metrics": {}}, folder, error)
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != "error.txt":
                path.unlink()
        return {**keeping(record, ()), "predictions": {}, "seconds": time.perf_counter() - began}

    def _known_record(self, output_dir: Path) -> dict[str, Any]:
        dataset = {"grid_dataset": self.planned.dataset}
        return {**super()._known_record(output_dir), **dataset, "search": self.search.space}

    def _finish(self, record: dict[str, Any], output_dir: Path) -> dict[str, Any]:
        (output_dir / self.name).mkdir(parents=True, exist_ok=True)
        return write_record(output_dir / self.name, {**record, "key": self.key, "folder": self.name})
