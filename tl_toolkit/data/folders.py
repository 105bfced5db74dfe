"""Find the tables of a local folder, and the split that each file belongs to, by the rules of `datasets`."""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from ..errors import UserError, listing
from .files import SUFFIXES, file_suffix

logger = logging.getLogger(__name__)

_KINDS = {".tsv": ".csv", ".jsonl": ".json"}  # types that may share a split
_DECLARES = re.compile(r"\A---\s*\n(?:.*\n)*?(?:configs|dataset_info):", re.MULTILINE)
_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")  # describe images or sounds


def table_files(folder: Path, name: str) -> dict[str, list[Path]] | None:
    """Return the files of each split of a folder, or None if `datasets` must read it.

    `datasets` reads folders of images and other media, and folders whose README.md declares configurations or types.

    Raises:
        UserError: a split has the same rows in two types of files.
    """
    readme = folder / "README.md"
    if readme.is_file() and _DECLARES.match(readme.read_text(encoding="utf-8", errors="replace").split("\n---", 1)[0]):
        return None
    files = sorted(_visible_files(folder))
    tables = [file for file in files if file_suffix(Path(file)) in SUFFIXES]
    if not tables or _is_media(files):
        return None
    texts = [file for file in tables if file_suffix(Path(file)) == ".txt"]
    if 0 < len(texts) < len(tables):
        logger.warning("Text files beside tables are not read: %s.", listing(texts, 5))
        tables = [file for file in tables if file not in texts]
    splits = assign_splits(tables, name)
    used = {file for own in splits.values() for file in own}
    if unused := [file for file in tables if file not in used]:
        logger.warning("Files of %r that belong to no split are not read: %s.", name, listing(unused, 5))
    return {split: [folder / file for file in own] for split, own in splits.items()}


def assign_splits(files: Sequence[str], name: str) -> dict[str, list[str]]:
    """Return the files of each split, by the words "train", "dev", "test" … in their names or those of their folders.

    Without such words, all files belong to the split "train".
    """
    from datasets.data_files import _get_data_files_patterns
    from fsspec.utils import glob_translate

    def matching(pattern: str) -> list[str]:
        return [file for file in files if re.match(glob_translate(pattern), file)]

    try:
        patterns = _get_data_files_patterns(matching)
    except ValueError as error:
        raise UserError(f"The splits of {name!r} cannot be determined: {error}") from error
    splits = {
        str(split): list(dict.fromkeys(file for pattern in own for file in matching(pattern)))
        for split, own in patterns.items()
    }
    _check_kinds(splits, name)
    return splits


def _check_kinds(splits: Mapping[str, Sequence[str]], name: str) -> None:
    for split, files in splits.items():
        kinds = {_KINDS.get(suffix, suffix): file for file in files if (suffix := file_suffix(Path(file)))}
        stems: dict[PurePosixPath, str] = {}
        twins = [(stems[stem], file) for file in files if (stem := _stem(file)) in stems or stems.update({stem: file})]
        pair = tuple(kinds.values())[:2] if len(kinds) > 1 else twins[0] if twins else None
        if pair:
            raise UserError(
                f"The split {split!r} of {name!r} consists of {pair[0]!r} and {pair[1]!r}, which may hold the same "
                f"rows or different tables. Name the files to use, separated by commas, or remove the others."
            )


def _stem(file: str) -> PurePosixPath:
    """Return a path without `.gz` and the suffix of its type."""
    path = PurePosixPath(file)
    path = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    return path.with_suffix("")


def _visible_files(folder: Path) -> Iterator[str]:
    """Yield the files below a folder, links included, relative to it; hidden ones and `__pycache__` are left out."""
    from datasets.data_files import FILES_TO_IGNORE

    seen = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:  # a link to a folder above it
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [own for own in folders if not own.startswith((".", "__"))]
        for file in files:
            if not file.startswith(".") and file not in FILES_TO_IGNORE and (Path(parent) / file).is_file():
                yield (Path(parent) / file).relative_to(folder).as_posix()


def _is_media(files: Sequence[str]) -> bool:
    """Return whether most files are of types that only `datasets` reads, or tables describe such files."""
    from datasets.packaged_modules import _EXTENSION_TO_MODULE

    known = Counter(
        suffix for file in files if (suffix := file_suffix(Path(file))) in {*_EXTENSION_TO_MODULE, *SUFFIXES}
    )
    foreign = [suffix for suffix in known if suffix not in (*SUFFIXES, ".md", ".toml")]
    described = any(PurePosixPath(file).name in _METADATA for file in files)
    return bool(foreign) and (described or known.most_common(1)[0][0] in foreign)
