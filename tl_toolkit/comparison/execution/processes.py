"""Processes of a comparison: ending with their parent, meaning of exit codes, visible devices."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from multiprocessing.connection import Connection

VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"
_POLL_SECONDS = 0.2
_PR_SET_PDEATHSIG = 1  # from linux/prctl.h


def die_with_parent(lifeline: Connection | None = None) -> None:
    """Kill this process immediately when its parent ends.

    On Linux the kernel does this; on every system a thread does it as well.

    Args:
        lifeline: one end of a pipe whose other end only the parent holds, so that the parent's end is noticed without
            delay. Without it, the thread polls the parent's process id.
    """
    parent = os.getppid()
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_watch, args=(parent, lifeline), daemon=True).start()


def start_worker(module: str, jobs: Connection, lifeline: Connection, lock: object) -> None:
    """The process of a worker. It watches its parent before it imports the libraries, which takes seconds.

    Args:
        module: the name of the module whose function `work` executes the jobs.
        lock: held as long as the process lives.
    """
    die_with_parent(lifeline)
    for number in (signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGINT)):
        signal.signal(number, signal.SIG_IGN)  # the parent process handles Ctrl-C and a closed terminal
    gc.disable()  # a sixth of the time of the imports
    own = importlib.import_module(module)
    gc.enable()
    own.work(jobs)
    gc.freeze()  # else the interpreter collects everything once more before it ends


def _watch(parent: int, lifeline: Connection | None) -> None:
    if lifeline is not None:
        with contextlib.suppress(EOFError, OSError):
            lifeline.recv()  # nothing is ever sent
    while os.getppid() == parent and lifeline is None:
        time.sleep(_POLL_SECONDS)
    os._exit(1)


def is_alive(process: int) -> bool:
    """Whether a process with this id exists."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def in_words(code: int) -> str:
    """A sentence that explains the exit code of a process; negative codes are signals."""
    if code >= 0:
        return f"The process of the run exited with code {code}."
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    crash = "which usually means a crash in compiled code"
    meaning = {
        "SIGKILL": "which the system sends when memory runs out; a user or a batch system may send it, too",
        "SIGTERM": "which a user or a batch system sends",
        "SIGXCPU": "which the system sends when a limit on processor time is reached",
        **dict.fromkeys(("SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGABRT"), crash),
    }.get(name)
    return f"The process of the run was killed by {name}{f', {meaning}' if meaning else ''}."


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, named as in `CUDA_VISIBLE_DEVICES`."""
    import torch

    count = torch.cuda.device_count()
    named = [name.strip() for name in os.environ.get(VISIBLE_GPUS, "").split(",") if name.strip()]
    return named[:count] if named else [str(number) for number in range(count)]


def processors() -> int:
    """The number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def idle_processors(seconds: float = 0.5) -> int:
    """How many of them other programs leave idle during some seconds, at least 1."""
    import psutil

    busy = psutil.cpu_percent(seconds) / 100 * (psutil.cpu_count() or 1)
    return max(1, processors() - round(busy))


def has_fast_bfloat16(use_cpu: bool = False) -> bool:
    """Whether the device of runs multiplies matrices in bfloat16 faster than in float32."""
    import torch

    if torch.cuda.is_available() and not use_cpu:
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return any(torch.cpu.get_capabilities().get(name, False) for name in ("avx512_bf16", "amx_bf16"))


@contextlib.contextmanager
def changed_environment(variables: Mapping[str, str]) -> Iterator[None]:
    """A context in which these environment variables are set."""
    before = {name: os.environ.pop(name, None) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value
