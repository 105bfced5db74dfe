"""Tables that are read in chunks, and given back with more columns; all else stays as it was written, byte for byte.

A first pass counts the rows, decides the types of the columns as `column_values.py` does, and finds what cannot be
read, before any work begins. A second pass yields the rows. Neither holds more than a chunk of rows.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from ..errors import UserError
from .column_values import joint_type, json_cells, type_of, typed
from .delimited import LONGEST_CELL, DelimitedRows, Format, detected_formats, first_that_fits, trimmed_cells
from .files import Lines, check_names, file_suffix, without_categories
from .json_layouts import json_records

if TYPE_CHECKING:
    import pyarrow as pa

CHUNK_ROWS = 16_384
_CHUNK_CHARACTERS = 1 << 24
_SAMPLE_BYTES = 1 << 20  # determine the format of delimited text

Added = Mapping[str, list[Any]]
"""New columns of a chunk: for each row text, a number, a list of texts, or None."""


class Chunk(NamedTuple):
    """Consecutive rows: their typed columns, and in `given` how they were written."""

    table: pa.Table
    given: Any


class ReturnedFile(ABC):
    """A file of rows, read in chunks and written back.

    Attributes:
        rows: the number of rows, after `scan`.
        types: the types of the columns, after `scan`.
        missing: how many values a column lacks, and the first row without one, after `scan`.
        suffix: of a file that `writing` fills.
        notes: the format.
    """

    notes = ""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.suffix = "".join(path.suffixes[-2:] if path.suffix.lower() == ".gz" else path.suffixes[-1:])
        self._forget()

    def _forget(self) -> None:
        self.rows = 0
        self.types: dict[str, pa.DataType] = {}
        self.missing: dict[str, tuple[int, int]] = {}

    @property
    def schema(self) -> pa.Schema:
        """The columns of chunks, after `scan`."""
        import pyarrow as pa

        return pa.schema(self.types.items())

    @abstractmethod
    def scan(self) -> None:
        """Read the whole file once. Raises `UserError` if a row cannot be read, or if there are none."""

    @abstractmethod
    def chunks(self) -> Iterator[Chunk]:
        """Yield the rows in order, with the columns and types of `types`."""

    @abstractmethod
    def writing(self, target: BinaryIO, columns: Mapping[str, pa.DataType]) -> Any:
        """A context with a function of a chunk and its `Added`, called for each chunk in order.

        Args:
            columns: the types of the added columns by name.
        """

    def _see(self, columns: Mapping[str, Any], types: Mapping[str, pa.DataType], rows: int) -> None:
        """Note the types and missing values of the next `rows` rows."""
        import pyarrow as pa

        for name in [*self.types, *(name for name in columns if name not in self.types)]:
            count, first = self.missing.get(name, (self.rows if name not in self.types else 0, 0))
            own = columns.get(name)
            if lacking := rows if own is None else own.null_count:
                place = 0 if own is None else own.is_null().index(True).as_py()
                first = first if count else self.rows + place
            self.missing[name] = (count + lacking, first)
            kinds = [self.types.get(name, pa.null()), types.get(name, pa.null())]
            if (kind := joint_type(*kinds)) is None:
                raise UserError(
                    f"The column {name!r} of {str(self.path)!r} has different types: {kinds[0]}, and {kinds[1]} in the "
                    f"{rows:,} rows from row {self.rows}. Use one type for all rows."
                )
            self.types[name] = kind
        self.rows += rows

    def _check_rows(self) -> None:
        if not self.rows:
            raise UserError(f"The file {str(self.path)!r} has no rows. Add rows or remove it.")


class _TextFile(ReturnedFile):
    """A file of lines; `given` is the text of each row."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.lines = Lines(path, _SAMPLE_BYTES)

    @abstractmethod
    def _texts(self) -> Iterator[tuple[Any, str]]:
        """Yield the values of each row, in any form, and its text."""

    @abstractmethod
    def _columns(self, values: list[Any]) -> dict[str, pa.ChunkedArray]:
        """The values of rows by column."""

    def _type(self, column: pa.ChunkedArray) -> pa.DataType:
        """The type that the values of a column have, or can have."""
        return column.type

    def scan(self) -> None:
        self._scan(self._texts())
        self._check_rows()

    def _scan(self, texts: Iterable[tuple[Any, str]]) -> None:
        self._forget()
        for values, _ in _grouped(texts):
            columns = self._columns(values)
            self._see(columns, {name: self._type(own) for name, own in columns.items()}, len(values))

    def chunks(self) -> Iterator[Chunk]:
        limit = csv.field_size_limit(LONGEST_CELL)
        try:
            for values, given in _grouped(self._texts()):
                yield Chunk(typed(self._columns(values), self.types, len(values)), given)
        finally:
            csv.field_size_limit(limit)

    @contextmanager
    def writing(self, target: BinaryIO, columns: Mapping[str, pa.DataType]) -> Iterator[Callable[[Chunk, Added], None]]:
        packed: Any = gzip.GzipFile(fileobj=target, mode="wb") if self.suffix.lower().endswith(".gz") else None
        out = packed or target
        out.write((self.lines.mark + self._beginning(list(columns))).encode(self.lines.written))

        def write(chunk: Chunk, added: Added) -> None:
            rows = zip(chunk.given, zip(*added.values(), strict=True), strict=True)
            text = "".join(self._with(row, dict(zip(added, values, strict=True))) for row, values in rows)
            out.write(text.encode(self.lines.written))

        yield write
        out.write(self._end().encode(self.lines.written))
        if packed is not None:
            packed.close()

    def _beginning(self, names: list[str]) -> str:
        return ""

    @abstractmethod
    def _with(self, row: str, added: Mapping[str, Any]) -> str:
        """The text of a row with more values."""

    def _end(self) -> str:
        return ""


