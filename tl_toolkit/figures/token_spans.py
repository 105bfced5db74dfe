"""Tokens as readable pieces of a text: what a token stands for, and which tokens only together stand for something."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

_INCOMPLETE = "\ufffd"  # what a decoder shows of bytes that are no whole character


class Piece(NamedTuple):
    """A part of a text, with the space before it, and the positions of its tokens, mostly one.

    Special tokens are no part of the text, and are shown by their names.
    """

    text: str
    tokens: range
    special: bool = False


def pieces_of_text(text: str, ids: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> list[Piece]:
    """The pieces of `text`, which `tokenizer` has encoded as `ids`: what stands in the text, unknown words included.

    Tokens that share a character are one piece: of a character of Devanagari, byte-level pairs may know only single
    bytes. Where the tokenizer does not tell which token stands where, or `ids` are not all it makes of the text, the
    tokens are decoded.
    """
    if not tokenizer.is_fast:
        return pieces_of_ids(ids, tokenizer)
    encoded = tokenizer(text, return_offsets_mapping=True)
    if list(encoded["input_ids"]) != list(ids):
        bare = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
        if list(bare["input_ids"]) != list(ids)[: len(bare["input_ids"])]:
            return pieces_of_ids(ids, tokenizer)
        encoded = bare  # with tokens behind it that the tokenizer does not add by itself, such as the end of the text
    offsets = [*encoded["offset_mapping"], *[(0, 0)] * (len(ids) - len(encoded["input_ids"]))]
    pieces: list[Piece] = []
    end = 0  # of the last piece, in the text
    for position, (start, stop) in enumerate(offsets):
        if start == stop:
            pieces.append(Piece(_name(ids[position], tokenizer), range(position, position + 1), special=True))
        elif start < end and pieces and not pieces[-1].special:
            first = pieces[-1].tokens.start
            pieces[-1] = Piece(pieces[-1].text + text[end:stop], range(first, position + 1))
        else:
            pieces.append(Piece(text[end:stop], range(position, position + 1)))
        end = max(end, stop)
    return pieces


def pieces_of_ids(ids: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> list[Piece]:
    """The pieces of the text that `ids` decode to; tokens that are no whole character by themselves are joined.

    A piece is what its token adds to the text that is decoded from the tokens before it.
    """
    special = set(tokenizer.all_special_ids)
    pieces: list[Piece] = []
    first = start = 0  # of the ids of a text between special tokens, and of the piece that is read
    for position, index in enumerate(ids):
        if index in special:
            if start < position:
                pieces.append(Piece(_added(ids, first, start, position, tokenizer), range(start, position)))
            pieces.append(Piece(_name(index, tokenizer), range(position, position + 1), special=True))
            first = start = position + 1
            continue
        added = _added(ids, first, start, position + 1, tokenizer)
        if added and not added.endswith(_INCOMPLETE):
            pieces.append(Piece(added, range(start, position + 1)))
            start = position + 1
    if start < len(ids):
        pieces.append(Piece(_added(ids, first, start, len(ids), tokenizer), range(start, len(ids))))
    return pieces


def words_of(pieces: Sequence[Piece]) -> list[Piece]:
    """Pieces joined to what stands between spaces."""
    words: list[Piece] = []
    for piece in pieces:
        last = words[-1] if words else None
        if last is None or last.special or piece.special or piece.text[:1].isspace():
            words.append(piece)
        else:
            words[-1] = Piece(last.text + piece.text, range(last.tokens.start, piece.tokens.stop))
    return words


def merge_weights(weights: Tensor, target: Sequence[Piece], source: Sequence[Piece]) -> Tensor:
    """Weights between tokens (target, source) as weights between pieces.

    What several tokens of a source piece get is added, since a row is a distribution over the source; over the tokens
    of a target piece the rows are averaged.
    """
    import torch

    columns = torch.stack([weights[:, piece.tokens.start : piece.tokens.stop].sum(1) for piece in source], dim=1)
    return torch.stack([columns[piece.tokens.start : piece.tokens.stop].mean(0) for piece in target])


def _added(ids: Sequence[int], first: int, start: int, stop: int, tokenizer: PreTrainedTokenizerBase) -> str:
    """What the tokens from `start` to `stop` add to the text of those from `first` on."""
    return _decode(ids[first:stop], tokenizer)[len(_decode(ids[first:start], tokenizer)) :]


def _decode(ids: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> str:
    return tokenizer.decode(list(ids), clean_up_tokenization_spaces=False) if len(ids) else ""


def _name(index: int, tokenizer: PreTrainedTokenizerBase) -> str:
    return str(tokenizer.convert_ids_to_tokens(int(index)))
