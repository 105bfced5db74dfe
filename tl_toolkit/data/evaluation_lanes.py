"""Streams cut into overlapping lanes, so that the loss of a model with a carried state depends on the text alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from .streams import IGNORED, TokenStream

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_LANES, SHORTEST_LANE, WARM_UP = 32, 4096, 1024
MOST_ROWS = 8


class EvaluationLanes:
    """The lanes of a stream that one process evaluates, read in parallel with carried states.

    Each lane is `length` tokens and starts `length - warm_up` tokens after the lane before it. Its first `warm_up`
    tokens are thus also the last ones of the lane before. They only build up its state and do not count, except in the
    first lane. So every token counts once, and only the first tokens of the text are predicted from an empty state.

    The number of lanes depends only on the number of tokens: up to `MOST_LANES`, each with at least `SHORTEST_LANE`
    counted tokens. A shorter text is one lane.

    The lanes are read in batches that have the same number of rows in every process. Rounding depends on this number,
    and an unstable state can amplify it.

    Each token has a *place*: its position in the stream when it counts, and `tokens` more in a warm-up.

    Args:
        stream: the text.
        rank, world_size: each process reads equally many batches. Rows after the last lane are empty (all targets are
            -100).
        backward: read the stream from its end. Tokens within a window are in text order, the target of a position is
            the token before it, and the next window is the one that precedes the current one in the text.
    """

    def __init__(self, stream: TokenStream, *, rank: int = 0, world_size: int = 1, backward: bool = False) -> None:
        self.ids = stream.ids[::-1] if backward else stream.ids
        self.start, self.backward, self.tokens, self.num_places = stream.start, backward, len(stream), 2 * len(stream)
        self.lanes = min(MOST_LANES, max(1, (self.tokens - WARM_UP) // SHORTEST_LANE))
        self.warm_up = WARM_UP if self.lanes > 1 else 0
        self.stride = -(-(self.tokens - self.warm_up) // self.lanes)  # tokens that a lane counts, rounded up
        self.length = self.stride + self.warm_up
        batches = -(-self.lanes // MOST_ROWS)
        self.rows = -(-self.lanes // batches)
        rounds = -(-batches // world_size)
        self.batches = (rank * rounds + np.arange(rounds))[:, None] * self.rows + np.arange(self.rows)  # of lanes

    def windows(self, lanes: np.ndarray, length: int) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Yield input ids, targets and the places of the targets, each int64 `[rows, length]`, in text order.

        Args:
            lanes: one of `batches`.
            length: tokens in a window; the last one can be shorter. The place of an ignored target is arbitrary.
        """
        step = -1 if self.backward else 1
        for begin in range(0, self.length, length):
            offsets = np.arange(begin, min(begin + length, self.length))
            positions = lanes[:, None] * self.stride + offsets
            exists = (positions < self.tokens) & (lanes < self.lanes)[:, None]
            positions = np.where(exists, positions, 0)
            inputs = np.where(positions > 0, self.ids[positions - 1], self.start)
            targets = np.where(exists, self.ids[positions], IGNORED)
            places = self.tokens - 1 - positions if self.backward else positions
            places = places + np.where((offsets < self.warm_up) & (lanes > 0)[:, None], self.tokens, 0)
            inputs, targets, places = (part[:, ::step].astype(np.int64) for part in (inputs, targets, places))
            yield torch.from_numpy(inputs), torch.from_numpy(targets), torch.from_numpy(places)

    def losses_by_lane(self, losses: np.ndarray) -> list[float]:
        """Return the mean loss of the counted tokens of each lane, in reading order.

        Args:
            losses: float64 `[num_places]`, the loss at each place.
        """
        counted = self._in_reading_order(losses[: self.tokens])
        borders = self.warm_up + self.stride * np.arange(1, self.lanes)
        return [float(part.mean()) for part in np.split(counted, borders) if len(part)]

    def differences(self, losses: np.ndarray) -> list[float]:
        """Return what a state changes: for each lane but the first, its mean loss minus that of the lane before it.

        Both predict the same tokens, those of the second half of the warm-up: one with the state of the warm-up, the
        other with the state that it carried through the whole lane.

        Args:
            losses: as in `losses_by_lane`.
        """
        counted, warming = (self._in_reading_order(half) for half in np.split(losses, 2))
        starts = self.stride * np.arange(1, self.lanes)
        shared = [slice(start + self.warm_up // 2, start + self.warm_up) for start in starts]
        return [float((warming[part] - counted[part]).mean()) for part in shared]

    def _in_reading_order(self, by_position: np.ndarray) -> np.ndarray:
        return by_position[::-1] if self.backward else by_position
