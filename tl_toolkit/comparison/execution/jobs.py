"""What a grid makes: stages and runs, each a job that any process can do and that leaves its record behind it."""

from __future__ import annotations

import abc
import functools
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...atomic_files import write_json
from ...errors import UserError
from ...records.checkpoints import checkpoints
from ...records.record import RESULT_NAME, SCHEMA_VERSION, changed_arguments, read_record
from ...strategies import make_strategy
from ..planning.launch_settings import Launch
from ..planning.stages import FOLDER as STAGES
from ..planning.stages import Stage
from .accelerate_processes import through
from .around_jobs import TENSORBOARD, Failure, failed, forget, tracked

if TYPE_CHECKING:
    from ..planning.grid import PlannedRun

Train = Callable[[Any], dict[str, Any]]
"""What makes a run of its arguments and returns the record: a function that other processes can import."""

_KEY_NAME = "stage.json"  # written before a stage begins, so that a killed one is known by its key, too
_CHOSEN = ("trials", "failed", "seconds", "search", "chosen", "best", "metric")  # of a search, kept with the run
_KEPT = (RESULT_NAME, "attention.json", "error.txt")  # what a report reads, beside the predictions


class Job(abc.ABC):
    """A piece of work that leaves a record; it can be pickled, so that another process may do it."""

    @property
    def launch(self) -> Launch:
        """What it asks for of the machine."""
        return Launch()

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """Its folder below that of the comparison, which no other job has."""

    @property
    @abc.abstractmethod
    def called(self) -> str:
        """What sentences call it, such as "the stage 'wiki'"."""

    @property
    def needs(self) -> tuple[str, ...]:
        """The names of the jobs that must have completed before, first to last."""
        return ()

    def check(self, output_dir: Path) -> None:  # noqa: B027 - most jobs have nothing to see to
        """See, before anything is made, that the job may write to its folder.

        Raises:
            UserError: there is something else in it.
        """

    @abc.abstractmethod
    def made(self, output_dir: Path, retry_failed: bool) -> dict[str, Any] | None:
        """The record of a job that is not to be made again; None for one that is.

        It is made again if its settings, its data, the toolkit or what it needs has changed; one that has failed only
        with `retry_failed`.
        """

    def tidy(self, output_dir: Path) -> None:  # noqa: B027 - most jobs have nothing to see to
        """Remove what a job that was killed behind its last step may have left."""

    def make(self, output_dir: Path, train: Train) -> dict[str, Any]:
        """Do all of it: the work, and the record, written whole or not at all. Whatever goes wrong is recorded.

        Args:
            train: makes a run or a stage of its arguments, and returns the record.
        """
        folder = output_dir / self.name
        (folder / "error.txt").unlink(missing_ok=True)
        try:
            record = self._work(output_dir, train)
        except Exception as error:  # whatever happens to one job must not end the others
            record = failed(self._left(output_dir), folder, error)
        record = self._finish(record, output_dir)
        forget()
        return record

    def fail(self, output_dir: Path, failure: Failure, error: str) -> dict[str, Any]:
        """Record that the job has failed without saying so itself: it was killed, or could not begin."""
        (output_dir / self.name).mkdir(parents=True, exist_ok=True)
        return self._finish(
            {**self._left(output_dir), "status": "failed", "failure": failure, "error": error}, output_dir
        )

    def block(self, output_dir: Path, need: Job, record: Mapping[str, Any]) -> dict[str, Any]:
        """Record that the job cannot begin, because another one that it needs has failed with `record`."""
        reason = f"{need.called[0].upper()}{need.called[1:]}, which this run needs, failed: {record['error']}"
        return self.fail(output_dir, record.get("failure", "error"), reason)

    @abc.abstractmethod
    def _work(self, output_dir: Path, train: Train) -> dict[str, Any]:
        """The work itself; returns the record of it."""

    @abc.abstractmethod
    def _left(self, output_dir: Path) -> dict[str, Any]:
        """What is known of a job that has failed."""

    @abc.abstractmethod
    def _finish(self, record: dict[str, Any], output_dir: Path) -> dict[str, Any]:
        """Tidy the folder and write the record; returns what was written."""


