"""How the toolkit tells a user that the input is wrong: one paragraph, printed once, exit code 2."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable

TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{16,}")
"""What tokens of the Hub look like."""


class UserError(Exception):
    """Something the user gave cannot be used.

    The message is one paragraph that names the thing, the value given and what would be accepted. Recipes print it
    without a traceback and exit with 2; library users catch it like any other exception.

    Args:
        everywhere: it may have happened to this process alone, so that each process that meets it prints it. What was
            given is the same for all processes, and is then complained about once.
        command: what goes on from here, to be copied from a line of its own below the paragraph.
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