class DelimitedFile(_TextFile):
    """A csv or tsv file."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.declared, self.formats = detected_formats(path, self.lines.sample, file_suffix(path))

    def scan(self) -> None:
        def read(rows: DelimitedRows) -> None:
            self.names, self.trimmed = rows.names, 0
            self._scan((cells, text) for *_, cells, text in rows)

        rows, _ = first_that_fits(self.path, self.formats, self._rows_in, read)
        rows.report(self.trimmed)
        self.form, self.header, self.rest = rows.form, rows.header, "".join(rows.held)
        self.notes = ", ".join([str(rows.form), *rows.notes])
        self._check_rows()
        quote = self.form.quote
        self.quotes_all = bool(quote) and self.header.count(quote or "") >= 2 * len(self.names)
        self.special = re.compile("[" + re.escape(self.form.separator + (quote or '"')) + "\\r\\n]")

    def _rows_in(self, form: Format) -> DelimitedRows:
        lines = islice(self.lines, bool(self.declared), None)
        return DelimitedRows(self.path, lines, form, 1 + bool(self.declared))

    def _texts(self) -> Iterator[tuple[tuple[str, ...], str]]:
        return ((cells, text) for *_, cells, text in self._rows_in(self.form))

    def _columns(self, values: list[tuple[str, ...]]) -> dict[str, pa.ChunkedArray]:
        import pyarrow as pa

        arrays, trimmed = trimmed_cells(values)
        self.trimmed += trimmed
        return {name: pa.chunked_array([array]) for name, array in zip(self.names, arrays, strict=True)}

    def _type(self, column: pa.ChunkedArray) -> pa.DataType:
        return type_of([column])[0]

    def _beginning(self, names: list[str]) -> str:
        return self.declared + (self._with(self.header, {name: name for name in names}) if self.header else "")

    def _with(self, row: str, added: Mapping[str, Any]) -> str:
        body = row.rstrip("\r\n")
        cells = "".join(self.form.separator + self._cell(value) for value in added.values())
        return body + cells + row[len(body) :]

    def _cell(self, value: Any) -> str:
        text = as_text(value)
        quote = self.form.quote or '"'
        if text == text.strip() and not self.special.search(text) and not (self.quotes_all and text):
            return text
        return quote + text.replace(quote, (self.form.escape or quote) + quote) + quote

    def _end(self) -> str:
        return self.rest


class JsonLinesFile(_TextFile):
    """A file with a JSON object on each line."""

    notes = "one object per line"

    def _texts(self) -> Iterator[tuple[dict[str, Any], str]]:
        blank = ""
        for number, line in enumerate(self.lines, 1):
            if line.strip():
                yield next(json_records(self.path, [(number, line)])), blank + line
                blank = ""
            else:
                blank += line
        self.rest = blank

    def _columns(self, values: list[dict[str, Any]]) -> dict[str, pa.ChunkedArray]:
        names = dict.fromkeys(name for record in values for name in record)
        lists = {name: [record.get(name) for record in values] for name in names}
        return json_cells(str(self.path), lists, self.notes).columns

    def _with(self, row: str, added: Mapping[str, Any]) -> str:
        body = row.rstrip()
        object_ = body[:-1].rstrip()
        space = " " if '": ' in object_ or object_ == "{" else ""
        items = [f"{json.dumps(name)}:{space}{json.dumps(value, ensure_ascii=False)}" for name, value in added.items()]
        comma = "" if object_.lstrip() == "{" else f",{space}"
        return object_ + comma + f",{space}".join(items) + body[len(object_) :] + row[len(body) :]

    def _end(self) -> str:
        return self.rest


class LinesFile(_TextFile):
    """A file with a text on each line, which is given back as csv with the column `text`."""

    notes = "one text per line"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.lines.newline = None
        self.suffix = ".csv" + (".gz" if path.suffix.lower() == ".gz" else "")

    def _texts(self) -> Iterator[tuple[str, str]]:
        blank = 0
        for line in self.lines:
            text = line.rstrip("\n")
            if not text:
                blank += 1  # blank lines at the end are no texts
                continue
            yield from (("", "") for _ in range(blank))
            blank = 0
            yield text, text

    def _columns(self, values: list[str]) -> dict[str, pa.ChunkedArray]:
        import pyarrow as pa

        return {"text": pa.chunked_array([pa.array(values, pa.large_string())])}

    def _beginning(self, names: list[str]) -> str:
        return _csv_line(["text", *names])

    def _with(self, row: str, added: Mapping[str, Any]) -> str:
        return _csv_line([row, *map(as_text, added.values())])


class ParquetFile(ReturnedFile):
    """A parquet file; `given` is the batch of rows with all columns and their types."""

    def _file(self) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            file = pq.ParquetFile(self.path)
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"The file {str(self.path)!r} cannot be read as parquet: {error}") from error
        check_names(self.path, file.schema_arrow.names)
        return file

    def scan(self) -> None:
        types = {field.name: field.type for field in self.schema}
        for batch in self._file().iter_batches(CHUNK_ROWS):
            self._see({name: batch.column(name) for name in types}, types, len(batch))
        self._check_rows()

    @property
    def schema(self) -> pa.Schema:
        return without_categories(self._file().schema_arrow.empty_table()).schema

    def chunks(self) -> Iterator[Chunk]:
        import pyarrow as pa

        for batch in self._file().iter_batches(CHUNK_ROWS):
            if len(batch):
                yield Chunk(without_categories(pa.Table.from_batches([batch])), batch)

    @contextmanager
    def writing(self, target: BinaryIO, columns: Mapping[str, pa.DataType]) -> Iterator[Callable[[Chunk, Added], None]]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        file = self._file()
        schema = file.schema_arrow
        for name, kind in columns.items():
            schema = schema.append(pa.field(name, kind))
        groups = file.metadata
        codec = groups.row_group(0).column(0).compression.lower() if groups.num_row_groups else "snappy"
        with pq.ParquetWriter(target, schema, compression="none" if codec == "uncompressed" else codec) as writer:

            def write(chunk: Chunk, added: Added) -> None:
                new = [pa.array(added[name], kind) for name, kind in columns.items()]
                arrays = [array.cast(kind) if array.type != kind else array
                          for array, kind in zip([*chunk.given.columns, *new], schema.types, strict=True)]  # fmt: skip
                writer.write_batch(pa.record_batch(arrays, schema=schema))

            yield write


def returned_file(path: Path) -> ReturnedFile | None:
    """The reader of a file that can be given back with more columns; None for other types of files."""
    kinds: dict[str, Callable[[Path], _TextFile]] = {
        ".csv": DelimitedFile, ".tsv": DelimitedFile, ".jsonl": JsonLinesFile, ".txt": LinesFile,
    }  # fmt: skip
    suffix = file_suffix(path)
    if suffix == ".parquet" and path.suffix.lower() == suffix:
        return ParquetFile(path)
    if suffix not in kinds:
        return None
    file = kinds[suffix](path)
    return None if suffix == ".jsonl" and not file.lines.sample.lstrip().startswith("{") else file


def stream_suffix(sample: str, text_columns: Iterable[str]) -> str:
    """The type of rows that come from a stream: `.jsonl`, `.csv`, `.tsv`, or `.txt`, a text on each line.

    It is a table if the first line has several cells and one of them is the name of a text column, or if it is such a
    name alone.
    """
    first = sample.lstrip("\ufeff").split("\n", 1)[0].strip()
    if first.startswith("{"):
        return ".jsonl"
    for separator in "\t,;|":
        names = {cell.strip().strip("\"'").lower() for cell in first.split(separator)}
        if names & {name.lower() for name in text_columns}:
            return ".tsv" if separator == "\t" and len(names) > 1 else ".csv"
    return ".txt"


def as_text(value: Any) -> str:
    """A value in delimited text: nothing for None, names of a list separated by commas."""
    if value is None:
        return ""
    return ",".join(map(as_text, value)) if isinstance(value, list) else str(value)


def _csv_line(cells: list[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def _grouped(rows: Iterable[tuple[Any, str]]) -> Iterator[tuple[list[Any], list[str]]]:
    """Collect values and texts into chunks that are limited in rows and in characters."""
    values: list[Any] = []
    texts: list[str] = []
    size = 0
    for value, text in rows:
        values.append(value)
        texts.append(text)
        size += len(text)
        if len(texts) == CHUNK_ROWS or size >= _CHUNK_CHARACTERS:
            yield values, texts
            values, texts, size = [], [], 0
    if texts:
        yield values, texts
