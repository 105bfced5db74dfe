"""One local file as a table: csv, tsv, json, jsonl, parquet or plain text, with errors that name the place.

Read here rather than by the builders of `datasets`, whose csv reader takes the words "None", "null" and "NA" for
missing values, and whose cache would keep a copy of every file ever tried.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import warnings
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError, listing, nearest

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".txt")
_LEADING_ZERO = r"[-+]?0\d"  # numbers are not written so, but codes are, and 007 as a number would lose its name


def file_suffix(path: Path) -> str:
    """The suffix that decides how a file is read, looking through `.gz`: `reviews.csv.gz` is `.csv`."""
    *before, suffix = ["", *(suffix.lower() for suffix in path.suffixes)]
    return before[-1] if suffix == ".gz" and len(before) > 1 else suffix


def nearest_sibling(path: Path) -> str:
    """The name in the same folder most like the one that was not found there, as `errors.nearest` says it."""
    try:
        return nearest(path.name, (sibling.name for sibling in path.parent.iterdir()))
    except OSError:
        return ""


def read_table(path: Path) -> pa.Table:
    """The rows of a file. Raises `UserError` for a kind, an encoding or a content that cannot be read."""
    suffix = file_suffix(path)
    if suffix not in SUFFIXES:
        raise UserError(
            f"The file {str(path)!r} cannot be used as a dataset: its name ends in {suffix or 'nothing'!r}, and what "
            f"can be read is {listing(SUFFIXES)} (also with .gz)."
        )
    if suffix == ".parquet":
        return _read_parquet(path)
    text = _read_text(path)
    if suffix in (".csv", ".tsv"):
        return _read_separated(path, text, suffix)
    if suffix == ".txt":
        return _table(path, {"text": re.split(r"\r\n|\r|\n", text.rstrip("\r\n"))})
    records = _json_records(path, text)
    names = dict.fromkeys(name for record in records for name in record)
    return _table(path, {name: [record.get(name) for record in records] for name in names})


def _read_parquet(path: Path) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        _check_names(path, pq.read_schema(path).names)
        return pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"The file {str(path)!r} cannot be read as parquet: {_first_line(error)}") from error


def _read_text(path: Path) -> str:
    try:
        content = path.read_bytes()
        if path.suffix.lower() == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"The file {str(path)!r} cannot be read: {_first_line(error)}") from error
    wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    if b"\0" in content and not wide:
        line = content.count(b"\n", 0, content.index(b"\0")) + 1
        raise UserError(
            f"The file {str(path)!r} is no text: line {line} holds a zero byte. Data of another format, or text in "
            f"UTF-16 without a byte order mark, has to be saved as UTF-8 first."
        )
    try:
        return content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"The file {str(path)!r} is not {error.encoding.upper()} text: byte 0x{content[error.start]:02x} in line "
            f"{line} cannot be decoded. It may be in Latin-1 or Windows-1252; save it as UTF-8, for example with "
            f"'iconv -f WINDOWS-1252 -t UTF-8'."
        ) from error


def _read_separated(path: Path, text: str, suffix: str) -> pa.Table:
    import csv

    import pandas as pd
    import pyarrow as pa

    header = text.lstrip().split("\n", 1)[0]
    separator = "\t" if suffix == ".tsv" else max(",;\t", key=header.count)
    unquoted = separator == "\t" and _has_stray_quotes(text)
    options: dict[str, Any] = {
        "sep": separator,
        "index_col": False,
        "low_memory": False,
        "keep_default_na": False,
        "na_values": [""],
        "quoting": csv.QUOTE_NONE if unquoted else csv.QUOTE_MINIMAL,
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(io.StringIO(text), **options)
            first = pd.read_csv(io.StringIO(text), header=None, nrows=1, dtype=str, **options)
            _check_names(path, first.iloc[0].dropna().tolist())  # pandas renames a second column of a name
            numeric = [place for place, kind in enumerate(frame.dtypes) if pd.api.types.is_numeric_dtype(kind)]
            if numeric and re.search(r"(?<![\d.])0\d", text):
                written = pd.read_csv(io.StringIO(text), usecols=numeric, dtype=str, **options)
                for place, name in zip(numeric, written.columns, strict=True):
                    values = written[name].str.strip()
                    if values.str.match(_LEADING_ZERO).any():
                        frame.isetitem(place, values)
    except pd.errors.EmptyDataError as error:
        raise UserError(f"The file {str(path)!r} is empty: a first line with the column names is expected.") from error
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        reason = str(error).replace("Error tokenizing data. C error: ", "").strip()
        raise UserError(
            f"The file {str(path)!r} cannot be read as a table separated by {separator!r} whose first line holds the "
            f"column names: {reason}"
        ) from error
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    for place, column in enumerate(table.columns):
        if column.null_count == len(table) > 0:  # which pandas takes for numbers
            table = table.set_column(place, table.column_names[place], pa.nulls(len(table)))
    return table


def columns_of_codes(path: Path) -> list[str]:
    """The columns of a csv file that only leading zeros keep from being numbers; none of a file that cannot be read."""
    import pyarrow.compute as pc

    try:
        table = read_table(path)
    except UserError:
        return []
    text = [name for name, kind in zip(table.column_names, table.schema.types, strict=True) if "string" in str(kind)]
    numbers = {name: pc.all(pc.match_substring_regex(table[name], r"^\s*[-+]?[\d.]+\s*$")).as_py() for name in text}
    return [name for name, are_numbers in numbers.items() if are_numbers]


def _check_names(path: Path, names: list[str]) -> None:
    if twice := [name for place, name in enumerate(names) if name in names[:place]]:
        raise UserError(
            f"The file {str(path)!r} has two columns named {twice[0]!r}: give every column a name of its own."
        )


def _has_stray_quotes(text: str) -> bool:
    """Whether quotes in tab-separated text are just characters, which the format by definition says.

    Many programs quote in it all the same. But where every line has all its fields, and a field has a quote that does
    not close, reading quotes as such would swallow lines.
    """
    lines = [line for line in text.splitlines() if line]
    tabs = {line.count("\t") for line in lines}
    return len(tabs) == 1 and any(field.count('"') % 2 for line in lines for field in line.split("\t"))


def _json_records(path: Path, text: str) -> list[dict[str, Any]]:
    """Objects of a file with one a line, or of a document that is a list of objects or holds exactly one."""
    start = text.lstrip()[:1]
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    try:
        if start == "[" or file_suffix(path) == ".json":
            document = json.loads(text)
            if isinstance(document, dict):
                lists = [value for value in document.values() if isinstance(value, list)]
                document = lists[0] if len(lists) == 1 else [document]
            if not isinstance(document, list):
                raise UserError(
                    f"The file {str(path)!r} holds a JSON {type(document).__name__}, where a list of objects such as "
                    f'{{"text": "…", "label": "…"}} is expected.'
                )
            return [_as_object(path, f"entry {number}", record) for number, record in enumerate(document, 1)]
    except json.JSONDecodeError as error:
        if start == "[" or len(lines) < 2:
            raise UserError(f"The file {str(path)!r} is not valid JSON: {error}.") from error
    records = []
    for number, line in lines:
        try:
            records.append(_as_object(path, f"line {number}", json.loads(line)))
        except json.JSONDecodeError as error:
            raise UserError(f"Line {number} of {str(path)!r} is not valid JSON: {error}.") from error
    return records


def _as_object(path: Path, place: str, record: Any) -> dict[str, Any]:
    if not isinstance(record, dict):
        raise UserError(
            f"In {str(path)!r}, {place} is a JSON {type(record).__name__}, where an object such as "
            f'{{"text": "…", "label": "…"}} is expected.'
        )
    return record


def _table(path: Path, columns: dict[str, list[Any]]) -> pa.Table:
    import pyarrow as pa

    arrays = {}
    for name, values in columns.items():
        try:
            arrays[name] = pa.array(values)
        except OverflowError as error:
            raise UserError(
                f"The column {name!r} of {str(path)!r} holds a whole number that does not fit into 64 bits: write it "
                f"as a string, in quotes."
            ) from error
        except pa.ArrowException as error:
            kinds = {row: type(value).__name__ for row, value in enumerate(values) if value is not None}
            first = next(iter(kinds.values()))
            odd = next((row for row, kind in kinds.items() if kind != first), 0)
            raise UserError(
                f"The column {name!r} of {str(path)!r} mixes types ({listing(dict.fromkeys(kinds.values()))}): row "
                f"{odd} holds {values[odd]!r}, while rows before it hold {first}. All rows of a column need one type."
            ) from error
    return pa.table(arrays)


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}".rstrip(": ")
