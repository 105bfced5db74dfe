"""How a recipe ends: with 0, or with one paragraph about what was wrong and 2."""

from __future__ import annotations

import errno
import os
import sys
import textwrap
from collections.abc import Callable

from .errors import UserError

_FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}
_TORN_WRITE = ("No space left on device", "PytorchStreamWriter failed writing file", "unexpected pos")


def run_recipe(main: Callable[[], None]) -> None:
    """Call `main`; what the user can mend is printed as one paragraph, by one process, and the exit code is 2."""
    try:
        main()
    except Exception as error:
        explained = _explain(error)
        if explained is None:
            raise
        if explained.everywhere or int(os.environ.get("RANK", "0")) == 0:
            width = min(100, _columns())
            print(
                f"\n{textwrap.fill(f'error: {explained}', width, break_long_words=False)}", file=sys.stderr, flush=True
            )
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
