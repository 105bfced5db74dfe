"""torch.save's archives of pickle protocol 3 and newer, which torch's own restricted reader does not know.

Flair writes them. An archive is a zip file of one pickle and one file of raw numbers for each storage.
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NoReturn

import torch
from torch import Tensor

_NEWEST_OF_TORCH = 2  # the protocol that `weights_only` reads
_DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "BoolStorage": torch.bool,
}


class ForbiddenError(Exception):
    """The full name of a class or function in a pickle that is not to be called."""


class RestrictedUnpickler(pickle.Unpickler):
    """Builds strings, numbers and the containers of Python, and calls nothing but what it is given.

    Args:
        file: the pickle.
        allowed: full names as in the pickle, and what stands for each.
    """

    def __init__(self, file: IO[bytes], allowed: dict[str, Any]) -> None:
        super().__init__(file)
        self.allowed = allowed

    def find_class(self, module: str, name: str) -> Any:
        full_name = f"{module}.{name}"
        if full_name not in self.allowed:
            raise ForbiddenError(full_name)
        return self.allowed[full_name]

    def persistent_load(self, pid: Any) -> Any:
        return self._no_storage(pid)

    def _no_storage(self, pid: Any) -> NoReturn:
        raise ForbiddenError("a storage outside the pickle")


def needs_own_reader(path: Path) -> bool:
    """Whether the file is an archive of a protocol that torch's `weights_only` cannot read."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive, archive.open(_pickle_name(archive)) as file:
        start = file.read(2)
    return start[:1] == pickle.PROTO and start[1] > _NEWEST_OF_TORCH


def load_archive(path: Path, stand_ins: dict[str, type]) -> Any:
    """The content of an archive, with tensors on the CPU; `stand_ins` as in `read_tensors`.

    Raises:
        ForbiddenError: it names a class or function that is neither a tensor's nor a plain container's.
    """
    with zipfile.ZipFile(path) as archive:
        name = _pickle_name(archive)
        folder = name.removesuffix("data.pkl")
        storages: dict[str, Tensor] = {}

        def storage(pid: Any) -> Tensor:
            _, dtype, key, _, _ = pid
            if key not in storages:
                numbers = bytearray(archive.read(f"{folder}data/{key}"))
                storages[key] = torch.frombuffer(numbers, dtype=dtype) if numbers else torch.empty(0, dtype=dtype)
            return storages[key]

        allowed = {
            **{f"torch.{name}": dtype for name, dtype in _DTYPES.items()},
            "torch._utils._rebuild_tensor_v2": _rebuild,
            "collections.OrderedDict": OrderedDict,
            **stand_ins,
        }
        with archive.open(name) as file:
            return _ArchiveUnpickler(file, allowed, storage).load()


class _ArchiveUnpickler(RestrictedUnpickler):
    def __init__(self, file: IO[bytes], allowed: dict[str, Any], storage: Callable[[Any], Tensor]) -> None:
        super().__init__(file, allowed)
        self.storage = storage

    def persistent_load(self, pid: Any) -> Any:
        return self.storage(pid)


def _rebuild(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    """A tensor from its storage; torch checks that it lies within."""
    return storage.as_strided(size, stride, offset).clone()


def _pickle_name(archive: zipfile.ZipFile) -> str:
    """The pickle of the archive, in the one folder at its top. Raises KeyError when there is none."""
    for name in archive.namelist():
        if name.count("/") == 1 and name.endswith("/data.pkl"):
            return name
    raise KeyError("data.pkl")
