"""Decide the type of each column once, over all files and splits, and keep how its values are written.

A column of text cells is integers, real numbers or booleans only if all its cells are; otherwise it stays text.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import UserError, listing
from .json_layouts import Number, plain

if TYPE_CHECKING:
    import pyarrow as pa

_CODE = r"^[-+]?0\d"  # marks codes such as 007, which would lose their zeros as numbers
_INTEGER = r"^[-+]?\d+$"
_CANONICAL_INTEGER = r"^(0|-?[1-9]\d*)$"
_REAL = r"^[-+]?((\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|(?i:inf|infinity))$"
_BOOLEAN = r"^(TRUE|True|true|FALSE|False|false)$"


@dataclass(frozen=True)
class Cells:
    """The columns of one file.

    Attributes:
        name: the file, for messages.
        columns: the columns, of equal length.
        untyped: columns of text cells whose type is not decided yet (csv).
        spelling: how the numbers of a column are written, where that is known (JSON).
        notes: the format, for the reading report.
    """

    name: str
    columns: dict[str, pa.ChunkedArray]
    untyped: frozenset[str] = frozenset()
    spelling: Mapping[str, pa.ChunkedArray] = field(default_factory=dict)
    notes: str = ""

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))


def json_cells(name: str, columns: Mapping[str, list[Any]], notes: str) -> Cells:
    """Convert the columns of a JSON file. Raises `UserError` if a column mixes types."""
    import pyarrow as pa

    arrays, spelling = {}, {}
    for column, values in columns.items():
        kinds = {type(value) for value in values if value is not None}
        if kinds == {Number}:
            if any(isinstance(value.value(), float) for value in values if value is not None):
                spelling[column] = pa.chunked_array([pa.array(values, pa.large_string())])
            values = [value if value is None else value.value() for value in values]
        elif kinds - {str, bool}:
            values = [plain(value) for value in values]
        arrays[column] = _array(name, column, values)
    return Cells(name, arrays, frozenset(), spelling, notes)


def _array(name: str, column: str, values: list[Any]) -> pa.ChunkedArray:
    import pyarrow as pa

    try:
        array = pa.array(values)
        return array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])
    except OverflowError as error:
        raise UserError(
            f"The column {column!r} of {name!r} contains an integer that does not fit into 64 bits: write it as a "
            f"string, in quotes."
        ) from error
    except pa.ArrowException as error:
        kinds = {row: type(value).__name__ for row, value in enumerate(values) if value is not None}
        first = next(iter(kinds.values()))
        odd = next((row for row, kind in kinds.items() if kind != first), 0)
        raise UserError(
            f"The column {column!r} of {name!r} mixes types ({listing(dict.fromkeys(kinds.values()))}): row {odd} "
            f"holds {values[odd]!r}, but the rows before it hold {first}. Use one type for all rows."
        ) from error


def settle(
    splits: Mapping[str, Sequence[Cells]],
) -> tuple[dict[str, pa.Table], dict[str, dict[str, pa.ChunkedArray]]]:
    """Return each split as one typed table, and per split the spelling of values that a type does not keep.

    A column of the first split that another one lacks, such as the label of a test split, is empty there.

    Raises:
        UserError: the files of a split have different columns, or a column has different types.
    """
    import pyarrow as pa

    names = {split: dict.fromkeys(_common_columns(files)) for split, files in splits.items()}
    first = next(iter(names.values()))
    tables: dict[str, dict[str, pa.ChunkedArray]] = {split: {} for split in splits}
    spellings: dict[str, dict[str, pa.ChunkedArray]] = {split: {} for split in splits}
    for column in dict.fromkeys(name for own in names.values() for name in own):
        holding = {split: files for split, files in splits.items() if column in names[split]}
        pieces = [file for files in holding.values() for file in files]
        values, spelling = _settle_column(column, pieces)
        ends = iter(zip(values, spelling or [None] * len(values), strict=True))
        for split, files in holding.items():
            own = [next(ends) for _ in files]
            tables[split][column] = pa.chunked_array([c for value, _ in own for c in value.chunks], values[0].type)
            if spelling:
                written = [c for _, text in own if text is not None for c in text.chunks]
                spellings[split][column] = pa.chunked_array(written, pa.large_string())
        for split in splits.keys() - holding.keys() if column in first else ():
            tables[split][column] = pa.chunked_array([pa.nulls(sum(map(len, splits[split])), values[0].type)])
    return {split: pa.table({n: tables[split][n] for n in {**first, **names[split]}}) for split in splits}, spellings


def _common_columns(files: Sequence[Cells]) -> list[str]:
    first = files[0]
    for other in files[1:]:
        if odd := set(first.columns) ^ set(other.columns):
            raise UserError(
                f"The files {first.name!r} and {other.name!r} belong to one split but have different columns: only one "
                f"of them has {listing(sorted(odd), 5)}. Give them the same columns, or name them after their splits "
                f"(train.csv, test.csv)."
            )
    return list(first.columns)


def _settle_column(column: str, files: Sequence[Cells]) -> tuple[list[pa.ChunkedArray], list[pa.ChunkedArray] | None]:
    """Return the typed values of each file, all of one type, and their spelling if the type does not keep it."""
    import pyarrow as pa

    written = [file.columns[column] for file in files if column in file.untyped]
    types = {file.columns[column].type for file in files if column not in file.untyped} - {pa.null()}
    if any(_is_text(kind) for kind in types) or not written:
        kind, spelt = None, False
    else:
        kind, spelt = type_of(written)
        types |= {kind} - {pa.null()}
    target = _one_type(column, types | ({pa.large_string()} if written and kind is None else set()), files)
    values = [
        cast_cells(file.columns[column], kind or pa.large_string()) if column in file.untyped else file.columns[column]
        for file in files
    ]
    values = [value if value.type == target else value.cast(target) for value in values]
    if _is_text(target) or not (spelt or any(column in file.spelling for file in files)):
        return values, None
    texts = [
        file.columns[column] if column in file.untyped
        else file.spelling.get(column, file.columns[column].cast(pa.large_string())) for file in files
    ]  # fmt: skip
    return values, texts if _is_one_to_one(column, values, texts) else None


def type_of(texts: Sequence[pa.ChunkedArray]) -> tuple[pa.DataType, bool]:
    """Return the type of text cells, and whether values of that type lose how they are written."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if all(text.null_count == len(text) for text in texts):
        return pa.null(), False

    chunks = [chunk for text in texts for chunk in text.iterchunks()]  # one by one: most texts differ in the first

    def all_match(pattern: str) -> bool:
        return all(pc.all(pc.match_substring_regex(chunk, pattern)).as_py() is not False for chunk in chunks)

    def any_match(pattern: str) -> bool:
        return any(pc.any(pc.match_substring_regex(chunk, pattern)).as_py() for chunk in chunks)

    if all_match(_REAL):
        if any_match(_CODE):
            return pa.large_string(), False
        if not all_match(_INTEGER):
            return pa.float64(), True
        for kind in (pa.int64(), pa.uint64()):
            try:
                for text in texts:
                    cast_cells(text, kind)
            except pa.ArrowInvalid:
                continue
            return kind, not all_match(_CANONICAL_INTEGER)
        return pa.large_string(), False
    if all_match(_BOOLEAN):
        return pa.bool_(), not all_match("^(True|False)$")
    return pa.large_string(), False


