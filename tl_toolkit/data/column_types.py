"""What a column holds, told from its feature: texts, numbers, lists, and how that is said."""

from __future__ import annotations

from typing import Any


def describe(feature: Any) -> str:
    """A feature in words: 'string', 'int64', '3 classes', 'list of string'."""
    if isinstance(feature, dict):
        return "struct"
    if is_list(feature):
        return f"list of {describe(inner(feature))}"
    if names := getattr(feature, "names", None):
        return f"{len(names)} classes"
    if is_empty(feature):
        return "empty"
    return str(getattr(feature, "dtype", type(feature).__name__)).removeprefix("large_")


def is_list(feature: Any) -> bool:
    """Whether the rows of a column are lists."""
    return isinstance(feature, list) or type(feature).__name__ in ("List", "LargeList", "Sequence")


def inner(feature: Any) -> Any:
    """What a column of lists holds, or the feature of any other column itself."""
    if isinstance(feature, list):
        return feature[0]
    return feature.feature if is_list(feature) else feature


def _dtype(feature: Any) -> str:
    return "" if isinstance(feature, dict) or is_list(feature) else str(getattr(feature, "dtype", ""))


def is_empty(feature: Any) -> bool:
    """Whether no row of a column has a value, so that it has no type either."""
    return _dtype(feature) == "null"


def is_string(feature: Any) -> bool:
    """Whether a column holds strings."""
    return _dtype(feature) in ("string", "large_string", "string_view")


def is_float(feature: Any) -> bool:
    """Whether a column holds real numbers."""
    return _dtype(feature).startswith(("float", "decimal"))


def is_integer(feature: Any) -> bool:
    """Whether a column holds whole numbers, booleans or class ids."""
    return _dtype(feature).startswith(("int", "uint", "bool"))


def is_number(feature: Any) -> bool:
    """Whether a column holds numbers that mean an amount, which class ids with names do not."""
    return is_float(feature) or (
        is_integer(feature) and not getattr(feature, "names", None) and not _dtype(feature).startswith("bool")
    )
