"""A lock that allows one comparison at a time in a folder; the operating system releases it when its holders end."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from multiprocessing import reduction
from pathlib import Path
from typing import Any

from ...errors import UserError
from .processes import is_alive

LOCK_NAME = ".lock"
_TIMEOUT_SECONDS = 30.0  # time for the processes of a killed comparison to end


class Lock:
    """A held lock. A spawned process that receives it holds it, too."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, (reduction.DupFd(self.descriptor),)


def _received(descriptor: Any) -> Lock:
    return Lock(descriptor.detach())


@contextlib.contextmanager
def locked(output_dir: Path) -> Iterator[Lock | None]:
    """Hold the lock of a comparison's folder; yields None if the system or the file system has no such locks.

    Workers hold the lock as well. If they outlive a killed comparison, nobody else can use the folder while they may
    still write to it.

    Raises:
        UserError: another comparison is running in the folder.
    """
    try:
        import fcntl
    except ImportError:  # not a POSIX system
        yield None
        return
    path = output_dir / LOCK_NAME
    deadline, said = time.monotonic() + _TIMEOUT_SECONDS, False
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 20).decode()
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(os.fstat(descriptor).st_mtime))
            os.close(descriptor)
            if (holder.isdigit() and is_alive(int(holder))) or time.monotonic() > deadline:
                raise UserError(
                    f"Another comparison is running in {str(output_dir)!r} (process {holder or 'unknown'}, since "
                    f"{since}). Wait until it ends, stop it, or choose another --output_dir."
                ) from None
            if not said:
                print(
                    f"Waiting for the processes of another comparison in {str(output_dir)!r} to end (it was process "
                    f"{holder or 'unknown'}, since {since}).",
                    file=sys.stderr, flush=True,
                )  # fmt: skip
                said = True
            time.sleep(0.05)
        except OSError:  # a file system without locks
            os.close(descriptor)
            yield None
            return
        else:
            if _is_current(descriptor, path):
                break
            os.close(descriptor)
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        yield Lock(descriptor)
    finally:
        path.unlink(missing_ok=True)  # while holding the lock, so that no other holder's file is removed
        os.close(descriptor)


def _is_current(descriptor: int, path: Path) -> bool:
    """Whether `path` is still the locked file: the previous holder may have removed it."""
    try:
        return os.fstat(descriptor).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False
