"""Checks of the values in a grid file; each error names the key, its place and the expected value."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

from ...config.parsing import RENAMED
from ...errors import UserError, nearest
from ...evaluation.results import folder_name

ALL = "all"


def expect(valid: object, key: str, value: Any, where: str, expected: str) -> None:
    """Raise a `UserError` that names the key, its place, the `expected` value and the actual one, unless `valid`."""
    if not valid:
        raise UserError(f"{key!r} in {where} must be {expected}, but is {value!r}.")


def expect_known(key: Any, known: Collection[str], where: str, hint: str = "") -> None:
    """Raise a `UserError` that names the nearest known key, unless `key` is known."""
    if key not in known and (today := RENAMED.get(str(key))) is not None:
        raise UserError(f"The key {key!r} of older versions of transformers, in {where}, is now {today}.")
    if key not in known:
        raise UserError(f"Unknown key {key!r} in {where}.{nearest(str(key), known)}{hint}")


def is_whole(value: Any, least: int) -> bool:
    """Whether `value` is a whole number of `least` or more; booleans are not."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_number(value: Any) -> bool:
    """Whether `value` is a finite number; booleans are not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def is_budget(value: Any) -> bool:
    """Whether `value`, as returned by `as_budget`, is a budget."""
    return value is None or is_whole(value, 1)


def as_budget(value: Any) -> Any:
    """`value` as a budget: None for `all` and null, a number for digits; anything else is returned unchanged."""
    if isinstance(value, str):
        return None if value.lower() in (ALL, "none", "null") else int(value) if value.isdecimal() else value
    return value


def by_name(given: Any, key: str, what: str, where: str) -> dict[str, dict[str, Any]]:
    """The mappings of a list by their `name`; the name itself is removed from each.

    Args:
        what: a noun for one mapping, used in errors.

    Raises:
        UserError: `given` is not a list of mappings, a name is missing, or two names map to the same folder.
    """
    mappings = given if isinstance(given, list) and all(isinstance(own, dict) for own in given) else []
    expect(mappings, key, given, where, "a list of mappings, each with a 'name'")
    named: dict[str, dict[str, Any]] = {}
    for number, own in enumerate(mappings, 1):
        name = own.get("name")
        if not isinstance(name, str) or not name.strip() or name in named:
            problem = "has no name" if name is None else f"has {name!r}, which is taken or is not a text"
            raise UserError(f"Each {what} in {where} needs a unique 'name', but {what} {number} {problem}.")
        if same := next((other for other in named if folder_name(other) == folder_name(name)), None):
            raise UserError(f"Rename one of the {key} {same!r} and {name!r} of {where}: they would share a folder.")
        named[name] = {key: value for key, value in own.items() if key != "name"}
    return named
