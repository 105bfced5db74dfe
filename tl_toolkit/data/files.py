"""Read one local file (csv, tsv, json, jsonl, parquet, arrow or plain text); errors name the place in the file.

The builders of `datasets` are not used for text formats: they decide types for each file alone, treat the words "None",
"null" and "NA" as missing values, and their cache keeps a copy of every file.
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import UserError, listing, nearest
from .column_values import Cells, json_cells
from .delimited import check_names, lines_of, read_delimited
from .json_layouts import read_json
from .rows_on_disk import Collector, read_mapped

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".arrow", ".txt")
TYPED = (".parquet", ".arrow")
"""File types that declare the types of their columns."""
_WHOLE = 1 << 24  # bytes of delimited text that are read at once
_BATCH = 10_000


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
    if suffix in (".csv", ".tsv"):
        own = Lines(path, _WHOLE)
        if own.is_longer:
            columns, notes = read_delimited(path, own.sample, own.__iter__, suffix)
        else:
            text = read_text(path)
            columns, notes = read_delimited(path, text, lambda: lines_of(text), suffix)
        return Cells(str(path), columns, frozenset(columns), {}, notes)
    text = read_text(path)
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
            # Not read_table, which takes folders named "a=b" as columns. Without a buffer, it reads whole row groups.
            file = pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)
            check_names(path, file.schema_arrow.names)
            collected = Collector()
            for batch in file.iter_batches(_BATCH):
                collected.add(without_categories(batch))
            return collected.table(without_categories(file.schema_arrow.empty_table()).schema)
        with path.open("rb") as content:
            table = read_mapped(content)
        check_names(path, table.column_names)
        return without_categories(table)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"The file {str(path)!r} cannot be read as {kind}: {_first_line(error)}") from error


T = TypeVar("T", "pa.Table", "pa.RecordBatch")


def without_categories(table: T) -> T:
    """Return a table, or a batch, with the values that its categories stand for."""
    import pyarrow as pa

    for place, column in enumerate(table.schema):
        if pa.types.is_dictionary(column.type):
            values = table.column(place).cast(column.type.value_type)
            table = table.set_column(place, column.with_type(column.type.value_type), values)
    return table


class Lines:
    """The lines of a text file, read anew by each iteration, of which only a few are in memory.

    Args:
        sample_size: bytes at the beginning of the file that determine its format.

    Attributes:
        sample: their text, which ends with a line.
        is_longer: whether the file is longer than that.
        newline: what ends a line, as for `open`.
        encoding: declared by a byte order mark.
        mark: the byte order mark of the file, if any.
        written: the encoding that adds no mark.
    """

    def __init__(self, path: Path, sample_size: int) -> None:
        self.path = path
        try:
            with self._open() as file:
                sample = file.read(sample_size)
        except (OSError, EOFError, zlib.error):
            read_text(path)  # raises an error that says why
            raise
        self.encoding = encoding_of(sample)
        self.sample = sample.decode(self.encoding, errors="ignore")
        self.is_longer = len(sample) == sample_size
        if self.is_longer and "\n" in self.sample:
            self.sample = self.sample[: self.sample.rindex("\n") + 1]
        self.newline: str | None = "\n" if "\n" in self.sample else "\r"
        self.mark = "\ufeff" if sample[:2] in (b"\xff\xfe", b"\xfe\xff") or sample[:3] == b"\xef\xbb\xbf" else ""
        big = {"utf-16": b"\xfe\xff", "utf-32": b"\0\0\xfe\xff"}
        order = "-be" if sample.startswith(big.get(self.encoding, b"\0\0\0")) else "-le"
        self.written = self.encoding + order if self.encoding in big else "utf-8"

    def _open(self) -> Any:
        return gzip.open(self.path) if self.path.suffix.lower() == ".gz" else self.path.open("rb")

    def __iter__(self) -> Iterator[str]:
        try:
            with io.TextIOWrapper(self._open(), self.encoding, newline=self.newline) as text:
                for line in text:
                    if "\0" in line:
                        read_text(self.path)  # raises an error that names the line
                    yield line
        except (UnicodeDecodeError, OSError, EOFError):
            read_text(self.path)
            raise


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
