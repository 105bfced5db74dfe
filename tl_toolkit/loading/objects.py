"""Python objects where a flag takes a name: tables, datasets, models and tokenizers, kept in the cache under a name.

A run whose data is a name can be recorded, resumed, and trained in another process. The name is a folder that is named
after its content, so that the same rows are the same dataset.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.built_in import cached_folder
from ..data.sources import fingerprint, without_progress_bars
from ..errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

_MODELS = ("model_name_or_path", "tokenizer_name")
_NESTED = ("entries", "datasets", "stages")  # of a grid: a list of mappings with the same keys


def with_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """`settings`, with a name in place of every dataset, model and tokenizer; paths become text.

    Raises:
        UserError: an object that cannot be used where it was given, or a model without a tokenizer.
    """
    named = {key: os.fspath(value) if isinstance(value, os.PathLike) else value for key, value in settings.items()}
    if named.get("dataset_name") is not None and not isinstance(named["dataset_name"], str):
        named["dataset_name"] = dataset_name(named["dataset_name"])
    model = named.get("model_name_or_path")
    if model is not None and not isinstance(model, str) and named.get("tokenizer_name") is None:
        raise UserError(
            f"model_name_or_path is a {type(model).__name__}, which has no tokenizer: give tokenizer_name=tokenizer."
        )
    for key in _MODELS:
        if named.get(key) is not None and not isinstance(named[key], str):
            named[key] = _saved(named[key], key)
    for key in _NESTED:
        if isinstance(named.get(key), (list, tuple)):
            named[key] = [with_names(own) if isinstance(own, Mapping) else own for own in named[key]]
    return named


def dataset_name(rows: Any) -> str:
    """The name under which rows are kept: what `dataset_from` takes."""
    dataset = dataset_from(rows)

    def write(folder: Path) -> None:
        with without_progress_bars():
            dataset.save_to_disk(str(folder))

    return str(cached_folder("datasets", f"rows-{fingerprint(dataset)}", write))


def dataset_from(rows: Any) -> DatasetDict:
    """Rows as a dataset with splits.

    Args:
        rows: a `DataFrame`, `Dataset`, `DatasetDict`, a list of texts, of (text, label) or of mappings, or a mapping
            from the names of splits to any of these. Rows without a split are those of "train".

    Raises:
        UserError: something else, no rows, or columns that a table cannot hold.
    """
    from datasets import DatasetDict

    splits = rows if isinstance(rows, Mapping) else {"train": rows}
    made = DatasetDict({str(name): _split(own) for name, own in splits.items()})
    if empty := [name for name, own in made.items() if not len(own)] or (not made and ["train"]):
        raise UserError(f"dataset_name is a {type(rows).__name__} that has no rows in its split {empty[0]!r}.")
    return made


def _split(rows: Any) -> Dataset:
    import pandas as pd
    import pyarrow as pa
    from datasets import Dataset

    if isinstance(rows, Dataset):
        return rows
    if isinstance(rows, (list, tuple)):
        rows = _frame(rows)
    if not isinstance(rows, pd.DataFrame):
        raise UserError(
            "dataset_name must be a name, a DataFrame, a Dataset or DatasetDict, a list of (text, label), or a mapping "
            f"from split names to these, but is of type {type(rows).__name__}."
        )
    if odd := [column for column in rows.columns if not isinstance(column, str)]:
        raise UserError(f"The DataFrame has a column named {odd[0]!r}; column names must be text.")
    categories = {name: rows[name].cat.categories.dtype for name in rows.select_dtypes("category").columns}
    try:
        return Dataset.from_pandas(rows.astype(categories), preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise UserError(f"The DataFrame cannot be read as a table: {' '.join(str(error).split())}") from error


def _frame(rows: list[Any] | tuple[Any, ...]) -> Any:
    import pandas as pd

    if all(isinstance(row, str) for row in rows):
        return pd.DataFrame({"text": list(rows)})
    if all(isinstance(row, Mapping) for row in rows):
        return pd.DataFrame.from_records(rows)
    if all(isinstance(row, (list, tuple)) and len(row) == 2 for row in rows):
        return pd.DataFrame(list(rows), columns=["text", "label"])
    place = next((place for place, row in enumerate(rows) if type(row) is not type(rows[0])), 0)
    raise UserError(
        f"dataset_name is a list whose item {place} is of type {type(rows[place]).__name__}. Its items must all be "
        "texts, pairs (text, label), or mappings from column names to values."
    )


def _saved(thing: Any, key: str) -> str:
    """The folder of a model or tokenizer in the cache, named after what `save_pretrained` writes."""
    if not hasattr(thing, "save_pretrained"):
        raise UserError(
            f"{key} must be a name, or a model or tokenizer with save_pretrained(), but is of type "
            f"{type(thing).__name__}."
        )
    with tempfile.TemporaryDirectory() as temporary:
        thing.save_pretrained(temporary)
        digest = hashlib.sha256(type(thing).__name__.encode())
        for file in sorted(path for path in Path(temporary).rglob("*") if path.is_file()):
            digest.update(str(file.relative_to(temporary)).encode() + b"\0")
            with open(file, "rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
        name = f"{type(thing).__name__}-{digest.hexdigest()[:16]}"
        copy = functools.partial(shutil.copytree, temporary, dirs_exist_ok=True)
        return str(cached_folder("models", name, copy))
