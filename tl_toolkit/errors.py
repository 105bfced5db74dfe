"""Errors that a user can correct: one paragraph, printed once, exit code 2."""

from __future__ import annotations

import difflib
import errno
import os
import re
from collections.abc import Iterable

TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{16,}")
"""What tokens of the Hub look like."""

_FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}
_TORN_WRITE = ("No space left on device", "PytorchStreamWriter failed writing file", "unexpected pos")


class UserError(Exception):
    """An input that cannot be used.

    The message is one paragraph that names the input, its value and what would be accepted. The command prints it
    without a traceback and exits with 2; library users catch it like any other exception.

    Args:
        everywhere: the error may occur in one process alone, so each process that meets it prints it. Errors in the
            arguments are the same in all processes and are printed once.
        command: a command that continues from here, printed on a line of its own below the paragraph.
    """

    def __init__(self, message: str, *, everywhere: bool = False, command: str = "") -> None:
        super().__init__(message)
        self.everywhere = everywhere
        self.command = command


def nearest(name: str, known: Iterable[str]) -> str:
    """`" Did you mean 'x'?"` for the known name most like `name`, or an empty string when none is near."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean {matches[0]!r}?" if matches else ""


def listing(names: Iterable[object], limit: int = 20) -> str:
    """Names for an error message: `'a', 'b', 'c'`, and how many more there are past `limit`."""
    shown = [repr(name) for name in names]
    rest = f" and {len(shown) - limit} more" if len(shown) > limit else ""
    return ", ".join(shown[:limit]) + rest


def without_tokens(text: str) -> str:
    """`text` with everything that looks like a token of the Hub, or is the one in use, blotted out."""
    own = os.environ.get("HF_TOKEN")
    return TOKEN.sub("hf_***", text.replace(own, "hf_***") if own else text)


def as_user_error(error: Exception) -> UserError | None:
    """The error in the words of a `UserError`, if it is one or comes from the disk; else None."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, OSError) and error.errno in _FULL:
        place = f" while writing {str(error.filename)!r}" if error.filename else ""
        return UserError(f"Writing failed: {_FULL[error.errno]}{place}. Free some space and rerun.", everywhere=True)
    if isinstance(error, PermissionError):
        return UserError(f"No permission to use {str(error.filename)!r}. Choose another folder or change its rights.")
    if any(sign in str(error) for sign in _TORN_WRITE):  # torch and safetensors raise errors of their own
        return UserError("Writing failed: the disk is full. Free some space and rerun.", everywhere=True)
    return None
