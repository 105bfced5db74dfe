"""A look at the rows of a run before training: what is probably not intended, in counts and row numbers, no texts."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

Splits = Mapping[str, "Dataset"]

MOST_FREQUENT, DUPLICATES = "Most frequent label", "Duplicate training texts"
"""The headings of the first two findings in `brief`."""
_SHOWN = 3
_BATCH = 1000
_NO_TEXT = 0
_NAMES = {"train": "training"}
_CAUSES = {
    "in_test": "also in test",
    "in_validation": "also in validation",
    "several_labels": "with several labels",
    "repeated": "repeating an earlier row",
}
"""Why a training row is a duplicate, in the order in which dropped rows are counted."""


def look(
    splits: Splits, texts: Sequence[str], classes: Sequence[str] | None, dropped: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """Return what the prepared rows of "train", "validation" and "test" have that is probably not intended.

    Texts are compared without regard to white space; rows without any text are not compared.

    Args:
        splits: prepared rows: `row`, the columns `texts`, and `label` (a class id, 0/1 per class, or a number), `tags`
            or `target`.
        texts: the columns with texts or lists of words, if there.
        classes: class names by id; None without classes.
        dropped: the numbers from `without_duplicates`, if it was used.

    Returns:
        JSON values. What does not occur is left out, except `most_frequent` of classes.

        - `most_frequent`: the `label` that most training rows (words, for tags) have, and their `share`; `of` words,
          if not of rows; `is_constant` if the labels of all are the same. Of numbers only then.
        - `alike`: lists of class names that differ only in case, white space, Unicode form, or as `1` and `1.0`.
        - `missing`: by split, the classes that no row has: `count`, and the first `classes`.
        - `empty`: by split, the rows with an empty text: `count`, and the first `rows` (their `row`).
        - `in_test`, `in_validation`, `several_labels`, `repeated`: the training rows, as for `empty`, whose text is
          also in that split, also has another label, or repeats that of an earlier row with the same label.
        - `dropped`: as given.
    """
    read = {role: _keys(split, texts) for role, split in splits.items()}
    found = _look_at_labels(splits, classes) | ({"dropped": dict(dropped)} if dropped else {})
    empty = {role: _first(splits[role], is_empty) for role, (_, is_empty) in read.items() if is_empty.any()}
    duplicates = _duplicates(splits, {role: keys for role, (keys, _) in read.items()})
    found |= {"empty": empty} if empty else {}
    return found | {cause: _first(splits["train"], rows) for cause, rows in duplicates.items() if rows.any()}


def without_duplicates(splits: Splits, texts: Sequence[str]) -> tuple[np.ndarray, dict[str, int]]:
    """Return the positions of the training rows that are no duplicates, and the number of others by their first cause.

    The causes and the arguments are those of `look`.

    Raises:
        UserError: every training row is a duplicate.
    """
    dropped, counts = np.zeros(len(splits["train"]), dtype=bool), {}
    for cause, rows in _duplicates(splits, {role: _keys(split, texts)[0] for role, split in splits.items()}).items():
        if more := int((rows & ~dropped).sum()):
            counts[cause] = more
        dropped |= rows
    if dropped.all():
        parts = ", ".join(f"{count:,} {_CAUSES[cause]}" for cause, count in counts.items())
        raise UserError(
            f"--drop_duplicates leaves no training rows: all {len(dropped):,} are duplicates ({parts}). Leave it "
            "out, or check the splits of the dataset."
        )
    return np.flatnonzero(~dropped), counts


def truncated(encoded: Splits, max_length: int | None) -> dict[str, Any]:
    """Return the finding `truncated` for encoded splits: `length`, and by split the `count` of rows cut, `of` how many.

    Args:
        encoded: encoded rows with the column `is_cut`; without it nothing is found.
        max_length: the number of tokens at which they were cut.
    """
    cut = {name: _values(split, "is_cut") for name, split in encoded.items() if "is_cut" in split.column_names}
    found = {name: {"count": int(own.sum()), "of": len(own)} for name, own in cut.items() if own.any()}
    return {"truncated": {"length": max_length, "splits": found}} if found else {}


def lines(found: Mapping[str, Any], rows: bool = True) -> list[tuple[str, str]]:
    """Return the findings in words: at most six pairs of a heading and a text.

    Args:
        found: the results of `look` and `truncated`.
        rows: whether to name the first rows.
    """

    def counted(finding: Mapping[str, Any], words: str) -> str:
        text = f"{finding['count']:,} {words}"
        return f"{text} ({_row_numbers(finding)})" if rows else text

    told = []
    if most := found.get("most_frequent"):
        nothing = ": there is nothing to learn" if most.get("is_constant") else ""
        unit = most.get("of", "training rows")
        told.append((MOST_FREQUENT, f"{_quoted(most['label'])} ({most['share']:.1%} of the {unit}){nothing}"))
    if alike := found.get("alike"):
        groups = [" and ".join(map(_quoted, group)) for group in alike]
        told.append(("Classes that look alike", _shortened(groups, len(groups), "; ")))
    if missing := found.get("missing"):
        parts = [f"{_name(role)} has no {_shortened(map(_quoted, own['classes']), own['count'])}"
                 for role, own in missing.items()]  # fmt: skip
        told.append(("Missing classes", "; ".join(parts)))
    if dropped := found.get("dropped"):
        parts = [f"{count:,} {_CAUSES[cause]}" for cause, count in dropped.items()]
        told.append((DUPLICATES, f"{sum(dropped.values()):,} rows were dropped: {', '.join(parts)}"))
    elif duplicates := [counted(found[cause], words) for cause, words in _CAUSES.items() if cause in found]:
        told.append((DUPLICATES, ", ".join(duplicates)))
    if empty := found.get("empty"):
        told.append(("Empty texts", ", ".join(counted(own, f"in {_name(role)}") for role, own in empty.items())))
    if cut := found.get("truncated"):
        parts = [f"{own['count']:,} of {own['of']:,} in {_name(role)}" for role, own in cut["splits"].items()]
        told.append((f"Texts cut to {cut['length']:,} tokens", ", ".join(parts)))
    return told


def brief(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the findings as `lines`, without row numbers, in at most three pairs."""
    first, others = [], []
    for heading, text in lines(found, rows=False):
        if heading in (MOST_FREQUENT, DUPLICATES):
            first.append((heading, text))
        else:
            others.append(f"{heading[0].lower()}{heading[1:]} ({text})")
    return [*first, ("Also found", "; ".join(others))] if others else first