@dataclass(frozen=True)
class StageJob(Job):
    """A pre-training run; one that was killed goes on from its last complete checkpoint if its key is what it was."""

    stage: Stage
    key: str

    @property
    def launch(self) -> Launch:
        return self.stage.launch

    @property
    def name(self) -> str:
        return self.stage.folder

    @property
    def called(self) -> str:
        return f"the stage {self.stage.name!r}"

    @property
    def needs(self) -> tuple[str, ...]:
        return tuple(f"{STAGES}/{source}" for source in self.stage.sources)

    def check(self, output_dir: Path) -> None:
        folder = output_dir / self.name
        if _key_in(folder) is None and folder.exists() and any(folder.iterdir()):
            raise UserError(
                f"The folder {str(folder)!r} is where the stage {self.stage.name!r} goes, but holds something else. "
                "Move it away, or choose another --output_dir."
            )

    def made(self, output_dir: Path, retry_failed: bool) -> dict[str, Any] | None:
        folder = output_dir / self.name
        record = read_record(folder) if _key_in(folder) == self.key else None
        if record is None:
            return None
        if record["status"] == "failed":
            return None if retry_failed else record
        return record if any(folder.glob("*.safetensors")) else None

    def block(self, output_dir: Path, need: Job, record: Mapping[str, Any]) -> dict[str, Any]:
        """Nothing is written: what the stage has left stays, and it is as unfit to begin the next time."""
        return {**record, "name": self.stage.name}

    def _work(self, output_dir: Path, train: Train) -> dict[str, Any]:
        self._make_room(output_dir / self.name)
        ask = functools.partial(self.stage.arguments, output_dir)
        return train_through(self.launch, train, ask, goes_on=True)

    def _make_room(self, folder: Path) -> None:
        """An empty folder for the stage, or the one in which it was stopped."""
        if _key_in(folder) not in (None, self.key):  # another stage's checkpoints must never be continued: away with
            old = folder.with_name(f".{folder.name}.old")  # them at a stroke
            shutil.rmtree(old, ignore_errors=True)
            os.replace(folder, old)
            shutil.rmtree(old)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / _KEY_NAME, {"name": self.stage.name, "key": self.key})

    def tidy(self, output_dir: Path) -> None:
        folder = output_dir / self.name
        for checkpoint in checkpoints(folder):
            shutil.rmtree(checkpoint)
        for temporary in folder.glob(".*.[0-9]*"):  # half-written by a process that was killed
            temporary.unlink()

    def _left(self, output_dir: Path) -> dict[str, Any]:
        folder = output_dir / self.name
        left = read_record(folder) if _key_in(folder) == self.key else None
        return left or {"schema_version": SCHEMA_VERSION, "name": self.stage.name, "metrics": {}}

    def _finish(self, record: dict[str, Any], output_dir: Path) -> dict[str, Any]:
        folder = output_dir / self.name
        if record["status"] == "failed":
            if _key_in(folder) != self.key:  # killed before it could say whose the folder is
                self._make_room(folder)
            write_json(folder / RESULT_NAME, record)
        else:
            self.tidy(output_dir)
        return record


@dataclass(frozen=True)
class PlannedJob(Job):
    """What is made of a planned run.

    Attributes:
        planned: the run; of a search the one that is varied.
        key: what its result depends on.
        stage_keys: those of the stages that it starts from, by name and in order.
    """

    planned: PlannedRun
    key: str
    stage_keys: dict[str, str]

    @property
    def launch(self) -> Launch:
        return self.planned.launch

    @property
    def called(self) -> str:
        on = "" if self.planned.dataset is None else f" on {self.planned.dataset!r}"
        return f"{self.planned.entry!r}{on} with {self.planned.budget_text}"

    @property
    def needs(self) -> tuple[str, ...]:
        return tuple(f"{STAGES}/{name}" for name in self.stage_keys)

    def made(self, output_dir: Path, retry_failed: bool) -> dict[str, Any] | None:
        record = read_record(output_dir / self.name)
        if record is None or record.get("key") != self.key:
            return None
        return None if retry_failed and record["status"] == "failed" else record


