"""Token streams, cut into lanes that are read in parallel to train language models with a carried state."""

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
    from transformers import PreTrainedTokenizerBase

IGNORED = -100
SHORTEST_WINDOW = 5
_FULL_LENGTH_SHARE, _DEVIATION = 0.95, 5.0
_BATCH = 1000
_QUIET_BELOW = 50_000


@dataclass(frozen=True)
class TokenStream:
    """The concatenated documents of a split.

    Attributes:
        ids: int32 `[tokens]`, separators included.
        start: id of the separator, read before the first token so that this one is predicted, too.
        documents: number of documents.
        num_bytes: size of the documents in UTF-8, without separators.
        unknown: number of unknown tokens.
        document_tokens: int64 `[documents]`, separators included; not reduced if the stream was cut.
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

    Each document is followed by `separator`, by default the tokenizer's end-of-text token (`eos`, else `sep`, else
    `bos`). Special tokens that the tokenizer adds itself (as BERT's and Llama's do) are kept; no separator is added
    after an end-of-text token.

    Args:
        max_tokens: read only as many documents as needed for this many tokens, and cut the stream to this length.
        whole_documents: keep the last document whole instead, so that tokens and bytes belong to the same text.

    Raises:
        UserError: the tokenizer has no token to separate documents, or `separator` is not a token.
    """
    from tqdm.auto import tqdm

    suffix, start = framing(tokenizer, separator)
    parts: list[np.ndarray] = []
    sizes: list[np.ndarray] = []  # tokens and bytes of each document, per batch
    tokens = unknown = 0
    quiet = len(documents) < _QUIET_BELOW or os.environ.get("RANK", "0") != "0"
    for first in tqdm(range(0, len(documents), _BATCH), desc="Tokenising", unit="k texts", disable=quiet):
        texts = documents[first : first + _BATCH]["text"]
        encoded = token_ids(tokenizer, texts)
        if max_tokens is not None and whole_documents:
            ends = tokens + np.cumsum([len(ids) + len(suffix) for ids in encoded])
            kept = int(np.searchsorted(ends, max_tokens)) + 1
            texts, encoded = texts[:kept], encoded[:kept]
        own = joined(encoded, [])
        unknown += int(np.count_nonzero(own == tokenizer.unk_token_id)) if tokenizer.unk_token_id is not None else 0
        parts.append(joined(encoded, suffix) if suffix else own)
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


