"""Run one job in several processes, started through accelerate by a launch file, and read its record back.

    python -m tl_toolkit.comparison.execution.accelerate_processes launch ARGUMENTS OF accelerate launch
    python -m tl_toolkit.comparison.execution.accelerate_processes work FOLDER

The first command is the launcher, the second is a process that it starts. Both end when their parent process ends.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...atomic_files import write_whole
from ...config.parsing import read_yaml
from ...errors import STOPS, UserError
from ..planning.launch_settings import Launch
from .failures import failure_of, quiet
from .processes import die_with_parent

_WORK, _RECORD = "work.pickle", "record.pickle"
_KEPT_LINES = 20  # last lines of output that are kept with the error


class LaunchFailed(RuntimeError):
    """The processes ended without a record and without a Python exception."""


def through(launch: Launch, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The record that `work` returns, called in this process or in the processes of the launch file.

    `work` must be picklable. Every process calls it; the record of the first process is returned.

    Raises:
        UserError: the number of processes differs from that in the launch file.
        LaunchFailed: a process was killed.
        Exception: the exception of `work`, from the lowest rank that raised one.
    """
    if launch.accelerate_config is None:
        return work()
    with tempfile.TemporaryDirectory(prefix="tl_toolkit_launch_") as name:
        folder = Path(name)
        (folder / _WORK).write_bytes(pickle.dumps(work))
        said = folder / "output.txt"
        with said.open("wb") as output:
            code = subprocess.run(
                _command(launch, folder), stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
            ).returncode
        for path in sorted(folder.glob("error-*.pickle")):
            raise pickle.loads(path.read_bytes())
        if code != 0 or not (folder / _RECORD).exists():
            raise _failure(code, said.read_text(encoding="utf-8", errors="replace"))
        record: dict[str, Any] = pickle.loads((folder / _RECORD).read_bytes())
    _check_world_size(launch, record)
    return record


def _command(launch: Launch, folder: Path) -> list[str]:
    # `-m` keeps the toolkit importable in the launched processes, wherever it is installed.
    return [
        sys.executable, "-m", __name__, "launch", "--config_file", str(launch.accelerate_config),
        "--main_process_port", str(_free_port()), "-m", __name__, "work", str(folder),
    ]  # fmt: skip


def _free_port() -> int:
    """A free port, because several launched jobs may run on one machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _failure(code: int, said: str) -> LaunchFailed:
    signals = [name for name in signal.Signals.__members__ if f"({name})" in said]  # as torch's launcher reports them
    how = f"by {signals[0]}" if signals else f"or exited early; the launcher's exit code is {code}"
    error = LaunchFailed(f"A process started by accelerate was killed {how}.")
    error.failure = "killed"  # type: ignore[attr-defined]
    error.add_note("Last lines of output:\n" + "\n".join(said.splitlines()[-_KEPT_LINES:]))
    return error


def _check_world_size(launch: Launch, record: dict[str, Any]) -> None:
    """Check the number of processes: accelerate silently starts one if it ignores `num_processes` of a launch file."""
    asked = read_yaml(Path(str(launch.accelerate_config))).get("num_processes")
    found = (record.get("hardware") or {}).get("world_size")
    if asked is not None and found is not None and int(asked) != found:
        raise UserError(
            f"The launch file {launch.accelerate_config!r} requests {asked} processes, but accelerate started {found}. "
            "For CPUs, set distributed_type: MULTI_GPU and use_cpu: true, as in the shipped file two_cpu.yaml."
        )


def _work(folder: Path) -> None:
    """Run the job in a launched process; the first process writes the record."""
    rank = int(os.environ.get("RANK", "0"))
    try:
        with quiet():
            record = pickle.loads((folder / _WORK).read_bytes())()
        if rank == 0:
            write_whole(folder / _RECORD, lambda path: path.write_bytes(pickle.dumps(record)))
    except STOPS:
        raise
    except BaseException as error:
        content = pickle.dumps(_portable(error))
        write_whole(folder / f"error-{rank:05}.pickle", lambda path: path.write_bytes(content))
        sys.stderr.write(traceback.format_exc())
        sys.stderr.flush()
        os._exit(1)  # a regular exit could wait for the other processes for ever


def _portable(error: BaseException) -> BaseException:
    """A picklable copy of the error, with the type of failure and the traceback, which pickling drops."""
    failure, trace = failure_of(error), traceback.format_exc()
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # exceptions of other libraries may not support pickling
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.failure = failure  # type: ignore[attr-defined]
    error.add_note(trace)
    return error


def main(arguments: Sequence[str]) -> None:
    """Run the launcher, or one of the processes that it starts."""
    die_with_parent()
    kind, *rest = arguments
    if kind == "work":
        _work(Path(rest[0]))
    else:
        from accelerate.commands.launch import launch_command, launch_command_parser

        launch_command(launch_command_parser().parse_args(rest))


if __name__ == "__main__":
    main(sys.argv[1:])
