"""Find the text, the label and the task by what the columns contain, whatever their names."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import UserError
from .column_roles import LABEL_NAMES, RATING_NAMES, conventional_pair, is_identifier
from .column_types import inner, is_empty, is_float, is_integer, is_list, is_string
from .tokenizers import kind_for

if TYPE_CHECKING:
    from datasets import Dataset

CLASSIFICATION, REGRESSION, TAGGING = "text-classification", "regression", "token-classification"
_READ = 2000  # rows that are read, evenly spaced
_NO_USUAL_NAME = 2
_TRIED = 1000  # of them, for a linear model that predicts a label
_MOST_CLASSES = 50
_FEW_NUMBERS = 20  # real numbers with fewer different whole values are classes
_SPLITS = ("split", "fold", "set", "partition", "subset")
_IDEOGRAPHS = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\u0e00-\u0e7f]")  # scripts without spaces


class Roles(NamedTuple):
    """The task and its columns; None where conventional names decide. `others`: further candidates for the label."""

    task: str
    text: str | None
    label: str | None
    others: list[str]


@dataclass(frozen=True, eq=False)
class _Column:
    name: str
    feature: Any
    values: list[Any]  # without missing ones

    @property
    def distinct(self) -> int:
        return len({tuple(own) if isinstance(own, list) else own for own in self.values})

    @property
    def labels(self) -> set[Any]:
        """The different values, of lists those within."""
        return {part for own in self.values for part in (own if isinstance(own, list) else [own])}

    @property
    def is_whole(self) -> bool:
        return all(float(own).is_integer() for own in self.values)

    def text_score(self) -> tuple[float, float]:
        """Words, and characters, of a mean text, times the share of different texts."""
        texts = [" ".join(own) if isinstance(own, list) else own for own in self.values]
        words = [len(text.split()) + len(_IDEOGRAPHS.findall(text)) / 2 for text in texts]
        share = self.distinct / max(len(texts), 1)
        return round(float(np.mean(words)), 1) * share, float(np.mean([len(text) for text in texts])) * share


def roles_by_content(
    split: Dataset, task: str | None = None, text_column: str | None = None, label_column: str | None = None
) -> Roles:
    """The roles of the columns of a table. What the caller names is kept.

    The text is the string column whose texts are longest and most varied; the label is the column with the fewest
    different values, which repeat, else one of many different numbers, which makes it a regression; between columns
    without a usual name, one that the words of the texts predict comes first. Lists of
    words beside lists of as many tags are tagging; other lists are several labels.

    Raises:
        UserError: no column can be the text or the label.
    """
    rows = np.unique(np.linspace(0, max(len(split) - 1, 0), min(_READ, len(split))).astype(int))
    table = split.select(rows)
    columns = [
        _Column(name, feature, [own for own in table[name] if own is not None and own != ""])
        for name, feature in split.features.items()
        if not isinstance(feature, dict) and not is_empty(feature)
    ]
    columns = [column for column in columns if column.values]
    named = set((label_column or "").split(",")) | {label_column}
    if task in (None, TAGGING) and (pair := _tagging(columns, text_column, label_column)):
        return Roles(TAGGING, *pair, [])
    if task == TAGGING:
        return Roles(TAGGING, text_column, label_column, [])  # the task says what is missing
    texts = [column for column in columns if is_string(column.feature) and column.name not in named]
    pair = conventional_pair(split.features, named)
    if text_column is None and not pair:
        if not texts:
            raise UserError(f"No column holds texts. {_described(columns)} Name it with --text_column.")
        likely = [own for own in texts if not is_identifier(own.name)] or texts
        text_column = max(likely, key=_Column.text_score).name
    if label_column is not None:
        kind = next((own for own in columns if own.name == label_column), None)
        numbers = kind is not None and _is_quantity(kind)
        return Roles(task or (REGRESSION if numbers else CLASSIFICATION), text_column, label_column, [])
    rest = [column for column in columns if column.name not in {text_column, *(pair or ())}]
    classes = sorted(filter(_is_class, rest), key=_preference)
    quantities = sorted(filter(_is_quantity, rest), key=_preference)
    if task == REGRESSION:
        found = quantities or [own for own in classes if is_integer(own.feature)]
    elif task is None:
        found = sorted([*classes, *quantities], key=_named_rank)
    else:
        found = classes
    if not found:
        raise UserError(
            f"No column can be the label: it must have few values that repeat, such as classes, or numbers. "
            f"{_described(rest) if rest else f'The only column is {text_column!r}.'} Add a column with the answer for "
            "each text, or name it with --label_column."
        )
    if len(found) > 1 and _named_rank(found[0]) == _NO_USUAL_NAME:
        texts_of = table[text_column if text_column is not None or not pair else pair[0]]
        told = {own.name for own in found if _is_told(texts_of, table[own.name], own in quantities)}
        found = sorted(found, key=lambda own: own.name not in told)
    what = task or (REGRESSION if found[0] in quantities else CLASSIFICATION)
    return Roles(what, text_column, found[0].name, [own.name for own in found[1:]])


def _is_told(texts: Sequence[str | None], labels: Sequence[Any], quantity: bool) -> bool:
    """Whether the words, or the characters of single words, predict the labels beyond chance: others are no labels.

    Cohen's kappa, or for a quantity the correlation, of a cross-validated linear model against two standard errors of
    it without agreement.
    """
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.metrics import cohen_kappa_score
    from sklearn.model_selection import cross_val_predict

    rows = [(text, own) for text, own in zip(texts, labels, strict=True) if text and own not in (None, "")][:_TRIED]
    answers = [own if quantity else str(own) for _, own in rows]
    told_by = {"analyzer": "char_wb", "ngram_range": (1, 3)} if kind_for(text for text, _ in rows) == "char" else {}
    vectorizer = HashingVectorizer(n_features=2**13, alternate_sign=False, **told_by)
    features = vectorizer.transform([text for text, _ in rows])
    model = Ridge() if quantity else LogisticRegression(class_weight="balanced", max_iter=200)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes with fewer rows than folds
        found = cross_val_predict(model, features, answers, cv=3)
    if quantity:
        agreement = np.corrcoef(np.asarray(answers, dtype=float), found)[0, 1]
    else:
        agreement = cohen_kappa_score(answers, found)
    return bool(agreement > 2 / len(answers) ** 0.5)


def _tagging(columns: Sequence[_Column], text: str | None, label: str | None) -> tuple[str, str] | None:
    """The columns of words and of their tags; None if there are no such lists."""
    lists = [own for own in columns if is_list(own.feature)]
    words = [own for own in lists if is_string(inner(own.feature)) and own.name == (text or own.name)]
    for own in sorted(words, key=lambda own: -len(own.labels)):
        lengths = [len(part) for part in own.values]
        tags = [
            other for other in lists
            if other is not own and other.name == (label or other.name) and len(other.labels) < len(own.labels)
            and [len(part) for part in other.values] == lengths
        ]  # fmt: skip
        if tags:
            return own.name, min(tags, key=_preference).name
    return None


def _is_class(column: _Column) -> bool:
    """Whether the values are few and repeat, so that they can be classes."""
    held, name = inner(column.feature), column.name.lower()
    if is_identifier(column.name) or name in _SPLITS or not (is_string(held) or is_integer(held) or is_float(held)):
        return False
    if is_list(column.feature):
        return not is_float(held) and 1 <= len(column.labels) <= max(_MOST_CLASSES, len(column.values) // 10)
    if is_float(held) and (not column.is_whole or column.distinct > _FEW_NUMBERS):
        return False
    declared = bool(getattr(held, "names", None))
    most = max(2, min(_MOST_CLASSES, len(column.values) // 3))
    return 2 <= column.distinct <= (len(column.values) if declared or name in LABEL_NAMES else most)


def _is_quantity(column: _Column) -> bool:
    """Whether the values are many different numbers."""
    if is_identifier(column.name) or is_list(column.feature) or getattr(column.feature, "names", None):
        return False
    if is_float(column.feature):
        return column.distinct > _FEW_NUMBERS or (column.distinct > 1 and not column.is_whole)
    counted = column.distinct == len(column.values) and _named_rank(column) == _NO_USUAL_NAME  # maybe an index
    return is_integer(column.feature) and column.distinct > _MOST_CLASSES and not counted


def _named_rank(column: _Column) -> int:
    """0 for a conventional name of a label, 1 for that of a rating, 2 for any other."""
    name = column.name.lower()
    return 0 if name in LABEL_NAMES else 1 if name in RATING_NAMES else _NO_USUAL_NAME


def _preference(column: _Column) -> tuple[int, int, int]:
    return _named_rank(column), not getattr(inner(column.feature), "names", None), len(column.labels)


def _described(columns: Sequence[_Column]) -> str:
    told = [f"{own.name!r} ({own.distinct:,} different in {len(own.values):,} rows)" for own in columns[:10]]
    return f"The columns are {', '.join(told)}." if told else "The table has no other column."
