"""`builtin:pydocs`: a text dataset built from the docstrings of installed libraries, without downloads.

In `classification`, the label is the library (one of eleven) that a description comes from. `unlabelled` contains whole
docstrings for pre-training language models, without the texts of the validation and test rows of `classification`. The
rows depend only on the versions of the libraries; see `pydocs_record`.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import os
import platform
import re
import sysconfig
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError, listing
from . import docstrings
from .built_in import (
    built_folder,
    chosen_config,
    digest,
    read_record,
    read_split,
    split_by_hash,
    write_record,
    write_split,
)

if TYPE_CHECKING:
    from datasets import DatasetDict

CONFIGS = ("classification", "unlabelled")

STANDARD_LIBRARY = "python"

LIBRARIES: Mapping[str, tuple[str, ...]] = {
    "huggingface-hub": ("huggingface_hub",),
    "matplotlib": ("matplotlib", "mpl_toolkits"),
    "networkx": ("networkx",),
    "numpy": ("numpy",),
    "pandas": ("pandas",),
    STANDARD_LIBRARY: (),
    "scikit-learn": ("sklearn",),
    "scipy": ("scipy",),
    "sympy": ("sympy",),
    "torch": ("torch", "functorch", "torchgen"),
    "transformers": ("transformers",),
}
"""The classes: distributions required by the toolkit or by torch, and the packages they install."""

UNLABELLED_LIBRARIES: Mapping[str, tuple[str, ...]] = {
    "accelerate": ("accelerate",),
    "datasets": ("datasets",),
    "evaluate": ("evaluate",),
    "jinja2": ("jinja2",),
    "peft": ("peft",),
}
"""Required distributions with too few descriptions for a class: their text is only in `unlabelled`."""

MOST_WORDS = 60
"""Most words of a row of `classification`."""

Document = Sequence[str | None]
"""The paragraphs of a docstring; the first is None if the docstring does not start with prose."""

_TOKEN = re.compile(r"[^\W_]+")
_QUOTED = re.compile(r"(?<!\w)'[^']*'(?!\w)|\"[^\"]*\"")
_STOPS = ".,;:!?()[]'\"-"


def load_pydocs(config_name: str | None = None) -> DatasetDict:
    """Return the splits train, validation and test of a configuration; they are built on first use and cached.

    `classification`, the default, has the columns `text` (a paragraph of 5 to 60 words with masked library names) and
    `label` (`ClassLabel`, the eleven names of `LIBRARIES`). `unlabelled` has the column `text`: paragraphs separated by
    blank lines.

    Raises:
        UserError: the configuration is unknown, a library is not installed, or the cache folder cannot be used.
    """
    from datasets import ClassLabel, DatasetDict, Value

    config = chosen_config("pydocs", config_name, CONFIGS)
    folder = _built_folder()
    features = {"text": Value("string"), "label": ClassLabel(names=list(LIBRARIES))}
    return DatasetDict(
        {
            split: read_split(folder / f"{config}-{split}.parquet", "pydocs", split, features)
            for split in _SHARES[config]
        }
    )


def pydocs_record() -> dict[str, Any]:
    """Return the `fingerprint` (a hash of all rows) and the `versions` of the libraries that they come from."""
    return read_record(_built_folder())


# --- rows -----------------------------------------------------------------------------------------------------------

_SHARES = {
    "classification": {"train": 0.8, "validation": 0.1, "test": 0.1},
    "unlabelled": {"train": 0.9, "validation": 0.05, "test": 0.05},
}

Splits = dict[str, list[Any]]


def words(text: str) -> list[str]:
    """Split a text into lower-case words of letters and digits; texts with the same words count as equal."""
    return _TOKEN.findall(text.casefold())


@functools.lru_cache(maxsize=1 << 18)
def outline(text: str) -> str:
    """Return the words without quoted parts, numbers and identifiers; texts with equal outlines are near-duplicates.

    The outline of a text that consists mostly of identifiers contains all its words.
    """
    tokens = _QUOTED.sub(" ", text).split() if "'" in text or '"' in text else text.split()
    stripped = [token.strip(_STOPS) for token in tokens]
    rest = [word.lower() for word in stripped if word.isalpha() and (word.islower() or word.istitle())]
    return " ".join(rest if len(rest) >= 3 else words(text))


def split_of(text: str, config: str) -> str:
    """Choose the split of a text by a hash of its outline, so that near-duplicates are in the same split."""
    # The configuration is part of the hash, so that the splits of the two configurations are independent.
    return split_by_hash(f"{config}\n{outline(text)}", _SHARES[config])


def classification_rows(documents: Mapping[str, Iterable[Document]]) -> Splits:
    """Return labelled rows `(text, class)` by split, in the order of a hash; classes are numbered as in `documents`.

    Of near-duplicates within a library, the first is kept. Near-duplicates in several libraries are dropped, because
    their label is ambiguous.
    """
    texts: dict[str, dict[int, str]] = defaultdict(dict)
    for label, library in enumerate(documents):
        for document in documents[library]:
            first = document[0]
            if first is not None and len(first.split()) <= MOST_WORDS:
                texts[outline(first)].setdefault(label, first)
    splits: Splits = {split: [] for split in _SHARES["classification"]}
    for by_label in texts.values():
        if len(by_label) == 1:
            ((label, text),) = by_label.items()
            splits[split_of(text, "classification")].append((text, label))
    return {split: sorted(rows, key=lambda row: digest(row[0])) for split, rows in splits.items()}


def unlabelled_texts(documents: Iterable[Document], held_out: Iterable[str]) -> Splits:
    """Return whole documents by split, without those that contain a near-duplicate or the words of a held-out text.

    A paragraph that occurs in several documents is kept only in the first one.
    """
    held_out = list(held_out)
    outlines = {outline(text) for text in held_out}
    # Held-out texts are indexed by their first three words; each has at least five.
    by_start: dict[tuple[str, str, str], list[list[str]]] = defaultdict(list)
    for text in held_out:
        first, second, third, *_ = sequence = words(text)
        by_start[first, second, third].append(sequence)
    seen: set[str] = set()
    splits: Splits = {split: [] for split in _SHARES["unlabelled"]}
    for document in documents:
        paragraphs = [(text, outline(text)) for text in document if text is not None]
        if any(key in outlines for _, key in paragraphs):
            continue
        fresh = []
        for text, key in paragraphs:
            if key not in seen:
                seen.add(key)
                fresh.append(text)
        whole = "\n\n".join(fresh)
        if fresh and not _holds(words(whole), by_start):
            splits[split_of(fresh[0], "unlabelled")].append(whole)
    return {split: sorted(texts, key=digest) for split, texts in splits.items()}


def _holds(sequence: list[str], by_start: Mapping[tuple[str, str, str], list[list[str]]]) -> bool:
    """Return whether `sequence` contains one of the word sequences in `by_start`, an index by their first words."""
    for place, start in enumerate(zip(sequence, sequence[1:], sequence[2:], strict=False)):
        for sought in by_start.get(start, ()):
            if sequence[place : place + len(sought)] == sought:
                return True
    return False


# --- collection and cache -------------------------------------------------------------------------------------------


def _folders(library: str, packages: Sequence[str]) -> list[Path]:
    """Return the folders with a library's source."""
    if library == STANDARD_LIBRARY:
        places: list[str] = [sysconfig.get_path("stdlib")]
    else:
        # For top-level packages, find_spec only searches folders and runs no code.
        specs = [importlib.util.find_spec(package) for package in packages]
        places = [place for spec in specs if spec for place in spec.submodule_search_locations or []]
    return [Path(place) for place in places]


