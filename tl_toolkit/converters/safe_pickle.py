"""Read files of other libraries without running any code in them.

A pickle is a program: it names classes and functions, and the reader calls them. The functions here only call those
that build tensors (torch's `weights_only`, or `RestrictedUnpickler`). If a library stores plain values in an object of
its own, an empty class of the toolkit replaces that object.
"""

from __future__ import annotations

import json
import pickle
import re
import zipfile
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, NamedTuple

import torch

from ..errors import UserError

# The class in an error message of torch.
_NAMED = re.compile(r"GLOBAL ([\w.]+) (?:was not|whose)|unrecognized function <[\w -]+ '?([\w.]+)")
_NEWEST_OF_TORCH = 2  # newest protocol that `weights_only` reads
_ADVICE = (
    "Save plain lists: in fastai pickle.dump(list(learn.dls.vocab), file) for a language model, and "
    "pickle.dump([list(part) for part in learn.dls.vocab], file) for a classifier (its second list holds the labels)."
)
# What torch calls to build a tensor from its storage, which it reads itself.
_BUILDERS: dict[str, Any] = {
    "collections.OrderedDict": OrderedDict,
    "torch._utils._rebuild_tensor_v2": torch._utils._rebuild_tensor_v2,
}


class PlainState:
    """Replaces an object of another library: stores the plain values from the file and runs no code."""

    def __new__(cls, *arguments: Any) -> PlainState:
        return super().__new__(cls)

    def __init__(self, *arguments: Any) -> None:
        pass


class Skipped(PlainState):
    """Replaces an object that is not needed: stores nothing."""

    def __setstate__(self, state: Any) -> None:
        pass


class ForbiddenError(Exception):
    """A pickle names a forbidden class or function; the message is its full name."""


class RestrictedUnpickler(pickle.Unpickler):
    """Builds strings, numbers and containers of Python, and calls only what `allowed` has by full name."""

    allowed: ClassVar[dict[str, Any]] = {}

    def find_class(self, module: str, name: str) -> Any:
        full_name = f"{module}.{name}"
        if full_name not in self.allowed:
            raise ForbiddenError(full_name)
        return self.allowed[full_name]


def read_tensors(path: Path, stand_ins: dict[str, type] | None = None) -> dict[str, Any]:
    """Read a file of `torch.save`, with tensors on the CPU.

    Args:
        stand_ins: replacement classes by full name of the original class.

    Raises:
        UserError: the file does not exist, was not written by torch, or contains other objects than tensors, plain
            containers and `stand_ins`.
    """
    stand_ins = stand_ins or {}
    check_exists(path)
    try:
        if _has_new_pickle(path):
            reader = type("Reader", (RestrictedUnpickler,), {"allowed": _BUILDERS | stand_ins})
            module = SimpleNamespace(__name__="restricted_pickle", Unpickler=reader)
            content = torch.load(path, map_location="cpu", pickle_module=module, weights_only=False)
        else:
            with torch.serialization.safe_globals([(stand_in, name) for name, stand_in in stand_ins.items()]):
                content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # other files can fail in any way
        found = _NAMED.search(str(error))
        named = str(error) if isinstance(error, ForbiddenError) else found and (found[1] or found[2])
        if named:
            raise UserError(
                f"The file {str(path)!r} contains an object of {named}, so reading it could run code from the file. "
                "Only tensors are read. If it is an exported Learner or a whole model that you trust, load it and save "
                "only its weights: in fastai with learn.save('weights', with_opt=False), otherwise with "
                "torch.save(model.state_dict(), 'weights.pth')."
            ) from error
        raise UserError(
            f"The file {str(path)!r} cannot be read as tensors saved by torch.save: it is damaged, truncated or of "
            "another type."
        ) from error
    if not isinstance(content, dict):
        raise UserError(
            f"The file {str(path)!r} contains a {type(content).__name__}, but must contain a state dict (a mapping "
            "from names to tensors)."
        )
    return content


def read_plain_pickle(path: Path) -> Any:
    """Read strings, numbers and containers of Python from a pickle.

    Raises:
        UserError: the file does not exist, is not a pickle, or names a class or function.
    """
    check_exists(path)
    with path.open("rb") as file:
        try:
            return RestrictedUnpickler(file).load()
        except ForbiddenError as error:
            raise UserError(
                f"The file {str(path)!r} contains an object of {error}, so reading it could run code from the file. "
                f"Only strings, numbers, lists and mappings are read. {_ADVICE}"
            ) from error
        except Exception as error:  # a damaged pickle can fail in any way
            raise UserError(f"The file {str(path)!r} is damaged or not a pickle. {_ADVICE}") from error


class Vocabulary(NamedTuple):
    """Tokens by id, and labels by id if the file has them."""

    tokens: list[str]
    labels: list[str] | None = None


def read_vocabulary(path: Path) -> Vocabulary:
    """Read a list of tokens, or a pair of lists (tokens and labels), from a pickle or a JSON file.

    Raises:
        UserError: the file does not exist, names a class or function, or contains other values than lists of strings.
    """
    check_exists(path)
    content = read_json(path) if path.suffix == ".json" else read_plain_pickle(path)
    if _is_strings(content):
        return Vocabulary(content)
    if isinstance(content, list) and len(content) == 2 and all(map(_is_strings, content)):
        return Vocabulary(*content)
    raise UserError(
        f"The vocabulary {str(path)!r} is neither a list of strings nor a pair of such lists, tokens and labels. "
        f"{_ADVICE}"
    )


def _is_strings(content: Any) -> bool:
    return isinstance(content, list) and bool(content) and all(isinstance(item, str) for item in content)


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises `UserError` if it is not valid JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"The file {str(path)!r} is not valid JSON: {error}.") from error


def write_plain_pickle(path: Path, content: list[Any]) -> None:
    """Pickle strings and lists in the protocol that fastai uses."""
    with path.open("wb") as file:
        pickle.dump(content, file, protocol=2)


def check_exists(path: Path) -> None:
    """Raise `UserError` if there is no file at `path`."""
    if not path.is_file():
        raise UserError(f"There is no file {str(path)!r}.")


def _has_new_pickle(path: Path) -> bool:
    """Whether the file is an archive with a pickle protocol that torch's `weights_only` cannot read, as Flair's are."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        ends = ("/data.pkl", "/constants.pkl")
        found = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith(ends)]
        if len(found) != 1 or not found[0].endswith(ends[0]):  # constants.pkl is in compiled models
            return False
        with archive.open(found[0]) as file:
            start = file.read(2)
    return start[:1] == pickle.PROTO and start[1] > _NEWEST_OF_TORCH
