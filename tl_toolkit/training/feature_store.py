"""Features of rows on disk, shared by the runs and processes of a machine."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic_files import write_whole
from ..data.built_in import cache_folder

FOLDER = "features"
LIMIT_BYTES = 4 * 2**30
"""The size above which the files that were not used for longest are removed."""
KEY_BYTES = 16


class FeatureStore:
    """Arrays by the hash of everything that determines them, in `features/BODY` of the toolkit's cache folder.

    Each call of `add` writes one file, under a temporary name first; `locked` keeps two processes from computing the
    same rows. A cache folder that cannot be written, or a file that cannot be read, only costs time.

    Args:
        body: hash of the part of the model that computes the features.
    """

    def __init__(self, body: str) -> None:
        self.folder = cache_folder() / FOLDER / body

    @contextmanager
    def locked(self) -> Iterator[None]:
        """A context that only one process of this machine is in."""
        from filelock import FileLock

        with ExitStack() as stack:
            with suppress(OSError, NotImplementedError):  # the latter: a file system without locks
                self.folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(FileLock(self.folder / "lock"))
            yield

    def find(self, keys: Sequence[bytes]) -> tuple[dict[bytes, np.ndarray], float]:
        """The stored arrays of `keys`, and the seconds that it took to compute them."""
        from safetensors import SafetensorError, safe_open

        wanted, found, seconds = set(keys), {}, 0.0
        for path in self.folder.glob("*.safetensors"):
            with suppress(OSError, SafetensorError), safe_open(path, framework="numpy") as file:
                names = [row.tobytes() for row in file.get_tensor("keys")]
                places = [place for place, name in enumerate(names) if name in wanted]
                if not places:
                    continue
                values, ends = file.get_tensor("values"), np.cumsum(file.get_tensor("lengths"))
                is_sequence = file.metadata()["sequences"] == "True"
                for place in places:
                    own = values[ends[place - 1] if place else 0 : ends[place]]
                    found[names[place]] = own if is_sequence else own[0]
                seconds += float(file.metadata()["seconds"]) * len(places) / len(names)
                os.utime(path)  # used now
        return found, seconds

    def add(self, keys: Sequence[bytes], arrays: Sequence[np.ndarray], seconds: float) -> None:
        """Store arrays of the shape (features,) or (tokens, features) that took `seconds` to compute."""
        from safetensors.numpy import save_file

        is_sequence = arrays[0].ndim == 2
        tensors = {
            "keys": np.frombuffer(b"".join(keys), np.uint8).reshape(-1, KEY_BYTES),
            "values": np.concatenate(arrays) if is_sequence else np.stack(arrays),
            "lengths": np.array([len(own) if is_sequence else 1 for own in arrays]),
        }
        metadata = {"sequences": str(is_sequence), "seconds": str(seconds)}
        with suppress(OSError):
            path = self.folder / f"{uuid.uuid4().hex}.safetensors"
            write_whole(path, lambda temporary: save_file(tensors, temporary, metadata))
            _make_room(self.folder.parent)


class NoStore:
    """Stores nothing, for features that no other run has."""

    def locked(self) -> AbstractContextManager[None]:
        return nullcontext()

    def find(self, keys: Sequence[bytes]) -> tuple[dict[bytes, np.ndarray], float]:
        return {}, 0.0

    def add(self, keys: Sequence[bytes], arrays: Sequence[np.ndarray], seconds: float) -> None:
        pass


def _make_room(folder: Path) -> None:
    """Remove the files below `folder` that were not used for longest, until the rest is within the limit."""
    files: list[tuple[float, int, Any]] = []
    for path in folder.glob("*/*.safetensors"):
        with suppress(OSError):
            files.append((path.stat().st_mtime, path.stat().st_size, path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= LIMIT_BYTES:
            return
        path.unlink(missing_ok=True)
        total -= size
