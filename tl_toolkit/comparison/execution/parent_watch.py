"""Processes that never outlive the one that started them, however it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection

_LOOK_SECONDS = 0.2
_PR_SET_PDEATHSIG = 1  # from linux/prctl.h


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
