"""Read delimited text (csv, tsv): detect its format, and account for every line.

Python's csv reader is used because it reports line numbers and, in strict mode, quotes that do not close. Cells stay
text: `column_values.py` decides the types.
"""

from __future__ import annotations

import csv
import io
import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)

_SAMPLE = 100  # records that determine the format
_CHUNK = 10_000  # rows that are held as Python objects at a time
_DECLARED = re.compile(r'"?sep=(.)"?[ \t]*\r?\n', re.IGNORECASE)  # written by Excel before the header
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


@dataclass(frozen=True)
class Format:
    """How cells are separated and quoted. Without `quote`, quotes are plain characters."""

    separator: str
    quote: str | None = '"'
    escape: str | None = None
    spaced: bool = False  # whether spaces between a separator and a quote are skipped
    trailing: bool = False  # whether spaces between a quote and a separator are skipped

    def reader(self, lines: Iterable[str], strict: bool = True) -> Any:
        if self.trailing:
            spaces = re.compile(rf'" +(?={re.escape(self.separator)}|\r?\n|$)')
            lines = (spaces.sub('"', line) for line in lines)
        return csv.reader(
            lines, delimiter=self.separator, quotechar=self.quote, escapechar=self.escape, strict=strict,
            doublequote=self.escape is None, skipinitialspace=self.spaced,
            quoting=csv.QUOTE_NONE if self.quote is None else csv.QUOTE_MINIMAL,
        )  # fmt: skip

    def __str__(self) -> str:
        quote = "" if self.quote == '"' else f", quotes {self.quote}" if self.quote else ", no quotes"
        spaces = ", spaces beside quotes" if self.spaced or self.trailing else ""
        return f"separator {self.separator!r}{quote}{spaces}" + (f", escapes {self.escape}" if self.escape else "")


