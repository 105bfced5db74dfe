"""Texts read from files or the Hub as they are needed, so that a corpus may be larger than memory and disk."""

from __future__ import annotations

import glob
import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from traceback import walk_tb
from typing import TYPE_CHECKING, Any

from ..errors import UserError, listing
from .column_roles import find_columns
from .files import file_suffix
from .folders import assign_splits, table_files
from .sources import loading, named_paths, without_progress_bars
from .splits import find_split

if TYPE_CHECKING:
    from datasets import IterableDataset

    from ..config.arguments import DataArguments

_BUILDERS = {".parquet": "parquet", ".jsonl": "json", ".txt": "text"}
_ROLES = ("validation", "test")


@dataclass(frozen=True)
class Corpus:
    """A stream of training texts, and the texts to evaluate on.

    Attributes:
        rows: the training rows, with the text in `column` alone.
        column: name of the column.
        evaluated: by "validation" and "test", the texts. "test" can be missing.
        held_out: texts that are not trained on.
        splits: the name of the split for each role.
        record: name, config, revision and fingerprint for a result record.
    """

    rows: IterableDataset
    column: str
    evaluated: dict[str, list[str]]
    held_out: frozenset[str]
    splits: dict[str, list[str]]
    record: dict[str, Any]

    def kept(self, texts: Iterable[str | None]) -> list[str]:
        """Return the texts to train on. Rows without a text and texts held out are left out."""
        return [text for text in texts if text is not None and text not in self.held_out]

    def sample(self, rows: int) -> Iterator[str]:
        """Yield the first `rows` training texts, from which a vocabulary is learned."""
        with reading(self.record["name"]):
            yield from islice((text for row in self.rows for text in self.kept([row[self.column]])), rows)


def load_corpus(arguments: DataArguments, evaluation_rows: int) -> Corpus:
    """Open the dataset `--dataset_name` as a stream, and read its first rows for evaluation.

    The validation and test splits are read up to `evaluation_rows` rows. Without a validation split, the first
    `evaluation_rows` rows of the training split are held out: neither they nor rows with the same texts are trained on.

    Raises:
        UserError: the source cannot be streamed, or it has no such split or column, or too few rows.
    """
    splits, record = _open(arguments)
    train = find_split(list(splits), "train", arguments.train_split_name)
    if train is None:
        raise UserError(
            f"The dataset {arguments.dataset_name!r} has no split to train on; name one of {listing(splits)} with "
            "--train_split_name."
        )
    named = {role: find_split(list(splits), role, getattr(arguments, f"{role}_split_name")) for role in _ROLES}
    roles = {"train": train, **{role: split for role, split in named.items() if split is not None}}
    if len(set(roles.values())) < len(roles):
        raise UserError(f"Training, validation and test need splits of their own, but they are {roles}.")
    rows = splits[train]
    if not rows.features:
        with reading(f"{arguments.dataset_name}"):
            if next(iter(rows), None) is None:
                raise UserError(
                    f"The split {train!r} of {arguments.dataset_name!r} has no rows. Add rows to its files."
                )
            rows = rows._resolve_features()
    column = find_columns(
        rows.features,
        text_column=arguments.text_column,
        label_column=arguments.label_column,
        label_required=False,
    ).text
    sources = {"validation": train, **roles}
    with reading(f"{arguments.dataset_name}"):
        evaluated = {role: _first(splits[sources[role]], column, evaluation_rows) for role in _ROLES if role in sources}
    held_out = frozenset(evaluated["validation"]) if "validation" not in roles else frozenset()
    for role, texts in evaluated.items():
        if not texts:
            raise UserError(f"The split {sources[role]!r} of {arguments.dataset_name!r} has no texts to evaluate on.")
    return Corpus(
        splits[train].select_columns([column]),
        column,
        evaluated,
        held_out,
        {role: [split] for role, split in roles.items()},
        record,
    )


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Within this context, raise errors of a stream as `UserError` that names the file of the dataset `name`."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # datasets and its file readers raise many different types
        frames = (frame for frame, _ in walk_tb(error.__traceback__) if frame.f_code.co_name == "_generate_tables")
        file = next((str(frame.f_locals.get("file")) for frame in frames), None)  # datasets does not say which one
        what = f"The file {file.rpartition('::')[2]!r} of the dataset {name!r}" if file else f"The dataset {name!r}"
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:400]}".rstrip(": ")
        raise UserError(f"{what} cannot be read: {reason}. Repair or remove it.", everywhere=True) from error


def _first(rows: IterableDataset, column: str, count: int) -> list[str]:
    return [row[column] for row in islice(rows.select_columns([column]), count) if row[column] is not None]


def _open(arguments: DataArguments) -> tuple[dict[str, IterableDataset], dict[str, Any]]:
    """Return the stream of each split, and the record of the source."""
    import datasets
    from huggingface_hub import HfApi

    name, paths = named_paths(arguments.dataset_name)
    config, revision = arguments.dataset_config_name, arguments.dataset_revision
    if name.startswith("builtin:"):
        raise UserError(f"--streaming reads a Hub id or local files and folders, not {name!r}.")
    if not paths[0].exists():
        with loading(name, name, config, revision):
            # Fix the commit, so that a resumed run reads the same files.
            commit = HfApi(endpoint=datasets.config.HF_ENDPOINT).dataset_info(name, revision=revision).sha
            splits = datasets.load_dataset(name, config, revision=commit, streaming=True)
        return dict(splits), {"name": name, "config": config, "revision": commit, "fingerprint": commit}
    if config is not None or revision is not None:
        raise UserError(f"--dataset_config_name and --dataset_revision do not apply to the local data {name!r}.")
    files = _local_files(name, paths)
    kinds = {file_suffix(file) for own in files.values() for file in own}
    if len(kinds) != 1 or not kinds <= _BUILDERS.keys():
        raise UserError(
            f"--streaming reads files of one type, {listing(_BUILDERS)}, but {name!r} has {listing(sorted(kinds))}."
        )
    escaped = {split: [glob.escape(str(file.absolute())) for file in own] for split, own in files.items()}
    kind = kinds.pop()
    with without_progress_bars(), reading(name):  # jsonl is read for its columns
        # The default is the size of the first row group: it refuses an empty file, and may need much memory.
        rows = {"batch_size": 1000} if kind == ".parquet" else {}
        splits = datasets.load_dataset(_BUILDERS[kind], data_files=escaped, streaming=True, **rows)
    sizes = {split: [(file.name, file.stat().st_size) for file in own] for split, own in files.items()}
    fingerprint = hashlib.blake2b(json.dumps(sizes, sort_keys=True).encode(), digest_size=8).hexdigest()
    return dict(splits), {"name": name, "config": None, "revision": None, "fingerprint": fingerprint}


def _local_files(name: str, paths: list[Path]) -> dict[str, list[Path]]:
    if len(paths) == 1 and paths[0].is_file():
        return {"train": paths}
    if len(paths) == 1:
        if not (files := table_files(paths[0], name)):
            raise UserError(f"--streaming finds no files to read in {name!r}; it reads {listing(_BUILDERS)}.")
        return files
    named = {str(path.absolute()): path for path in paths}
    return {split: [named[file] for file in own] for split, own in assign_splits(list(named), name).items()}
