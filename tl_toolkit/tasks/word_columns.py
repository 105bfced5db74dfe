"""Which column holds the words of a sentence and which their tags, and what both hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.columns import describe, is_integer, is_list, is_string
from ..errors import UserError, nearest
from .labels import NamedLabels, arrow_column, read_tags

if TYPE_CHECKING:
    from datasets import Dataset

# In order of preference, compared in lower case.
WORDS_NAMES = ("tokens", "words", "token", "word", "sentence", "text", "forms", "form")
TAGS_NAMES = (
    "ner_tags", "tags", "upos", "pos_tags", "labels", "label", "ner", "pos", "ner_labels", "tag", "chunk_tags", "xpos",
)  # fmt: skip


@dataclass(frozen=True)
class WordColumns:
    """The roles of a dataset's columns."""

    text: str
    label: str | None


def find_word_columns(
    features: Mapping[str, Any],
    text_column: str | None = None,
    label_column: str | None = None,
    label_required: bool = True,
) -> WordColumns:
    """Find the words (a list of strings) and their tags (a list of classes, strings or whole numbers).

    A column named by the caller is taken after a check of its type; otherwise one of a conventional name, or the only
    one of its type.

    Raises:
        UserError: a named column is missing or of a wrong type, or nothing or too much can be the words or the tags.
    """
    words_kind, tags_kind = "a list of strings", "a list of classes, strings or whole numbers"
    text = _find(features, "text_column", text_column, WORDS_NAMES, _is_words, words_kind, {label_column, *TAGS_NAMES})
    if text is None:
        raise _unclear(features, "words", words_kind, "text_column", _is_words, {label_column, *TAGS_NAMES})
    label = _find(features, "label_column", label_column, TAGS_NAMES, _is_tags, tags_kind, {text})
    if text == label_column:
        raise UserError(f"--text_column and --label_column both name {text!r}. {_available(features)}")
    if label is None and label_required:
        raise _unclear(features, "tags", tags_kind, "label_column", lambda feature: _is_tags(feature), {text})
    return WordColumns(text, label)


def _find(
    features: Mapping[str, Any], flag: str, named: str | None, conventional: tuple[str, ...],
    fits: Callable[[Any], bool], kind: str, taken: set[Any],
) -> str | None:  # fmt: skip
    if named is not None:
        if named not in features:
            raise UserError(
                f"There is no column {named!r} (--{flag}).{nearest(named, features)} {_available(features)}"
            )
        if not fits(features[named]):
            raise UserError(
                f"The column {named!r} (--{flag}) is {describe(features[named])}, where {kind} is expected: "
                f"--task token-classification labels every word of a sentence. {_available(features)}"
            )
        return named
    candidates = {name.lower(): name for name in reversed(list(features)) if fits(features[name]) and name not in taken}
    known = next((candidates[name] for name in conventional if name in candidates), None)
    return known or (next(iter(candidates.values())) if len(candidates) == 1 else None)


def _unclear(
    features: Mapping[str, Any], what: str, kind: str, flag: str, fits: Callable[[Any], bool], taken: Any = ()
) -> UserError:
    several = [repr(name) for name, feature in features.items() if fits(feature) and name not in taken]
    others = [repr(name) for name, feature in features.items() if fits(feature) and name in taken]
    beside = f" beside {', '.join(others)}" if others else ""
    if several:
        trouble = f"several columns could be it ({', '.join(several)})"
    else:
        trouble = f"no column{beside} holds {kind} (in a csv file none can; in JSON Lines or Parquet it can)"
    return UserError(f"The column with the {what} is not clear: {trouble}. Name it by --{flag}. {_available(features)}")


def _inner(feature: Any) -> Any:
    return feature[0] if isinstance(feature, list) else feature.feature


def _is_words(feature: Any) -> bool:
    return is_list(feature) and is_string(_inner(feature))


def _is_tags(feature: Any) -> bool:
    return is_list(feature) and (is_string(_inner(feature)) or is_integer(_inner(feature)))


def _available(features: Mapping[str, Any]) -> str:
    return f"The columns are {', '.join(f'{name!r} ({describe(feature)})' for name, feature in features.items())}."


def read_words(split: Dataset, split_name: str, column: str) -> Any:
    """The words of every row, an Arrow array of lists of strings.

    Raises:
        UserError: the split is empty, lacks the column, or a row or a word is missing.
    """
    if len(split) == 0:
        raise UserError(f"The split {split_name!r} is empty: it has no row.")
    if column not in split.column_names:
        raise UserError(f"The split {split_name!r} has no column {column!r}; it has {', '.join(split.column_names)}.")
    import pyarrow as pa
    import pyarrow.compute as pc

    lists = arrow_column(split, column).cast(pa.large_list(pa.large_string()))
    if lists.null_count:
        row = lists.is_null().index(True).as_py()
        raise UserError(f"Row {row} of column {column!r} in split {split_name!r} has no words: fill or remove it.")
    words = pc.list_flatten(lists)
    if words.null_count:
        row = pc.list_parent_indices(lists)[words.is_null().index(True).as_py()].as_py()
        raise UserError(f"Row {row} of column {column!r} in split {split_name!r} has a missing word in its list.")
    return lists


def read_word_tags(split: Dataset, split_name: str, columns: WordColumns, words: Any) -> NamedLabels:
    """The tags of every row, one for each of its words.

    Raises:
        UserError: as `read_tags`; a row with another number of tags than of words.
    """
    import pyarrow.compute as pc

    assert columns.label is not None
    if columns.label not in split.column_names:
        raise UserError(
            f"The split {split_name!r} has no column {columns.label!r}; it has {', '.join(split.column_names)}."
        )
    tags = read_tags(split, columns.label, split_name)
    assert tags.rows is not None
    expected = pc.list_value_length(words).to_numpy(zero_copy_only=False)
    found = np.bincount(tags.rows, minlength=len(expected))
    if (wrong := np.flatnonzero(tags.labelled & (found != expected))).size:
        row = int(wrong[0])
        raise UserError(
            f"Row {row} of split {split_name!r} has {expected[row]} words in column {columns.text!r} and {found[row]} "
            f"tags in column {columns.label!r}: one tag for each word is expected."
        )
    return tags


def tag_ids(tags: NamedLabels, classes: list[str], where: str) -> list[np.ndarray]:
    """The class ids of every row's tags, empty for rows without tags.

    Raises:
        UserError: a tag that is none of `classes`.
    """
    from .labels import encode

    ids = encode(replace(tags, rows=None), classes, where)
    assert tags.rows is not None
    counts = np.bincount(tags.rows, minlength=len(tags.labelled))
    return np.split(ids, np.cumsum(counts)[:-1])
