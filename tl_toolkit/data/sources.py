"""Load datasets from the Hub, a local folder or file, or the built-in ones."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UserError, listing, nearest
from .files import SUFFIXES, columns_of_codes, file_suffix, nearest_sibling, read_table
from .hub_datasets import exact_copy, first_rows, rows_commit, trouble, why_missing

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

    from ..config.arguments import DataArguments

BUILT_IN = ("dates", "digits", "pydocs", "pytokens", "stocks")
"""Names of modules in this package. Each has `load_<name>(config)` and `<name>_record()`, which returns the versions
behind the rows and optionally their fingerprint."""
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True)
class Source:
    """Loaded rows and their entry in a result record: name, config, revision, fingerprint, versions."""

    dataset: DatasetDict
    record: dict[str, Any]


_remembered: dict[tuple[str | int | None, ...], Source] | None = None


@contextlib.contextmanager
def remember_sources() -> Iterator[None]:
    """Within this context, read and hash every dataset only once, even if several runs use it."""
    global _remembered
    _remembered = {}
    try:
        yield
    finally:
        _remembered = None


def load_source(arguments: DataArguments) -> Source:
    """Load the dataset `--dataset_name`: a Hub id, a local folder or file, or `builtin:name[:config]`.

    Raises:
        UserError: no name is set, the dataset cannot be found or read, or a configuration or revision does not apply.
    """
    named = (arguments.dataset_name, arguments.dataset_config_name, arguments.dataset_revision, arguments.stream_rows)
    if _remembered is None:
        return _load(*named)
    if named not in _remembered:
        _remembered[named] = _load(*named)
    return _remembered[named]


def _load(name: str | None, config: str | None, revision: str | None, stream_rows: int | None) -> Source:
    if not name:
        raise UserError(
            "No dataset was specified: set --dataset_name to a Hub id, a local folder, a local file "
            f"({', '.join(SUFFIXES)}) or a built-in dataset ({listing(f'builtin:{kind}' for kind in BUILT_IN)})."
        )
    path = Path(name).expanduser()
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
        dataset = _load_folder(name, path, config) if path.is_dir() else _load_file(name, path, config)
    elif file_suffix(path) in SUFFIXES or name.startswith((".", "/", "~")) or not _HUB_ID.fullmatch(name):
        raise UserError(f"The dataset {name!r} was not found: there is no such file or folder.{nearest_sibling(path)}")
    elif stream_rows is not None:
        with _loading(name, name, config, revision):
            dataset, revision = first_rows(name, config, revision, stream_rows)
    else:
        dataset = exact_copy(_load_with_datasets(name, name, config, revision), name, config, revision)
        revision = rows_commit(dataset) or revision
    record = {"name": name, "config": config, "revision": revision, "fingerprint": fingerprint(dataset)}
    return Source(dataset, {**record, "versions": None})


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


def _load_file(name: str, path: Path, config: str | None) -> DatasetDict:
    from datasets import Dataset, DatasetDict

    if config is not None:
        raise UserError(f"--dataset_config_name {config!r} does not apply to a single file such as {name!r}.")
    try:
        rows = Dataset(read_table(path))
    except (ValueError, TypeError, NotImplementedError) as error:
        raise UserError(f"The columns of {name!r} cannot be used: {error}") from error
    if len(rows) == 0:
        raise UserError(f"The file {name!r} has no rows.")
    return DatasetDict({"train": rows})


def _load_folder(name: str, path: Path, config: str | None) -> DatasetDict:
    from datasets import Dataset, DatasetDict, load_from_disk

    if (path / "dataset_dict.json").exists() or (path / "state.json").exists():
        try:
            loaded = load_from_disk(str(path))
        except Exception as error:
            raise UserError(f"The saved dataset {name!r} cannot be read: {_innermost(error)}") from error
        return DatasetDict({"train": loaded}) if isinstance(loaded, Dataset) else loaded
    kinds = {file_suffix(file) for file in path.rglob("*")} & set(SUFFIXES)
    # As in single files, the words "None", "null" and "NA" are not missing values, and codes such as 007 stay strings.
    options: dict[str, Any] = {}
    if kinds == {".csv"}:
        codes = {column for file in path.rglob("*") if file_suffix(file) == ".csv" for column in columns_of_codes(file)}
        converters = dict.fromkeys(codes, _text_or_missing) or None
        options = {"keep_default_na": False, "na_values": [""], "converters": converters}
    return _load_with_datasets(name, str(path), config, None, **options)


def _text_or_missing(field: str) -> str | None:
    return field.strip() or None


def _load_with_datasets(name: str, path: str, config: str | None, revision: str | None, **options: Any) -> DatasetDict:
    import datasets

    with _loading(name, path, config, revision):
        return datasets.load_dataset(path, config, revision=revision, **options)


@contextlib.contextmanager
def _loading(name: str, path: str, config: str | None, revision: str | None) -> Iterator[None]:
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


def fingerprint(dataset: DatasetDict) -> str:
    """Hash split names, column names, class names and values to 16 hex digits that are equal on every machine.

    The fingerprints of `datasets` are not used because they depend on file paths.
    """
    digest = hashlib.blake2b(digest_size=8)
    for split in sorted(dataset):
        rows = dataset[split]
        digest.update(json.dumps(["split", split, len(rows)]).encode())
        for column in rows.column_names:
            names = getattr(rows.features[column], "names", None)
            digest.update(json.dumps(["column", column, names]).encode())
            digest.update(_column_digest(rows, column))
    return digest.hexdigest()


def _column_digest(rows: Dataset, column: str) -> bytes:
    """Hash the values of a column. Arrow buffers are not hashed: they vary with chunks, offsets and padding."""
    import pyarrow as pa
    import pyarrow.compute as pc

    values, shape = hashlib.blake2b(), hashlib.blake2b()
    for batch in rows.select_columns([column]).with_format("arrow").iter(10_000):
        array = batch.column(0).combine_chunks()
        kind = array.type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            lengths = pc.binary_length(array).fill_null(-1)
            shape.update(lengths.to_numpy(zero_copy_only=False).astype("<i8").tobytes())
            filled = array.fill_null("").cast(pa.large_string())
            _, offsets, content = filled.buffers()
            if content is not None:
                bounds = np.frombuffer(offsets, dtype="<i8")[[filled.offset, filled.offset + len(filled)]]
                values.update(memoryview(content)[bounds[0] : bounds[1]])
        elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
            shape.update(array.is_null().to_numpy(zero_copy_only=False).tobytes())
            number = "<f8" if pa.types.is_floating(kind) else "<i8"
            filled = array.fill_null(False if pa.types.is_boolean(kind) else 0)
            values.update(filled.to_numpy(zero_copy_only=False).astype(number).tobytes())
        else:
            for value in array.to_pylist():
                values.update(json.dumps(value, default=repr, sort_keys=True).encode() + b"\n")
    return values.digest() + shape.digest()
