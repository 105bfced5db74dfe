"""Checks of the values in a grid file: each wrong one is named with its key, its place, and what would do."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

from ...errors import UserError, nearest
from ...evaluation.results import folder_name

ALL = "all"


def expect(valid: object, key: str, value: Any, where: str, expected: str) -> None:
    """Raise a `UserError` that names the key, its value, its place and what is `expected`, unless it is `valid`."""
    if not valid:
        raise UserError(f"{key!r} in {where} is {value!r}; expected {expected}.")


def expect_known(key: Any, known: Collection[str], where: str, hint: str = "") -> None:
    """Raise a `UserError` that names the nearest known key, unless `key` is known."""
    if key not in known:
        raise UserError(f"Unknown key {key!r} in {where}.{nearest(str(key), known)}{hint}")


def is_whole(value: Any, least: int) -> bool:
    """Whether `value` is a whole number of `least` or more, and no truth value."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_number(value: Any) -> bool:
    """Whether `value` is a finite number, and no truth value."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def is_budget(value: Any) -> bool:
    """Whether `value`, read by `as_budget`, is a budget."""
    return value is None or is_whole(value, 1)


def as_budget(value: Any) -> Any:
    """`all` and null as None, the digits of a text as their number, anything else as it is."""
    if isinstance(value, str):
        return None if value.lower() in (ALL, "none", "null") else int(value) if value.isdecimal() else value
    return value


def by_name(given: Any, key: str, what: str, where: str) -> dict[str, dict[str, Any]]:
    """The mappings of a list by their `name`, and without it.

    Args:
        what: a word for one of them.

    Raises:
        UserError: no list of mappings, one without a name, or two whose names would make the same folder.
    """
    mappings = given if isinstance(given, list) and all(isinstance(own, dict) for own in given) else []
    expect(mappings, key, given, where, "a list of mappings, each with a 'name'")
    named: dict[str, dict[str, Any]] = {}
    for number, own in enumerate(mappings, 1):
        name = own.get("name")
        if not isinstance(name, str) or not name.strip() or name in named:
            problem = "it has none" if name is None else f"{name!r} is taken or is not a text"
            raise UserError(f"{what.capitalize()} {number} in {where} needs a 'name' of its own: {problem}.")
        if same := next((other for other in named if folder_name(other) == folder_name(name)), None):
            raise UserError(f"The {key} {same!r} and {name!r} of {where} would share a folder: rename one of them.")
        named[name] = {key: value for key, value in own.items() if key != "name"}
    return named
