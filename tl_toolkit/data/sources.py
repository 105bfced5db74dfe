"""Load datasets from the Hub, a local folder or file, or the built-in ones."""

from __future__ import annotations

import contextlib
import glob
import importlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError, listing, nearest
from ..shared_work import shared
from .files import SUFFIXES, file_suffix, nearest_sibling
from .fingerprints import fingerprint
from .folders import assign_splits, table_files
from .hub_datasets import exact_copy, first_rows, rows_commit, trouble, why_missing
from .local_files import Loaded, local_paths, read_splits

if TYPE_CHECKING:
    from datasets import DatasetDict

    from ..config.arguments import DataArguments

BUILT_IN = ("dates", "digits", "pydocs", "pytokens", "recall", "stocks")
"""Names of modules in this package. Each has `load_<name>(config)` and `<name>_record()`, which returns the versions
behind the rows and optionally their fingerprint."""
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True)
class Source:
    """Loaded rows.

    Attributes:
        dataset: the rows of each split.
        record: their entry in a result record: name, config, revision, fingerprint, versions.
        spelling: by split and column, how numbers and booleans are written in files, where their type does not keep it.
    """

    dataset: DatasetDict
    record: dict[str, Any]
    spelling: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def load_source(arguments: DataArguments) -> Source:
    """Load the dataset `--dataset_name`: a Hub id, a local folder or file, or `builtin:name[:config]`.

    Raises:
        UserError: no name is set, the dataset cannot be found or read, or a configuration or revision does not apply.
    """
    named = (arguments.dataset_name, arguments.dataset_config_name, arguments.dataset_revision, arguments.stream_rows)
    return shared("source", lambda: named, lambda: _load(*named))


def named_paths(name: str | None) -> tuple[str, list[Path]]:
    """Return the name of a dataset and the paths that it stands for; only those of local data exist.

    Raises:
        UserError: there is no name, or it is that of a file or folder that does not exist.
    """
    if not name:
        raise UserError(
            "No dataset was specified: set --dataset_name to a Hub id, a local folder, a local file "
            f"({', '.join(SUFFIXES)}) or a built-in dataset ({listing(f'builtin:{kind}' for kind in BUILT_IN)})."
        )
    paths = local_paths(name)
    on_hub = _HUB_ID.fullmatch(name) and not name.startswith((".", "/", "~")) and file_suffix(paths[0]) not in SUFFIXES
    if not (on_hub or name.startswith("builtin:") or paths[0].exists()):
        raise UserError(
            f"The dataset {name!r} was not found: there is no such file or folder.{nearest_sibling(paths[0])}"
        )
    return name, paths


def _load(given: str | None, config: str | None, revision: str | None, stream_rows: int | None) -> Source:
    name, paths = named_paths(given)
    path = paths[0]
    spelling: Mapping[str, Mapping[str, Any]] = {}
    if stream_rows is not None and (name.startswith("builtin:") or path.exists()):
        raise UserError(
            f"--stream_rows {stream_rows} only applies to datasets on the Hub, but {name!r} is local: leave it out, "
            "and use --label_budget to train on fewer rows."
        )
    if name.startswith("builtin:"):
        return _load_built_in(name, config, revision)
    if path.exists():
        if revision is not None:
            raise UserError(
                f"--dataset_revision {revision!r} only applies to datasets on the Hub, but {name!r} is a local path: "
                "leave it out, or use --dataset_revision none if a configuration file sets it."
            )
        dataset, spelling = _load_folder(name, path, config) if path.is_dir() else _load_files(name, paths, config)
    elif stream_rows is not None:
        with loading(name, name, config, revision):
            dataset, revision = first_rows(name, config, revision, stream_rows)
    else:
        dataset = exact_copy(_load_with_datasets(name, name, config, revision), name, config, revision)
        revision = rows_commit(dataset) or revision
    record = {"name": name, "config": config, "revision": revision, "fingerprint": fingerprint(dataset)}
    return Source(dataset, {**record, "versions": None}, spelling)


def _load_built_in(name: str, config: str | None, revision: str | None) -> Source:
    _, kind, *rest = name.split(":")
    if kind not in BUILT_IN:
        raise UserError(
            f"There is no built-in dataset {kind!r}; the built-in ones are {listing(BUILT_IN)}."
            f"{nearest(kind, BUILT_IN)}"
        )
    if revision is not None:
        raise UserError(f"--dataset_revision {revision!r} only applies to datasets on the Hub: {name!r} is built in.")
    if rest and config not in (None, rest[0]):
        raise UserError(f"The dataset {name!r} and --dataset_config_name {config!r} name two configurations: use one.")
    config = rest[0] if rest else config
    module = importlib.import_module(f"tl_toolkit.data.{kind}")
    dataset = getattr(module, f"load_{kind}")(config)
    record = getattr(module, f"{kind}_record")()
    record["fingerprint"] = record.get("fingerprint") or fingerprint(dataset)
    return Source(dataset, {"name": name, "config": config, "revision": None, **record})


