"""Determine the roles of columns, above all the text and the label, from their names and types."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import UserError, listing, nearest
from .column_types import describe, inner, is_empty, is_float, is_integer, is_list, is_number, is_string

# In order of preference, compared in lower case.
TEXT_NAMES = (
    "text", "sentence", "review", "content", "document", "comment", "tweet", "message", "utterance", "body", "query",
    "question", "article", "abstract", "post", "news", "phrase", "statement", "transcript", "feedback", "description",
    "caption", "summary", "headline", "title", "input", "sequence", "name",
)  # fmt: skip
PAIR_NAMES = (
    ("premise", "hypothesis"), ("sentence1", "sentence2"), ("sentence_1", "sentence_2"), ("sentence_a", "sentence_b"),
    ("question1", "question2"), ("text1", "text2"), ("text_a", "text_b"), ("text", "text_pair"),
)  # fmt: skip
LABEL_NAMES = (
    "label", "labels", "target", "targets", "class", "classes", "category", "categories", "gold_label", "sentiment",
    "intent", "topic", "y",
)  # fmt: skip
# Names of ratings: used for the label if no name above occurs.
RATING_NAMES = (
    "rating", "score", "stars", "star_rating", "polarity", "emotion", "similarity", "similarity_score", "value",
)  # fmt: skip
_IDENTIFIER = re.compile(r"(.*_)?(id|idx|index|guid|uuid|uid|row)|unnamed: \d+|__index_level_\d+__")


@dataclass(frozen=True)
class Columns:
    """Roles of the columns. Several label columns are the binary indicators of a multi-label problem."""

    text: str
    text_pair: str | None
    label: str | tuple[str, ...] | None
    problem_type: str | None


def find_columns(
    features: Mapping[str, Any],
    *,
    text_column: str | None = None,
    text_pair_column: str | None = None,
    label_column: str | None = None,
    regression: bool = False,
    label_required: bool = True,
) -> Columns:
    """Find the text, its pair and the label among `features` (a `datasets.Features`).

    A column specified by the caller is used after a check of its type. Otherwise a single candidate is used, and of
    several candidates the one with a conventional name. If `label_required` is false and there is no recognisable
    label, `label` and `problem_type` are None.

    Raises:
        UserError: a named column is missing or has the wrong type, or the text or label has no or several candidates.
    """
    labels = tuple(part.strip() for part in label_column.split(",")) if label_column else ()
    if label_column is not None and label_column in features:
        labels = (label_column,)  # a name that contains a comma
    for flag, names in (("text_column", text_column), ("text_pair_column", text_pair_column), ("label_column", labels)):
        for name in (names,) if isinstance(names, str) else names or ():
            check_named(features, flag, name)
    taken = {*labels, text_pair_column}
    if text_column is not None:
        _check_text(features, "text_column", text_column)
    elif text_pair_column is None and (pair := conventional_pair(features, taken)):
        text_column, text_pair_column = pair
    else:
        text_column = _find_text(features, taken)
    if text_pair_column is not None:
        _check_text(features, "text_pair_column", text_pair_column)
        if text_pair_column == text_column:
            raise UserError(f"--text_column and --text_pair_column both name {text_column!r}: they must differ.")
    texts = {text_column, text_pair_column}
    if texts & set(labels):
        raise UserError(f"--label_column names {labels[0]!r}, which is already the text. {available(features)}")
    if not labels:
        found = _find_label(features, texts, regression, label_required)
        labels = (found,) if found is not None else ()
    elif not label_required and len(labels) == 1 and is_empty(features[labels[0]]):
        labels = ()
    if not labels:
        return Columns(text_column, text_pair_column, None, None)
    problem_type = _problem_type(features, labels, regression)
    return Columns(text_column, text_pair_column, labels[0] if len(labels) == 1 else labels, problem_type)


def _find_text(features: Mapping[str, Any], taken: set[str | None]) -> str:
    candidates = [name for name, feature in features.items() if is_string(feature) and name not in taken]
    conventional = _first_known(features, TEXT_NAMES[:4])
    if conventional and conventional not in taken and _first_known(candidates, TEXT_NAMES) is None:
        _check_text(features, "text_column", conventional)
    named = [name for name in candidates if not is_identifier(name)]
    others = [name for name in named if not is_label_name(name)]
    remaining = others or named or candidates
    if len(remaining) == 1 and (others or conventional is None):
        return remaining[0]
    if known := _first_known(remaining, TEXT_NAMES):
        return known
    unlike_labels = [name for name in remaining if not _words(name) & {*LABEL_NAMES, *RATING_NAMES}]
    for likely in (unlike_labels, [name for name in unlike_labels if _words(name) & set(TEXT_NAMES)]):
        if len(likely) == 1:
            return likely[0]
    trouble = "no column holds strings" if not candidates else f"candidates are {', '.join(map(repr, remaining))}"
    raise UserError(
        f"The text column cannot be determined: {trouble}. Specify it with --text_column. {available(features)}"
    )


def _find_label(features: Mapping[str, Any], texts: set[str | None], regression: bool, required: bool) -> str | None:
    usable = is_number if regression else _is_class_like
    candidates = [
        name for name, feature in features.items()
        if name not in texts and usable(feature) and (is_label_name(name) or not is_identifier(name))
    ]  # fmt: skip
    named = [name for name, kind in features.items() if "ClassLabel" in type(inner(kind)).__name__]
    floats = [name for name in candidates if is_float(features[name])]
    preferred = floats if regression else [name for name in named if name in candidates]
    if known := _first_known(candidates, LABEL_NAMES):
        return known
    if len(preferred) == 1:
        return preferred[0]
    if known := _first_known(preferred or candidates, RATING_NAMES):
        return known
    if regression and required:  # maybe numbers as strings; reading them reports the first row that is not a number
        strings = [name for name, feature in features.items() if name not in texts and is_string(feature)]
        if known := _first_known(strings, LABEL_NAMES + RATING_NAMES):
            return known
    likely = [name for name in candidates if _words(name) & set(LABEL_NAMES)]
    for few in (likely, candidates):
        if len(few) == 1:
            return few[0]
    if not regression and (known := _first_known((n for n in features if is_float(features[n])), LABEL_NAMES)):
        return known  # classes may be written as 1.0; reading them reports numbers that are no classes
    if not required:
        return None
    kind = "a number" if regression else "a class"
    if candidates:
        trouble = f"there are several candidates ({', '.join(map(repr, candidates))})"
        hint = "" if regression else "; for a multi-label problem, separate several binary columns by commas"
    elif empty := [name for name, feature in features.items() if is_empty(feature) and is_label_name(name)]:
        trouble, hint = f"the column {empty[0]!r} is empty", " if it is another column"
    else:
        trouble, hint = f"no column holds {kind}", ""
        if not regression and any(is_float(feature) for feature in features.values()):
            hint = ", or use --task regression to predict a number"
    raise UserError(f"The label column cannot be determined: {trouble}. Specify it with --label_column{hint}. "
                    f"{available(features)}")  # fmt: skip


def _problem_type(features: Mapping[str, Any], labels: tuple[str, ...], regression: bool) -> str:
    several = len(labels) > 1
    if regression:
        if several:
            raise UserError(f"--task regression predicts one number, but --label_column names {len(labels)} columns.")
        if not is_number(features[labels[0]]) and not is_string(features[labels[0]]):
            raise UserError(
                f"--task regression needs a numeric label column, but {labels[0]!r} is "
                f"{describe(features[labels[0]])}, not a number. {available(features)}"
            )
        return "regression"
    for name in labels:
        feature = features[name]
        usable = is_integer(feature) or is_float(feature) if several else _is_class_like(feature, floats=True)
        if not usable:
            expected = "integers or booleans, 0 or 1" if several else "classes, strings, integers or lists of them"
            raise UserError(
                f"The label column {name!r} is {describe(feature)}, but must hold {expected}. {available(features)}"
            )
    kind = "multi" if several or is_list(features[labels[0]]) else "single"
    return f"{kind}_label_classification"


def check_texts(split: Any, name: str, texts: Sequence[str], others: Sequence[str] = ()) -> None:
    """Raise `UserError` unless a split (a `datasets.Dataset`) has rows, these columns, and a text in every row."""
    if len(split) == 0:
        raise UserError(f"The split {name!r} is empty.")
    for column in (*texts, *others):
        if column not in split.column_names:
            raise UserError(f"The split {name!r} has no column {column!r}; it has {listing(split.column_names)}.")
    for column in texts:
        values = split.select_columns([column]).with_format("arrow")[:].column(0)
        if values.null_count:
            first = values.is_null().index(True).as_py()
            raise UserError(
                f"Row {first} of split {name!r} has no text in column {column!r} ({values.null_count:,} of "
                f"{len(split):,} rows have none): fill in or remove these rows."
            )


def conventional_pair(features: Mapping[str, Any], taken: set[str | None]) -> tuple[str, str] | None:
    """Return two columns of texts with conventional names of a pair, or None."""
    lower = {name.lower(): name for name in features if is_string(features[name]) and name not in taken}
    for first, second in PAIR_NAMES:
        if first in lower and second in lower:
            return lower[first], lower[second]
    return None


def is_identifier(name: str) -> bool:
    """Return whether this is a conventional name of a column of identifiers or row numbers."""
    return _IDENTIFIER.fullmatch(name.lower()) is not None


def _first_known(names: Iterable[str], known: tuple[str, ...]) -> str | None:
    lower = {name.lower(): name for name in reversed(list(names))}
    return next((lower[name] for name in known if name in lower), None)


def _words(name: str) -> set[str]:
    """Split a name into words: `reviewText` and `review_text` consist of "review" and "text"."""
    return set(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().replace("-", "_").replace(" ", "_").split("_"))


def is_label_name(name: str) -> bool:
    """Return whether this is a conventional name of a label column."""
    return name.lower() in LABEL_NAMES + RATING_NAMES


def check_named(
    features: Mapping[str, Any], flag: str, name: str, fits: Callable[[Any], bool] = lambda feature: True,
    wrong: str = "{}",
) -> None:  # fmt: skip
    """Raise `UserError` unless the column specified by `--flag` exists and `fits` accepts its type.

    `wrong` completes the message "The column is …"; {} stands for the type of the column.
    """
    if name not in features:
        raise UserError(f"There is no column {name!r} (--{flag}).{nearest(name, features)} {available(features)}")
    if not fits(features[name]):
        raise UserError(
            f"The column {name!r} (--{flag}) is {wrong.format(describe(features[name]))}. {available(features)}"
        )


def only_or_known(names: Sequence[str], known: tuple[str, ...]) -> str | None:
    """Return the single entry of `names`, else the first of `known` that it contains (ignoring case), else None."""
    return names[0] if len(names) == 1 else _first_known(names, known)


def _check_text(features: Mapping[str, Any], flag: str, name: str) -> None:
    if not is_string(features[name]):
        raise UserError(
            f"The text column {name!r} is {describe(features[name])}, not a string. Specify another column with "
            f"--{flag}. {available(features)}"
        )


def available(features: Mapping[str, Any]) -> str:
    """List the columns and their types in a sentence for the end of an error message."""
    shown = [f"{name!r} ({describe(feature)})" for name, feature in features.items()]
    rest = f" and {len(shown) - 30} more" if len(shown) > 30 else ""
    return f"The columns are {', '.join(shown[:30])}{rest}."


def _is_class_like(feature: Any, floats: bool = False) -> bool:
    held = inner(feature)
    return is_string(held) or is_integer(held) or ((floats or is_list(feature)) and is_float(held))
