"""What results depend on, as short keys: a result is made again when its key has changed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def key_of(content: Any) -> str:
    """16 hex digits that stand for `content`, whatever JSON or `str` makes of it."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def state_of(source: Any) -> list[list[Any]]:
    """Names, sizes and times of the files of a local source; nothing for one on the Hub, or for none."""
    path = Path(str(source)).expanduser()
    if source is None or not path.exists():
        return []
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files if file.is_file()]
