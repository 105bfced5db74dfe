"""The tokens of a streamed corpus: lanes for models with a carried state, and blocks for other models."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import Dataset, default_collate

from ..errors import UserError
from .corpus import reading
from .streams import IGNORED, Lanes, TokenStream, framing, joined, token_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from .blocks import Blocks
    from .corpus import Corpus

logger = logging.getLogger(__name__)

_ROWS = 64  # tokenised at a time


class TokenReader:
    """The tokenised texts of one part of a corpus, in order. After the last text it starts again, with a warning.

    Args:
        part, parts: the reader reads every `parts`-th file or, if their number is not a multiple of `parts`, row.
    """

    def __init__(
        self, corpus: Corpus, tokenizer: PreTrainedTokenizerBase, separator: str | None, part: int, parts: int
    ) -> None:
        from datasets.distributed import split_dataset_by_node

        self.corpus, self.tokenizer = corpus, tokenizer
        self.suffix, self.start = framing(tokenizer, separator)
        self.rows = split_dataset_by_node(corpus.rows, rank=part, world_size=parts)
        self._texts: list[np.ndarray] = []
        self._next: Any = None
        self._found = False
        self.load_state_dict({"rows": None, "used": 0, "passes": 0})

    def text(self) -> np.ndarray:
        """Return the ids of the next text and the separator, int32 `[tokens]`."""
        while self._used >= len(self._texts):
            self._read()
        self._used += 1
        return self._texts[self._used - 1]

    def _read(self) -> None:
        self._state, self._used, self._texts = self._next, 0, []
        with reading(self.corpus.record["name"]):
            rows = next(self._rows, None)
        if rows is None:
            self._start_again()
            return
        self._next = self.rows.state_dict()
        if texts := self.corpus.kept(rows[self.corpus.column]):
            self._texts = [joined([own], self.suffix) for own in token_ids(self.tokenizer, texts)]
        self._found = self._found or any(map(len, self._texts))

    def _start_again(self) -> None:
        if not self._found:
            raise UserError(
                f"A process or lane has no training tokens in {self.corpus.record['name']!r}: use more texts, fewer "
                "lanes (--per_device_train_batch_size) or fewer processes, or a smaller --evaluation_rows."
            )
        logger.warning(
            "The training texts of this process or lane have ended before the training: they are read again. Lower "
            "--max_train_tokens or --max_steps to read every text at most once."
        )
        self.load_state_dict({"rows": None, "used": 0, "passes": self.passes + 1})

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the stream before the rows that were tokenised last, and the number used of them."""
        return {"rows": self._state, "used": self._used, "passes": self.passes}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was called."""
        self.rows.load_state_dict(state["rows"])
        self._rows, self._state, self._next = self.rows.iter(_ROWS), state["rows"], state["rows"]
        self._texts = []
        self._used, self.passes, self._found = state["used"], state["passes"], False
        if self._used:
            self._read()
            self._used = state["used"]


class Tokens:
    """A sequence of tokens that ends nowhere: the next texts of a reader, which several sequences may share."""

    def __init__(self, reader: TokenReader) -> None:
        self.reader, self.last = reader, reader.start
        self._rest = np.empty(0, np.int32)

    def take(self, count: int) -> tuple[int, np.ndarray]:
        """Return the token before the next `count` tokens, and these, int32 `[count]`."""
        parts = [self._rest]
        size = len(self._rest)
        while size < count:
            parts.append(self.reader.text())
            size += len(parts[-1])
        ids = np.concatenate(parts)
        before, self._rest = self.last, ids[count:].copy()
        self.last = int(ids[count - 1]) if count else before
        return before, ids[:count]

    def state_dict(self) -> dict[str, Any]:
        """Return the tokens that were read but not taken, without the state of the reader."""
        return {"last": self.last, "rest": torch.from_numpy(self._rest)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was called."""
        self.last, self._rest = state["last"], state["rest"].numpy()


