"""`--config_overrides key=value,key=value`, typed by the annotations of the configuration class."""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from typing import TYPE_CHECKING, Any

import yaml

from ..errors import UserError, nearest

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

_LONGEST = 1000  # characters of a value that is no text
_COMMA_OUTSIDE_BRACKETS = re.compile(r",(?![^\[]*\])(?![^{]*\})")


def parse_overrides(text: str | None, config_class: type[PreTrainedConfig]) -> dict[str, Any]:
    """The overrides in `text`, with values of the types that `config_class` declares.

    Raises:
        UserError: an unknown key, or a value of the wrong type.
    """
    overrides: dict[str, Any] = {}
    if not text:
        return overrides
    hints = _annotations(config_class)
    for key, value in override_texts(text).items():
        name = config_class.attribute_map.get(key, key)
        if name not in hints:
            known = sorted({*hints, *config_class.attribute_map})
            raise UserError(
                f"Unknown key {key!r} in --config_overrides: {config_class.__name__} has no such field."
                f"{nearest(key, known)} Its fields are {', '.join(known)}."
            )
        overrides[name] = _typed(key, value, hints[name], config_class)
    return overrides


def override_texts(text: str) -> dict[str, str]:
    """The values in `key=value,key=value` as text. The last value of a repeated key counts.

    Raises:
        UserError: a part does not look like `key=value`.
    """
    values: dict[str, str] = {}
    for part in _COMMA_OUTSIDE_BRACKETS.split(text):
        key, separator, value = (piece.strip() for piece in part.partition("="))
        if not separator or not key:
            raise UserError(f"--config_overrides must look like key=value,key=value, but has {part!r}.")
        values[key] = value
    return values


def _annotations(config_class: type[PreTrainedConfig]) -> dict[str, Any]:
    """The types of the fields that a user may set, by name, without those that the toolkit or transformers sets."""
    import torch

    hints = typing.get_type_hints(config_class, localns={"torch": torch})  # imported for type checkers only
    managed = {"transformers_version", "architectures", "auto_map", "dtype", "model_type"}
    managed |= {"id2label", "label2id", "num_labels", "problem_type"}  # set by the task
    managed |= {"num_input_features", "prediction_length", "context_length"}  # set by the series
    managed |= {"num_ngrams"}  # set by the training texts
    managed |= {"vocab_size", "pad_token_id", "bos_token_id", "eos_token_id"}  # set by the tokenizer
    return {f.name: hints[f.name] for f in dataclasses.fields(config_class) if f.init and f.name not in managed}


def _typed(key: str, text: str, hint: Any, config_class: type) -> Any:
    try:
        value = yaml.safe_load(text) if 0 < len(text) < _LONGEST else text
    except yaml.YAMLError:
        value = text
    for candidate in _alternatives(hint):
        if candidate is Any:
            return value
        if candidate is float:  # YAML reads 1e-3 as a string
            try:
                return float(text)
            except ValueError:
                continue
        if typing.get_origin(candidate) is typing.Literal:
            choices = typing.get_args(candidate)
            match = next((choice for choice in choices if str(choice) == text), None)
            if match is not None:
                return match
            continue
        kind = typing.get_origin(candidate) or candidate
        if candidate is type(None):
            if text.lower() in ("none", "null"):
                return None
        elif kind is int:
            if isinstance(value, int) and not isinstance(value, bool):
                return value
        elif kind is str:
            return text
        elif isinstance(kind, type) and isinstance(value, kind):
            return value
    accepted = " or ".join(map(_describe, _alternatives(hint)))
    raise UserError(f"{config_class.__name__}.{key} in --config_overrides must be {accepted}, but is {text!r}.")


def _describe(hint: Any) -> str:
    if typing.get_origin(hint) is typing.Literal:
        return ", ".join(repr(choice) for choice in typing.get_args(hint))
    return "none" if hint is type(None) else getattr(hint, "__name__", str(hint))


def _alternatives(hint: Any) -> list[Any]:
    """The members of a union (or `hint` alone), the most specific first: none, bool, int, float, others, str."""
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    members = list(typing.get_args(hint)) if union else [hint]
    order = {type(None): 0, bool: 1, int: 2, float: 3, str: 5}
    return sorted(members, key=lambda member: order.get(member, 4))
