"""Read the labels of a dataset into arrays: class names of any type, lists of class names, or numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.column_types import inner, is_list
from ..errors import UserError, listing, nearest

if TYPE_CHECKING:
    from datasets import Dataset

UNLABELLED = -1


@dataclass(frozen=True)
class NamedLabels:
    """Labels of a split by name.

    Attributes:
        codes: index into `names` of each value, -1 if missing; `[values]`.
        names: class names, in the declared order or sorted by value.
        rows: for lists of labels, the row of each value, `[values]`; None for one label per row.
        labelled: whether each row has a label, `[rows]`.
        declared: whether the dataset declares the classes (ClassLabel), in an order to keep.
        values: names of the same classes by value, if `names` are as written in a file: "1" for "1.0".
    """

    codes: np.ndarray
    names: list[str]
    rows: np.ndarray | None
    labelled: np.ndarray
    declared: bool = False
    values: list[str] | None = None


def read_named(split: Dataset, column: str, split_name: str, spelling: Any = None) -> NamedLabels:
    """Read a column of classes, or of lists of classes; a missing value is no label.

    Args:
        spelling: how the values are written in a file, if their type does not keep it; class names keep it.

    Raises:
        UserError: an id outside the declared classes, a number that is not whole, a list written as text.
    """
    feature = split.features[column]
    array = arrow_column(split, column)
    where = f"column {column!r} of split {split_name!r}"
    if not is_list(feature):
        codes, names, declared = _factorise(array, feature, where, rows=None)
        if names == ["-1"]:  # datasets with integer classes mark withheld labels this way
            codes, names = np.full(len(codes), UNLABELLED), []
        labels = NamedLabels(codes, names, None, codes != UNLABELLED, declared)
        return labels if spelling is None or declared else _as_written(labels, spelling)
    import pyarrow.compute as pc

    values, rows = pc.list_flatten(array), pc.list_parent_indices(array).to_numpy()
    codes, names, declared = _factorise(values, inner(feature), where, rows)
    if (codes == UNLABELLED).any():
        raise UserError(f"Row {rows[codes == UNLABELLED][0]} of {where} has a missing label in its list.")
    if width := _multi_hot_width(array, values):
        positions = np.concatenate([np.arange(width)] * int(len(array) - array.null_count))
        kept = values.to_numpy(zero_copy_only=False).astype(float) == 1
        codes, rows, names = positions[kept], rows[kept], [str(index) for index in range(width)]
    labelled = ~array.is_null().to_numpy(zero_copy_only=False) & (len(values) > 0)
    return NamedLabels(codes, names, rows, labelled, declared)


def read_tags(split: Dataset, column: str, split_name: str) -> NamedLabels:
    """Read a column of lists with one class per element, such as the tags of words.

    Raises:
        UserError: an id outside the declared classes, or a missing tag in a list.
    """
    import pyarrow.compute as pc

    array, where = arrow_column(split, column), f"column {column!r} of split {split_name!r}"
    values, rows = pc.list_flatten(array), pc.list_parent_indices(array).to_numpy()
    codes, names, declared = _factorise(values, inner(split.features[column]), where, rows)
    if (codes == UNLABELLED).any():
        raise UserError(f"Row {rows[codes == UNLABELLED][0]} of {where} has a missing tag in its list.")
    return NamedLabels(codes, names, rows, ~array.is_null().to_numpy(zero_copy_only=False), declared)


def _multi_hot_width(array: Any, values: Any) -> int:
    """The common length of lists that hold 0/1 indicators of every class, not class ids; 0 for other lists."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)) or len(values) == 0:
        return 0
    lengths = pc.unique(pc.list_value_length(array).drop_null())
    binary = np.isin(values.to_numpy(zero_copy_only=False), (0, 1)).all()
    return lengths[0].as_py() if len(lengths) == 1 and lengths[0].as_py() > 1 and binary else 0