def cast_cells(text: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_null(kind):
        return pa.chunked_array([pa.nulls(len(text))])
    if pa.types.is_floating(kind):
        with contextlib.suppress(pa.ArrowInvalid):  # such as +0.5
            return text.cast(kind)
        numbers = [pd.to_numeric(chunk.to_pandas()).to_numpy("float64") for chunk in text.chunks]
        return pa.chunked_array([pa.array(own, from_pandas=True) for own in numbers], pa.float64())
    if pa.types.is_integer(kind):
        return pc.replace_substring_regex(text, r"^\+", "").cast(kind)
    return text.cast(kind)


def joint_type(first: pa.DataType, second: pa.DataType) -> pa.DataType | None:
    """Return the type of a column of which parts have these types, as `settle` decides; None if there is none."""
    import pyarrow as pa

    if first == second or pa.types.is_null(second):
        return first
    if pa.types.is_null(first):
        return second
    schemas = [pa.schema([("", kind)]) for kind in (first, second)]
    with contextlib.suppress(pa.ArrowException):
        return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    plain = all(pa.types.is_primitive(kind) or _is_text(kind) for kind in (first, second))
    return pa.large_string() if plain else None


def typed(columns: Mapping[str, pa.ChunkedArray], types: Mapping[str, pa.DataType], rows: int) -> pa.Table:
    """Return text cells or values as a table with all columns of `types`."""
    import pyarrow as pa

    def of_type(own: pa.ChunkedArray | None, kind: pa.DataType) -> pa.ChunkedArray:
        if own is None or pa.types.is_null(kind):
            return pa.chunked_array([pa.nulls(rows, kind)])
        return own if own.type == kind else cast_cells(own, kind) if _is_text(own.type) else own.cast(kind)

    return pa.table({name: of_type(columns.get(name), kind) for name, kind in types.items()})


def _one_type(column: str, types: set[pa.DataType], files: Sequence[Cells]) -> pa.DataType:
    import pyarrow as pa

    if len(types) < 2:
        return next(iter(types), pa.null())
    schemas = [pa.schema([(column, kind)]) for kind in types]
    numeric = all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in types)
    try:
        if all(map(_is_text, types)):
            return pa.large_string()
        if numeric or not any(pa.types.is_primitive(kind) or _is_text(kind) for kind in types):
            return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except pa.ArrowException:
        pass
    shown = {str(file.columns[column].type).removeprefix("large_"): file.name for file in reversed(files)}
    shown = {kind: file for kind, file in shown.items() if kind != "null"}
    raise UserError(
        f"The column {column!r} has different types: {', '.join(f'{k} in {name!r}' for k, name in shown.items())}. "
        f"Write it with one type in all files."
    )


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _is_one_to_one(column: str, values: Sequence[pa.ChunkedArray], texts: Sequence[pa.ChunkedArray]) -> bool:
    """Return whether each value is written in one way; else its name is that of the value: 1.0 and 1 are one class."""
    import pyarrow as pa
    import pyarrow.compute as pc

    spellings = pa.chunked_array([chunk for text in texts for chunk in text.chunks], pa.large_string())
    whole = pa.chunked_array([chunk for value in values for chunk in value.chunks], values[0].type)
    return pc.count_distinct(spellings).as_py() == pc.count_distinct(whole).as_py()
