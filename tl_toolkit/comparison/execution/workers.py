"""Jobs on this machine: in worker processes, one or several at once, that a killed job takes with it and no more."""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import ModuleType
from typing import Any, Self

from ...data.sources import remember_sources
from ...errors import UserError
from ...records.energy import SHARED
from .failures import quiet
from .jobs import Job, Train
from .lock import Lock
from .processes import VISIBLE_GPUS, changed_environment, die_with_parent, in_words, processors, visible_gpus

_PATIENCE_SECONDS = 10.0  # for a process that has closed its end to be gone
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")


class Workers:
    """Does up to `at_once` jobs at the same time, each in a process that is kept for the next one.

    With several, the threads of the processor are divided among them, unless OMP_NUM_THREADS says how many each has;
    and each job sees only the GPUs that are its own: as many as it asks for, by default one. With a single one, a job
    that asks for nothing has all of the machine.

    A job whose process ends, whether it was killed or has crashed, is recorded as failed. If this process ends, however
    it does, the workers end with it.

    Args:
        train: what makes runs.
        lock: held by the workers as well.
    """

    def __init__(self, train: Train, at_once: int = 1, lock: Lock | None = None) -> None:
        self.train, self.at_once, self.lock = train, at_once, lock
        self.gpus = visible_gpus()
        self._free = list(self.gpus)
        self._idle: list[_Worker] = []
        self._busy: list[_Worker] = []

    def __enter__(self) -> Self:
        return self

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
                    f"{job.called[0].upper()}{job.called[1:]} asks for {asked} GPUs, but this machine shows "
                    f"{len(self.gpus) or 'none'}. Lower 'gpus' in the grid, or run it elsewhere: --executor ray."
                )

    def has_room(self, job: Job) -> bool:
        return len(self._busy) < self.at_once and len(self._free) >= (self._asked(job) or 0)

    def begin(self, job: Job, output_dir: Path) -> None:
        asked = self._asked(job)
        count = len(self._free) if asked is None else asked
        gpus, self._free = self._free[:count], self._free[count:]
        worker = next((worker for worker in self._idle if worker.gpus == gpus), None)
        if worker is None:
            for other in self._idle:  # each sees other GPUs than those that are wanted, and still holds memory on them
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
                if record["status"] == "failed" and worker.gpus:  # which may have left a GPU that no next run can use
                    worker.dismiss()
                else:
                    self._idle.append(worker)
            except (EOFError, OSError):
                record = record_of_killed(job, output_dir, worker.ended())
            ended.append((job, record))
        return ended

    def _asked(self, job: Job) -> int | None:
        """How many GPUs a job is given; None for all that there are."""
        if job.launch.gpus is not None:
            return job.launch.gpus
        return None if self.at_once == 1 else min(1, len(self.gpus))

    def _environment(self, gpus: Sequence[str]) -> dict[str, str]:
        # What a killed worker leaves in shared memory is removed, which is nothing to warn of.
        warnings = ",".join(filter(None, [os.environ.get("PYTHONWARNINGS"), "ignore:resource_tracker:UserWarning"]))
        environment = {"PYTHONWARNINGS": warnings, SHARED: str(self.at_once)}
        environment |= {} if list(gpus) == self.gpus else {VISIBLE_GPUS: ",".join(gpus)}
        if self.at_once > 1 and "OMP_NUM_THREADS" not in os.environ:
            environment |= dict.fromkeys(_THREADS, str(max(1, processors() // self.at_once)))
        return environment


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Hide the script of the process, which a spawned one would run again: its user may not have guarded it."""
    script, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


class _Worker:
    """A process that does one job after another."""

    job: tuple[Job, Path]

    def __init__(self, gpus: list[str], environment: dict[str, str], lock: Lock | None) -> None:
        self.gpus = gpus
        spawn = multiprocessing.get_context("spawn")  # a forked process could not use a GPU, nor threads that are there
        self.connection, theirs = spawn.Pipe()
        lifeline, self._lifeline = spawn.Pipe(duplex=False)
        self._process = spawn.Process(target=_work, args=(theirs, lifeline, lock), daemon=False)
        # The environment is set before the process imports anything, since threads are counted once.
        with changed_environment(environment), _without_main():
            self._process.start()
        theirs.close()  # so that its end shows here
        lifeline.close()

    def begin(self, job: Job, output_dir: Path, train: Train) -> None:
        self.job = job, output_dir
        with contextlib.suppress(OSError):  # one that has been killed since is noticed when its answer is waited for
            self.connection.send((job, output_dir, train))

    def stop(self) -> None:
        """End the process in the middle of whatever it does."""
        self._process.kill()
        self._process.join()
        self.connection.close()
        self._lifeline.close()

    def dismiss(self) -> None:
        """End the process while it has nothing to do."""
        self.connection.close()
        self._process.join(_PATIENCE_SECONDS)
        self.stop()

    def ended(self) -> int:
        """The exit code of a process that answers no more, negative for a signal."""
        self._process.join(_PATIENCE_SECONDS)
        self.stop()
        code = self._process.exitcode
        assert code is not None
        return code


def _work(jobs: Connection, lifeline: Connection, lock: Lock | None) -> None:
    """What a worker does until nobody asks any more."""
    die_with_parent(lifeline)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    faulthandler.enable()  # a crash in compiled code says where it was
    with quiet(), remember_sources():
        while True:
            try:
                job, output_dir, train = jobs.recv()
            except (EOFError, OSError):
                return
            jobs.send(job.make(output_dir, train))


def record_of_killed(job: Job, output_dir: Path, code: int) -> dict[str, Any]:
    """The record of a job whose process ended with the exit code `code` before it had answered."""
    made = job.made(output_dir, retry_failed=False)
    if made is not None and made["status"] == "completed":  # it had just been written
        return made
    return job.fail(output_dir, "killed", in_words(code))