def read_indicators(split: Dataset, columns: Sequence[str], split_name: str) -> NamedLabels:
    """Read several binary columns as one multi-label column; a row with -1 or a missing value is unlabelled."""
    matrix = np.stack([read_numbers(split, column, split_name)[0] for column in columns], axis=1)
    labelled = np.isfinite(matrix).all(axis=1) & (matrix != UNLABELLED).all(axis=1)
    wrong = labelled[:, None] & ~np.isin(matrix, (0, 1))
    if wrong.any():
        row, index = np.argwhere(wrong)[0]
        raise UserError(
            f"Row {row} of column {columns[index]!r} of split {split_name!r} is {matrix[row, index]:g}: with several "
            f"label columns, each must hold 0/1 indicators of one class."
        )
    rows, codes = np.nonzero((matrix == 1) & labelled[:, None])
    return NamedLabels(codes, list(columns), rows, labelled, declared=True)


def read_numbers(split: Dataset, column: str, split_name: str) -> tuple[np.ndarray, np.ndarray]:
    """Read a column of numbers: float64 `[rows]`, and which rows have one; if all are -1, labels are withheld.

    Strings are parsed as numbers.

    Raises:
        UserError: a string that is not a number, or an infinite number.
    """
    import pyarrow as pa

    where = f"column {column!r} of split {split_name!r}"
    array = arrow_column(split, column)
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        array = _spelt_numbers(array, where)
    array = array.cast(pa.float64(), safe=False)
    numbers = array.to_numpy(zero_copy_only=False).astype(np.float64)
    labelled = ~np.isnan(numbers)
    if np.isinf(numbers).any():
        raise UserError(f"Row {np.flatnonzero(np.isinf(numbers))[0]} of {where} is infinite: numbers must be finite.")
    if len(numbers) and (numbers == UNLABELLED).all():
        labelled[:] = False
    return numbers, labelled


def class_names(labels: Sequence[NamedLabels]) -> list[str]:
    """All class names of several splits in one order: as declared, else whole numbers by value, then strings."""
    declared = [split.names for split in labels if split.declared]
    if declared:
        if any(sorted(names) != sorted(declared[0]) for names in declared):
            raise UserError(
                f"The splits declare different classes: {listing(declared[0])} and "
                f"{listing(next(names for names in declared if sorted(names) != sorted(declared[0])))}."
            )
        return list(declared[0])
    names = {
        name: value for split in labels for name, value in zip(split.names, split.values or split.names, strict=True)
    }
    order = sorted((0, int(value), name) if _is_whole(value) else (1, 0, name) for name, value in names.items())
    return [name for *_, name in order]


def encode(labels: NamedLabels, classes: Sequence[str], where: str) -> np.ndarray:
    """Class ids by name: int64 `[rows]` with -1 for unlabelled rows, or 0/1 int8 `[rows, classes]` for lists.

    A label that is not in `classes`, such as "1.0" or "TRUE", has the class of equal value, such as "1" or "True",
    because the types and spellings of columns vary between files.

    Raises:
        UserError: a label that is not in `classes`.
    """
    ids = {name: index for index, name in enumerate(classes)}
    by_value = _by_value(classes)
    # The model may have been trained on a file that writes the same values in another way.
    for name, value in zip(labels.names, labels.values or labels.names, strict=True):
        if name not in ids and (index := ids.get(value, by_value.get(_value(name)))) is not None:
            ids[name] = index
    used = np.unique(labels.codes[labels.codes != UNLABELLED])
    if unknown := [labels.names[code] for code in used if labels.names[code] not in ids]:
        raise UserError(
            f"{where} has unknown labels: {listing(unknown)}; the known labels are {listing(classes)}."
            f"{nearest(unknown[0], classes)}"
        )
    lookup = np.array([*(ids.get(name, UNLABELLED) for name in labels.names), UNLABELLED], dtype=np.int64)
    mapped = lookup[labels.codes]  # a code of -1 reads the last entry
    if labels.rows is None:
        return mapped
    indicators = np.zeros((len(labels.labelled), len(classes)), dtype=np.int8)
    indicators[labels.rows, mapped] = 1
    return indicators


def _by_value(classes: Sequence[str]) -> dict[Decimal | None, int]:
    """The ids of the classes that are numbers, by value; without values that several classes have."""
    values = [_value(name) for name in classes]
    return {value: index for index, value in enumerate(values) if value is not None and values.count(value) == 1}


def _value(name: str) -> Decimal | None:
    """The number that a class name spells, else None."""
    return Decimal(name) if re.fullmatch(r"[+-]?[0-9]+(\.[0-9]*)?", name) else None


