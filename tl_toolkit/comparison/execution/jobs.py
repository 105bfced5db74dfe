"""What a grid makes: stages and runs, each a job that any process can do and that leaves its record behind it."""

from __future__ import annotations

import abc
import contextlib
import functools
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...atomic_files import write_json
from ...errors import UserError
from ...records.checkpoints import checkpoints
from ...records.record import RESULT_NAME, SCHEMA_VERSION, changed_arguments, read_record
from ...strategies import make_strategy
from ..planning.launch_settings import Launch
from ..planning.planned_run import PlannedRun
from ..planning.stages import FOLDER as STAGES
from ..planning.stages import Stage
from .accelerate_processes import through
from .failures import Failure, failed, forget
from .processes import changed_environment

Train = Callable[[Any], dict[str, Any]]
"""What makes a run of its arguments and returns the record: a function that other processes can import."""

TENSORBOARD = "tensorboard"  # the folder that it writes to, in that of a run
_KEY_NAME = "stage.json"  # written before a stage begins, so that a killed one is known by its key, too
_CHOSEN = ("trials", "failed", "seconds", "search", "chosen", "best", "metric")  # of a search, kept with the run
_KEPT = (RESULT_NAME, "attention.json", "error.txt")  # what a report reads, beside the predictions


class Job(abc.ABC):
    """A piece of work that leaves a record; it can be pickled, so that another process may do it."""

    key: str
    """What its result depends on."""

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

    def made(self, output_dir: Path, retry_failed: bool) -> dict[str, Any] | None:
        """The record of a job that is not to be made again; None for one that is.

        It is made again if its settings, its data, the toolkit or what it needs has changed, or its model is wanted and
        gone; one that has failed only with `retry_failed`.
        """
        folder = output_dir / self.name
        record = read_record(folder)
        if record is None or self._key_of(folder, record) != self.key:
            return None
        if record["status"] == "failed":
            return None if retry_failed else record
        return record if not self._leaves_a_model or any(folder.glob("*.safetensors")) else None

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

    @property
    def _leaves_a_model(self) -> bool:
        return False

    def _key_of(self, folder: Path, record: Mapping[str, Any]) -> str | None:
        """The key of the job that left `record` in `folder`."""
        return record.get("key")

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

    @property
    def _leaves_a_model(self) -> bool:
        return True

    def _key_of(self, folder: Path, record: Mapping[str, Any]) -> str | None:
        return _key_in(folder)

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
        known = {"schema_version": SCHEMA_VERSION, "name": self.stage.name, "metrics": {}}
        return read_record(folder) or known if _key_in(folder) == self.key else known

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
    """What is made of a planned run: the run itself, or the search that it takes its values from.

    Attributes:
        stage_keys: those of the stages that it starts from, by name and in order.
    """

    planned: PlannedRun
    key: str
    stage_keys: dict[str, str]

    @property
    def launch(self) -> Launch:
        return self.planned.launch

    @property
    def needs(self) -> tuple[str, ...]:
        return tuple(f"{STAGES}/{name}" for name in self.stage_keys)

    @property
    def _cell(self) -> str:
        on = "" if self.planned.dataset is None else f" on {self.planned.dataset!r}"
        return f"{self.planned.entry!r}{on} with {self.planned.budget_text}"

    def _left(self, output_dir: Path) -> dict[str, Any]:
        planned = self.planned
        known = {"schema_version": SCHEMA_VERSION, "name": planned.entry, "entry": planned.entry, "metrics": {}}
        return {**known, "budget": planned.budget, "seed": planned.seed}


@dataclass(frozen=True)
class RunJob(PlannedJob):
    """One run of the grid."""

    keep_models: bool

    @property
    def name(self) -> str:
        return self.planned.folder

    @property
    def called(self) -> str:
        return f"the run of {self._cell} and seed {self.planned.seed}"

    @property
    def needs(self) -> tuple[str, ...]:
        search = self.planned.search_folder
        return (*super().needs, *([search] if search else []))

    @property
    def _leaves_a_model(self) -> bool:
        return self.keep_models

    def _work(self, output_dir: Path, train: Train) -> dict[str, Any]:
        if self.planned.search_folder is None:
            return train_through(self.launch, train, functools.partial(self.planned.arguments, output_dir))
        search = read_record(output_dir / self.planned.search_folder)
        if search is None or "chosen" not in search:
            raise UserError(f"The search in {self.planned.search_folder!r}, which {self.called} needs, is not there.")
        tuned = self.planned.with_values(search["chosen"])
        record = train_through(self.launch, train, functools.partial(tuned.arguments, output_dir))
        return {**record, "tuning": {**{name: search[name] for name in _CHOSEN}, **search["budget"]}}

    def _left(self, output_dir: Path) -> dict[str, Any]:
        """The record that the failed run left, or one that says what is known of it."""
        left = read_record(output_dir / self.name)
        if left is not None and "key" not in left:  # else it is none, or that of an earlier run
            return {**left, "metrics": {}, "predictions": {}}
        arguments = self.planned.arguments(output_dir)
        strategy = make_strategy(arguments.strategy, arguments.model).record()
        return {**super()._left(output_dir), "strategy": strategy, "arguments": changed_arguments(arguments)}

    def _finish(self, record: dict[str, Any], output_dir: Path) -> dict[str, Any]:
        record = {**record, "key": self.key, "entry": self.planned.entry, "folder": self.name}
        if self.planned.dataset is not None:
            record["grid_dataset"] = self.planned.dataset
        stages = []
        for name, key in self.stage_keys.items():
            cost = (read_record(output_dir / STAGES / name) or {}).get("cost") or {}
            stages.append({"name": name, "key": key, "train_seconds": cost.get("train_seconds")})
        if stages:
            record["stages"] = stages
        folder = output_dir / self.name
        self._tidy(folder)
        write_json(folder / RESULT_NAME, record)
        return read_record(folder) or record  # in plain values, as it stands in the file

    def _tidy(self, folder: Path) -> None:
        """Leave the model, the record and the predictions; without `keep_models`, the record and the predictions."""
        for path in folder.iterdir():
            temporary = path.name.startswith(".")  # left by a run that was killed while it wrote
            if path.is_dir():
                if (
                    temporary
                    or path.name.startswith("checkpoint-")
                    or not (self.keep_models or path.name == TENSORBOARD)
                ):
                    shutil.rmtree(path)
            elif temporary or not self.keep_models and path.suffix != ".parquet" and path.name not in _KEPT:
                path.unlink()


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


@contextlib.contextmanager
def tracked(folder: Path, *, goes_on: bool = False) -> Iterator[None]:
    """Within it, TensorBoard writes to a folder of its own in `folder`, that of a run; behind it, trackers have ended.

    What the run wrote there before is removed, unless it `goes_on` from where it was.
    """
    if not goes_on and int(os.environ.get("RANK", "0")) == 0:
        shutil.rmtree(folder / TENSORBOARD, ignore_errors=True)
    try:
        with changed_environment({"TENSORBOARD_LOGGING_DIR": str(folder / TENSORBOARD)}):
            yield
    finally:
        wandb = sys.modules.get("wandb")  # imported by transformers if it is reported to
        if wandb is not None and getattr(wandb, "run", None) is not None:
            with contextlib.suppress(Exception):  # the next run of this process would go on in this one's
                wandb.finish()
