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
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import UserError
from .rows_on_disk import Collector

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")

logger = logging.getLogger(__name__)

_SAMPLE = 100  # records that determine the format
LONGEST_CELL = 2**31 - 1  # characters
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
    collected: Collector = field(default_factory=Collector)
    pending: list[tuple[str, ...]] = field(default_factory=list)
    trimmed: int = 0

    def add(self, row: tuple[str, ...]) -> None:
        self.pending.append(row)
        if len(self.pending) == _CHUNK:
            self.flush()

    def flush(self) -> None:
        import pyarrow as pa

        if self.pending:
            arrays, trimmed = trimmed_cells(self.pending)
            self.collected.add(pa.record_batch(arrays, names=self.names))
            self.trimmed += trimmed
            self.pending = []

    def table(self) -> dict[str, pa.ChunkedArray]:
        import pyarrow as pa

        self.flush()
        table = self.collected.table(pa.schema([(name, pa.large_string()) for name in self.names]))
        return dict(zip(self.names, table.columns, strict=True))


def trimmed_cells(rows: list[tuple[str, ...]]) -> tuple[list[pa.Array], int]:
    """Return rows as columns of trimmed text with None for empty cells, and how many cells were trimmed."""
    import pyarrow as pa
    import pyarrow.compute as pc

    arrays, trimmed = [], 0
    for values in zip(*rows, strict=True):
        written = pa.array(values, pa.large_string())
        cells = pc.utf8_trim_whitespace(written)
        if not cells.equals(written):
            trimmed += pc.sum(pc.not_equal(cells, written)).as_py()
        arrays.append(pc.if_else(pc.equal(cells, ""), pa.scalar(None, pa.large_string()), cells))
    return arrays, trimmed


def read_delimited(
    path: Path, sample: str, lines: Callable[[], Iterator[str]], suffix: str
) -> tuple[dict[str, pa.ChunkedArray], str]:
    """Return the columns of a file as text, with None for empty cells, and a description of the format.

    Args:
        sample: the beginning, or all, of the text, which determines the format.
        lines: yields all lines from the first one.

    Raises:
        UserError: a quote that does not close, a line with too many cells, a stray line separator, or no column names.
    """
    declared, formats = detected_formats(path, sample, suffix)

    def rows_in(form: Format) -> DelimitedRows:
        return DelimitedRows(path, islice(lines(), bool(declared), None), form, 1 + bool(declared))

    rows, (columns, notes) = first_that_fits(path, formats, rows_in, _read)
    return columns, ", ".join([str(rows.form), *notes])


def detected_formats(path: Path, text: str, suffix: str) -> tuple[str, list[Format]]:
    """Return the line that declares the separator (empty without it), and the formats to try, the usual one first.

    Raises:
        UserError: the text is blank.
    """
    if not text.strip():
        raise UserError(f"The file {str(path)!r} is empty. Its first line must contain the column names.")
    declared = _DECLARED.match(text)
    text = text[declared.end() :] if declared else text
    return declared[0] if declared else "", _formats(text, declared[1] if declared else _separator(text, suffix))


def first_that_fits(
    path: Path, formats: Sequence[Format], rows_of: Callable[[Format], DelimitedRows], read: Callable[[Any], T]
) -> tuple[DelimitedRows, T]:
    """Return the rows in the first format in which all of them can be read, and what `read` returns for them.

    Raises:
        UserError: no format fits; it names the first line that does not.
    """
    limit = csv.field_size_limit(LONGEST_CELL)
    failures: list[_Misread] = []
    try:
        for form in formats:
            try:
                rows = rows_of(form)
                found = read(rows)
            except _Misread as failure:
                failures.append(failure)
                continue
            if form.quote is None and failures:
                logger.warning(
                    "Line %d of %r: %s. Every line has %d cells if quotes are plain characters, so they are read as "
                    "such.", failures[0].line, str(path), failures[0], len(rows.names),
                )  # fmt: skip
            return rows, found
    finally:
        csv.field_size_limit(limit)
    raise UserError(
        f"The file {str(path)!r} cannot be read as a table with the separator {formats[0].separator!r}: line "
        f"{failures[0].line}: {failures[0]}. Correct this line, or enclose cells that contain the separator, a quote "
        f'or a line break in double quotes, with "" for a quote.'
    )


def check_names(path: Path, names: Iterable[str]) -> None:
    """Raise `UserError` if two columns have one name."""
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise UserError(f"The file {str(path)!r} has two columns named {twice[0]!r}: give every column a unique name.")


def lines_of(text: str) -> Iterator[str]:
    """Split text at its line separator: "\\n" if there is one, else the old "\\r" alone."""
    return iter(io.StringIO(text, newline="\n" if "\n" in text else "\r"))


def _separator(text: str, suffix: str) -> str:
    """Return the separator for which the first records have the same number of cells, at least two."""
    order = "\t,;|" if suffix == ".tsv" else ",;\t|"
    lines = list(islice(lines_of(text), _SAMPLE + 1))
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
    lines = [line for line in map(str.strip, lines_of(text)) if line]
    tabs = {line.count("\t") for line in lines}
    return len(tabs) == 1 and any(cell.count('"') % 2 for line in lines for cell in line.split("\t"))


def _records(
    lines: Iterable[str], form: Format, first_line: int, held: list[str]
) -> Iterator[tuple[int, int, list[str], str]]:
    """Yield the first and last line, the cells and the text of each record that is not blank.

    The text begins with the blank lines before the record; `held` contains those after the last one.
    """

    def noted() -> Iterator[str]:
        for line in lines:
            held.append(line)
            yield line

    reader = form.reader(noted())
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
            text = "".join(held)
            held.clear()
            yield start, end, record, text
        start = end + 1