def _load_files(name: str, paths: Sequence[Path], config: str | None) -> Loaded:
    if config is not None:
        raise UserError(f"--dataset_config_name {config!r} does not apply to a single file such as {name!r}.")
    if len(paths) == 1:
        return read_splits(name, {"train": paths})
    shared = os.path.commonpath([path.absolute().parent for path in paths])  # its name says nothing about the splits
    named = {path.absolute().relative_to(shared).as_posix(): path for path in paths}
    splits = assign_splits(list(named), name)
    return read_splits(name, {split: [named[file] for file in own] for split, own in splits.items()})


def _load_folder(name: str, path: Path, config: str | None) -> Loaded:
    from datasets import Dataset, DatasetDict, load_from_disk

    if (path / "dataset_dict.json").exists() or (path / "state.json").exists():
        try:
            loaded = load_from_disk(str(path))
        except Exception as error:
            raise UserError(f"The saved dataset {name!r} cannot be read: {_innermost(error)}") from error
        return DatasetDict({"train": loaded}) if isinstance(loaded, Dataset) else loaded, {}
    splits = table_files(path, name) if config is None else None
    if splits is None:
        return _load_with_datasets(name, str(path), config, None), {}
    if all(file_suffix(file) == ".parquet" for files in splits.values() for file in files):
        # `datasets` keeps large folders on disk. Its patterns would not find files below a folder such as "data [v2]".
        files = {split: [glob.escape(str(file.absolute())) for file in own] for split, own in splits.items()}
        return _load_with_datasets(name, str(path), None, None, builder="parquet", data_files=files), {}
    return read_splits(name, splits)


def _load_with_datasets(
    name: str, path: str, config: str | None, revision: str | None, *, builder: str | None = None, **options: Any
) -> DatasetDict:
    import datasets

    with loading(name, path, config, revision):
        return datasets.load_dataset(builder or path, config, revision=revision, **options)


@contextlib.contextmanager
def loading(name: str, path: str, config: str | None, revision: str | None) -> Iterator[None]:
    """Within this context, raise errors as `UserError` and hide the progress bars of `datasets`."""
    with without_progress_bars():
        try:
            yield
        except Exception as error:  # datasets and its file readers raise many different types
            raise UserError(_reason(error, name, path, config, revision)) from error


@contextlib.contextmanager
def without_progress_bars() -> Iterator[None]:
    """Within this context, hide the progress bars of `datasets`."""
    from datasets.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    disabled = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not disabled:
            enable_progress_bars()


def _reason(error: Exception, name: str, path: str, config: str | None, revision: str | None) -> str:
    from datasets.data_files import EmptyDatasetError
    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub.errors import OfflineModeIsEnabled, RepositoryNotFoundError, RevisionNotFoundError

    on_hub = not Path(path).exists()
    if on_hub and (reason := trouble(error, name)):
        return f"The dataset {name!r} cannot be loaded from the Hub: {reason}."
    if isinstance(error, EmptyDatasetError):
        return f"The dataset {name!r} contains no data files. Supported file types: {listing(SUFFIXES)}."
    if isinstance(error, DatasetNotFoundError | FileNotFoundError | RepositoryNotFoundError | RevisionNotFoundError):
        return why_missing(name, revision) if on_hub else f"The dataset {name!r} was not found: {_innermost(error)}"
    if isinstance(error, ConnectionError | OfflineModeIsEnabled):
        return (
            f"The dataset {name!r} is neither a local path nor in the cache, and the Hub cannot be reached: {error}. "
            f"Local folders, local files and built-in datasets need no network."
        )
    if isinstance(error, ValueError):
        if empty := re.search(r'Instruction "(.+?)" corresponds to no data', str(error)):
            return f"The split {empty.group(1)!r} of the dataset {name!r} is empty."
        if message := _configuration_message(name, path, config, revision):
            return message
    elif "BatchSize must be greater than 0" in str(error.__cause__):  # a parquet file without rows
        return f"The dataset {name!r} has an empty split{_empty_parquet(path)}: remove it or add rows."
    return f"The dataset {name!r} cannot be loaded: {_innermost(error)}"


def _configuration_message(name: str, path: str, config: str | None, revision: str | None) -> str | None:
    """Return an error message if the configuration is unknown, or required but not set; otherwise None."""
    import datasets

    try:
        known = datasets.get_dataset_config_names(path, revision=revision)
    except Exception:  # noqa: BLE001  this only looks for a better error message
        return None
    if config is None and len(known) > 1:
        return f"The dataset {name!r} has several configurations: set --dataset_config_name to one of {listing(known)}."
    if config is not None and config not in known:
        return (
            f"The dataset {name!r} has no configuration {config!r} (--dataset_config_name); it has {listing(known)}."
            f"{nearest(config, known)}"
        )
    return None


def _empty_parquet(path: str) -> str:
    """Name the first local parquet file without rows, as the end of a sentence; an empty string if there is none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for file in sorted(Path(path).rglob("*.parquet")):
        with contextlib.suppress(pa.ArrowException, OSError):
            if pq.read_metadata(file).num_rows == 0:
                return f" ({str(file)!r} has no rows)"
    return ""


def _innermost(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {' '.join(str(error).split())[:400]}".rstrip(": ")
