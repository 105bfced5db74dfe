"""From given words to token ids, and from the tokens back to the words."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..errors import UserError

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedTokenizerBase


class EncodedWords(NamedTuple):
    """One sentence as a model reads it.

    Attributes:
        inputs: what the tokenizer makes, each as long as the sentence has tokens.
        places: the token at which each word begins; words that were cut off have none, so that it may be shorter than
            the sentence.
    """

    inputs: dict[str, list[int]]
    places: list[int]


def as_read(word: str) -> str:
    """A word as it is looked up: composed characters (NFC), so that one spelling has one form."""
    return unicodedata.normalize("NFC", word)


def encode_words(
    sentences: Sequence[Sequence[str]], tokenizer: PreTrainedTokenizerBase, max_length: int | None
) -> list[EncodedWords]:
    """Tokenise sentences whose words are given, and cut them to `max_length` tokens.

    A word of which the tokenizer makes nothing (white space, control characters) is read as the unknown token, and so
    is a sentence without a word.

    Raises:
        UserError: a tokenizer that cannot say which token belongs to which word.
    """
    if not tokenizer.is_fast:
        raise UserError(
            f"The tokenizer {type(tokenizer).__name__} does not tell which tokens a word becomes: "
            "--task token-classification needs a fast one, which most checkpoints have."
        )
    unknown = tokenizer.unk_token
    words = [[as_read(word) for word in sentence] for sentence in sentences]
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
        # Behind the first word that is not there all were cut off.
        kept = next((place for place in range(len(sentence)) if place not in places), len(sentence))
        inputs = {name: list(values[row]) for name, values in encoded.items()}
        results.append(EncodedWords(inputs, [places[place] for place in range(kept)]))
    return results


def reading_words(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """The tokenizer, set to read every given word as one within a text.

    Byte-level ones (RoBERTa, GPT-2) have the space before a word in its first piece, and would read given words as if
    they were glued to what stands before.
    """
    splitter = getattr(getattr(tokenizer, "backend_tokenizer", None), "pre_tokenizer", None)
    if splitter is not None and hasattr(splitter, "add_prefix_space"):
        splitter.add_prefix_space = True
    return tokenizer


def _tokenize(words: list[list[str]], tokenizer: PreTrainedTokenizerBase, max_length: int | None) -> BatchEncoding:
    options = {"truncation": True, "max_length": max_length} if max_length is not None else {"truncation": False}
    return tokenizer(words, is_split_into_words=True, verbose=False, **options)


def _beginnings(encoded: BatchEncoding, row: int) -> dict[int, int]:
    """The first token of each word of a row that has any."""
    places: dict[int, int] = {}
    for place, word in enumerate(encoded.word_ids(row)):
        if word is not None:
            places.setdefault(word, place)
    return places
