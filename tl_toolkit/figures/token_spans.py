"""Map tokens to readable pieces of a text; tokens that are not whole characters are joined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

_INCOMPLETE = "\ufffd"  # decoders replace incomplete characters by this one


class Piece(NamedTuple):
    """A part of a text, including the space before it, and the positions of its tokens (usually one).

    Special tokens are not part of the text; their `text` is their name.
    """

    text: str
    tokens: range
    special: bool = False


def pieces_of_text(text: str, ids: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> list[Piece]:
    """Return the pieces of `text`, which `tokenizer` has encoded as `ids`, as spelt in the text.

    Tokens that share a character form one piece; for example, byte-level pairs may split Devanagari characters into
    bytes. The tokens are decoded instead if the tokenizer has no offsets or encodes the text to other ids.
    """
    if not tokenizer.is_fast:
        return pieces_of_ids(ids, tokenizer)
    encoded = tokenizer(text, return_offsets_mapping=True)
    if list(encoded["input_ids"]) != list(ids):
        bare = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
        if list(bare["input_ids"]) != list(ids)[: len(bare["input_ids"])]:
            return pieces_of_ids(ids, tokenizer)
        encoded = bare  # `ids` also have tokens that were added later, such as the end of the text
    offsets = [*encoded["offset_mapping"], *[(0, 0)] * (len(ids) - len(encoded["input_ids"]))]
    pieces: list[Piece] = []
    end = 0  # end of the last piece in the text
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
    """Return the pieces of the text that `ids` decode to; tokens that are not whole characters are joined.

    A piece is the text that its tokens add to the text decoded from the tokens before them.
    """
    special = set(tokenizer.all_special_ids)
    pieces: list[Piece] = []
    first = start = 0  # first ids of the text after a special token, and of the current piece
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
    """Join pieces to words, which are separated by spaces."""
    words: list[Piece] = []
    for piece in pieces:
        last = words[-1] if words else None
        if last is None or last.special or piece.special or piece.text[:1].isspace():
            words.append(piece)
        else:
            words[-1] = Piece(last.text + piece.text, range(last.tokens.start, piece.tokens.stop))
    return words


def merge_weights(weights: Tensor, target: Sequence[Piece], source: Sequence[Piece]) -> Tensor:
    """Convert weights between tokens (target, source) to weights between pieces.

    Weights of the tokens of a source piece are added, because each row is a distribution over the source. Rows of the
    tokens of a target piece are averaged.
    """
    import torch

    columns = torch.stack([weights[:, piece.tokens.start : piece.tokens.stop].sum(1) for piece in source], dim=1)
    return torch.stack([columns[piece.tokens.start : piece.tokens.stop].mean(0) for piece in target])


def _added(ids: Sequence[int], first: int, start: int, stop: int, tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the text that the tokens from `start` to `stop` add to the text of the tokens from `first` to `start`."""
    return _decode(ids[first:stop], tokenizer)[len(_decode(ids[first:start], tokenizer)) :]


def _decode(ids: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> str:
    return tokenizer.decode(list(ids), clean_up_tokenization_spaces=False) if len(ids) else ""


def _name(index: int, tokenizer: PreTrainedTokenizerBase) -> str:
    return str(tokenizer.convert_ids_to_tokens(int(index)))
