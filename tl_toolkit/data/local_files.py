"""Read local files into splits, and report how they were read."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError, check_regular
from .column_values import Cells, settle
from .files import TYPED, check_suffix, nearest_sibling, read_cells, read_typed
from .rows_on_disk import as_dataset

if TYPE_CHECKING:
    from datasets import DatasetDict

_SHOWN_FILES = 8  # a folder may hold thousands

Loaded = tuple["DatasetDict", Mapping[str, Mapping[str, Any]]]
"""The rows of each split, and the spelling of their values as in `Source`."""


def local_paths(name: str) -> list[Path]:
    """Return the path that a name stands for, or the paths of several files separated by commas."""
    parts = [name]
    if "," in name and not os.path.lexists(name):
        parts = [part.strip() for part in name.split(",") if part.strip()]
    paths = [_expanded(part) for part in parts or [name]]
    for path in paths:
        check_regular(path, "The dataset")
    missing = [path for path in paths if not path.is_file()]
    if len(paths) > 1 and missing and len(missing) < len(paths):
        raise UserError(
            f"The dataset {name!r} names {len(paths)} files, but {str(missing[0])!r} is not a file."
            f"{nearest_sibling(missing[0])}"
        )
    return paths if not missing else [_expanded(name)]


def _expanded(name: str) -> Path:
    try:
        return Path(name) if os.path.lexists(name) else Path(name).expanduser()
    except RuntimeError:  # a name such as ~reviews.csv, which is not that of a user
        return Path(name)


def read_splits(name: str, splits: Mapping[str, Sequence[Path]]) -> Loaded:
    """Read local files; prints how many rows each has and how it was read."""
    from datasets import DatasetDict

    files = [path for own in splits.values() for path in own]
    spelling: Mapping[str, Mapping[str, Any]] = {}
    if len(files) == 1 and check_suffix(files[0]) in TYPED:
        tables = {split: read_typed(files[0]) for split in splits}
    else:
        cells = {split: [read_cells(path) for path in own] for split, own in splits.items()}
        for split, own in cells.items():
            if (empty := next((file for file in own if len(file) == 0), None)) is not None:
                where = f"split {split!r} of {name!r} is empty: the file" if len(files) > 1 else "file"
                raise UserError(f"The {where} {empty.name!r} has no rows. Add rows or remove it.")
        tables, spelling = settle(cells)
        _print_rows([file for own in cells.values() for file in own])
    try:
        dataset = DatasetDict({split: as_dataset(table) for split, table in tables.items()})
    except (ValueError, TypeError, NotImplementedError) as error:
        raise UserError(f"The columns of {name!r} cannot be used: {error}") from error
    if len(files) == 1 and len(next(iter(dataset.values()))) == 0:
        raise UserError(f"The file {str(files[0])!r} has no rows. Add rows or remove it.")
    return dataset, spelling


def _print_rows(files: Sequence[Cells]) -> None:
    if int(os.environ.get("RANK", 0)):
        return  # another process prints it
    for file in files[:_SHOWN_FILES]:
        print(f"Read {len(file):,} rows of {len(file):,} from {file.name!r} ({file.notes}).", file=sys.stderr)
    if len(files) > _SHOWN_FILES:
        rows = sum(map(len, files[_SHOWN_FILES:]))
        print(f"Read {rows:,} rows of {rows:,} from {len(files) - _SHOWN_FILES} more files.", file=sys.stderr)
