"""What is done around every job of a comparison: quiet, trackers, errors kept and named, memory freed, no orphans."""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from ...errors import UserError

Failure = Literal["error", "not_finite", "out_of_memory", "killed"]
"""Why a run has failed, as records have it under `failure`."""

_OUT_OF_MEMORY = ("DefaultCPUAllocator: can't allocate", "CUDA out of memory", "CUDA error: out of memory")
TENSORBOARD = "tensorboard"
_WHERE = "TENSORBOARD_LOGGING_DIR"
_LOOK_SECONDS = 0.2
_PR_SET_PDEATHSIG = 1  # from linux/prctl.h


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """One line a run is progress enough; bars and load reports of dozens of runs would hide it."""
    import datasets
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), datasets.are_progress_bars_disabled()
    logging.set_verbosity_error()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if not bars:
            datasets.enable_progress_bars()


def failed(record: dict[str, Any], folder: Path, error: Exception) -> dict[str, Any]:
    """`record` as that of a failure; the traceback of a defect is kept in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    if not isinstance(error, UserError):
        (folder / "error.txt").write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
    said = " ".join(str(error).split())
    return {**record, "status": "failed", "failure": failure_of(error), "error": f"{kind}{said}".removesuffix(": ")}


def failure_of(error: BaseException) -> Failure:
    """What kind of failure an error is, or what it was raised from."""
    import torch

    from ...training.trainer import NonFiniteLoss

    cause: BaseException | None = error
    while cause is not None:
        if (known := getattr(cause, "failure", None)) is not None:  # said by the process in which it was raised
            return known
        if isinstance(cause, NonFiniteLoss):
            return "not_finite"
        if isinstance(cause, MemoryError | torch.OutOfMemoryError) or any(s in str(cause) for s in _OUT_OF_MEMORY):
            return "out_of_memory"
        cause = cause.__cause__
    return "error"


def forget() -> None:
    """Free memory after a job."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextlib.contextmanager
def tracked(folder: Path, *, goes_on: bool = False) -> Iterator[None]:
    """Within it, TensorBoard writes to a folder of its own in `folder`, that of a run; behind it, trackers have ended.

    What the run wrote there before is removed, unless it `goes_on` from where it was.
    """
    before = os.environ.get(_WHERE)
    os.environ[_WHERE] = str(folder / TENSORBOARD)
    if not goes_on and int(os.environ.get("RANK", "0")) == 0:
        shutil.rmtree(folder / TENSORBOARD, ignore_errors=True)
    try:
        yield
    finally:
        if before is None:
            del os.environ[_WHERE]
        else:
            os.environ[_WHERE] = before
        wandb = sys.modules.get("wandb")  # imported by transformers if it is reported to
        if wandb is not None and getattr(wandb, "run", None) is not None:
            with contextlib.suppress(Exception):  # the next run of this process would go on in this one's
                wandb.finish()


def die_with_parent(lifeline: Connection | None = None) -> None:
    """Have this process killed at once when its parent has ended, in the middle of whatever it does.

    On Linux the kernel sees to it; everywhere a thread does as well.

    Args:
        lifeline: the end of a pipe whose other end only the parent holds, which tells its end without delay; without
            one, the thread looks again and again who the parent is.
    """
    parent = os.getppid()
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_watch, args=(parent, lifeline), daemon=True).start()


def _watch(parent: int, lifeline: Connection | None) -> None:
    if lifeline is not None:
        with contextlib.suppress(EOFError, OSError):
            lifeline.recv()  # nothing is ever sent
    while os.getppid() == parent and lifeline is None:
        time.sleep(_LOOK_SECONDS)
    os._exit(1)