class _Misread(Exception):
    """The text does not have the assumed format; `line` is where that shows."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


@dataclass
class _Columns:
    """Collects rows as Arrow arrays of trimmed text; empty cells are missing."""

    names: list[str]
    chunks: list[list[pa.Array]] = field(default_factory=list)
    pending: list[list[str]] = field(default_factory=list)
    trimmed: int = 0
    rows: int = 0

    def add(self, row: list[str]) -> None:
        self.pending.append(row)
        if len(self.pending) == _CHUNK:
            self.flush()

    def flush(self) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        if not self.pending:
            return
        arrays = []
        for values in zip(*self.pending, strict=True):
            written = pa.array(values, pa.large_string())
            cells = pc.utf8_trim_whitespace(written)
            if not cells.equals(written):
                self.trimmed += pc.sum(pc.not_equal(cells, written)).as_py()
            arrays.append(pc.if_else(pc.equal(cells, ""), pa.scalar(None, pa.large_string()), cells))
        self.chunks.append(arrays)
        self.rows += len(self.pending)
        self.pending = []

    def table(self) -> dict[str, pa.ChunkedArray]:
        import pyarrow as pa

        self.flush()
        columns = zip(*self.chunks, strict=True) if self.chunks else [()] * len(self.names)
        return {n: pa.chunked_array(c, pa.large_string()) for n, c in zip(self.names, columns, strict=True)}


def read_delimited(path: Path, text: str, suffix: str) -> tuple[dict[str, pa.ChunkedArray], str]:
    """Return the columns of a file as text, with None for empty cells, and a description of the format.

    Raises:
        UserError: a quote that does not close, a line with too many cells, a stray line separator, or no column names.
    """
    if not text.strip():
        raise UserError(f"The file {str(path)!r} is empty. Its first line must contain the column names.")
    declared = _DECLARED.match(text)
    first_line = 1 + bool(declared)
    text = text[declared.end() :] if declared else text
    separator = declared[1] if declared else _separator(text, suffix)
    limit = csv.field_size_limit(len(text) + 1)
    try:
        formats = _formats(text, separator)
        failures: list[_Misread] = []
        for form in formats:
            try:
                columns, notes = _read(path, text, form, first_line)
            except _Misread as failure:
                failures.append(failure)
                continue
            if form.quote is None and failures:
                logger.warning(
                    "Line %d of %r: %s. Every line has %d cells if quotes are plain characters, so they are read as "
                    "such.", failures[0].line, str(path), failures[0], len(columns.names),
                )  # fmt: skip
            return columns.table(), ", ".join([str(form), *notes])
    finally:
        csv.field_size_limit(limit)
    raise UserError(
        f"The file {str(path)!r} cannot be read as a table with the separator {separator!r}: line {failures[0].line}: "
        f"{failures[0]}. Correct this line, or enclose cells that contain the separator, a quote or a line break in "
        f'double quotes, with "" for a quote.'
    )


def check_names(path: Path, names: Iterable[str]) -> None:
    """Raise `UserError` if two columns have one name."""
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise UserError(f"The file {str(path)!r} has two columns named {twice[0]!r}: give every column a unique name.")


def _lines(text: str) -> Iterator[str]:
    """Split text at its line separator: "\\n" if there is one, else the old "\\r" alone."""
    return iter(io.StringIO(text, newline="\n" if "\n" in text else "\r"))


def _separator(text: str, suffix: str) -> str:
    """Return the separator for which the first records have the same number of cells, at least two."""
    order = "\t,;|" if suffix == ".tsv" else ",;\t|"
    lines = list(islice(_lines(text), _SAMPLE + 1))
    widths = {}
    for separator in order:
        form = Format(separator, spaced=True)
        try:
            records = [record for record in form.reader(lines, strict=False) if record]
        except csv.Error:
            continue
        whole = records[:-1] if len(lines) > _SAMPLE else records  # the last one may be cut
        if whole and len(whole[0]) > 1 and all(len(record) == len(whole[0]) for record in whole):
            widths[separator] = len(whole[0])
    if widths:
        return order[0] if order[0] in widths and suffix == ".tsv" else max(widths, key=lambda one: widths[one])
    header = text.lstrip().split("\n", 1)[0]
    return max(order[:3], key=header.count)


def _formats(text: str, separator: str) -> list[Format]:
    """Return the formats to try, the usual one first."""
    between = re.escape(separator)
    spaced = re.search(between + ' +"', text) is not None
    quoted, plain = Format(separator, spaced=spaced), Format(separator, quote=None)
    if separator == "\t" and _has_stray_quotes(text):
        return [plain]
    if re.match(rf"\s*'[^']*'({between} *'[^']*')+\s*[\r\n]", text):
        quoted = Format(separator, quote="'", spaced=True)
    escaped = []
    # A backslash before any other character is part of the text, and would be lost.
    if not re.search(rf'\\(?![\\"\r\n{between}])', text.replace("\\\\", "")):
        escaped = [Format(separator, escape="\\", spaced=spaced)]
    if '\\"' in text and '\\""' not in text:  # written without doubling quotes
        return [*escaped, quoted, plain]
    trailing = [replace(quoted, trailing=True)] if re.search(rf'" +({between}|\r?\n|$)', text) else []
    return [quoted, *(escaped if "\\" + separator in text else []), *trailing, plain]


def _has_stray_quotes(text: str) -> bool:
    """Return whether quotes in tab-separated text are plain characters, as the format defines.

    Many programs quote fields in it nevertheless. But if all lines have the same number of fields and a field contains
    an unclosed quote, parsing quotes would merge lines.
    """
    lines = [line for line in map(str.strip, _lines(text)) if line]
    tabs = {line.count("\t") for line in lines}
    return len(tabs) == 1 and any(cell.count('"') % 2 for line in lines for cell in line.split("\t"))


def _records(text: str, form: Format, first_line: int) -> Iterator[tuple[int, int, list[str]]]:
    """Yield the first and last line and the cells of each record that is not blank."""
    reader = form.reader(_lines(text))
    start = first_line
    while True:
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "new-line character" in str(error):
                line = first_line + reader.line_num - 1
                raise _Misread(line, "a carriage return that does not end the line") from error
            raise _Misread(start, "a quote opens here and is not closed before the next separator") from error
        end = first_line + reader.line_num - 1
        if record:
            yield start, end, record
        start = end + 1


def _read(path: Path, text: str, form: Format, first_line: int) -> tuple[_Columns, list[str]]:
    records = _records(text, form, first_line)
    head = list(islice(records, _SAMPLE))
    has_header = _has_header([record for *_, record in head])
    names = [name.strip() for name in head[0][2]] if has_header else [f"column_{n + 1}" for n in range(len(head[0][2]))]
    check_names(path, filter(None, names))
    columns = _Columns([name or f"Unnamed: {place}" for place, name in enumerate(names)])
    columns.trimmed = sum(name != written for name, written in zip(names, head[0][2], strict=True)) * has_header
    width = len(names)
    short: list[int] = []
    surplus: list[int] = []
    long_cells: list[tuple[int, int, str]] = []

    def rest() -> Iterator[tuple[int, int, list[str]]]:
        yield from head[has_header:]
        yield from records

    for start, end, record in rest():
        if len(record) != width:
            if form.quote is None or form.escape is not None:
                raise _Misread(start, f"{len(record)} cells instead of {width}")
            if any(cell.strip() for cell in record[width:]):
                raise _Misread(start, f"{len(record)} cells, but there are {width} column names")
            (short if len(record) < width else surplus).append(start)
            record = record[:width] + [""] * (width - len(record))
        if form.quote is None and width > 1 and form.separator != "\t" and any(_is_wrapped(cell) for cell in record):
            raise _Misread(start, "a quoted cell beside quotes that are not closed")
        if end > start:
            long_cells += [(start, end, cell) for cell in record if "\n" in cell][:1]
        columns.add(record)
    table = columns.table()
    _report(path, columns, has_header, short, surplus)
    _warn_of_swallowed_lines(path, form, table, long_cells)
    return columns, [] if has_header else ["no column names"]


def _is_wrapped(cell: str) -> bool:
    return len(cell) > 1 and cell[0] == cell[-1] == '"'


def _has_header(records: list[list[str]]) -> bool:
    """Return whether the first record holds names: it does unless it clearly continues the rows below.

    It does so if none of its cells is a conventional name and a cell occurs again, twice, in a column of repeated
    values, or is a number above numbers only.
    """
    from .column_roles import LABEL_NAMES, RATING_NAMES, TEXT_NAMES

    first, below = records[0], records[1:]
    lower = {cell.strip().lower() for cell in first}
    if not below or lower & {*LABEL_NAMES, *RATING_NAMES, *TEXT_NAMES, "id", "index"} or "" in lower:
        return True
    numbers = [_NUMBER.fullmatch(cell.strip()) is not None for cell in first]
    for place, cell in enumerate(first):
        values = [record[place].strip() for record in below if len(record) > place]
        if not numbers[place] and values.count(cell.strip()) > 1:
            return False
        if numbers[place] and not all(numbers) and values and all(map(_NUMBER.fullmatch, filter(None, values))):
            return False
    return True


def _report(path: Path, columns: _Columns, has_header: bool, short: list[int], surplus: list[int]) -> None:
    if not has_header:
        logger.warning(
            "The first line of %r looks like a row, not like column names: the columns are named %s to %s. Add a line "
            "with column names if this is wrong.", str(path), columns.names[0], columns.names[-1],
        )  # fmt: skip
    if short:
        logger.warning(
            "Line %d of %r has fewer cells than the %d columns (%d such lines): the missing cells are empty.",
            short[0], str(path), len(columns.names), len(short),
        )  # fmt: skip
    if surplus:
        logger.warning(
            "Line %d of %r ends with empty cells beyond the %d columns (%d such lines): they are ignored.",
            surplus[0], str(path), len(columns.names), len(surplus),
        )  # fmt: skip
    if columns.trimmed:
        logger.warning("Spaces around %d cells of %r were removed.", columns.trimmed, str(path))


def _warn_of_swallowed_lines(
    path: Path, form: Format, table: dict[str, pa.ChunkedArray], cells: list[tuple[int, int, str]]
) -> None:
    """Warn of a cell of several lines that look like rows: an opening quote too many merges them without an error."""
    import pyarrow.compute as pc

    if not cells or len(table) < 2:
        return
    first, last = list(table.values())[0], list(table.values())[-1]
    for column, side, parts_of in ((last, -1, slice(None, -1)), (first, 0, slice(1, None))):
        known = set(pc.unique(column).to_pylist())
        if len(known) > max(2, len(column) // 2):
            continue
        for start, end, cell in cells:
            parts = cell.split("\n")[parts_of]
            if all(form.separator in part and part.split(form.separator)[side].strip() in known for part in parts):
                logger.warning(
                    "Lines %d to %d of %r are one row, because a quote opens in line %d; but they look like %d rows. "
                    "Check whether that quote is meant.", start, end, str(path), start, end - start + 1,
                )  # fmt: skip
                return
