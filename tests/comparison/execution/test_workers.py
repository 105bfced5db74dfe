"""Worker processes: failures are recorded, several share the machine, and none outlives its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tl_toolkit.comparison.execution.lock import LOCK_NAME, locked
from tl_toolkit.comparison.execution.workers import Workers, in_words
from tl_toolkit.errors import UserError
from tl_toolkit.records.record import read_record
from tl_toolkit.workflows.compare import train

HERE = Path(__file__).parent


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A class of jobs that started processes can import."""
    monkeypatch.syspath_prepend(str(HERE))
    from stand_in_jobs import StandIn  # type: ignore[import-not-found]

    return StandIn


def work(workers: Workers, jobs: Sequence[Any], output_dir: Path) -> dict[str, dict[str, Any]]:
    from stand_in_jobs import work

    with workers:
        return work(workers, jobs, output_dir)


def test_every_failure_is_recorded_and_the_other_jobs_complete(stand_in: Callable, tmp_path: Path) -> None:
    jobs = [
        stand_in("first"), stand_in("memory", "out of memory"), stand_in("defect", "a defect"),
        stand_in("killed", "SIGKILL"), stand_in("next"),
    ]  # fmt: skip
    records = work(Workers(train), jobs, tmp_path)
    assert [record["status"] for record in records.values()] == ["completed", "failed", "failed", "failed", "completed"]
    assert records == {job.title: read_record(tmp_path / job.name) for job in jobs}
    assert [record.get("failure") for record in records.values()] == [None, "out_of_memory", "error", "killed", None]
    assert "SIGKILL" in records["killed"]["error"] and "memory" in records["killed"]["error"]
    assert records["defect"]["error"] == "ZeroDivisionError: a defect" and records["memory"]["error"] == "MemoryError"
    assert "a defect" in (tmp_path / "runs" / "defect" / "error.txt").read_text()
    processes = [int((tmp_path / job.name / "process.txt").read_text()) for job in jobs]
    assert len(set(processes[:4])) == 1 and processes[4] != processes[0] != os.getpid()
    assert not any(is_running(process) for process in processes)  # idle workers have ended as well


def test_two_at_once_share_threads_and_gpus(
    stand_in: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tl_toolkit.comparison.execution.workers.visible_gpus", lambda: ["3", "5", "7"])
    monkeypatch.setattr("tl_toolkit.comparison.execution.workers.processors", lambda: 11)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5,7")
    workers = Workers(train, 2)
    with pytest.raises(UserError, match="'greedy' requests 4 GPUs.*has 3"):
        workers.check([stand_in("modest"), stand_in("greedy", asks=4)])
    records = work(workers, [stand_in("a", "met", asks=2), stand_in("b", "met")], tmp_path)
    assert {title: record["CUDA_VISIBLE_DEVICES"] for title, record in records.items()} == {"a": "3,5", "b": "7"}
    assert all(record["OMP_NUM_THREADS"] == "5" for record in records.values())
    assert (os.environ["CUDA_VISIBLE_DEVICES"], os.environ.get("OMP_NUM_THREADS")) == ("3,5,7", None)


def test_room_is_kept_for_a_job_that_requests_more(
    stand_in: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tl_toolkit.comparison.execution.workers.visible_gpus", lambda: ["0", "1"])
    begun: list[list[str]] = []
    monkeypatch.setattr(
        "tl_toolkit.comparison.execution.workers._Worker", lambda gpus, *_: begun.append(gpus) or Placeholder(gpus)
    )
    workers = Workers(train, 3)
    workers.begin(stand_in("small"), tmp_path)
    assert workers.has_room(stand_in("small")) and not workers.has_room(stand_in("large", asks=2))
    workers.begin(stand_in("on the processor", asks=0), tmp_path)
    workers.begin(stand_in("small"), tmp_path)
    assert begun == [["0"], [], ["1"]]
    assert not workers.has_room(stand_in("on the processor", asks=0))  # three jobs are running
    alone = Workers(train, 1)
    alone.begin(stand_in("uses the whole machine"), tmp_path)
    assert begun[3] == ["0", "1"]


class Placeholder:
    """A worker that is busy for ever."""

    def __init__(self, gpus: list[str]) -> None:
        self.gpus = gpus

    def begin(self, job: Any, output_dir: Path, train: Any) -> None:
        pass


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (-signal.SIGKILL, "killed by SIGKILL, which the system sends when memory runs out"),
        (-signal.SIGSEGV, "killed by SIGSEGV, which usually means a crash in compiled code"),
        (-signal.SIGUSR1, "killed by SIGUSR1."),
        (3, "exited with code 3"),
    ],
)
def test_an_exit_code_in_words(code: int, words: str) -> None:
    assert words in in_words(code)


def is_running(process: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


PARENT = """
import sys
sys.path.insert(0, {here!r})
from pathlib import Path
from stand_in_jobs import StandIn
from tl_toolkit.comparison.execution.lock import locked
from tl_toolkit.comparison.execution.workers import Workers
from tl_toolkit.workflows.compare import train

if __name__ == "__main__":
    output_dir = Path({output_dir!r})
    with locked(output_dir) as lock, Workers(train, lock=lock) as workers:
        workers.begin(StandIn("endless", "never"), output_dir)
        workers.finished(1000.0)
"""


@pytest.mark.skipif(not Path("/proc").exists(), reason="the test reads /proc")
def test_workers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    script, output = tmp_path / "parent.py", tmp_path / "out"
    output.mkdir()
    script.write_text(PARENT.format(here=str(HERE), output_dir=str(output)))
    parent = subprocess.Popen([sys.executable, str(script)])
    try:
        alive = output / "runs" / "endless" / "alive.txt"
        wait_for(alive.exists)
        worker = int(alive.with_name("process.txt").read_text())
        with (
            pytest.raises(UserError, match=f"Another comparison is running in .*out.*process {parent.pid}"),
            locked(output),
        ):
            pass
    finally:
        parent.kill()
        parent.wait()
    with locked(output):  # waits for the worker, which also holds the lock
        assert not is_running(worker)
        last = alive.read_text()
        time.sleep(0.1)
        assert alive.read_text() == last
    assert not (output / LOCK_NAME).exists()


def test_a_lock_is_released_when_its_holder_ends(tmp_path: Path) -> None:
    for _ in range(2):
        with locked(tmp_path) as lock:
            assert lock is not None and (tmp_path / LOCK_NAME).read_text() == str(os.getpid())
        assert not (tmp_path / LOCK_NAME).exists()


def wait_for(happened: Callable[[], bool], seconds: float = 100) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it has not happened"
        time.sleep(0.01)