def token_ids(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    """Return the ids of whole texts, as `tokenizer(texts)` does, but without computing their places in the texts."""
    if not tokenizer.is_fast:
        return tokenizer(texts, return_attention_mask=False, return_token_type_ids=False, verbose=False)["input_ids"]
    tokenizer("")  # its backend now neither truncates nor pads
    return [own.ids for own in tokenizer.backend_tokenizer.encode_batch_fast(texts)]


def joined(encoded: list[list[int]], suffix: list[int]) -> np.ndarray:
    """Return the ids of texts, each followed by `suffix`, int32 `[tokens]`."""
    pieces = itertools.chain.from_iterable(itertools.chain(ids, suffix) for ids in encoded)
    return np.fromiter(pieces, np.int32, count=sum(map(len, encoded)) + len(suffix) * len(encoded))


def framing(tokenizer: PreTrainedTokenizerBase, separator: str | None) -> tuple[list[int], int]:
    """Return the ids that follow each document, and the id that precedes the first token."""
    if separator is not None:
        vocabulary = tokenizer.get_vocab()
        if separator not in vocabulary:
            raise UserError(
                f"--separator {separator!r} is not a token of the tokenizer: use one of its tokens, such as "
                f"{tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)!r}."
            )
        return [vocabulary[separator]], vocabulary[separator]
    own = tokenizer("")["input_ids"]  # the special tokens that the tokenizer adds to every text
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
    """Return the lengths of the windows of a lane; they sum to `total`.

    Args:
        total: number of tokens in a lane.
        base: usual length of a window.
        seed: seed of random lengths.
        random: draw random lengths (Merity et al. 2017, section 5), so that window borders vary: normal with standard
            deviation 5, at least 5, and with mean `base` (probability 0.95) or half of it.
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
    """The part of a stream that one process reads: `lanes` contiguous pieces of equal length, read in parallel.

    The stream is cut into `lanes · world_size` pieces; process r reads the `lanes` pieces that start at r · lanes. The
    input of a position is the token before its target; for the first target of a lane it is the last token of the
    previous lane. So every token of the stream is predicted exactly once. Targets after the end of the stream are -100.

    A backward model reads the stream from its end. Tokens within a window are in text order, the target of a position
    is the token before it, and the next window is the one that precedes the current one in the text.

    Args:
        lanes: number of pieces of this process.
        backward: read the stream from its end.
    """

    def __init__(
        self, stream: TokenStream, lanes: int, *, rank: int = 0, world_size: int = 1, backward: bool = False
    ) -> None:
        ids = stream.ids[::-1] if backward else stream.ids
        self.tokens, self.backward = len(ids), backward
        self.own_lanes, self.global_lanes = lanes, lanes * world_size
        self.length = -(-len(ids) // self.global_lanes)  # tokens in a lane, rounded up
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
        """Return input ids and targets from position `begin`, both int64 `[lanes, length]`, in text order."""
        step = -1 if self.backward else 1
        inputs, targets = (part[lanes, begin : begin + length][:, ::step] for part in (self.inputs, self.targets))
        return torch.from_numpy(inputs.astype(np.int64)), torch.from_numpy(targets.astype(np.int64))

    def targets_in(self, begin: int, length: int) -> int:
        """Return the number of tokens that a window predicts over all processes."""
        in_lane = np.clip(self.tokens - np.arange(self.global_lanes) * self.length, 0, self.length)
        return int(np.clip(in_lane - begin, 0, length).sum())

    def state_dict(self) -> dict[str, Any]:
        """Return what has to be saved to continue, beside the number of the update."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was called."""


class StreamWindows(Dataset):
    """A training epoch over lanes: item i is the whole batch of step i.

    With gradient accumulation, the lanes of a process are divided into `groups`, and an update reads the same window of
    each group. The result equals training all these lanes in one batch.

    Args:
        lanes: lanes of this process, over all groups.
        groups: number of batches per update.
        window_length: usual length of a window; see `window_lengths`.
        seed: seed of random window lengths, equal in all processes. Lengths are drawn once and reordered in every
            epoch, so that all epochs have the same number of updates.
    """

    def __init__(self, lanes: Lanes, *, groups: int, window_length: int, random_lengths: bool, seed: int) -> None:
        self.lanes, self.groups, self.window_length, self.seed = lanes, groups, window_length, seed
        self.random_lengths = random_lengths
        self.drawn = window_lengths(lanes.length, window_length, seed=seed, random=random_lengths)
        self.per_group = lanes.own_lanes // groups
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Order the windows for an epoch."""
        lengths = self.drawn
        if self.random_lengths:
            lengths = np.random.default_rng([self.seed, 5, epoch]).permutation(lengths)
        self.lengths, self.begins = lengths, np.cumsum(lengths) - lengths

    @property
    def updates(self) -> int:
        """Number of updates per epoch."""
        return len(self.drawn)

    def identity(self) -> dict[str, int | bool]:
        """Return the settings that must be equal to resume with a saved carried state."""
        lanes = self.lanes
        return {
            "tokens": lanes.tokens, "lanes": lanes.global_lanes, "groups": self.groups, "own_lanes": lanes.own_lanes,
            "window_length": self.window_length, "random_window_lengths": self.random_lengths, "seed": self.seed,
            "backward": lanes.backward,
        }  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """Return the place in the stream; empty if the number of the update gives it."""
        return self.lanes.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was called."""
        self.lanes.load_state_dict(state)

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