class DelimitedRows:
    """The rows of delimited text in one format, read once, each with a cell for every column.

    Attributes:
        names: the names of the columns.
        header: the text of the first line if it holds names; empty if it is a row.
        held: lines that belong to no row yet; after the last row, the blank lines at the end.
        short, surplus: lines with too few cells, and with empty cells beyond the last column.
    """

    def __init__(self, path: Path, lines: Iterable[str], form: Format, first_line: int) -> None:
        self.path, self.form = path, form
        self.held: list[str] = []
        self.short: list[int] = []
        self.surplus: list[int] = []
        self._records = _records(lines, form, first_line, self.held)
        self._head = list(islice(self._records, _SAMPLE))
        first = self._head[0][2]
        has_header = _has_header([record for *_, record, _ in self._head])
        self.header = self._head[0][3] if has_header else ""
        names = [name.strip() for name in first] if has_header else [f"column_{n + 1}" for n in range(len(first))]
        check_names(path, filter(None, names))
        self.trimmed_names = sum(name != written for name, written in zip(names, first, strict=True)) * has_header
        self.names = [name or f"Unnamed: {place}" for place, name in enumerate(names)]

    def __iter__(self) -> Iterator[tuple[int, int, tuple[str, ...], str]]:
        """Yield the first and last line, the cells and the text of each row.

        The cells are a tuple, because the garbage collector goes through lists again and again.
        """
        width, form = len(self.names), self.form
        for start, end, record, text in chain(self._head[bool(self.header) :], self._records):
            if len(record) != width:
                if form.quote is None or form.escape is not None:
                    raise _Misread(start, f"{len(record)} cells instead of {width}")
                if any(cell.strip() for cell in record[width:]):
                    raise _Misread(start, f"{len(record)} cells, but there are {width} column names")
                (self.short if len(record) < width else self.surplus).append(start)
                text = _with_cells(text, form.separator, width - len(record))
                record = record[:width] + [""] * (width - len(record))
            if form.quote is None and width > 1 and form.separator != "\t" and any(map(_is_wrapped, record)):
                raise _Misread(start, "a quoted cell beside quotes that are not closed")
            yield start, end, tuple(record), text

    @property
    def notes(self) -> list[str]:
        return [] if self.header else ["no column names"]

    def report(self, trimmed: int) -> None:
        """Warn of what was unusual in the rows, after all were read; `trimmed` cells had spaces around them."""
        path, trimmed = str(self.path), trimmed + self.trimmed_names
        if not self.header:
            logger.warning(
                "The first line of %r looks like a row, not like column names: the columns are named %s to %s. Add a "
                "line with column names if this is wrong.", path, self.names[0], self.names[-1],
            )  # fmt: skip
        if self.short:
            logger.warning(
                "Line %d of %r has fewer cells than the %d columns (%d such lines): the missing cells are empty.",
                self.short[0], path, len(self.names), len(self.short),
            )  # fmt: skip
        if self.surplus:
            logger.warning(
                "Line %d of %r ends with empty cells beyond the %d columns (%d such lines): they are ignored.",
                self.surplus[0], path, len(self.names), len(self.surplus),
            )  # fmt: skip
        if trimmed:
            logger.warning("Spaces around %d cells of %r were removed.", trimmed, path)


def _with_cells(text: str, separator: str, missing: int) -> str:
    """The text of a row with `missing` more empty cells at its end, or with fewer if that is negative."""
    body = text.rstrip("\r\n")
    end = text[len(body) :]
    return (body + separator * missing if missing > 0 else body.rsplit(separator, -missing)[0]) + end


def _read(rows: DelimitedRows) -> tuple[dict[str, pa.ChunkedArray], list[str]]:
    columns = _Columns(rows.names)
    long_cells: list[tuple[int, int, str]] = []
    for start, end, record, _ in rows:
        if end > start and len(long_cells) < _CHUNK:
            long_cells += [(start, end, cell) for cell in record if "\n" in cell][:1]
        columns.add(record)
    table = columns.table()
    rows.report(columns.trimmed)
    _warn_of_swallowed_lines(rows.path, rows.form, table, long_cells)
    return table, rows.notes


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


def _warn_of_swallowed_lines(
    path: Path, form: Format, table: dict[str, pa.ChunkedArray], cells: list[tuple[int, int, str]]
) -> None:
    """Warn of a cell of several lines that look like rows: an opening quote too many merges them without an error."""
    import pyarrow.compute as pc

    if not cells or len(table) < 2:
        return
    first, last = list(table.values())[0], list(table.values())[-1]
    for column, side, parts_of in ((last, -1, slice(None, -1)), (first, 0, slice(1, None))):
        few = column.slice(0, _CHUNK)  # all may be millions of texts
        if pc.count_distinct(few).as_py() > max(2, len(few) // 2):
            continue
        known = set(pc.unique(column).to_pylist())
        for start, end, cell in cells:
            parts = cell.split("\n")[parts_of]
            if all(form.separator in part and part.split(form.separator)[side].strip() in known for part in parts):
                logger.warning(
                    "Lines %d to %d of %r are one row, because a quote opens in line %d; but they look like %d rows. "
                    "Check whether that quote is meant.", start, end, str(path), start, end - start + 1,
                )  # fmt: skip
                return
