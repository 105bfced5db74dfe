"""Jobs that train nothing and end in every way in which a job can end. Started processes import this module."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tl_toolkit.atomic_files import write_json
from tl_toolkit.comparison.execution.jobs import Job, Train
from tl_toolkit.comparison.execution.scheduler import Executor
from tl_toolkit.comparison.planning.launch_settings import Launch
from tl_toolkit.records.record import RESULT_NAME, read_record


def work(executor: Executor, jobs: Sequence[StandIn], output_dir: Path) -> dict[str, dict[str, Any]]:
    """The records of `jobs`, started in order as soon as there is room and their dependencies are complete."""
    waiting, records = list(jobs), {}
    while len(records) < len(jobs):
        made = {f"runs/{title}" for title in records}
        while waiting and made.issuperset(waiting[0].needs) and executor.has_room(waiting[0]):
            executor.begin(waiting.pop(0), output_dir)
        records |= {job.title: record for job, record in executor.finished(1.0)}
    return records


def fails_in_the_second_process() -> dict[str, Any]:
    """Launched in two processes: the second fails, the first would wait for ever."""
    if os.environ["RANK"] == "1":
        raise ArithmeticError("a defect of the second process")
    time.sleep(1000)
    return {}


@dataclass(frozen=True)
class StandIn(Job):
    """`ends` is the name of a signal or another way to end; `asks` is the number of requested GPUs."""

    title: str
    ends: str = "well"
    asks: int | None = None
    after: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"runs/{self.title}"

    @property
    def called(self) -> str:
        return f"the stand-in {self.title!r}"

    @property
    def needs(self) -> tuple[str, ...]:
        return self.after

    @property
    def launch(self) -> Launch:
        return Launch(gpus=self.asks)

    def made(self, output_dir: Path, retry_failed: bool) -> dict[str, Any] | None:
        return read_record(output_dir / self.name)

    def _work(self, output_dir: Path, train: Train) -> dict[str, Any]:
        folder = output_dir / self.name
        folder.mkdir(parents=True, exist_ok=True)
        seen = {name: os.environ.get(name) for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")}
        here = {"process": os.getpid(), "began": time.time(), **seen}
        (folder / "process.txt").write_text(str(os.getpid()))
        assert all((output_dir / need / "weights.bin").stat().st_size == 2018 for need in self.after)
        if self.ends.startswith("SIG"):
            os.kill(os.getpid(), signal.Signals[self.ends])
        if self.ends == "out of memory":
            raise MemoryError
        if self.ends == "a defect":
            raise ZeroDivisionError("a defect")
        if self.ends == "leaves":
            os._exit(3)
        while self.ends == "never":  # and records that it is alive
            (folder / "alive.txt").write_text(str(time.time()))
            time.sleep(0.005)
        if self.ends == "met":
            deadline = time.monotonic() + 300
            while not all((output_dir / "runs" / other / "process.txt").exists() for other in ("a", "b")):
                assert time.monotonic() < deadline, "the other job does not run at the same time"
                time.sleep(0.01)
        (folder / "weights.bin").write_bytes(b"\x00\x01" * 1009)
        return {"schema_version": 1, "status": "completed", "error": None, "folder": str(folder), **here}

    def _known_record(self, output_dir: Path) -> dict[str, Any]:
        return {"schema_version": 1, "metrics": {}}

    def _finish(self, record: dict[str, Any], output_dir: Path) -> dict[str, Any]:
        write_json(output_dir / self.name / RESULT_NAME, record)
        return record
