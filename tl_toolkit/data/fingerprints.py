"""Hash the content of a dataset."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from .rows_on_disk import free_pages

if TYPE_CHECKING:
    from datasets import DatasetDict


def fingerprint(dataset: DatasetDict) -> str:
    """Hash split names, column names, class names and values to 16 hex digits that are equal on every machine.

    The fingerprints of `datasets` are not used because they depend on file paths.
    """
    digest = hashlib.blake2b(digest_size=8)
    for split in sorted(dataset):
        rows = dataset[split]
        digest.update(json.dumps(["split", split, len(rows)]).encode())
        features = rows.features  # a copy, which takes long with thousands of columns
        columns = {name: _ColumnDigest() for name in rows.column_names}
        for batch in rows.with_format("arrow").iter(10_000):
            free_pages()
            for name, values in zip(batch.column_names, batch.columns, strict=True):
                columns[name].update(values.combine_chunks())
        for name, own in columns.items():
            digest.update(json.dumps(["column", name, getattr(features[name], "names", None)]).encode())
            digest.update(own.digest())
    return digest.hexdigest()


class _ColumnDigest:
    """Hashes the values of a column. Arrow buffers are not hashed: they vary with chunks, offsets and padding."""

    def __init__(self) -> None:
        self._values, self._shape = hashlib.blake2b(), hashlib.blake2b()

    def digest(self) -> bytes:
        return self._values.digest() + self._shape.digest()

    def update(self, array: Any) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        kind, values, shape = array.type, self._values, self._shape
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            lengths = pc.binary_length(array).fill_null(-1)
            shape.update(lengths.to_numpy(zero_copy_only=False).astype("<i8").tobytes())
            filled = array.fill_null("").cast(pa.large_string())
            _, offsets, content = filled.buffers()
            if content is not None:
                bounds = np.frombuffer(offsets, dtype="<i8")[[filled.offset, filled.offset + len(filled)]]
                values.update(memoryview(content)[bounds[0] : bounds[1]])
        elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
            shape.update(array.is_null().to_numpy(zero_copy_only=False).tobytes())
            number = "<f8" if pa.types.is_floating(kind) else "<i8"
            filled = array.fill_null(False if pa.types.is_boolean(kind) else 0)
            values.update(filled.to_numpy(zero_copy_only=False).astype(number).tobytes())
        else:
            for value in array.to_pylist():
                values.update(json.dumps(value, default=repr, sort_keys=True).encode() + b"\n")
