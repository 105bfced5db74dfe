"""Read JSON into columns: one object per line, a list of objects, or an object by column or by row, as pandas writes.

Numbers keep their spelling (`Number`), because a label `1.0` is named "1.0".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..errors import UserError, listing


class Number(str):
    """A JSON number as it is written."""

    def value(self) -> int | float:
        return float(self) if set(self) & set(".eE") else int(self)


def plain(value: Any) -> Any:
    """Return a JSON value with numbers in place of their spelling."""
    if isinstance(value, Number):
        return value.value()
    if isinstance(value, dict):
        return {name: plain(own) for name, own in value.items()}
    return [plain(own) for own in value] if isinstance(value, list) else value


def read_json(path: Path, text: str, suffix: str) -> tuple[dict[str, list[Any]], str]:
    """Return the columns of a file, with None for missing keys, and a description of its layout.

    Raises:
        UserError: invalid JSON, or a layout that is not a table.
    """
    start = text.lstrip()[:1]
    lines = [(number, line) for number, line in enumerate(text.split("\n" if "\n" in text else "\r"), 1)]
    lines = [(number, line) for number, line in lines if line.strip()]
    if start == "[" or suffix == ".json":
        try:
            return _document(path, _parse(text))
        except json.JSONDecodeError as error:
            if start == "[" or len(lines) < 2:
                raise UserError(f"The file {str(path)!r} is not valid JSON: {error}.") from error
        except _Duplicate as error:
            raise UserError(f"The file {str(path)!r} is ambiguous: {error}.") from error
    return _columns_of(json_records(path, lines)), "one object per line"


def json_records(path: Path, lines: Iterable[tuple[int, str]]) -> Iterator[dict[str, Any]]:
    """Yield the object on each line, which comes with its number.

    Raises:
        UserError: a line that is not one JSON object.
    """
    for number, line in lines:
        try:
            yield _as_object(path, f"line {number}", _parse(line))
        except json.JSONDecodeError as error:
            raise UserError(f"Line {number} of {str(path)!r} is not valid JSON: {error}.") from error
        except _Duplicate as error:
            raise UserError(f"Line {number} of {str(path)!r} is ambiguous: {error}.") from error


class _Duplicate(Exception):
    pass


def _parse(text: str) -> Any:
    return json.loads(text, parse_int=Number, parse_float=Number, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _Duplicate(f"an object has two values of {next(name for name in names if names.count(name) > 1)!r}")
    return found


def _document(path: Path, document: Any) -> tuple[dict[str, list[Any]], str]:
    if isinstance(document, list):
        if document and all(isinstance(row, list) for row in document):
            raise _refused(path, "a list of rows without column names (orient='values' of pandas)")
        return _columns_of(_as_objects(path, document)), "a list of objects"
    if not isinstance(document, dict):
        kind = type(document).__name__ if not isinstance(document, Number) else type(document.value()).__name__
        raise UserError(
            f"The file {str(path)!r} contains a JSON {kind}, but must contain a list of objects such as "
            f'{{"text": "…", "label": "…"}}.'
        )
    lists = {name: value for name, value in document.items() if isinstance(value, list)}
    if {*document} == {"columns", "index", "data"} and len(lists) == 3:
        names = [plain(name) for name in document["columns"]]
        if any(not isinstance(row, list) or len(row) != len(names) for row in document["data"]):
            raise _refused(path, f"rows that do not have the {len(names)} values of its list 'columns'")
        if len({map(str, names)}) and len({str(name) for name in names}) < len(names):
            raise _refused(path, "two columns of one name")
        return _columns_of([dict(zip(map(str, names), row, strict=True)) for row in document["data"]]), "split"
    if {*document} == {"schema", "data"} and "data" in lists:
        index = document["schema"].get("primaryKey", []) if isinstance(document["schema"], dict) else []
        rows = [dict(row) for row in _as_objects(path, document["data"])]
        return _columns_of([{n: v for n, v in row.items() if [n] != index or n != "index"} for row in rows]), "table"
    if document and len(lists) == len(document) and not any(_holds_objects(value) for value in lists.values()):
        if len({len(value) for value in lists.values()}) > 1:
            lengths = ", ".join(f"{name!r} has {len(value):,}" for name, value in list(lists.items())[:20])
            raise _refused(path, f"lists of different lengths by column: {lengths}")
        return dict(lists), "a list for each column"
    if len(lists) == 1:
        (name,) = lists
        return _columns_of(_as_objects(path, lists[name])), f"a list of objects under {name!r}"
    if len([value for value in lists.values() if _holds_objects(value)]) > 1:
        raise _refused(path, f"several lists of objects ({listing(lists)}); save each in its own file, e.g. train.json")
    if len(document) and all(isinstance(value, dict) for value in document.values()):
        return _nested(path, document)
    return _columns_of([document]), "one object"


def _nested(path: Path, document: dict[str, dict[str, Any]]) -> tuple[dict[str, list[Any]], str]:
    """Read an object of objects: by column (`{"text": {"0": …}}`) or by row (`{"0": {"text": …}}`)."""
    from .column_roles import LABEL_NAMES, RATING_NAMES, TEXT_NAMES

    inner = list(dict.fromkeys(name for value in document.values() for name in value))
    conventional = {*LABEL_NAMES, *RATING_NAMES, *TEXT_NAMES}
    numbers = [all(_is_whole(name) for name in names) for names in (document, inner)]
    named = [bool({name.lower() for name in names} & conventional) for names in (document, inner)]
    by_column = numbers[1] if numbers[0] != numbers[1] else named[0]
    by_row = numbers[0] if numbers[0] != numbers[1] else named[1]
    if by_column == by_row:
        raise _refused(
            path, f"an object of objects, and neither its keys ({listing(document, 5)}) nor the inner ones "
            f"({listing(inner, 5)}) are clearly the column names",
        )  # fmt: skip
    if by_row:
        return _columns_of(document.values()), "an object for each row"
    for name, values in document.items():
        if len(values) < len(inner):
            missing = next(key for key in inner if key not in values)
            raise _refused(path, f"an object for each column, but {name!r} has no entry {missing!r}")
    return {name: [values[key] for key in inner] for name, values in document.items()}, "an object for each column"


def _is_whole(name: str) -> bool:
    return name.lstrip("-").isdigit()


def _holds_objects(values: list[Any]) -> bool:
    return any(isinstance(value, dict) for value in values)


def _columns_of(records: Iterable[dict[str, Any]]) -> dict[str, list[Any]]:
    records = list(records)
    names = dict.fromkeys(name for record in records for name in record)
    return {name: [record.get(name) for record in records] for name in names}


def _as_objects(path: Path, rows: list[Any]) -> list[dict[str, Any]]:
    return [_as_object(path, f"entry {number}", row) for number, row in enumerate(rows, 1)]


def _as_object(path: Path, place: str, record: Any) -> dict[str, Any]:
    if not isinstance(record, dict):
        kind = type(record.value() if isinstance(record, Number) else record).__name__
        raise UserError(
            f'In {str(path)!r}, {place} is a JSON {kind}, but must be an object such as {{"text": "…", "label": "…"}}.'
        )
    return record


def _refused(path: Path, layout: str) -> UserError:
    return UserError(
        f"The JSON file {str(path)!r} holds {layout}. Write a list of objects such as "
        f'{{"text": "…", "label": "…"}}, or one object per line (pandas: to_json(orient="records")).'
    )
