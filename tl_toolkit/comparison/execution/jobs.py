"""The jobs of a grid: stages and runs. Any process can execute a job, and each job writes a record."""

from __future__ import annotations

import abc
import contextlib
import functools
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...atomic_files import write_json
from ...errors import STOPS, UserError
from ...records.artefacts import artefacts_of, damages, keeping
from ...records.checkpoints import checkpoints, last_complete_checkpoint
from ...records.record import (
    RESULT_NAME,
    SCHEMA_VERSION,
    changed_arguments,
    damage_of_record,
    read_record,
    write_record,
)
from ...strategies import make_strategy
from ..planning.launch_settings import Launch
from ..planning.planned_run import PlannedRun
from ..planning.stages import FOLDER as STAGES
from ..planning.stages import Stage
from .accelerate_processes import through
from .failures import Failure, failed, free_memory
from .processes import changed_environment

logger = logging.getLogger(__name__)

Train = Callable[[Any], dict[str, Any]]
"""Trains a run from its arguments and returns the record; a function that other processes can import."""

TENSORBOARD = "tensorboard"  # its folder inside the folder of a run
_KEY_NAME = "stage.json"  # written before a stage or a run begins, so that a stopped one has a key, too
_CHOSEN = ("trials", "failed", "seconds", "search", "chosen", "best", "metric")  # fields of a search kept with the run
_KEPT = (RESULT_NAME, "attention.json", "error.txt")  # files that a report reads, besides the predictions


class Job(abc.ABC):
    """A piece of work that writes a record; it is picklable, so that another process can execute it."""

    key: str
    """Hash of everything that affects its result."""

    @property
    def launch(self) -> Launch:
        """The resources that it requests."""
        return Launch()

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """Its folder below that of the comparison, which is unique among the jobs."""

    @property
    @abc.abstractmethod
    def called(self) -> str:
        """Its name in sentences, such as "the stage 'wiki'"."""

    @property
    def needs(self) -> tuple[str, ...]:
        """The names of the jobs that must complete before it, in order."""
        return ()

    def check(self, output_dir: Path) -> None:  # noqa: B027 - most jobs have nothing to check
        """Check, before any job starts, that the job can be executed and may write to its folder.

        Raises:
            UserError: it cannot, for example because the folder holds something else.
        """

    def made(self, output_dir: Path, retry_failed: bool) -> dict[str, Any] | None:
        """The record of a job that need not be executed again; None otherwise.

        A job is repeated if its settings, its data, the toolkit or a dependency has changed, or if its record or one of
        its files is missing or damaged, which is logged. A failed job is repeated only with `retry_failed`.
        """
        folder = output_dir / self.name
        record = read_record(folder)
        if record is None:
            if (damage := damage_of_record(folder)) is not None:
                logger.warning("The record of %s in %r %s.", self.called, self.name, damage)
            return None
        if not self.is_current(output_dir, record) or "status" not in record:
            return None
        if record["status"] == "failed":
            return None if retry_failed else record
        if damaged := self._damages(folder, record):
            said = "; ".join(f"{name} {damage}" for name, damage in damaged.items())
            logger.warning("Files of %s in %r are missing or damaged: %s.", self.called, self.name, said)
        return None if damaged else record

    def is_current(self, output_dir: Path, record: Mapping[str, Any]) -> bool:
        """Whether `record` was written by this job, with the same settings, data and dependencies."""
        return self._key_of(output_dir / self.name, record) == self.key

    def _damages(self, folder: Path, record: Mapping[str, Any]) -> dict[str, str]:
        """What is wrong with the files of a completed job, by their names.

        Records of the first version describe no files, so that only a missing model is found.
        """
        found = damages(folder, record)
        if self._leaves_a_model and not any(folder.glob("*.safetensors")):
            found.setdefault("model.safetensors", "is missing")
        return found

    def tidy(self, output_dir: Path) -> None:  # noqa: B027 - most jobs leave nothing
        """Remove leftovers of a job that was killed after its last step."""

    def make(self, output_dir: Path, train: Train) -> dict[str, Any]:
        """Execute the job and write its record atomically; an error is recorded. Returns the record.

        Args:
            train: trains a run or a stage from its arguments, and returns the record.
        """
        folder = output_dir / self.name
        (folder / "error.txt").unlink(missing_ok=True)
        try:
            record = self._work(output_dir, train)
        except STOPS:
            raise
        except BaseException as error:  # one failed job must not end the others
            record = failed(self._known_record(output_dir), folder, error)
        record = self._finish(record, output_dir)
        free_memory()
        return record

    def fail(self, output_dir: Path, failure: Failure, error: str) -> dict[str, Any]:
        """Record the failure of a job that could not record it itself: it was killed, or could not start."""
        (output_dir / self.name).mkdir(parents=True, exist_ok=True)
        return self._finish(
            {**self._known_record(output_dir), "status": "failed", "failure": failure, "error": error}, output_dir
        )

    def block(self, output_dir: Path, need: Job, record: Mapping[str, Any]) -> dict[str, Any]:
        """Record that the job cannot start, because its dependency `need` has failed with `record`."""
        reason = f"{need.called[0].upper()}{need.called[1:]}, which this run needs, failed: {record['error']}"
        return self.fail(output_dir, record.get("failure", "error"), reason)

    @property
    def _leaves_a_model(self) -> bool:
        return False

    def _key_of(self, folder: Path, record: Mapping[str, Any]) -> str | None:
        """The key of the job that wrote `record` in `folder`."""
        return record.get("key")

    @abc.abstractmethod
    def _work(self, output_dir: Path, train: Train) -> dict[str, Any]:
        """Do the work and return its record."""

    @abc.abstractmethod
    def _known_record(self, output_dir: Path) -> dict[str, Any]:
        """What is known about a failed job."""

    @abc.abstractmethod
    def _finish(self, record: dict[str, Any], output_dir: Path) -> dict[str, Any]:
        """Tidy the folder and write the record; returns the written record."""