class StreamedLanes(Lanes):
    """The lanes of one process, filled as they are read; windows can only be read in order.

    With one reader for each lane, lanes are those of `Lanes` if all parts of the corpus have equally many tokens. With
    one reader, a lane takes the next text of the process when it has read its last one.

    Args:
        readers: one, or one for each lane.
        lanes: number of lanes of this process.
        tokens: number of tokens to train on, over all lanes and processes.
    """

    def __init__(self, readers: list[TokenReader], lanes: int, tokens: int, *, rank: int, world_size: int) -> None:
        self.readers, self.tokens, self.backward, self.own_lanes = readers, tokens, False, lanes
        self.global_lanes = lanes * world_size
        self.length = -(-tokens // self.global_lanes)
        self.lanes = [Tokens(readers[lane % len(readers)]) for lane in range(lanes)]
        self.ends = np.clip(tokens - (rank * lanes + np.arange(lanes)) * self.length, 0, self.length)
        self.positions = np.zeros(lanes, np.int64)

    def window(self, begin: int, length: int, lanes: slice = slice(None)) -> tuple[torch.Tensor, torch.Tensor]:
        if (self.positions[lanes] != begin).any():
            raise RuntimeError(f"The stream is at {self.positions[lanes]}, not at {begin}.")
        taken = [lane.take(length) for lane in self.lanes[lanes]]
        self.positions[lanes] += length
        targets = np.stack([ids for _, ids in taken]).astype(np.int64)
        inputs = np.concatenate([np.array([[before] for before, _ in taken]), targets[:, :-1]], axis=1)
        known = begin + np.arange(length) < self.ends[lanes, None]
        return torch.from_numpy(inputs), torch.from_numpy(np.where(known, targets, IGNORED))

    def state_dict(self) -> dict[str, Any]:
        return {
            "readers": [reader.state_dict() for reader in self.readers],
            "lanes": [lane.state_dict() for lane in self.lanes],
            "positions": self.positions.tolist(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        parts: list[Any] = [*self.readers, *self.lanes]
        for part, saved in zip(parts, [*state["readers"], *state["lanes"]], strict=True):
            part.load_state_dict(saved)
        self.positions = np.array(state["positions"], np.int64)


class StreamedBlocks(Dataset):
    """The blocks of one process in the order of its texts: item i is the whole batch of step i, read in order.

    The last batches take only the tokens that are left, and blank blocks fill them.

    Args:
        reader: the texts of this process.
        blocks: creates the blocks of a stream.
        batch: blocks in a batch.
        predicted: tokens of the stream in a block.
        groups: batches in an update.
        tokens: number of tokens to train on, over all processes.
        rank, world_size: the place of this process.
    """

    def __init__(
        self, reader: TokenReader, blocks: Callable[[TokenStream], Blocks], *, batch: int, predicted: int, groups: int,
        tokens: int, rank: int, world_size: int,
    ) -> None:  # fmt: skip
        self.ids, self.blocks, self.batch, self.predicted = Tokens(reader), blocks, batch, predicted
        self.groups, self.tokens, self.rank, self.world_size = groups, tokens, rank, world_size
        self.per_update = groups * batch * predicted * world_size
        self.updates = -(-tokens // self.per_update)
        self.position = 0

    def set_epoch(self, epoch: int) -> None:
        """There is only one epoch."""

    def __len__(self) -> int:
        return self.updates * self.groups

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        if index != self.position:
            raise RuntimeError(f"The stream is at batch {self.position}, not at {index}.")
        self.position += 1
        first = (index * self.world_size + self.rank) * self.batch
        left = max(0, self.tokens - first * self.predicted)
        before, ids = self.ids.take(min(left, self.batch * self.predicted))
        blocks = self.blocks(TokenStream(ids, before, 0, 0, 0))
        blocks.first = first
        return default_collate([blocks[block] for block in range(self.batch)])

    def identity(self) -> dict[str, int]:
        """Return the settings that must be equal to resume."""
        return {"tokens": self.tokens, "batch": self.batch, "predicted": self.predicted, "groups": self.groups}

    def state_dict(self) -> dict[str, Any]:
        """Return the place in the stream."""
        return {"reader": self.ids.reader.state_dict(), "ids": self.ids.state_dict(), "position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was called."""
        self.ids.reader.load_state_dict(state["reader"])
        self.ids.load_state_dict(state["ids"])
        self.position = state["position"]
