"""Read one local file (csv, tsv, json, jsonl, parquet, arrow or plain text); errors name the place in the file.

The builders of `datasets` are not used for text formats: they decide types for each file alone, treat the words "None",
"null" and "NA" as missing values, and their cache keeps a copy of every file.
"""

from __future__ import annotations

import gzip
import re
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError, listing, nearest
from .column_values import Cells, json_cells
from .delimited import check_names, read_delimited
from .json_layouts import read_json

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".arrow", ".txt")
TYPED = (".parquet", ".arrow")
"""File types that declare the types of their columns."""


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


def check_suffix(path: Path) -> str:
    """Return the file type. Raises `UserError` if it is not supported."""
    suffix = file_suffix(path)
    if suffix not in SUFFIXES or (suffix in TYPED and path.suffix.lower() == ".gz"):
        raise UserError(
            f"The file {str(path)!r} cannot be used as a dataset: its type {suffix or 'none'!r} is not supported. "
            f"Supported file types: {listing(SUFFIXES)} (text formats also with .gz)."
        )
    return suffix


def read_cells(path: Path) -> Cells:
    """Read the rows of a file. Raises `UserError` for an unsupported type, encoding or content."""
    suffix = check_suffix(path)
    if suffix in TYPED:
        table = read_typed(path)
        return Cells(str(path), dict(zip(table.column_names, table.columns, strict=True)))
    text = read_text(path)
    if suffix in (".csv", ".tsv"):
        columns, notes = read_delimited(path, text, suffix)
        return Cells(str(path), columns, frozenset(columns), {}, notes)
    if suffix == ".txt":
        return json_cells(str(path), {"text": re.split(r"\r\n|\r|\n", text.rstrip("\r\n"))}, "one text per line")
    values, notes = read_json(path, text, suffix)
    return json_cells(str(path), values, notes)


def read_typed(path: Path) -> pa.Table:
    """Read a parquet or arrow file with its types; categories become the values that they stand for."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kind = file_suffix(path).removeprefix(".")
    try:
        if kind == "parquet":
            check_names(path, pq.read_schema(path).names)
            table = pq.ParquetFile(path).read()  # not read_table, which takes folders named "a=b" as columns
        else:
            table = _read_arrow(path)
            check_names(path, table.column_names)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"The file {str(path)!r} cannot be read as {kind}: {_first_line(error)}") from error
    return without_categories(table)


def without_categories(table: pa.Table) -> pa.Table:
    """Return a table with the values that its categories stand for."""
    import pyarrow as pa

    for place, column in enumerate(table.schema):
        if pa.types.is_dictionary(column.type):
            values = table.column(place).cast(column.type.value_type)
            table = table.set_column(place, column.with_type(column.type.value_type), values)
    return table


def _read_arrow(path: Path) -> pa.Table:
    """Read an arrow file in either of its formats; the stream is what `datasets` writes."""
    import pyarrow as pa

    source = pa.memory_map(str(path))
    try:
        return pa.ipc.open_file(source).read_all()
    except pa.ArrowInvalid:
        source.seek(0)
        return pa.ipc.open_stream(source).read_all()


def read_text(path: Path) -> str:
    """Return the text of a file. Raises `UserError` if it cannot be decoded; it names the line."""
    try:
        content = path.read_bytes()
        if path.suffix.lower() == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"The file {str(path)!r} cannot be read: {_first_line(error)}") from error
    encoding = encoding_of(content)
    if b"\0" in content and encoding == "utf-8-sig":
        line = content.count(b"\n", 0, content.index(b"\0")) + 1
        raise UserError(
            f"The file {str(path)!r} is not a text file: line {line} contains a zero byte. Save it as UTF-8 if it is "
            f"UTF-16 text without a byte order mark; otherwise use a file of a supported type."
        )
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"The file {str(path)!r} is not {error.encoding.upper()} text: byte 0x{content[error.start]:02x} in line "
            f"{line} cannot be decoded. Save it as UTF-8; if it is Latin-1 or Windows-1252, use "
            f"'iconv -f WINDOWS-1252 -t UTF-8'."
        ) from error


def encoding_of(content: bytes) -> str:
    """Return the encoding of a text: only a byte order mark declares one; others are not guessed."""
    wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    return "utf-32" if content[:4] in (b"\xff\xfe\0\0", b"\0\0\xfe\xff") else "utf-16" if wide else "utf-8-sig"


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}".rstrip(": ")
