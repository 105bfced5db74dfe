"""Where the toolkit keeps what it can make again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """The user's cache folder, made or not: `TL_TOOLKIT_CACHE`, else `tl_toolkit` in `XDG_CACHE_HOME` or `~/.cache`."""
    named = os.environ.get("TL_TOOLKIT_CACHE")
    if named:
        return Path(named).expanduser().absolute()
    # The XDG specification has relative paths ignored.
    base = Path(os.environ.get("XDG_CACHE_HOME") or "")
    return (base if base.is_absolute() else Path.home() / ".cache") / "tl_toolkit"
