"""Read, tokenise and batch sentences that are split into words, with one tag per word."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..data.beginnings import Beginnings
from ..data.column_roles import check_texts
from ..data.encoding import padding_multiple
from ..data.special_column_roles import WordColumns
from ..errors import UserError
from .labels import NamedLabels, arrow_column, encode, read_tags

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor
    from transformers import BatchEncoding, PreTrainedTokenizerBase

IGNORED = -100


def read_words(split: Dataset, split_name: str, column: str) -> Any:
    """The words of every row, an Arrow array of lists of strings without missing values."""
    import pyarrow as pa
    import pyarrow.compute as pc

    check_texts(split, split_name, (), (column,))
    lists = arrow_column(split, column).cast(pa.large_list(pa.large_string()))
    if lists.null_count:
        row = lists.is_null().index(True).as_py()
        raise UserError(f"Row {row} of column {column!r} in split {split_name!r} has no words: add words or remove it.")
    words = pc.list_flatten(lists)
    if words.null_count:
        row = pc.list_parent_indices(lists)[words.is_null().index(True).as_py()].as_py()
        raise UserError(f"Row {row} of column {column!r} in split {split_name!r} has a missing word in its list.")
    return lists


def read_word_tags(split: Dataset, split_name: str, columns: WordColumns, words: Any) -> NamedLabels:
    """The tags of every row, exactly one per word."""
    import pyarrow.compute as pc

    assert columns.label is not None
    check_texts(split, split_name, (), (columns.label,))
    tags = read_tags(split, columns.label, split_name)
    assert tags.rows is not None
    expected = pc.list_value_length(words).to_numpy(zero_copy_only=False)
    found = np.bincount(tags.rows, minlength=len(expected))
    if (wrong := np.flatnonzero(tags.labelled & (found != expected))).size:
        row = int(wrong[0])
        raise UserError(
            f"Row {row} of split {split_name!r} has {expected[row]} words in column {columns.text!r} and {found[row]} "
            f"tags in column {columns.label!r}: every word needs exactly one tag."
        )
    return tags


def tag_ids(tags: NamedLabels, classes: list[str], where: str) -> list[np.ndarray]:
    """The class ids of every row's tags, empty for rows without tags."""
    ids = encode(replace(tags, rows=None), classes, where)
    assert tags.rows is not None
    counts = np.bincount(tags.rows, minlength=len(tags.labelled))
    return np.split(ids, np.cumsum(counts)[:-1])


class EncodedWords(NamedTuple):
    """A tokenised sentence.

    Attributes:
        inputs: the tokenizer's outputs, each with one element per token.
        places: the index of the first token of each word; shorter than the sentence if words were truncated.
    """

    inputs: dict[str, list[int]]
    places: list[int]


def as_read(word: str) -> str:
    """A word in the form for look-ups: composed characters (NFC), so that each spelling has one form."""
    return unicodedata.normalize("NFC", word)


def encode_words(
    sentences: Sequence[Sequence[str]], tokenizer: PreTrainedTokenizerBase, max_length: int | None
) -> list[EncodedWords]:
    """Tokenise sentences that are split into words, and truncate them to `max_length` tokens.

    A word without tokens (white space, control characters) becomes the unknown token, and so does a sentence without
    words.

    Raises:
        UserError: the tokenizer does not map tokens to words.
    """
    if not tokenizer.is_fast:
        raise UserError(
            f"The tokenizer {type(tokenizer).__name__} does not map tokens to words: --task token-classification needs "
            "a fast tokenizer, which most checkpoints have."
        )
    unknown = tokenizer.unk_token
    # Each word has a token at least, so that no further words can be read.
    most = None if unknown is None or max_length is None else max_length + 1
    beginnings = Beginnings(tokenizer, max_length)
    words = [beginnings.of([as_read(word) for word in sentence[:most]]) for sentence in sentences]
    encoded = _tokenize(words, tokenizer, None)
    is_final = max_length is None or max(map(len, encoded["input_ids"])) <= max_length
    for row, own in enumerate(words):
        known = _beginnings(encoded, row)
        if unknown is not None and (len(known) < len(own) or not own):
            words[row] = [word if place in known else unknown for place, word in enumerate(own)] or [unknown]
            is_final = False
    if not is_final:
        encoded = _tokenize(words, tokenizer, max_length)
    results = []
    for row, sentence in enumerate(sentences):
        places = _beginnings(encoded, row)
        # All words from the first missing one were truncated.
        kept = next((place for place in range(len(sentence)) if place not in places), len(sentence))
        inputs = {name: list(values[row]) for name, values in encoded.items()}
        results.append(EncodedWords(inputs, [places[place] for place in range(kept)]))
    return results


def reading_words(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Set the tokenizer to read every word as a separate word within a text; returns it.

    Byte-level tokenizers (RoBERTa, GPT-2) include the space before a word in its first piece, and would otherwise read
    words as if no space separated them.
    """
    splitter = getattr(getattr(tokenizer, "backend_tokenizer", None), "pre_tokenizer", None)
    if splitter is not None and hasattr(splitter, "add_prefix_space"):
        splitter.add_prefix_space = True
    return tokenizer


def _tokenize(words: list[list[str]], tokenizer: PreTrainedTokenizerBase, max_length: int | None) -> BatchEncoding:
    cut = {"truncation": max_length is not None, "max_length": max_length}
    return tokenizer(words, is_split_into_words=True, verbose=False, **cut)


def _beginnings(encoded: BatchEncoding, row: int) -> dict[int, int]:
    """The index of the first token of each word of a row that has tokens."""
    places: dict[int, int] = {}
    for place, word in enumerate(encoded.word_ids(row)):
        if word is not None:
            places.setdefault(word, place)
    return places


class WordCollator:
    """Pads rows of `TokenClassification.encode` on the right; on a GPU, to a multiple of 8 for speed.

    Args:
        tokenizer: pads the inputs.
        character_vocabulary: the vocabulary of a model that reads characters; empty for others.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, character_vocabulary: str = "") -> None:
        self.tokenizer = tokenizer
        self.character_vocabulary = character_vocabulary
        self.multiple = padding_multiple(tokenizer)

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Tensors (rows, time): the inputs, `labels` with -100 for padding, and `character_ids`."""
        import torch
        from transformers.data.data_collator import pad_without_fast_tokenizer_warning

        from ..models.character_features import character_ids_of, pad_characters

        names = [name for name in self.tokenizer.model_input_names if name in rows[0]]
        inputs = [{name: row[name] for name in names} for row in rows]
        # Always on the right, so that token positions in gathered predictions match `places`.
        batch = pad_without_fast_tokenizer_warning(
            self.tokenizer, inputs, padding_side="right", pad_to_multiple_of=self.multiple, return_tensors="pt"
        )
        time = batch["input_ids"].shape[1]
        if "labels" in rows[0]:
            padded = [row["labels"] + [IGNORED] * (time - len(row["labels"])) for row in rows]
            batch["labels"] = torch.tensor(padded)
        if self.character_vocabulary:
            ids = [character_ids_of(row["pieces"], self.character_vocabulary) for row in rows]
            batch["character_ids"] = pad_characters(ids, time)
        return dict(batch)