def _look_at_labels(splits: Splits, classes: Sequence[str] | None) -> dict[str, Any]:
    train = splits["train"]
    target = next((name for name in ("label", "tags") if name in train.column_names), None)
    if target is None:
        return {}
    if classes is None:
        numbers = _values(train, "label")
        most_frequent = {"label": f"{numbers[0]:g}", "share": 1.0, "is_constant": True}
        return {"most_frequent": most_frequent} if np.ptp(numbers) == 0 else {}
    counts = {role: _class_counts(split, target, len(classes)) for role, split in splits.items()}
    most = int(counts["train"].argmax())
    total = counts["train"].sum() if target == "tags" else len(train)
    most_frequent = {"label": classes[most], "share": float(counts["train"][most] / max(total, 1))}
    most_frequent |= {"of": "training words"} if target == "tags" else {}
    most_frequent |= {"is_constant": True} if np.isin(counts["train"], (0, total)).all() else {}
    found: dict[str, Any] = {"most_frequent": most_frequent}
    looks: dict[Any, list[str]] = {}
    for name in classes:
        looks.setdefault(_appearance(name), []).append(name)
    if alike := [names for names in looks.values() if len(names) > 1]:
        found["alike"] = alike
    absent = {role: np.flatnonzero(own == 0) for role, own in counts.items()}
    if missing := {
        role: {"count": len(ids), "classes": [classes[index] for index in ids[:_SHOWN]]}
        for role, ids in absent.items()
        if len(ids)
    }:
        found["missing"] = missing
    return found


