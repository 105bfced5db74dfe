"""The columns of a new dataset that a trained model reads: those that it was trained on."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..data.column_roles import available, is_label_name
from ..data.column_types import inner, is_list, is_string
from ..errors import UserError

if TYPE_CHECKING:
    from ..config.arguments import DataArguments

logger = logging.getLogger(__name__)

# Roles in a record, and the arguments that name their columns. The columns of a forecast are part of its processing.
_INPUTS = {
    "text": "text_column",
    "text_pair": "text_pair_column",
    "source": "source_column",
    "image": "image_column",
}
_TARGETS = {"label": "label_column", "target": "target_column", "caption": "text_column"}
_PREPARED_TARGETS = frozenset(("label", "tags", "target", "captions"))
_LANGUAGES = {"source_column": "source_lang", "target_column": "target_lang"}  # name a column as well


def as_trained(arguments: DataArguments, columns: Mapping[str, Any], features: Mapping[str, Any]) -> DataArguments:
    """Return the arguments with the columns that a model was trained on, unless they name others.

    A trained target that the dataset does not have is left to be found, because prediction needs none. If the dataset
    has a single column of texts under another name than in training, it is used, with a warning.

    Args:
        columns: names by role, as in a record; empty if they are not known.
        features: those of the split that is predicted.

    Raises:
        UserError: a trained input is not in the dataset.
    """
    named: dict[str, Any] = {}
    for role, flag in _TARGETS.items():
        if (column := columns.get(role)) and not _is_named(arguments, flag) and _has(column, features):
            named[flag] = column
    taken = {*named.values(), *str(arguments.label_column).split(",")}
    for role, flag in _INPUTS.items():
        if not (column := columns.get(role)) or _is_named(arguments, flag):
            continue
        if not _has(column, features):
            column = _only_text(role, column, flag, features, taken)
        named[flag] = column
    return replace(arguments, **named)


def warn_about_other_targets(
    columns: Mapping[str, Any], arguments: DataArguments, found: Any, prepared: Iterable[str]
) -> None:
    """Warn if predictions are compared with another column than the model was trained on.

    Args:
        arguments: those of the user; a column that they name needs no warning.
        found: the columns that were found, with an attribute for each role.
        prepared: the columns of the prepared rows, which tell whether the targets could be used.
    """
    if _PREPARED_TARGETS.isdisjoint(prepared):
        return
    for role, flag in _TARGETS.items():
        trained, used = columns.get(role), getattr(found, role, None)
        used = ",".join(used) if isinstance(used, tuple) else used
        if trained and used and used != trained and not _is_named(arguments, flag):
            logger.warning(
                "The dataset has no column %r, the %s in training: the predictions are compared with %r instead. Name "
                "another column with --%s.",
                trained, role, used, flag,
            )  # fmt: skip


def _is_named(arguments: DataArguments, flag: str) -> bool:
    return any(getattr(arguments, name, None) is not None for name in (flag, _LANGUAGES.get(flag, flag)))


def _has(column: str, features: Mapping[str, Any]) -> bool:
    """Whether the dataset has a column, all of several separated by commas, or an entry of a column `translation`."""
    entries = getattr(features.get("translation"), "languages", None) or features.get("translation") or ()
    return column in features or column in entries or {part.strip() for part in column.split(",")} <= set(features)


def _only_text(role: str, trained: str, flag: str, features: Mapping[str, Any], taken: set[str]) -> str:
    texts = [
        name
        for name, kind in features.items()
        if is_string(inner(kind) if is_list(kind) else kind) and name not in taken and not is_label_name(name)
    ]
    if role in ("text", "source") and len(texts) == 1:
        logger.warning(
            "The dataset has no column %r, on which the model was trained: its only column of texts, %r, is used "
            "instead.",
            trained, texts[0],
        )  # fmt: skip
        return texts[0]
    raise UserError(
        f"The model was trained on the {role} column {trained!r}, which the dataset does not have. Name the column to "
        f"read with --{flag}. {available(features)}"
    )
