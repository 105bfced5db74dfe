"""Where the toolkit keeps what it can make again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import UserError


def cache_folder() -> Path:
    """The user's cache folder, made or not: `TL_TOOLKIT_CACHE`, else `tl_toolkit` in `XDG_CACHE_HOME` or `~/.cache`."""
    named = os.environ.get("TL_TOOLKIT_CACHE")
    if named:
        return Path(named).expanduser().absolute()
    # The XDG specification has relative paths ignored.
    base = Path(os.environ.get("XDG_CACHE_HOME") or "")
    return (base if base.is_absolute() else Path.home() / ".cache") / "tl_toolkit"


def built_folder(dataset: str, made_of: Any, write: Callable[[Path], None]) -> Path:
    """The cache folder of a built-in dataset, made by one process while others wait; it appears whole or not at all.

    Args:
        dataset: its name.
        made_of: what the rows depend on, as JSON: another version is another folder.
        write: puts the files into an empty folder.

    Raises:
        UserError: the cache folder cannot be used.
    """
    from filelock import FileLock

    key = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]
    parent = cache_folder() / dataset
    folder = parent / key
    if folder.is_dir():
        return folder
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with FileLock(parent / "lock"):
            if not folder.is_dir():
                # Whoever holds the lock is alone: what lies here under a temporary name, a killed process left.
                for left in parent.glob("*.tmp"):
                    shutil.rmtree(left, ignore_errors=True)
                _fill(folder, write)
    except OSError as error:
        raise UserError(
            f"The dataset 'builtin:{dataset}' cannot be written to the cache folder {parent}: "
            f"{error.strerror or error}. The environment variable TL_TOOLKIT_CACHE names another folder."
        ) from error
    return folder


def _fill(folder: Path, write: Callable[[Path], None]) -> None:
    temporary = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", suffix=".tmp", dir=folder.parent))
    try:
        write(temporary)
        for file in temporary.iterdir():
            with open(file, "rb") as stream, contextlib.suppress(OSError):
                os.fsync(stream.fileno())
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read_table(file: Path, dataset: str) -> Any:
    """The Arrow table of a cached parquet file.

    Raises:
        UserError: it cannot be read.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.read_table(file)
    except (OSError, pyarrow.ArrowInvalid) as error:
        raise UserError(
            f"The cached rows of 'builtin:{dataset}' in {file} cannot be read; delete {file.parent}."
        ) from error