def _class_counts(split: Dataset, target: str, classes: int) -> np.ndarray:
    """The number of rows, or words, of each class."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = split.with_format("arrow")[:][target]
    if not pa.types.is_list(column.type):
        return np.bincount(column.to_numpy(), minlength=classes)
    values = pc.list_flatten(column).to_numpy()
    return np.bincount(values, minlength=classes) if target == "tags" else values.reshape(-1, classes).sum(axis=0)


def _values(split: Dataset, name: str) -> np.ndarray:
    return split.with_format("arrow")[:][name].to_numpy()


def _appearance(name: str) -> Any:
    """A key that is equal for class names that look alike."""
    text = " ".join(unicodedata.normalize("NFKC", name).split()).casefold()
    try:
        number = Decimal(text)
    except InvalidOperation:
        return text
    return number if number.is_finite() else text


def _keys(split: Dataset, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """A hash of the texts of each row, uint64 `[rows]`, and whether one of them is empty, bool `[rows]`."""
    keys, is_empty = np.full(len(split), _NO_TEXT, dtype=np.uint64), np.zeros(len(split), dtype=bool)
    table, row = split.with_format("arrow")[:].select([name for name in texts if name in split.column_names]), 0
    for batch in table.to_batches(max_chunksize=_BATCH):
        for parts in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            own = [" ".join((part if isinstance(part, str) else " ".join(part)).split()) for part in parts]
            is_empty[row] = not all(own)
            if any(own):
                keys[row] = int.from_bytes(hashlib.blake2b("\n".join(own).encode(), digest_size=8).digest())
            row += 1
    return keys, is_empty


def _duplicates(splits: Splits, keys: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The training rows that are duplicates, bool `[rows]`, by cause."""
    train, own = splits["train"], keys["train"]
    has_text = own != _NO_TEXT
    found = {cause: np.zeros(len(own), dtype=bool) for cause in _CAUSES}
    for role in keys.keys() - {"train"}:
        found[f"in_{role}"] = has_text & np.isin(own, keys[role])
    _, inverse, counts = np.unique(own, return_inverse=True, return_counts=True)
    rows = np.flatnonzero(has_text & (counts[inverse] > 1))
    target = next((name for name in ("label", "tags", "target") if name in train.column_names), None)
    labels = map(_hashable, train.select(rows)[target]) if target else [None] * len(rows)
    labels_of: dict[int, dict[Any, None]] = {}
    for row, label in zip(rows, labels, strict=True):
        seen = labels_of.setdefault(int(own[row]), {})
        found["repeated"][row] = label in seen
        seen[label] = None
    if target != "target":  # a text has several right translations
        several = [row for row in rows if len(labels_of[int(own[row])]) > 1]
        found["several_labels"][several] = True
        found["repeated"][several] = False
    return found


def _hashable(label: Any) -> Any:
    return tuple(label) if isinstance(label, list) else label


def _first(split: Dataset, rows: np.ndarray) -> dict[str, Any]:
    positions = np.flatnonzero(rows)
    return {"count": len(positions), "rows": split.select(positions[:_SHOWN])["row"][:]}


def _row_numbers(finding: Mapping[str, Any]) -> str:
    numbers = ", ".join(map(str, finding["rows"]))
    return f"row{'s' if finding['count'] > 1 else ''} {numbers}{' …' if finding['count'] > _SHOWN else ''}"


def _name(role: str) -> str:
    return _NAMES.get(role, role)


def _quoted(name: str) -> str:
    return repr(name if len(name) <= 40 else f"{name[:40]}…")


def _shortened(names: Iterable[str], count: int, separator: str = ", ") -> str:
    shown = list(names)[:_SHOWN]
    return separator.join(shown) + (f" and {count - len(shown):,} more" if count > len(shown) else "")
