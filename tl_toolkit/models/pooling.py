"""Pool one vector per token to one vector per text; texts may be empty."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from .token_order import filled

PoolingKind = Literal["cls", "last", "mean", "max", "concat", "attention"]
SummaryPosition = Literal["last", "first", "both"]


def not_empty(
    input_ids: Tensor | None, attention_mask: Tensor | None, pad_token_id: int | None
) -> tuple[Tensor | None, Tensor | None]:
    """Turn a batch of empty texts, (batch, 0), into one position of padding, (batch, 1), which is masked.

    All other batches are returned unchanged. In a batch with longer texts, an empty text also consists of padding only,
    so its prediction does not depend on its batch.
    """
    if input_ids is None or input_ids.shape[1] > 0:
        return input_ids, attention_mask
    # The dtype is set explicitly because a tokenizer's empty tensor has a floating-point type.
    padding = torch.full((len(input_ids), 1), pad_token_id or 0, dtype=torch.long, device=input_ids.device)
    return padding, torch.zeros_like(padding)


def first_real_position(mask: Tensor) -> Tensor:
    """Index of the first true entry of each row of `mask` (batch, time), 0 for a row without any. Shape: (batch,)."""
    return mask.int().argmax(dim=1)


def last_real_position(mask: Tensor) -> Tensor:
    """Index of the last true entry of each row of `mask` (batch, time), 0 for a row without any. Shape: (batch,)."""
    positions = torch.arange(mask.shape[1], device=mask.device)
    return (positions * mask).amax(dim=1)


def vector_at(hidden_states: Tensor, position: Tensor) -> Tensor:
    """The vector at one position of each row: (batch, time, size) and (batch,) -> (batch, size)."""
    index = position[:, None, None].expand(-1, 1, hidden_states.shape[2])
    return hidden_states.gather(1, index).squeeze(1)


class AdditiveAttention(nn.Module):
    """A mean with weights that are computed from the vectors themselves.

    `u_t = tanh(W h_t + b)`, `a = softmax(v . u_t)`, `s = sum_t a_t h_t`: equations 5 to 7 of Yang et al. 2016,
    "Hierarchical Attention Networks for Document Classification". This is the additive score of Bahdanau et al. 2015
    (appendix A.1.2) with a learned vector instead of the decoder's state.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.projection = nn.Linear(hidden_size, hidden_size)
        self.context = nn.Linear(hidden_size, 1, bias=False)

    def forward(self, hidden_states: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, time, size) and a boolean (batch, time) -> (batch, size) and the weights (batch, time).

        The weights of a row sum to 1 over its real positions and are exactly 0 elsewhere.
        """
        scores = self.context(torch.tanh(self.projection(hidden_states))).squeeze(-1)  # (batch, time)
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        # The product only matters for a row without real tokens, where softmax gives equal weights to the padding.
        weights = scores.softmax(dim=-1) * mask
        pooled = torch.bmm(weights.unsqueeze(1), hidden_states).squeeze(1)
        return pooled, weights


class SequencePooling(nn.Module):
    """Pools the real positions of a sequence; padding has no influence, wherever it is.

    Args:
        hidden_size: size of the vectors to pool.
        pooling: `cls`, the vector at the first real position (BERT's [CLS]); `last`, the vector at the position where
            the network has read the whole text; `mean` or `max` over time; `concat`, the last three concatenated
            (Howard and Ruder 2018, section 3.3); or `attention` (`AdditiveAttention`).
        summary: the position where the network has read the whole text: the `last` real position, the `first` (if it
            reads backwards), or `both`: the first half of the vector at the last position and the second half at the
            first (a bidirectional network).

    `mean`, `max` and `attention` pool a row without real positions to zeros.
    """

    def __init__(self, hidden_size: int, pooling: PoolingKind, summary: SummaryPosition = "last") -> None:
        super().__init__()
        self.pooling = pooling
        self.summary = summary
        self.output_size = 3 * hidden_size if pooling == "concat" else hidden_size
        if pooling == "attention":
            self.attention = AdditiveAttention(hidden_size)

    def forward(self, hidden_states: Tensor, attention_mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Pool `hidden_states` (batch, time, hidden_size) under `attention_mask` (batch, time), 1 for real positions.

        Returns the pooled vectors (batch, output_size), and the attention weights (batch, time) with
        `pooling="attention"`, None otherwise.
        """
        if attention_mask is None and self.pooling == "max":
            return hidden_states.amax(dim=1), None
        if attention_mask is None:
            mask = torch.ones(hidden_states.shape[:2], dtype=torch.bool, device=hidden_states.device)
        else:
            mask = attention_mask.bool()
        if self.pooling == "attention":
            return self.attention(hidden_states, mask)
        if self.pooling == "concat":
            parts = [self._last(hidden_states, mask), self._mean(hidden_states, mask), self._max(hidden_states, mask)]
            return torch.cat(parts, dim=-1), None
        if self.pooling == "cls":
            return vector_at(hidden_states, first_real_position(mask)), None
        pool = {"last": self._last, "mean": self._mean, "max": self._max}[self.pooling]
        return pool(hidden_states, mask), None

    def _last(self, hidden_states: Tensor, mask: Tensor) -> Tensor:
        if self.summary == "last":
            return vector_at(hidden_states, last_real_position(mask))
        if self.summary == "first":
            return vector_at(hidden_states, first_real_position(mask))
        forward, backward = hidden_states.chunk(2, dim=-1)
        ends = vector_at(forward, last_real_position(mask)), vector_at(backward, first_real_position(mask))
        return torch.cat(ends, dim=-1)

    @staticmethod
    def _mean(hidden_states: Tensor, mask: Tensor) -> Tensor:
        count = mask.sum(dim=1, keepdim=True).clamp(min=1)
        return filled(hidden_states, ~mask, 0).sum(dim=1) / count

    @staticmethod
    def _max(hidden_states: Tensor, mask: Tensor) -> Tensor:
        lowest = torch.finfo(hidden_states.dtype).min
        highest = filled(hidden_states, ~mask, lowest).amax(dim=1)
        return highest.masked_fill(~mask.any(dim=1, keepdim=True), 0)
