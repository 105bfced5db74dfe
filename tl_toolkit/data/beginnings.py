"""The beginning of a long text that decides its first tokens, so that the rest need not be tokenised.

A text of 20 MB costs as much as one of 100,000 characters, and its first tokens are provably the same:

- Normalisers and pre-tokenisers look a few words ahead at most, so a cut changes only the last words before it.
- Words that are looked up (WordLevel, WordPiece) are one unknown token if they are longer than any known word, so a
  long run of letters within them can be shortened.
- BPE applies its merges rank by rank. Those of one rank (x, y) can carry a difference at the cut to the left over one
  x, so the sum of the lengths of all x bounds its reach. (Within a rank, merges go from left to right, also for x = y.)

Texts that none of this applies to are tokenised whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LONG = 100_000
"""Texts of fewer characters are always tokenised whole."""
_FIRST, _CHARACTERS_PER_TOKEN = 4096, 24  # the first guess; each further one is four times as long
_MARGIN = 16  # words before the cut that it may change
_LOCAL = frozenset(
    ["BertPreTokenizer", "Whitespace", "WhitespaceSplit", "ByteLevel", "Metaspace", "Split", "Punctuation", "Digits"]
    + ["CharDelimiterSplit", "UnicodeScripts"]
)
_MOST_TRIED = 400_000  # characters; texts that are still undecided are tokenised whole
_RUN = 10_000
_WORD, _SPACE = rf"(?<![A-Za-z0-9])[A-Za-z0-9]{{{_RUN},}}", rf"(?<!\s)\s{{{_RUN},}}"
# By tokenizer: what stays one word, or no word at all, if its middle is left out. A run is sought at its start alone,
# so that the time is linear.
_RUNS = {
    "whitespace": re.compile(rf"(?<!\S)\S{{{_RUN},}}|{_SPACE}"),
    "word": re.compile(rf"{_WORD}|{_SPACE}|(?<![0-9.,])(?:[0-9][.,]){{{_RUN},}}"),
    "WordPiece": re.compile(rf"{_WORD}|(?<![ \t\n])[ \t\n]{{{_RUN},}}"),
    "fastai": re.compile(rf"(?<![a-z0-9])[a-z0-9]{{{_RUN},}}|(?<! ) {{{_RUN},}}"),
}
_THRICE = re.compile(r"(.)\1\1", re.DOTALL)


class Beginnings:
    """Cuts texts for a tokenizer that truncates to `limit` tokens; without a limit nothing is cut."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, limit: int | None) -> None:
        self.tokenizer, self.limit = tokenizer, limit

    def of(self, texts: list[str]) -> list[str]:
        """The beginnings of `texts`, each with more than `limit` tokens if the text has more."""
        return [text if len(text) <= LONG else self._of(text, self.limit) for text in texts]

    def of_pairs(self, first: list[str], second: list[str]) -> tuple[list[str], list[str]]:
        """As `of`. The tokenizers library would keep the product of all that it cuts off two long texts in memory.

        If an odd number of tokens remains for two texts and one has more than `LONG` characters, the one with more
        characters keeps one token more; else the one with more tokens, as always.
        """
        pairs = [self._of_pair(*pair) for pair in zip(first, second, strict=True)]
        return [one for one, _ in pairs], [other for _, other in pairs]

    def _of_pair(self, first: str, second: str) -> tuple[str, str]:
        if self.limit is None or max(len(first), len(second)) <= self._first_size(self.limit):
            return first, second
        size = len if max(len(first), len(second)) > LONG else self._count
        swapped = size(first) <= size(second)
        longer, shorter = (second, first) if swapped else (first, second)
        shorter = self._of(shorter, self.limit)
        longer = self._of(longer, max(self.limit, self._count(shorter)))  # still has more tokens
        return (shorter, longer) if swapped else (longer, shorter)

    def _count(self, text: str) -> int:
        return len(self.tokenizer(text, truncation=False, verbose=False)["input_ids"])

    def _first_size(self, limit: int) -> int:
        return max(_FIRST, _CHARACTERS_PER_TOKEN * (self.limit or limit))

    def _of(self, text: str, limit: int | None) -> str:
        if limit is None or not self._is_local:
            return text
        size = self._first_size(limit)
        for shortened in (False, True):
            if shortened and self._runs is None:
                break
            if shortened and self._runs is not None:
                text = self._runs.sub(_without_middle, text)
            tried = size
            while tried < min(len(text), _MOST_TRIED):
                if self._is_decided(text[:tried], limit):
                    return text[:tried]
                tried *= 4 if not self._runs or shortened else _MOST_TRIED
        return text

    def _is_decided(self, beginning: str, limit: int) -> bool:
        """Whether `beginning` has more than `limit` tokens that do not depend on what follows."""
        encoded = self.tokenizer(
            beginning, truncation=False, add_special_tokens=False, return_attention_mask=False, verbose=False
        ).encodings[0]
        return len(encoded.ids) > limit and encoded.offsets[limit][1] <= self._unchanged(encoded, len(beginning))

    def _unchanged(self, encoded: Any, size: int) -> int:
        """The number of characters whose tokens do not depend on the text after `size` characters."""
        words = encoded.word_ids
        last = next((word for word in reversed(words) if word is not None), 0)
        first_changed = next((place for place, word in enumerate(words) if word is None or word > last - _MARGIN), 0)
        by_words = int(encoded.offsets[first_changed][0]) if last >= _MARGIN else 0
        return max(by_words, size - self._reach if self._reach is not None else 0)

    @cached_property
    def _backend(self) -> Any:
        return getattr(self.tokenizer, "backend_tokenizer", None)

    @cached_property
    def _is_local(self) -> bool:
        if self._backend is None or self.tokenizer.truncation_side != "right":
            return False
        state = json.loads(self._backend.pre_tokenizer.__getstate__()) if self._backend.pre_tokenizer else None
        parts = [] if state is None else state["pretokenizers"] if state["type"] == "Sequence" else [state]
        return all(part["type"] in _LOCAL for part in parts)

    @cached_property
    def _runs(self) -> re.Pattern[str] | None:
        """The runs whose middle can be left out: no known word is as long as what is left. None if there are none."""
        model, kind = self._backend.model, type(self._backend.model).__name__
        if kind == "WordLevel" and max(map(len, self._backend.get_vocab()), default=0) < _RUN:
            return _RUNS.get(self.tokenizer.name_or_path)
        return _RUNS[kind] if kind == "WordPiece" and model.max_input_chars_per_word < _RUN else None

    @cached_property
    def _reach(self) -> int | None:
        """How many characters before a cut BPE may read differently; None for other models."""
        if type(self._backend.model).__name__ != "BPE" or self._backend.model.dropout:
            return None
        merges = json.loads(self._backend.model.__getstate__())["merges"]
        return sum(len(merge[0] if isinstance(merge, list) else merge.split(" ")[0]) for merge in merges)


def _without_middle(run: re.Match[str]) -> str:
    """The ends of a run. fastai's rules mark three times the same character, and count up to 99 of them."""
    text, half = run[0], _RUN // 2
    if run.re is not _RUNS["fastai"] or text == text[0] * len(text):
        return text[:half] + text[-half:]
    if _THRICE.search(text):
        return text
    return text[:half] + next(text[-end:] for end in range(half, half + 3) if text[-end] != text[half - 1])


def pieces_to_learn_from(texts: Iterable[str], truncated: bool) -> Iterator[str]:
    """The parts of `texts` from which a vocabulary is learned: of long texts that are truncated, only the beginning."""
    for text in texts:
        while len(text) > LONG:
            end = max(text.rfind(" ", 0, LONG), text.rfind("\n", 0, LONG))
            end = end if end > 0 else LONG
            yield text[:end]
            if truncated:
                break
            text = text[end:]
        else:
            yield text