@dataclass(frozen=True)
class RunJob(PlannedJob):
    """One run of the grid."""

    keep_models: bool

    @property
    def name(self) -> str:
        return self.planned.folder

    @property
    def called(self) -> str:
        return f"the run of {super().called} and seed {self.planned.seed}"

    @property
    def needs(self) -> tuple[str, ...]:
        search = self.planned.search_folder
        return (*super().needs, *([search] if search else []))

    def made(self, output_dir: Path, retry_failed: bool) -> dict[str, Any] | None:
        record = super().made(output_dir, retry_failed)
        if record is None or record["status"] == "failed" or not self.keep_models:
            return record
        return record if any((output_dir / self.name).glob("*.safetensors")) else None

    def _work(self, output_dir: Path, train: Train) -> dict[str, Any]:
        planned, told = tuned(self.planned, output_dir)
        record = train_through(self.launch, train, functools.partial(planned.arguments, output_dir))
        return {**record, "tuning": told} if told else record

    def _left(self, output_dir: Path) -> dict[str, Any]:
        """The record that the failed run left, or one that says what is known of it."""
        left = read_record(output_dir / self.name)
        if left is not None and "key" not in left:  # else it is none, or that of an earlier run
            return {**left, "metrics": {}, "predictions": {}}
        arguments = self.planned.arguments(output_dir)
        return {
            "schema_version": SCHEMA_VERSION,
            "name": self.planned.entry,
            "strategy": make_strategy(arguments.strategy, arguments.model).record(),
            "budget": self.planned.budget,
            "seed": self.planned.seed,
            "arguments": changed_arguments(arguments),
            "metrics": {},
        }

    def _finish(self, record: dict[str, Any], output_dir: Path) -> dict[str, Any]:
        record = {**record, "key": self.key, "entry": self.planned.entry, "folder": self.name}
        if self.planned.dataset is not None:
            record["grid_dataset"] = self.planned.dataset
        if self.stage_keys:
            record["stages"] = self._stages(output_dir)
        folder = output_dir / self.name
        _tidy(folder, self.keep_models)
        write_json(folder / RESULT_NAME, record)
        return read_record(folder) or record  # in plain values, as it stands in the file

    def _stages(self, output_dir: Path) -> list[dict[str, Any]]:
        """What the record says of the stages: name, key, and the seconds of pre-training where they are known."""
        stages = []
        for name, key in self.stage_keys.items():
            cost = (read_record(output_dir / STAGES / name) or {}).get("cost") or {}
            stages.append({"name": name, "key": key, "train_seconds": cost.get("train_seconds")})
        return stages


def train_through(launch: Launch, train: Train, ask: Callable[[], Any], *, goes_on: bool = False) -> dict[str, Any]:
    """The record of a run, made here or in the processes that the launch file asks for.

    Args:
        ask: makes the arguments of the run, in each process anew, since they depend on its rank.
        goes_on: what its trackers have written before is kept.
    """
    return through(launch, functools.partial(_train, train, ask, goes_on))


def _train(train: Train, ask: Callable[[], Any], goes_on: bool) -> dict[str, Any]:
    arguments = ask()
    with tracked(Path(arguments.run.output_dir), goes_on=goes_on):
        return train(arguments)


def _key_in(folder: Path) -> str | None:
    try:
        return str(json.loads((folder / _KEY_NAME).read_text(encoding="utf-8"))["key"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _tidy(folder: Path, keep_model: bool) -> None:
    """Leave the model, the record and the predictions; without `keep_model`, the record and the predictions."""
    for path in folder.iterdir():
        temporary = path.name.startswith(".")  # left by a run that was killed while it wrote
        if path.is_dir():
            if temporary or path.name.startswith("checkpoint-") or not (keep_model or path.name == TENSORBOARD):
                shutil.rmtree(path)
        elif temporary or not keep_model and path.suffix != ".parquet" and path.name not in _KEPT:
            path.unlink()


def tuned(planned: PlannedRun, output_dir: Path) -> tuple[PlannedRun, dict[str, Any] | None]:
    """A run with the values that its search has chosen, and what its record says of the search; as it is without one.

    Raises:
        UserError: the search has left no record.
    """
    if planned.search_folder is None:
        return planned, None
    record = read_record(output_dir / planned.search_folder)
    if record is None or "chosen" not in record:
        raise UserError(f"The search in {planned.search_folder!r}, which this run takes its values from, is not there.")
    told = {name: record[name] for name in _CHOSEN}
    return planned.with_values(record["chosen"]), {**told, **record["budget"]}
