"""The fields of argument dataclasses: how a flag is declared, what its value may be, and which were given."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from ..errors import UserError


def flag(text: str, default: Any = None, **metadata: Any) -> Any:
    """A field of a dataclass of arguments, with its help text, and what else `HfArgumentParser` knows."""
    return dataclasses.field(default=default, metadata={"help": text, **metadata})


def require(
    arguments: Any, names: Iterable[str], holds: Callable[[Any], bool], expected: str, otherwise: str = ""
) -> None:
    """Refuse values that do not hold; None is left alone, since it means that nothing was asked for.

    Raises:
        UserError: names the flag, the value, and what was expected.
    """
    for name in names:
        value = getattr(arguments, name)
        if value is not None and not holds(value):
            shown = f"{value:g}" if isinstance(value, float) else value
            raise UserError(f"--{name} is {shown}, where {expected} is expected{otherwise}.")


def differing(arguments: Any) -> dict[str, Any]:
    """The fields of an argument dataclass that differ from their defaults."""
    values = {f.name: (getattr(arguments, f.name), f) for f in dataclasses.fields(arguments) if f.init}
    return {
        name: value
        for name, (value, f) in values.items()
        if value != (f.default if f.default_factory is dataclasses.MISSING else f.default_factory())
    }
