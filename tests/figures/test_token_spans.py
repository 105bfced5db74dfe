"""Tokens as pieces of a text, for every type of tokenizer."""

from __future__ import annotations

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from tl_toolkit.data.tokenizers import build_tokenizer
from tl_toolkit.figures.token_spans import Piece, merge_weights, pieces_of_ids, pieces_of_text, words_of

TEXT = "मैं घर । größe 😀"


def tokenizer_of(kind: str, *texts: str, size: int = 300) -> PreTrainedTokenizerFast:
    return build_tokenizer(kind, texts or [TEXT], vocab_size=size, min_frequency=1)


def test_bytes_of_one_character_are_one_piece() -> None:
    """Without merges, a letter of Devanagari is three tokens and an emoji four."""
    tokenizer = tokenizer_of("bpe", size=260)
    ids = tokenizer(TEXT).input_ids
    assert len(ids) == len(TEXT.encode())
    for pieces in (pieces_of_text(TEXT, ids, tokenizer), pieces_of_ids(ids, tokenizer)):
        assert [piece.text for piece in pieces] == list(TEXT)
        assert [len(piece.tokens) for piece in pieces] == [len(letter.encode()) for letter in TEXT]
        assert [place for piece in pieces for place in piece.tokens] == list(range(len(ids)))


@pytest.mark.parametrize("size", [270, 290, 310])
def test_merged_bytes_may_end_inside_a_character(size: int) -> None:
    tokenizer = tokenizer_of("bpe", "घर गए घर", "कल काम", "größe", size=size)
    text = "कमल घर । größe"
    ids = tokenizer(text).input_ids
    for pieces in (pieces_of_text(text, ids, tokenizer), pieces_of_ids(ids, tokenizer)):
        assert "".join(piece.text for piece in pieces) == text
        assert [place for piece in pieces for place in piece.tokens] == list(range(len(ids)))


def test_bytes_that_are_no_character_are_shown_as_replacement() -> None:
    tokenizer = tokenizer_of("bpe", size=260)
    ids = tokenizer("aम").input_ids[:-1]
    assert pieces_of_ids(ids, tokenizer) == [Piece("a", range(0, 1)), Piece("\ufffd", range(1, 3))]
    cut = [*ids, tokenizer.eos_token_id]
    assert [piece.text for piece in pieces_of_ids(cut, tokenizer)] == ["a", "\ufffd", "<eos>"]


def test_words_are_spelt_as_in_the_text_even_if_unknown() -> None:
    tokenizer = tokenizer_of("word", "the cat's ears")
    ids = [*tokenizer("The cat's nose").input_ids, tokenizer.eos_token_id]
    pieces = pieces_of_text("The cat's nose", ids, tokenizer)
    assert [piece.text for piece in pieces] == ["The", " cat", "'s", " nose", "<eos>"]
    assert [piece.text for piece in words_of(pieces)] == ["The", " cat's", " nose", "<eos>"]
    assert [piece.text.strip() for piece in pieces_of_ids(ids, tokenizer)] == ["the", "cat", "'s", "<unk>", "<eos>"]


def test_characters_are_shown_one_by_one() -> None:
    tokenizer = tokenizer_of("char")
    ids = tokenizer(TEXT).input_ids
    assert [piece.text for piece in pieces_of_text(TEXT, ids, tokenizer)] == list(TEXT)
    assert [piece.text for piece in pieces_of_ids(ids, tokenizer)] == list(TEXT)


def test_words_are_joined_from_pieces_of_every_tokenizer() -> None:
    text = "कल घर गए"
    for kind, size in (("char", 300), ("bpe", 260), ("bpe", 290)):
        tokenizer = tokenizer_of(kind, text, size=size)
        ids = [tokenizer.bos_token_id, *tokenizer(text).input_ids, tokenizer.eos_token_id]
        words = words_of(pieces_of_ids(ids, tokenizer))
        assert [word.text for word in words] == ["<bos>", "कल", " घर", " गए", "<eos>"]
        assert [place for word in words for place in word.tokens] == list(range(len(ids)))
        assert [word.special for word in words] == [True, False, False, False, True]


def test_ids_of_another_text_are_decoded() -> None:
    tokenizer = tokenizer_of("char")
    assert [piece.text for piece in pieces_of_text("abc", tokenizer("घर").input_ids, tokenizer)] == ["घ", "र"]


def test_weights_of_merged_tokens() -> None:
    weights = torch.tensor([[0.1, 0.2, 0.7], [0.3, 0.3, 0.4], [0.5, 0.0, 0.5], [0.0, 1.0, 0.0]])
    source = [Piece("ab", range(0, 2)), Piece("c", range(2, 3))]
    target = [Piece("x", range(0, 1)), Piece("yz", range(1, 3)), Piece("w", range(3, 4))]
    merged = merge_weights(weights, target, source)
    torch.testing.assert_close(merged, torch.tensor([[0.3, 0.7], [0.55, 0.45], [1.0, 0.0]]))
