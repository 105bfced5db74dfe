"""Encode texts to token ids in one pass over a split, directly into Arrow columns."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UserError
from .beginnings import Beginnings
from .rows_on_disk import Collector

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

_BATCH = 1000
_QUIET_BELOW = 50_000
# Tokenizers without a limit have a `model_max_length` of at least this size.
_NO_LIMIT = 10**9
# Of an encoding of the tokenizers library.
_ATTRIBUTES = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}


def longest_input(tokenizer: PreTrainedTokenizerBase, max_length: int | None, pairs: bool = False) -> int | None:
    """Return the smaller of `max_length` and the tokenizer's own limit, or None if neither is set.

    Raises:
        UserError: `max_length` leaves no room for a token besides the special tokens.
    """
    special = tokenizer.num_special_tokens_to_add(pair=pairs)
    if max_length is not None and max_length <= special:
        raise UserError(
            f"--max_length must be {special + 1} or more, but is {max_length}: the tokenizer adds {special} special "
            "tokens to every input."
        )
    limits = [limit for limit in (max_length, tokenizer.model_max_length) if limit and limit < _NO_LIMIT]
    return min(limits, default=None)


def truncation(tokenizer: PreTrainedTokenizerBase, max_length: int | None, pairs: bool = False) -> dict[str, Any]:
    """Return the arguments that make a tokenizer truncate inputs to `longest_input`."""
    limit = longest_input(tokenizer, max_length, pairs)
    return {"truncation": False} if limit is None else {"truncation": True, "max_length": limit}


def padding_multiple(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Return the padding multiple for batches: 8 on a GPU (faster kernels) if the tokenizer allows it, else None."""
    import torch

    fits = tokenizer.model_max_length > _NO_LIMIT or tokenizer.model_max_length % 8 == 0
    return 8 if fits and torch.cuda.is_available() else None


def decode_generated(tokenizer: PreTrainedTokenizerBase, generated: np.ndarray) -> list[str]:
    """Decode generated ids (rows, time), padded with -100, to texts without special tokens."""
    ids = np.where(generated == -100, tokenizer.pad_token_id, generated)
    return tokenizer.batch_decode(ids, skip_special_tokens=True)


def encode_texts(dataset: Dataset, tokenizer: PreTrainedTokenizerBase, max_length: int | None) -> dict[str, Any]:
    """Tokenise the column `text` (and `text_pair`) of a split.

    A text without tokens (such as an empty one) becomes one unknown token, so that every row has at least one position.

    Returns:
        Arrow columns: the tokenizer's output (`input_ids`, `attention_mask`, maybe `token_type_ids`), `length`, the
        number of tokens, and `is_cut`, whether the text was truncated. They are built directly, because `Dataset.map`
        would hash the tokenizer and the function to name a cache file, which is not needed at ten thousand texts per
        second.
    """
    import pyarrow as pa
    from tqdm.auto import tqdm

    pairs = "text_pair" in dataset.column_names
    options = truncation(tokenizer, max_length, pairs)
    beginnings = Beginnings(tokenizer, options.get("max_length"))
    types = {"input_ids": pa.list_(pa.int32()), "length": pa.int32(), "is_cut": pa.bool_()}
    collected = Collector()
    quiet = len(dataset) < _QUIET_BELOW or os.environ.get("RANK", "0") != "0"
    for start in tqdm(range(0, len(dataset), _BATCH), desc="Tokenising", unit="k rows", disable=quiet):
        batch = dataset[start : start + _BATCH]
        first, second = batch["text"], batch["text_pair"] if pairs else None
        texts = (beginnings.of(first), None) if second is None else beginnings.of_pairs(first, second)
        encoded = _encode_batch(tokenizer, texts, options)
        for row, ids in enumerate(encoded["input_ids"]):
            if not ids:
                _fill_empty(encoded, row, tokenizer)
        encoded["length"] = [len(ids) for ids in encoded["input_ids"]]
        arrays = {name: pa.array(own, types.get(name, pa.list_(pa.int8()))) for name, own in encoded.items()}
        collected.add(pa.record_batch(arrays))
    table = collected.table(pa.schema([]))
    return dict(zip(table.column_names, table.columns, strict=True))


def _fill_empty(encoded: dict[str, Any], row: int, tokenizer: PreTrainedTokenizerBase) -> None:
    known = (tokenizer.unk_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id)
    filler = next((index for index in known if index is not None), 0)
    for name, values in encoded.items():
        if name != "is_cut":
            values[row] = [filler] if name == "input_ids" else [int(name == "attention_mask")]


