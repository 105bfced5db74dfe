"""Read one local file (csv, tsv, json, jsonl, parquet or plain text) as a table; errors name the place in the file.

The builders of `datasets` are not used: their csv reader treats the words "None", "null" and "NA" as missing values,
and their cache keeps a copy of every file.
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
_LEADING_ZERO = r"[-+]?0\d"  # marks codes such as 007, which would lose their zeros as numbers


def file_suffix(path: Path) -> str:
    """Return the suffix that determines the file type, without `.gz`: `.csv` for `reviews.csv.gz`."""
    *before, suffix = ["", *(suffix.lower() for suffix in path.suffixes)]
    return before[-1] if suffix == ".gz" and len(before) > 1 else suffix


def nearest_sibling(path: Path) -> str:
    """Suggest the most similar name in the folder of a missing file, in the words of `errors.nearest`."""
    try:
        return nearest(path.name, (sibling.name for sibling in path.parent.iterdir()))
    except OSError:
        return ""


def read_table(path: Path) -> pa.Table:
    """Read the rows of a file. Raises `UserError` for an unsupported type, encoding or content."""
    suffix = file_suffix(path)
    if suffix not in SUFFIXES:
        raise UserError(
            f"The file {str(path)!r} cannot be used as a dataset: its type {suffix or 'none'!r} is not supported. "
            f"Supported file types: {listing(SUFFIXES)} (also with .gz)."
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
            f"The file {str(path)!r} is not a text file: line {line} contains a zero byte. Save it as UTF-8 if it is "
            f"UTF-16 text without a byte order mark; otherwise use a file of a supported type."
        )
    try:
        return content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"The file {str(path)!r} is not {error.encoding.upper()} text: byte 0x{content[error.start]:02x} in line "
            f"{line} cannot be decoded. Save it as UTF-8; if it is Latin-1 or Windows-1252, use "
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
            _check_names(path, first.iloc[0].dropna().tolist())  # because pandas renames duplicate columns
            numeric = [place for place, kind in enumerate(frame.dtypes) if pd.api.types.is_numeric_dtype(kind)]
            if numeric and re.search(r"(?<![\d.])0\d", text):
                written = pd.read_csv(io.StringIO(text), usecols=numeric, dtype=str, **options)
                for place, name in zip(numeric, written.columns, strict=True):
                    values = written[name].str.strip()
                    if values.str.match(_LEADING_ZERO).any():
                        frame.isetitem(place, values)
    except pd.errors.EmptyDataError as error:
        raise UserError(f"The file {str(path)!r} is empty. Its first line must contain the column names.") from error
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        reason = str(error).replace("Error tokenizing data. C error: ", "").strip()
        raise UserError(
            f"The file {str(path)!r} cannot be read as a table with the separator {separator!r} and the column names "
            f"in its first line: {reason}"
        ) from error
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    for place, column in enumerate(table.columns):
        if column.null_count == len(table) > 0:  # pandas reads empty columns as numbers
            table = table.set_column(place, table.column_names[place], pa.nulls(len(table)))
    return table


def columns_of_codes(path: Path) -> list[str]:
    """Return the columns of a csv file that hold numbers with leading zeros; an unreadable file has none."""
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
        raise UserError(f"The file {str(path)!r} has two columns named {twice[0]!r}: give every column a unique name.")


def _has_stray_quotes(text: str) -> bool:
    """Return whether quotes in tab-separated text are plain characters, as the format defines.

    Many programs quote fields in it nevertheless. But if all lines have the same number of fields and a field contains
    an unclosed quote, parsing quotes would merge lines.
    """
    lines = [line for line in text.splitlines() if line]
    tabs = {line.count("\t") for line in lines}
    return len(tabs) == 1 and any(field.count('"') % 2 for line in lines for field in line.split("\t"))


def _json_records(path: Path, text: str) -> list[dict[str, Any]]:
    """Read objects from a file with one per line, from a list of objects, or from an object that holds one list."""
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
                    f"The file {str(path)!r} contains a JSON {type(document).__name__}, but must contain a list of "
                    f'objects such as {{"text": "…", "label": "…"}}.'
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
            f"In {str(path)!r}, {place} is a JSON {type(record).__name__}, but must be an object such as "
            f'{{"text": "…", "label": "…"}}.'
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
                f"The column {name!r} of {str(path)!r} contains an integer that does not fit into 64 bits: write it "
                f"as a string, in quotes."
            ) from error
        except pa.ArrowException as error:
            kinds = {row: type(value).__name__ for row, value in enumerate(values) if value is not None}
            first = next(iter(kinds.values()))
            odd = next((row for row, kind in kinds.items() if kind != first), 0)
            raise UserError(
                f"The column {name!r} of {str(path)!r} mixes types ({listing(dict.fromkeys(kinds.values()))}): row "
                f"{odd} holds {values[odd]!r}, but the rows before it hold {first}. Use one type for all rows."
            ) from error
    return pa.table(arrays)


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}".rstrip(": ")
