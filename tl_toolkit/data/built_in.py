"""Shared helpers of the built-in datasets: configurations, splits by hash, and a cache on disk."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError, listing, nearest

if TYPE_CHECKING:
    from datasets import Dataset


def chosen_config(dataset: str, config: str | None, known: Sequence[str]) -> str:
    """Return the configuration `config`, or the first known one if it is None.

    Raises:
        UserError: `config` is not in `known`.
    """
    if config is not None and not known:
        raise UserError(f"The dataset 'builtin:{dataset}' has no configurations: leave {config!r} out.")
    if config is not None and config not in known:
        raise UserError(
            f"The dataset 'builtin:{dataset}' has no configuration {config!r}.{nearest(config, known)} "
            f"Known: {listing(known)}."
        )
    return config or next(iter(known), "")


def digest(text: str) -> bytes:
    """Return the SHA-256 hash of a text; it is the same on every machine."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def split_by_hash(text: str, shares: Mapping[str, float]) -> str:
    """Choose a split by a hash of `text`; `shares` are the fractions of the splits and sum to 1."""
    position = int.from_bytes(digest(text)[:8], "big") / 2**64
    for split, share in shares.items():
        position -= share
        if position < 0:
            return split
    return "test"


def fingerprint(rows: Any) -> str:
    """Return 16 hexadecimal digits of a hash over JSON-serialisable rows."""
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()[:16]


def cache_folder() -> Path:
    """Return the cache folder: `TL_TOOLKIT_CACHE`, else `tl_toolkit` in `XDG_CACHE_HOME` or `~/.cache`."""
    named = os.environ.get("TL_TOOLKIT_CACHE")
    if named:
        return Path(named).expanduser().absolute()
    # The XDG specification says that relative paths must be ignored.
    base = Path(os.environ.get("XDG_CACHE_HOME") or "")
    return (base if base.is_absolute() else Path.home() / ".cache") / "tl_toolkit"


def built_folder(dataset: str, made_of: Any, code: Sequence[str], write: Callable[[Path], None]) -> Path:
    """Return the cache folder of a built-in dataset; one process builds it atomically while others wait.

    Args:
        dataset: name of the dataset.
        made_of: JSON-serialisable inputs of the rows, such as versions; other inputs lead to another folder.
        code: Python files that build the rows; a change in any of them leads to another folder.
        write: writes the files into an empty folder.

    Raises:
        UserError: the cache folder cannot be used.
    """
    key = fingerprint([made_of, [hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in (*code, __file__)]])
    return cached_folder(dataset, key, write)


def cached_folder(kind: str, key: str, write: Callable[[Path], None]) -> Path:
    """Return the cache folder `kind/key`; if it is absent, one process writes it atomically while others wait.

    Args:
        write: writes the files into an empty folder.

    Raises:
        UserError: the cache folder cannot be used.
    """
    from filelock import FileLock

    parent = cache_folder() / kind
    folder = parent / key
    if folder.is_dir():
        return folder
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with FileLock(parent / "lock"):
            if not folder.is_dir():
                # No other process holds the lock, so temporary folders here are left over from killed processes.
                for left in parent.glob("*.tmp"):
                    shutil.rmtree(left, ignore_errors=True)
                _fill(folder, write)
    except OSError as error:
        raise UserError(
            f"The cache folder {str(parent)!r} cannot be written: {error.strerror or error}. Set the environment "
            "variable TL_TOOLKIT_CACHE to another folder."
        ) from error
    return folder


def _fill(folder: Path, write: Callable[[Path], None]) -> None:
    temporary = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", suffix=".tmp", dir=folder.parent))
    try:
        write(temporary)
        for file in filter(Path.is_file, temporary.rglob("*")):
            with open(file, "rb") as stream, contextlib.suppress(OSError):
                os.fsync(stream.fileno())
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_split(columns: Mapping[str, list[Any]], file: Path) -> None:
    """Write the columns of a split to a parquet file."""
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table(dict(columns)), file)


def read_split(file: Path, dataset: str, split: str, features: Mapping[str, Any]) -> Dataset:
    """Read a split written by `write_split`, with the entries of `features` that match its columns.

    Raises:
        UserError: the file cannot be read.
    """
    import pyarrow
    import pyarrow.parquet
    from datasets import Dataset, Features, NamedSplit

    try:
        columns = pyarrow.parquet.read_table(file).to_pydict()
    except (OSError, pyarrow.ArrowInvalid) as error:
        raise UserError(
            f"The cached rows of 'builtin:{dataset}' in {file} cannot be read: delete {file.parent} to rebuild them."
        ) from error
    return Dataset.from_dict(columns, Features({name: features[name] for name in columns}), split=NamedSplit(split))


def write_record(rows: Any, versions: Mapping[str, str], folder: Path) -> None:
    """Write `record.json`, which identifies the rows: their fingerprint and the versions of their sources."""
    record = {"fingerprint": fingerprint(rows), "versions": dict(versions)}
    (folder / "record.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def read_record(folder: Path) -> dict[str, Any]:
    """Read the record written by `write_record`."""
    return json.loads((folder / "record.json").read_text(encoding="utf-8"))