def _factorise(array: Any, feature: Any, where: str, rows: np.ndarray | None) -> tuple[np.ndarray, list[str], bool]:
    """Indices into class names (-1 if missing), the names, and whether the feature declares them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if declared := getattr(feature, "names", None):
        ids = pc.fill_null(array, UNLABELLED).to_numpy(zero_copy_only=False).astype(np.int64)
        outside = (ids < UNLABELLED) | (ids >= len(declared))
        if outside.any():
            place = int(np.flatnonzero(outside)[0])
            raise UserError(
                f"Row {place if rows is None else rows[place]} of {where} has the label {ids[place]}, outside the "
                f"range 0 to {len(declared) - 1} of its {len(declared)} classes ({listing(declared)})."
            )
        return ids, list(declared), True
    if pa.types.is_boolean(array.type):
        codes = pc.fill_null(array.cast(pa.int8()), UNLABELLED).to_numpy(zero_copy_only=False).astype(np.int64)
        return codes, ["False", "True"], False
    if pa.types.is_floating(array.type):
        array = _whole_numbers(array, where)
    values = pc.unique(array.drop_null())
    values = values.take(pc.sort_indices(values))
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        _check_lists_as_text(values, where)
    codes = pc.fill_null(pc.index_in(array, value_set=values), UNLABELLED)
    return codes.to_numpy(zero_copy_only=False).astype(np.int64), [str(value) for value in values.to_pylist()], False


def _as_written(labels: NamedLabels, spelling: Any) -> NamedLabels:
    """The same labels, with the names that the file gives to the values, which are one to one."""
    rows = np.flatnonzero(labels.labelled)
    used, first, codes = np.unique(labels.codes[rows], return_index=True, return_inverse=True)
    written = np.full(len(labels.codes), UNLABELLED)
    written[rows] = codes
    names = [spelling[int(row)].as_py() for row in rows[first]]
    return replace(labels, codes=written, names=names, values=[labels.names[code] for code in used])


def _check_lists_as_text(values: Any, where: str) -> None:
    import pyarrow.compute as pc

    written = values.filter(pc.match_substring_regex(values, r"^\s*\[.*\]\s*$"))
    if len(written):
        raise UserError(
            f"The {where} contains {written[0].as_py()!r}, a list written as text. For several labels per row, write "
            f'JSON Lines with lists ({{"text": "…", "labels": ["a", "b"]}}) or Parquet, or use one column of 0 and 1 '
            f"for each class and name them with --label_column a,b,c."
        )


def _whole_numbers(array: Any, where: str) -> Any:
    import pyarrow as pa

    numbers = array.to_numpy(zero_copy_only=False).astype(np.float64)
    fractional = ~np.isnan(numbers) & (numbers != np.floor(numbers))
    if fractional.any() or np.isinf(numbers).any():
        place = int(np.flatnonzero(fractional | np.isinf(numbers))[0])
        raise UserError(
            f"The {where} contains the number {numbers[place]:g}, which is not a class. To predict numbers, use --task "
            f"regression, or name another column with --label_column."
        )
    return pa.array(np.nan_to_num(numbers).astype(np.int64), mask=np.isnan(numbers))


def _spelt_numbers(array: Any, where: str) -> Any:
    import pandas as pd
    import pyarrow as pa

    strings = array.to_pandas()
    numbers = pd.to_numeric(strings, errors="coerce").to_numpy(dtype=np.float64)
    wrong = np.flatnonzero(np.isnan(numbers) & strings.notna().to_numpy())
    if len(wrong):
        raise UserError(
            f"Row {wrong[0]} of {where} contains {strings[wrong[0]]!r}, which is not a number such as 3 or -0.5 "
            f"({len(wrong):,} of {len(strings):,} rows are not numbers). Correct or remove these rows, or name "
            f"another column with --label_column."
        )
    return pa.array(numbers, from_pandas=True)


def arrow_column(split: Dataset, column: str) -> Any:
    """A column as one Arrow array."""
    import pyarrow as pa

    array = split.select_columns([column]).with_format("arrow")[:].column(0)
    array = array.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], type=array.type)
    return array


def _is_whole(name: str) -> bool:
    return re.fullmatch(r"-?[0-9]+", name) is not None
