"""Helpers for argument dataclasses: declare a flag, check values, defaults, and values that are not the default."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from ..errors import UserError

FAMILY_DEFAULTS: dict[str | None, dict[str, Any]] = {
    # Counting is cheap, and most n-grams are rare.
    "bag_of_ngrams": {"max_length": None, "tokenizer_min_frequency": 1, "tokenizer_vocab_size": 1_000_000}
}
"""Defaults of flags for a model type that replace those of the fields."""


def flag(text: str, default: Any = None, **metadata: Any) -> Any:
    """A field of an argument dataclass, with its help text and other metadata of `HfArgumentParser`."""
    return dataclasses.field(default=default, metadata={"help": text, **metadata})


def require(
    arguments: Any, names: Iterable[str], holds: Callable[[Any], bool], expected: str, otherwise: str = ""
) -> None:
    """Refuse values for which `holds` is false; None means not given and is skipped.

    Raises:
        UserError: names the flag, its value, and what it must be.
    """
    for name in names:
        value = getattr(arguments, name)
        if value is not None and not holds(value):
            shown = f"{value:g}" if isinstance(value, float) else value
            raise UserError(f"--{name} must be {expected}, but is {shown}{otherwise}.")


def differing(arguments: Any) -> dict[str, Any]:
    """The fields of an argument dataclass that differ from their defaults."""
    values = {f.name: (getattr(arguments, f.name), f) for f in dataclasses.fields(arguments) if f.init}
    return {
        name: value
        for name, (value, f) in values.items()
        if value != (f.default if f.default_factory is dataclasses.MISSING else f.default_factory())
    }