def _encode_batch(tokenizer: Any, texts: tuple[Any, Any], options: dict[str, Any]) -> dict[str, Any]:
    """What the tokenizer returns for texts, or pairs, and `is_cut`.

    A tokenizer of the tokenizers library is called directly: transformers makes further objects of every text, which
    take a tenth of the time, and as much again for collecting garbage.
    """
    from transformers import PreTrainedTokenizerFast as Fast

    names = tokenizer("", **options).keys()  # and sets the limit
    kind, (first, second) = type(tokenizer), texts
    is_plain = (kind.__call__, getattr(kind, "_encode_plus", None)) == (Fast.__call__, Fast._encode_plus)
    if is_plain and names <= _ATTRIBUTES.keys():
        pairs = first if second is None else list(zip(first, second, strict=True))
        encodings = tokenizer.backend_tokenizer.encode_batch_fast(pairs)
        encoded = {name: [getattr(one, _ATTRIBUTES[name]) for one in encodings] for name in names}
    else:
        output = tokenizer(*texts, **options)
        encoded, encodings = dict(output), output.encodings
    cut = _are_cut(encoded["input_ids"], encodings, tokenizer, texts, options.get("max_length"))
    return encoded | {"is_cut": cut}


def _are_cut(ids: Any, encodings: Any, tokenizer: Any, texts: tuple[Any, Any], limit: int | None) -> list[bool]:
    """Whether each text, or pair, of a batch has more than `limit` tokens."""
    if encodings is not None:
        return [len(own) == limit and bool(encoding.overflowing) for own, encoding in zip(ids, encodings, strict=True)]
    first, second = texts  # a slow tokenizer does not tell: texts as long as the limit are tokenised again
    return [
        len(own) == limit
        and len(tokenizer(first[row], second[row] if second else None, truncation=False, verbose=False)["input_ids"])
        > len(own)
        for row, own in enumerate(ids)
    ]


class TextCollator:
    """Pads encoded texts to the longest one of a batch, as transformers' `DataCollatorWithPadding`, but twenty times as
    fast; on a GPU, to a multiple of 8 if the length limit allows.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.left = tokenizer.padding_side == "left"
        self.multiple = padding_multiple(tokenizer) or 1
        self.fills = {
            "input_ids": tokenizer.pad_token_id or 0,
            "attention_mask": 0,
            "token_type_ids": tokenizer.pad_token_type_id,
        }

    def width(self, longest: int) -> int:
        return -(-longest // self.multiple) * self.multiple

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Tensors `[rows, time]` of tokens, and of what else the rows have, such as `labels`."""
        import torch

        time = self.width(max(len(row["input_ids"]) for row in rows))
        batch = {}
        for name in rows[0]:
            values = [row[name] for row in rows]
            if name in self.fills:
                padding = [[self.fills[name]] * (time - len(own)) for own in values]
                values = [more + own if self.left else own + more for own, more in zip(values, padding, strict=True)]
            batch[name] = torch.tensor(values)
        return batch


class PaddedRows:
    """Encoded rows from which a data loader fetches whole batches: padded by `TextCollator`, but from Arrow columns.

    Args:
        dataset: rows that `encode_texts` has encoded.
        names: the columns to use: of tokens, and `labels`.
    """

    def __init__(self, dataset: Dataset, collator: TextCollator, names: Iterable[str]) -> None:
        self.collator = collator
        table = dataset.select_columns(list(names)).with_format("arrow")[:].combine_chunks()
        self.labels: np.ndarray | None = None
        self.columns: dict[str, np.ndarray] = {}
        for name in table.column_names:
            column = table.column(name).combine_chunks()
            if name != "labels":
                self.columns[name] = column.flatten().to_numpy()
            elif hasattr(column, "flatten"):
                self.labels = column.flatten().to_numpy().reshape(len(column), -1)
            else:
                self.labels = column.to_numpy()
        self.lengths = table.column("input_ids").combine_chunks().value_lengths().to_numpy()
        self.ends = np.cumsum(self.lengths, dtype=np.int64)

    @staticmethod
    def fits(names: Iterable[str], collator: Any) -> bool:
        """Whether these columns can be padded as the collator would pad them."""
        return isinstance(collator, TextCollator) and {"input_ids"} <= set(names) <= {*collator.fills, "labels"}

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitems__(self, rows: Sequence[int]) -> dict[str, Tensor]:
        """Tensors `[rows, time]` of the rows at these positions."""
        import torch

        chosen = np.asarray(rows)
        lengths = self.lengths[chosen]
        time = self.collator.width(int(lengths.max()))
        places = np.arange(time)
        is_token = places >= (time - lengths)[:, None] if self.collator.left else places < lengths[:, None]
        starts = self.ends[chosen] - lengths
        tokens = np.repeat(starts - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())
        batch = {}
        for name, values in self.columns.items():
            padded = np.full((len(rows), time), self.collator.fills[name], dtype=np.int64)
            padded[is_token] = values[tokens]
            batch[name] = torch.from_numpy(padded)
        if self.labels is not None:
            batch["labels"] = torch.from_numpy(self.labels[chosen])
        return batch


def batches(texts: Iterable[str], size: int = 1000) -> Iterator[list[str]]:
    """Yield lists of `size` texts, so that the tokenizers library is called once per list instead of per text."""
    batch: list[str] = []
    for text in texts:
        batch.append(text)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
