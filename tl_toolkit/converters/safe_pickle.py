"""Read other libraries' files without running anything that stands in them.

A pickle is a program: it names classes and functions, and the reader calls them. Here nothing is called that a file
names, but for what builds tensors (torch's `weights_only`) and, where a library keeps plain values in an object of its
own beside its tensors, an empty class of ours in that object's place.
"""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any, NoReturn

import torch

from ..errors import UserError
from .archive import ForbiddenError, RestrictedUnpickler, load_archive, needs_own_reader

# How torch says which class it refused.
_NAMED = re.compile(r"GLOBAL ([\w.]+) (?:was not|whose)|unrecognized function <[\w -]+ '?([\w.]+)")


class PlainState:
    """Stands for an object of another library: keeps the plain values that the file gives it, and does nothing."""

    def __new__(cls, *arguments: Any) -> PlainState:
        return super().__new__(cls)

    def __init__(self, *arguments: Any) -> None:
        pass


class Skipped(PlainState):
    """Stands for an object that nobody reads: keeps nothing."""

    def __setstate__(self, state: Any) -> None:
        pass


def read_tensors(path: Path, stand_ins: dict[str, type] | None = None) -> dict[str, Any]:
    """What `torch.save` wrote, with tensors on the CPU.

    Args:
        path: the file.
        stand_ins: full names of foreign classes, and the class of ours that takes the place of each.

    Raises:
        UserError: no such file; not a file of torch; anything in it but tensors, plain containers and `stand_ins`.
    """
    stand_ins = stand_ins or {}
    check_exists(path)
    try:
        if needs_own_reader(path):
            content = load_archive(path, stand_ins)
        else:
            with torch.serialization.safe_globals([(stand_in, name) for name, stand_in in stand_ins.items()]):
                content = torch.load(path, map_location="cpu", weights_only=True)
    except ForbiddenError as error:
        _refuse(path, str(error), error)
    except Exception as error:  # what is no such file can fail in any way
        named = _NAMED.search(str(error))
        _refuse(path, (named[1] or named[2]) if named else None, error)
    if not isinstance(content, dict):
        raise UserError(
            f"The file {str(path)!r} holds a {type(content).__name__}, where a mapping of names to tensors is expected "
            "(a state dict)."
        )
    return content


def _refuse(path: Path, name: str | None, error: Exception) -> NoReturn:
    if name is None:
        raise UserError(
            f"The file {str(path)!r} is not a file of tensors that torch.save wrote: it is damaged, cut off or of "
            "another kind."
        ) from error
    raise UserError(
        f"The file {str(path)!r} holds an object of {name}, and reading it could run code from the file. Only tensors "
        "are read. An exported Learner or a whole model is such an object: load it where you trust it, and save its "
        "weights alone, in fastai with learn.save('weights', with_opt=False), else with torch.save(model.state_dict(), "
        "'weights.pth')."
    ) from error


def read_plain_pickle(path: Path, advice: str) -> Any:
    """Strings, numbers and the containers of Python from a pickle.

    Args:
        path: the file.
        advice: what to do when there is anything else, a sentence.

    Raises:
        UserError: no such file, not a pickle, or any class or function in it.
    """
    check_exists(path)
    with path.open("rb") as file:
        try:
            return RestrictedUnpickler(file, {}).load()
        except ForbiddenError as error:
            raise UserError(
                f"The file {str(path)!r} holds an object of {error}, and reading it could run code from the file. "
                f"Only strings, numbers, lists and mappings are read. {advice}"
            ) from error
        except Exception as error:  # a damaged pickle can fail in any way
            raise UserError(f"The file {str(path)!r} is not a pickle, or is damaged. {advice}") from error


def write_plain_pickle(path: Path, content: list[Any]) -> None:
    """Pickle strings and lists in the protocol that fastai uses."""
    with path.open("wb") as file:
        pickle.dump(content, file, protocol=2)


def check_exists(path: Path) -> None:
    """Raises UserError when there is no file at `path`."""
    if not path.is_file():
        raise UserError(f"There is no file {str(path)!r}.")