def _library_versions() -> dict[str, str]:
    versions = {}
    for library in (*LIBRARIES, *UNLABELLED_LIBRARIES):
        try:
            is_python = library == STANDARD_LIBRARY
            versions[library] = platform.python_version() if is_python else importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError as error:
            raise _missing(library) from error
    return versions


def _missing(library: str) -> UserError:
    return UserError(
        f"The dataset 'builtin:pydocs' is built from the docstrings of installed libraries, but the source files (.py) "
        f"of {library!r} were not found. Install the toolkit with all its requirements: the dataset needs "
        f"{listing((*LIBRARIES, *UNLABELLED_LIBRARIES))}."
    )


def _collect() -> dict[str, list[Document]]:
    """Read the documents of every library in file order; a bar on standard error shows progress."""
    from tqdm import tqdm

    files: list[Path] = []
    owners: list[str] = []
    for library, packages in (*LIBRARIES.items(), *UNLABELLED_LIBRARIES.items()):
        own = [file for folder in _folders(library, packages) for file in docstrings.python_files(folder)]
        if not own:
            raise _missing(library)
        files += own
        owners += [library] * len(own)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with tqdm(total=len(files), desc="Building builtin:pydocs (once)", unit=" files", smoothing=0) as bar:
        results = docstrings.collect(files, min(cores, 16), bar.update)
    documents: dict[str, list[Document]] = defaultdict(list)
    for library, found in zip(owners, results, strict=True):
        documents[library] += found
    return dict(documents)


def build_rows(documents: Mapping[str, Iterable[Document]]) -> dict[str, Splits]:
    """Build the rows of both configurations from the documents of every library."""
    labelled = classification_rows({library: documents[library] for library in LIBRARIES})
    held_out = [text for split in ("validation", "test") for text, _ in labelled[split]]
    everything = (document for library in documents for document in documents[library])
    return {"classification": labelled, "unlabelled": unlabelled_texts(everything, held_out)}


def _built_folder() -> Path:
    """Return the cache folder with the rows for the installed versions."""
    versions = _library_versions()
    code = (docstrings.__file__, __file__)
    return built_folder("pydocs", versions, code, lambda folder: _write(build_rows(_collect()), versions, folder))


def _write(rows: Mapping[str, Splits], versions: Mapping[str, str], folder: Path) -> None:
    """Write both configurations and their record."""
    for config, splits in rows.items():
        for split, held in splits.items():
            columns = {"text": held}
            if config == "classification":
                columns = {"text": [text for text, _ in held], "label": [label for _, label in held]}
            write_split(columns, folder / f"{config}-{split}.parquet")
    write_record(rows, versions, folder)
