"""Text as one stream of tokens, cut into lanes that are read side by side: language modelling with a carried state."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import Dataset

from ..errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import PreTrainedTokenizerBase

IGNORED = -100
SHORTEST_WINDOW = 5
_FULL_LENGTH_SHARE, _DEVIATION = 0.95, 5.0
_BATCH = 1000
_QUIET_BELOW = 50_000


@dataclass(frozen=True)
class TokenStream:
    """The documents of a split, one behind the other.

    Attributes:
        ids: int32 `[tokens]`, separators included.
        start: the id that is read before the first token, so that it is predicted too: that of the separator.
        documents: how many documents they come from.
        num_bytes: of those documents in UTF-8, without separators.
        unknown: how many of the tokens are the unknown token.
        document_tokens: int64 `[documents]`, separators included; of a stream that was cut, more than it has.
        document_bytes: int64 `[documents]`, without separators.
    """

    ids: np.ndarray
    start: int
    documents: int
    num_bytes: int
    unknown: int
    document_tokens: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    document_bytes: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))

    def __len__(self) -> int:
        return len(self.ids)


def encode_stream(
    documents: Any,
    tokenizer: PreTrainedTokenizerBase,
    *,
    separator: str | None = None,
    max_tokens: int | None = None,
    whole_documents: bool = False,
) -> TokenStream:
    """Tokenise the column `text` of `documents` (a `datasets.Dataset`) and join the documents.

    Behind each document stands `separator`, by default the tokenizer's end-of-text token (`eos`, else `sep`, else
    `bos`). A tokenizer that frames a text with special tokens itself (BERT's, Llama's) does so here, and what already
    ends with an end-of-text token is given no second one.

    Args:
        max_tokens: read no more documents than are needed for this many tokens, and keep this many.
        whole_documents: keep the last document whole instead, so that tokens and bytes are those of the same text.

    Raises:
        UserError: nothing can stand between documents, or `separator` is no token.
    """
    from tqdm.auto import tqdm

    suffix, start = _framing(tokenizer, separator)
    parts: list[np.ndarray] = []
    sizes: list[np.ndarray] = []  # of each thousand documents: tokens and bytes
    tokens = unknown = 0
    quiet = len(documents) < _QUIET_BELOW or os.environ.get("RANK", "0") != "0"
    for first in tqdm(range(0, len(documents), _BATCH), desc="Tokenising", unit="k texts", disable=quiet):
        texts = documents[first : first + _BATCH]["text"]
        encoded = tokenizer(texts, return_attention_mask=False, return_token_type_ids=False, verbose=False)["input_ids"]
        if max_tokens is not None and whole_documents:
            behind = tokens + np.cumsum([len(ids) + len(suffix) for ids in encoded])
            kept = int(np.searchsorted(behind, max_tokens)) + 1
            texts, encoded = texts[:kept], encoded[:kept]
        own = _joined(encoded, [])
        unknown += int(np.count_nonzero(own == tokenizer.unk_token_id)) if tokenizer.unk_token_id is not None else 0
        parts.append(_joined(encoded, suffix) if suffix else own)
        tokens += len(parts[-1])
        lengths = [(len(ids) + len(suffix), len(text.encode())) for ids, text in zip(encoded, texts, strict=True)]
        sizes.append(np.array(lengths, np.int64).reshape(-1, 2))
        if max_tokens is not None and tokens >= max_tokens:
            break
    ids = np.concatenate(parts) if parts else np.empty(0, np.int32)
    if max_tokens is not None and not whole_documents:
        ids = ids[:max_tokens]
    sizes_of = np.concatenate(sizes) if sizes else np.empty((0, 2), np.int64)
    return TokenStream(ids, start, len(sizes_of), int(sizes_of[:, 1].sum()), unknown, *sizes_of.T)


def _joined(encoded: list[list[int]], suffix: list[int]) -> np.ndarray:
    pieces = itertools.chain.from_iterable(itertools.chain(ids, suffix) for ids in encoded)
    return np.fromiter(pieces, np.int32, count=sum(map(len, encoded)) + len(suffix) * len(encoded))


def _framing(tokenizer: PreTrainedTokenizerBase, separator: str | None) -> tuple[list[int], int]:
    """What to put behind each document, and what is read before the first token."""
    if separator is not None:
        vocabulary = tokenizer.get_vocab()
        if separator not in vocabulary:
            raise UserError(
                f"--separator {separator!r} is not a token of the tokenizer: use one of its tokens, such as "
                f"{tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)!r}."
            )
        return [vocabulary[separator]], vocabulary[separator]
    own = tokenizer("")["input_ids"]  # what the tokenizer adds to every text
    ends = [end for end in (tokenizer.eos_token_id, tokenizer.sep_token_id) if end is not None]
    if own and (own[-1] in ends or not ends):
        return [], own[-1]
    ends += [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    if not ends:
        raise UserError(
            "The tokenizer has no end-of-text, separator or beginning-of-text token to put between documents: set "
            "--separator to one of its tokens."
        )
    return [ends[0]], ends[0]


def window_lengths(total: int, base: int, *, seed: int, random: bool) -> np.ndarray:
    """Lengths of the windows that a lane is read in; they sum to `total`.

    Args:
        total: tokens of a lane.
        base: the length of a window.
        seed: of random lengths.
        random: draw lengths (Merity et al. 2017, section 5): around `base` with probability 0.95 and around half of
            it otherwise, normal with standard deviation 5, at least 5. Tokens then meet the border of a window in
            different places.
    """
    least = min(SHORTEST_WINDOW, base)
    if random:
        generator = np.random.default_rng([seed, 4])
        count = total // least + 1
        around = np.where(generator.random(count) < _FULL_LENGTH_SHARE, base, base / 2)
        drawn = np.maximum(generator.normal(around, _DEVIATION).astype(np.int64), least)
    else:
        drawn = np.full(total // base + 1, base, np.int64)
    ends = np.cumsum(drawn)
    lengths = drawn[: int(np.searchsorted(ends, total)) + 1].copy()
    lengths[-1] -= ends[len(lengths) - 1] - total
    if random and len(lengths) > 1 and lengths[-1] < least:
        lengths[-2] += lengths[-1]
        lengths = lengths[:-1]
    return lengths


class Lanes:
    """The part of a stream that one process reads: `lanes` contiguous pieces of equal length, side by side.

    The stream is cut into `lanes · world_size` pieces, of which process r owns those from r · lanes on. A lane's input
    is the token before its target, which for its first target is the last token of the lane before it: every token of
    the stream is predicted exactly once. Targets behind the end of the stream are -100.

    A model that reads backward is given the stream from its end. Its windows come in reading order, the target of a
    position is the token before it, and the window that comes next is the one that stands before this one in the text.

    Args:
        lanes: pieces of this process.
        backward: whether the stream is read from its end.
    """

    def __init__(
        self, stream: TokenStream, lanes: int, *, rank: int = 0, world_size: int = 1, backward: bool = False
    ) -> None:
        ids = stream.ids[::-1] if backward else stream.ids
        self.tokens, self.backward, self.rank = len(ids), backward, rank
        self.global_lanes = lanes * world_size
        self.length = -(-len(ids) // self.global_lanes)  # of a lane, rounded up
        first, last = rank * lanes * self.length, (rank + 1) * lanes * self.length
        targets = np.full(lanes * self.length, IGNORED, np.int32)
        inputs = np.full(lanes * self.length, stream.start, np.int32)
        own = ids[first:last]
        targets[: len(own)] = own
        before = ids[max(first - 1, 0) : last - 1]
        shift = int(first == 0)
        inputs[shift : shift + len(before)] = before[: len(inputs) - shift]
        self.inputs = inputs.reshape(lanes, self.length)  # [lanes, length]
        self.targets = targets.reshape(lanes, self.length)

    def window(self, begin: int, length: int, lanes: slice = slice(None)) -> tuple[torch.Tensor, torch.Tensor]:
        """Input ids and targets of the positions from `begin` on, both int64 `[lanes, length]`, in reading order."""
        step = -1 if self.backward else 1
        inputs, targets = (part[lanes, begin : begin + length][:, ::step] for part in (self.inputs, self.targets))
        return torch.from_numpy(inputs.astype(np.int64)), torch.from_numpy(targets.astype(np.int64))

    def places(self, begin: int, length: int) -> torch.Tensor:
        """Where in the stream the targets of that window stand, int64 `[lanes, length]`; behind its end, anywhere."""
        lanes = len(self.inputs)
        starts = (np.arange(lanes) + self.rank * lanes)[:, None] * self.length
        places = starts + np.arange(begin, begin + length)
        return torch.from_numpy(self.tokens - 1 - places[:, ::-1] if self.backward else places)

    def targets_in(self, begin: int, length: int) -> int:
        """How many tokens that window predicts over all processes."""
        in_lane = np.clip(self.tokens - np.arange(self.global_lanes) * self.length, 0, self.length)
        return int(np.clip(in_lane - begin, 0, length).sum())

    def windows(self, length: int) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """All windows of this process with their places, each of `length` positions but for the last."""
        for begin in range(0, self.length, length):
            own = begin, min(length, self.length - begin)
            yield (*self.window(*own), self.places(*own))


class StreamWindows(Dataset):
    """An epoch of training on lanes: item i is the whole batch of step i.

    With gradient accumulation the lanes of a process come in `groups`, and an update reads the same window of each:
    accumulation trains what as many more lanes at once would train.

    Args:
        lanes: of this process, over all groups.
        groups: batches of an update.
        window_length: of a window; see `window_lengths`.
        seed: of random window lengths. They are drawn once, and come in another order every epoch, so that all epochs
            have as many updates; every process draws the same.
    """

    def __init__(self, lanes: Lanes, *, groups: int, window_length: int, random_lengths: bool, seed: int) -> None:
        self.lanes, self.groups, self.window_length, self.seed = lanes, groups, window_length, seed
        self.random_lengths = random_lengths
        self.drawn = window_lengths(lanes.length, window_length, seed=seed, random=random_lengths)
        self.per_group = len(lanes.inputs) // groups
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Put the windows into the order of that epoch."""
        lengths = self.drawn
        if self.random_lengths:
            lengths = np.random.default_rng([self.seed, 5, epoch]).permutation(lengths)
        self.lengths, self.begins = lengths, np.cumsum(lengths) - lengths

    @property
    def updates(self) -> int:
        """Updates of an epoch."""
        return len(self.drawn)

    def identity(self) -> dict[str, int | bool]:
        """What has to be the same for a state that was carried over these windows to mean anything."""
        lanes = self.lanes
        return {
            "tokens": lanes.tokens, "lanes": lanes.global_lanes, "groups": self.groups, "own_lanes": len(lanes.inputs),
            "window_length": self.window_length, "random_window_lengths": self.random_lengths, "seed": self.seed,
            "backward": lanes.backward,
        }  # fmt: skip

    def __len__(self) -> int:
        return self.updates * self.groups

    def __getitem__(self, index: int) -> dict[str, Any]:
        window, group = divmod(index, self.groups)
        begin, length = int(self.begins[window]), int(self.lengths[window])
        rows = slice(group * self.per_group, (group + 1) * self.per_group)
        input_ids, targets = self.lanes.window(begin, length, rows)
        return {
            "input_ids": input_ids,
            "labels": targets,
            "shift_labels": targets,
            "group": group,
            "relative_length": length / self.window_length,
            "num_targets": self.lanes.targets_in(begin, length),
        }
