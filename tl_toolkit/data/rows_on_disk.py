"""Tables that are on disk if they are large, and mapped into memory, so that many rows need little of it."""

from __future__ import annotations

import mmap
from contextlib import suppress
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import numpy as np

from ..errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

LARGE = 1 << 25
"""Bytes of a table that are held in memory."""
_mapped: WeakSet[mmap.mmap] = WeakSet()


class Collector:
    """Collects the batches of a table. Beyond `LARGE` bytes, they are in a file that disappears with the process."""

    def __init__(self) -> None:
        self._batches: list[pa.RecordBatch] = []
        self._size = 0
        self._file: Any = None
        self._writer: Any = None

    def add(self, batch: pa.RecordBatch) -> None:
        self._batches.append(batch)
        self._size += batch.nbytes
        if self._size > LARGE:
            self._write()

    def table(self, empty: pa.Schema) -> pa.Table:
        """The table of all batches; `empty` is its schema if there are none."""
        import pyarrow as pa

        if self._file is None:
            return pa.Table.from_batches(self._batches, None if self._batches else empty)
        self._write()
        self._writer.close()
        self._file.flush()
        return read_mapped(self._file)

    def _write(self) -> None:
        import pyarrow as pa
        from datasets import config

        try:
            if self._file is None:
                config.HF_DATASETS_CACHE.mkdir(parents=True, exist_ok=True)
                self._file = TemporaryFile(dir=config.HF_DATASETS_CACHE)  # noqa: SIM115  lives as long as the table
                self._writer = pa.ipc.new_stream(self._file, self._batches[0].schema)
            for batch in self._batches:
                self._writer.write_batch(batch)
        except OSError as error:
            raise UserError(
                f"The rows of a large dataset cannot be written to {str(config.HF_DATASETS_CACHE)!r}: {error}. Set "
                "HF_DATASETS_CACHE to a folder with more space."
            ) from error
        self._batches, self._size = [], 0


def read_mapped(file: Any) -> pa.Table:
    """Map an open Arrow file, in either of its formats; the stream is what `datasets` writes."""
    import pyarrow as pa

    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    _mapped.add(mapped)
    content = pa.py_buffer(mapped)
    try:
        return pa.ipc.open_file(content).read_all()
    except pa.ArrowInvalid:
        return pa.ipc.open_stream(content).read_all()


def free_pages() -> None:
    """Free the memory of mapped tables; what is read again comes from the file."""
    with suppress(AttributeError):  # not on Windows
        for own in list(_mapped):
            own.madvise(mmap.MADV_DONTNEED)


def as_dataset(table: pa.Table) -> Dataset:
    """The rows of a table. The default fingerprint would pickle all values, and nothing is cached under it."""
    from datasets import Dataset
    from datasets.fingerprint import generate_random_fingerprint

    return Dataset(table, fingerprint=generate_random_fingerprint())


def select_rows(table: pa.Table, rows: np.ndarray) -> pa.Table:
    """The rows of a table at ascending positions. Arrow's `take` would join all chunks first."""
    import pyarrow as pa

    selected, start = Collector(), 0
    for batch in table.to_batches():
        own = rows[np.searchsorted(rows, start) : np.searchsorted(rows, start + len(batch))] - start
        if len(own):
            selected.add(batch if len(own) == len(batch) else batch.take(pa.array(own)))
        start += len(batch)
        free_pages()
    return selected.table(table.schema)