@dataclass(frozen=True)
class StageJob(Job):
    """A pre-training run. A killed one resumes from its last complete checkpoint if its key is unchanged."""

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
                f"Move the folder {str(folder)!r} away, or choose another --output_dir: the stage {self.stage.name!r} "
                "would be written there, but the folder holds something else."
            )

    @property
    def _leaves_a_model(self) -> bool:
        return True

    def _key_of(self, folder: Path, record: Mapping[str, Any]) -> str | None:
        return _key_in(folder)

    def block(self, output_dir: Path, need: Job, record: Mapping[str, Any]) -> dict[str, Any]:
        """The record of the blocked stage. Nothing is written, so a checkpoint of the stage stays usable."""
        return {**record, "name": self.stage.name}

    def _work(self, output_dir: Path, train: Train) -> dict[str, Any]:
        remove_without_record(output_dir / self.name)
        self._prepare_folder(output_dir / self.name)
        create = functools.partial(self.stage.arguments, output_dir)
        return train_through(self.launch, train, create, resume=True)

    def _prepare_folder(self, folder: Path) -> None:
        """Create an empty folder for the stage, or keep the folder of the same stage, which was stopped."""
        if _key_in(folder) not in (None, self.key):  # checkpoints of other settings must never be resumed:
            old = folder.with_name(f".{folder.name}.old")  # move them away in one step
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

    def _known_record(self, output_dir: Path) -> dict[str, Any]:
        folder = output_dir / self.name
        known = {"schema_version": SCHEMA_VERSION, "name": self.stage.name, "metrics": {}}
        return read_record(folder) or known if _key_in(folder) == self.key else known

    def _finish(self, record: dict[str, Any], output_dir: Path) -> dict[str, Any]:
        folder = output_dir / self.name
        if record["status"] == "failed":
            if _key_in(folder) != self.key:  # killed before it could write its key
                self._prepare_folder(folder)
            return write_record(folder, record)
        self.tidy(output_dir)
        return record


