"""How a recipe ends: with 0, with one paragraph about what was wrong and 2, or with one line and 130 when stopped."""

from __future__ import annotations

import errno
import os
import signal
import sys
import textwrap
import time
from collections.abc import Callable

from .errors import UserError, without_tokens

PATIENCE_SECONDS = 30  # for the first process to meet, import times included, what another has met already

_INTERRUPTED = 128 + signal.SIGINT  # as shells report it
_FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}
_TORN_WRITE = ("No space left on device", "PytorchStreamWriter failed writing file", "unexpected pos")


def run_recipe(main: Callable[[], None], going_on: str = "") -> None:
    """Call `main`; what the user can mend is printed as one paragraph, by one process, and the exit code is 2.

    Stopped by Ctrl-C, one process says so, with what the interrupt itself says, and how to go on; the exit code is 130.
    """
    try:
        main()
    except KeyboardInterrupt as stop:
        if int(os.environ.get("RANK", "0")) == 0:
            said = " ".join(part for part in ("Stopped.", str(stop), going_on) if part)
            print(f"\n{said}", file=sys.stderr, flush=True)
        _leave(_INTERRUPTED)
    except Exception as error:
        explained = _explain(error)
        if explained is None:
            raise
        if not explained.everywhere:
            _let_the_first_speak()
        width = min(100, _columns())
        paragraph = textwrap.fill(f"error: {without_tokens(str(explained))}", width, break_long_words=False)
        print(f"\n{paragraph}", file=sys.stderr, flush=True)
        if explained.command:  # never broken into lines, so that it can be copied
            print(f"    {explained.command}", file=sys.stderr, flush=True)
        _leave(2)


def _explain(error: Exception) -> UserError | None:
    if isinstance(error, UserError):
        return error
    if isinstance(error, OSError) and error.errno in _FULL:
        place = f" while {str(error.filename)!r} was written" if error.filename else ""
        return UserError(
            f"Writing failed: {_FULL[error.errno]}{place}. Free some space and run again.", everywhere=True
        )
    if isinstance(error, PermissionError):
        return UserError(f"No permission to use {str(error.filename)!r}. Choose another folder or change its rights.")
    if any(sign in str(error) for sign in _TORN_WRITE):  # torch and safetensors raise errors of their own
        return UserError("Writing failed: the disk is full. Free some space and run again.", everywhere=True)
    return None


def _let_the_first_speak() -> None:
    """On all processes but the first: wait to be stopped, as launchers do to the others when one process has left.

    Leaving earlier would have the launcher stop the first process, maybe before it has said what is wrong. A process
    that is still there after the wait has met something that the first has not, and speaks for itself.
    """
    if int(os.environ.get("RANK", "0")) > 0:
        time.sleep(PATIENCE_SECONDS)


def _leave(code: int) -> None:
    """Leave at once when other processes run beside this one: a clean-up that waits for them might never end."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns
    except OSError:
        return 100
