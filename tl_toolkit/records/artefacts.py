"""The files that belong to a run, with size and hash in its record, so that a missing or damaged file is found."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .output_dir import TARGET_FOLDER
from .record import RESULT_NAME

_BESIDE = frozenset([RESULT_NAME, "stage.json", "error.txt", "README.md", "training_args.bin"])
_FOLDERS = ("", "adapter", TARGET_FOLDER)


@dataclass(frozen=True)
class Artefact:
    """The size of a file in bytes, and the SHA-256 of its content as 64 hex digits."""

    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> Artefact:
        """The artefact in the file `path`, which is read in blocks."""
        with path.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256")
            return cls(content.tell(), digest.hexdigest())

    def damage(self, path: Path, *, sizes_only: bool = False) -> str | None:
        """What is wrong with the file `path`, in a few words; None if it is this artefact."""
        try:
            size = path.stat().st_size if path.is_file() else None
            if size is None:
                return "is missing"
            if size != self.bytes:
                return f"has {size:,} bytes instead of {self.bytes:,}"
            return None if sizes_only or Artefact.of(path) == self else "has another content than the run wrote"
        except OSError as error:
            return f"cannot be read ({error.strerror})"


def artefacts_in(folder: Path) -> dict[str, dict[str, Any]]:
    """The artefacts in the folder of a finished run by their relative paths, as in records.

    Model, tokenizer, code, predictions and figures count; the record itself, checkpoints and logs do not.
    """
    own = [path for name in _FOLDERS for path in sorted((folder / name).glob("*")) if _is_artefact(path)]
    return {path.relative_to(folder).as_posix(): asdict(Artefact.of(path)) for path in own}


def artefacts_of(record: Mapping[str, Any]) -> dict[str, Artefact]:
    """The artefacts of a record by their paths; empty for a record of the first version."""
    return {name: Artefact(int(own["bytes"]), str(own["sha256"])) for name, own in _recorded(record).items()}


def keeping(record: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """`record` with only the artefacts in `names`, for a folder that has no others."""
    if "artefacts" not in record:
        return dict(record)
    kept = set(names)
    return {**record, "artefacts": {name: own for name, own in _recorded(record).items() if name in kept}}


def damage(path: Path, record: Mapping[str, Any], name: str) -> str | None:
    """What is wrong with the artefact `name` of a record in the file `path`; None if it is sound or not recorded."""
    own = artefacts_of(record).get(name)
    return None if own is None else own.damage(path)


def damages(folder: Path, record: Mapping[str, Any], *, hashed: Iterable[str] | None = None) -> dict[str, str]:
    """What is wrong with the artefacts of a record in `folder`, by their paths; empty if all are as recorded.

    Args:
        hashed: the artefacts whose content is checked, by default all of them; others only need the recorded size.
    """
    whole = None if hashed is None else set(hashed)
    found = {
        name: own.damage(folder / name, sizes_only=whole is not None and name not in whole)
        for name, own in artefacts_of(record).items()
    }
    return {name: damage for name, damage in found.items() if damage is not None}


def _recorded(record: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    return record.get("artefacts") or {}


def _is_artefact(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".") and path.name not in _BESIDE and path.suffix != ".log"