@dataclass(frozen=True)
class PlannedJob(Job):
    """A job of a planned run: the run itself, or the search that supplies its values.

    Attributes:
        stage_keys: the keys of the stages that it depends on, by name and in order.
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

    def _known_record(self, output_dir: Path) -> dict[str, Any]:
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
        return f"the run of {self._cell} and seed {self.planned.seed_text}"

    @property
    def needs(self) -> tuple[str, ...]:
        search, teacher = self.planned.search_folder, self.planned.taught_by
        return (*super().needs, *([search] if search else []), *([teacher.folder] if teacher else []))

    @property
    def _leaves_a_model(self) -> bool:
        return self.keep_models

    def _damages(self, folder: Path, record: Mapping[str, Any]) -> dict[str, str]:
        if not self.keep_models:
            record = keeping(record, filter(_outlives_the_model, artefacts_of(record)))
        return super()._damages(folder, record)

    def _work(self, output_dir: Path, train: Train) -> dict[str, Any]:
        resuming = self._prepare_folder(output_dir / self.name)
        planned = replace(self.planned, settings={**self.planned.settings, **resuming})
        if self.planned.search_folder is None:
            return train_through(self.launch, train, functools.partial(planned.arguments, output_dir))
        search = read_record(output_dir / self.planned.search_folder)
        if search is None or "chosen" not in search:
            raise UserError(f"The search in {self.planned.search_folder!r}, which {self.called} needs, is missing.")
        tuned = planned.with_values(search["chosen"])
        record = train_through(self.launch, train, functools.partial(tuned.arguments, output_dir))
        return {**record, "tuning": {**{name: search[name] for name in _CHOSEN}, **search["budget"]}}

    def _prepare_folder(self, folder: Path) -> dict[str, str]:
        """The settings that resume a stopped run from its checkpoint, if that holds the optimiser's state as well."""
        if _key_in(folder) != self.key:
            for checkpoint in checkpoints(folder):
                shutil.rmtree(checkpoint)
        remove_without_record(folder)
        resumes = last_complete_checkpoint(folder) is not None
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / _KEY_NAME, {"name": self.planned.entry, "key": self.key})
        return {"resume_from_checkpoint": "true"} if resumes else {}

    def _known_record(self, output_dir: Path) -> dict[str, Any]:
        """The record that the failed run wrote, or one with what is known about it."""
        left = read_record(output_dir / self.name)
        if left is not None and "key" not in left:  # a record with a key belongs to an earlier run
            return {**left, "metrics": {}, "predictions": {}}
        arguments = self.planned.arguments(output_dir)
        strategy = make_strategy(arguments.strategy, arguments.model).record()
        return {**super()._known_record(output_dir), "strategy": strategy, "arguments": changed_arguments(arguments)}

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
        (folder / _KEY_NAME).unlink(missing_ok=True)
        self._tidy(folder)
        left = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
        return write_record(folder, keeping(record, left))

    def _tidy(self, folder: Path) -> None:
        """Keep the model (only with `keep_models`), the record and the predictions, and remove everything else."""
        for path in folder.iterdir():
            temporary = path.name.startswith(".")  # left by a run that was killed while writing
            if path.is_dir():
                if (
                    temporary
                    or path.name.startswith("checkpoint-")
                    or not (self.keep_models or path.name == TENSORBOARD)
                ):
                    shutil.rmtree(path)
            elif temporary or not (self.keep_models or _outlives_the_model(path.name)):
                path.unlink()


def train_through(launch: Launch, train: Train, create: Callable[[], Any], *, resume: bool = False) -> dict[str, Any]:
    """The record of a run, trained in this process or in the processes of the launch file.

    Args:
        create: creates the arguments of the run; called in each process, because they depend on its rank.
        resume: keep the earlier output of its trackers.
    """
    return through(launch, functools.partial(_train, train, create, resume))


def _train(train: Train, create: Callable[[], Any], resume: bool) -> dict[str, Any]:
    arguments = create()
    with tracked(Path(arguments.run.output_dir), resume=resume):
        return train(arguments)


def _outlives_the_model(name: str) -> bool:
    """Whether a file of a run is kept without `keep_models`."""
    return name.endswith(".parquet") or name in _KEPT


def remove_without_record(folder: Path) -> None:
    """Remove the folder of a job that lost its record, because a run refuses to overwrite a model of unknown origin.

    The folder of a killed job, which has checkpoints, is kept.
    """
    if not (folder / RESULT_NAME).exists() and not checkpoints(folder):
        shutil.rmtree(folder, ignore_errors=True)


def _key_in(folder: Path) -> str | None:
    try:
        return str(json.loads((folder / _KEY_NAME).read_text(encoding="utf-8"))["key"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextlib.contextmanager
def tracked(folder: Path, *, resume: bool = False) -> Iterator[None]:
    """A context in which TensorBoard writes to a subfolder of `folder`, the run's folder; trackers end with it.

    Earlier TensorBoard output of the run is removed, unless the run resumes (`resume`).
    """
    if not resume and int(os.environ.get("RANK", "0")) == 0:
        shutil.rmtree(folder / TENSORBOARD, ignore_errors=True)
    try:
        with changed_environment({"TENSORBOARD_LOGGING_DIR": str(folder / TENSORBOARD)}):
            yield
    finally:
        # transformers imports the trackers that it reports to. Metrics after the training begin their run anew, and the
        # next run of this process would log into it. Without a run, trackio raises an error.
        for tracker in filter(None, map(sys.modules.get, ("wandb", "trackio"))):
            with contextlib.suppress(Exception):
                tracker.finish()
