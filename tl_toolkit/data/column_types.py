"""Classify columns by their feature (text, number, list) and describe the type in words."""

from __future__ import annotations

from typing import Any


def describe(feature: Any) -> str:
    """Describe a feature in words: 'string', 'int64', '3 classes', 'list of string'."""
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
    """Return whether the rows of a column are lists."""
    return isinstance(feature, list) or type(feature).__name__ in ("List", "LargeList", "Sequence")


def inner(feature: Any) -> Any:
    """Return the element type of a column of lists; other features are returned unchanged."""
    if isinstance(feature, list):
        return feature[0]
    return feature.feature if is_list(feature) else feature


def _dtype(feature: Any) -> str:
    return "" if isinstance(feature, dict) or is_list(feature) else str(getattr(feature, "dtype", ""))


def is_empty(feature: Any) -> bool:
    """Return whether a column has no values and therefore no type."""
    return _dtype(feature) == "null"


def is_string(feature: Any) -> bool:
    """Return whether a column holds strings."""
    return _dtype(feature) in ("string", "large_string", "string_view")


def is_float(feature: Any) -> bool:
    """Return whether a column holds real numbers."""
    return _dtype(feature).startswith(("float", "decimal"))


def is_integer(feature: Any) -> bool:
    """Return whether a column holds integers, booleans or class ids."""
    return _dtype(feature).startswith(("int", "uint", "bool"))


def is_number(feature: Any) -> bool:
    """Return whether a column holds quantities: real numbers or integers, but not booleans or named classes."""
    return is_float(feature) or (
        is_integer(feature) and not getattr(feature, "names", None) and not _dtype(feature).startswith("bool")
    )
