"""Jobs on this machine, in one or several worker processes; a killed job ends only its own worker."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import ModuleType
from typing import Any, Self

from ...errors import UserError
from ...records.energy import SHARED
from ...shared_work import sharing
from .failures import quiet
from .jobs import Job, Train
from .lock import Lock
from .processes import VISIBLE_GPUS, changed_environment, in_words, processors, start_worker, visible_gpus

_TIMEOUT_SECONDS = 10.0  # time for a process to end after its pipe was closed
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")


class Workers:
    """Executes up to `at_once` jobs concurrently, each in a process that is reused for the next job.

    With `at_once` > 1, the processor threads are divided among the jobs unless OMP_NUM_THREADS is set, and each job
    sees only the GPUs that it requests, by default one. With `at_once` = 1, a job without requests sees all GPUs.

    A job whose process is killed or crashes is recorded as failed. The workers always end with this process.

    Args:
        train: trains a run from its arguments.
        at_once: maximum number of concurrent jobs.
        lock: the lock of the output folder, which the workers hold as well.
    """

    def __init__(self, train: Train, at_once: int = 1, lock: Lock | None = None) -> None:
        self.train, self.at_once, self.lock = train, at_once, lock
        self.gpus = visible_gpus()
        self._free = list(self.gpus)
        self._idle: list[_Worker] = []
        self._busy: list[_Worker] = []

    def __enter__(self) -> Self:
        return self

    def warm_up(self) -> None:
        """Start a process before its first job, because its imports take seconds."""
        self._idle.append(_Worker(list(self._free), self._environment(self._free), self.lock))

    def __exit__(self, *error: object) -> None:
        for worker in self._busy:
            worker.stop()
        for worker in self._idle:
            worker.dismiss()
        self._idle, self._busy = [], []

    def check(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            if (asked := job.launch.gpus or 0) > len(self.gpus):
                raise UserError(
                    f"Lower 'gpus' in the grid, or use a cluster with --executor ray: {job.called} requests {asked} "
                    f"GPUs, but this machine has {len(self.gpus) or 'none'}."
                )

    def has_room(self, job: Job) -> bool:
        return len(self._busy) < self.at_once and len(self._free) >= (self._requested_gpus(job) or 0)

    def begin(self, job: Job, output_dir: Path) -> None:
        asked = self._requested_gpus(job)
        count = len(self._free) if asked is None else asked
        gpus, self._free = self._free[:count], self._free[count:]
        worker = next((worker for worker in self._idle if worker.gpus == gpus), None)
        if worker is None:
            for other in self._idle:  # they see other GPUs, and may still hold memory on them
                other.dismiss()
            self._idle = []
            worker = _Worker(gpus, self._environment(gpus), self.lock)
        else:
            self._idle.remove(worker)
        worker.begin(job, output_dir, self.train)
        self._busy.append(worker)

    def finished(self, timeout: float) -> list[tuple[Job, dict[str, Any]]]:
        ready = wait([worker.connection for worker in self._busy], timeout)
        ended = []
        for worker in [worker for worker in self._busy if worker.connection in ready]:
            job, output_dir = worker.job
            self._busy.remove(worker)
            self._free = [gpu for gpu in self.gpus if gpu in {*self._free, *worker.gpus}]
            try:
                record = worker.connection.recv()
                if isinstance(record, BaseException):
                    self._idle.append(worker)
                    raise record
                if record["status"] == "failed" and worker.gpus:  # the process may have an unusable GPU context
                    worker.dismiss()
                else:
                    self._idle.append(worker)
            except (EOFError, ConnectionError):
                record = record_of_killed(job, output_dir, worker.ended())
            ended.append((job, record))
        return ended

    def _requested_gpus(self, job: Job) -> int | None:
        """The number of GPUs of a job; None for all GPUs of the machine."""
        if job.launch.gpus is not None:
            return job.launch.gpus
        return None if self.at_once == 1 else min(1, len(self.gpus))

    def _environment(self, gpus: Sequence[str]) -> dict[str, str]:
        # Python removes shared memory of a killed worker and warns about it, which is irrelevant here.
        warnings = ",".join(filter(None, [os.environ.get("PYTHONWARNINGS"), "ignore:resource_tracker:UserWarning"]))
        environment = {"PYTHONWARNINGS": warnings, SHARED: str(self.at_once)}
        environment |= {} if list(gpus) == self.gpus else {VISIBLE_GPUS: ",".join(gpus)}
        if self.at_once > 1 and "OMP_NUM_THREADS" not in os.environ:
            environment |= dict.fromkeys(THREADS, str(max(1, processors() // self.at_once)))
        return environment


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Hide the main script, which a spawned process would run again if it has no `__main__` guard."""
    script, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


class _Worker:
    """A process that executes one job after another."""

    job: tuple[Job, Path]

    def __init__(self, gpus: list[str], environment: dict[str, str], lock: Lock | None) -> None:
        self.gpus = gpus
        spawn = multiprocessing.get_context("spawn")  # a forked process could not use a GPU or existing threads
        self.connection, theirs = spawn.Pipe()
        lifeline, self._lifeline = spawn.Pipe(duplex=False)
        self._process = spawn.Process(target=start_worker, args=(__name__, theirs, lifeline, lock), daemon=False)
        with changed_environment(environment), _without_main():  # libraries read the number of threads on import
            self._process.start()
        theirs.close()  # so that the end of the process is noticed here
        lifeline.close()

    def begin(self, job: Job, output_dir: Path, train: Train) -> None:
        self.job = job, output_dir
        with contextlib.suppress(OSError):  # `finished` handles a process that was killed meanwhile
            self.connection.send((job, output_dir, train))

    def stop(self) -> None:
        """Kill the process, even while it works."""
        self._process.kill()
        self._process.join()
        self.connection.close()
        self._lifeline.close()

    def dismiss(self) -> None:
        """End an idle process."""
        self.connection.close()
        self._process.join(_TIMEOUT_SECONDS)
        self.stop()

    def ended(self) -> int:
        """The exit code of a process that has closed its pipe; negative for a signal."""
        self._process.join(_TIMEOUT_SECONDS)
        self.stop()
        code = self._process.exitcode
        assert code is not None
        return code


def work(jobs: Connection) -> None:
    """Execute jobs from the pipe until it is closed; an error in writing a record is sent in its place."""
    faulthandler.enable()  # print the traceback of a crash in compiled code
    with quiet(), sharing():
        while True:
            try:
                job, output_dir, train = jobs.recv()
            except (EOFError, OSError):
                return
            try:
                jobs.send(job.make(output_dir, train))
            except OSError as error:
                jobs.send(error)
            if not gc.get_freeze_count():  # libraries are loaded: later collections, one or two a run, leave them out
                gc.freeze()


def record_of_killed(job: Job, output_dir: Path, code: int) -> dict[str, Any]:
    """The record of a job whose process ended with the exit code `code` before it returned a record."""
    made = job.made(output_dir, retry_failed=False)
    if made is not None and made["status"] == "completed":  # killed just after it was written
        return made
    return job.fail(output_dir, "killed", in_words(code))
