"""Attention from a decoder's states to a memory: Bahdanau et al. 2015 and Luong et al. 2015."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .configuration_rnn_decoder import RnnDecoderConfig


class AttentionMemory(NamedTuple):
    """The memory to attend to, with the values that are computed once per sentence.

    Attributes:
        values: (batch, source, memory_size); contexts are weighted sums of them.
        keys: (batch, source, key_size), to compare with the decoder's states.
        mask: boolean (batch, source), true for visible positions; None if all are visible.
    """

    values: Tensor
    keys: Tensor
    mask: Tensor | None

    def select(self, rows: Tensor) -> AttentionMemory:
        """The memory of these rows."""
        return AttentionMemory(*(None if part is None else part.index_select(0, rows) for part in self))

    def repeat(self, repeats: int) -> AttentionMemory:
        """Every row `repeats` times in succession."""
        return AttentionMemory(*(None if part is None else part.repeat_interleave(repeats, dim=0) for part in self))


class RnnAttention(nn.Module, ABC):
    """Base class of all scores: contexts `c_t = sum_s a_t(s) m_s` with `a_t = softmax_s(score(h_t, m_s))`."""

    def remember(self, values: Tensor, mask: Tensor | None) -> AttentionMemory:
        """Prepare a memory (batch, source, memory_size) with a mask (batch, source), 1 for visible positions."""
        return AttentionMemory(values, self.keys(values), None if mask is None else mask.bool())

    @abstractmethod
    def keys(self, values: Tensor) -> Tensor:
        """(batch, source, memory_size) -> (batch, source, key_size)."""

    @abstractmethod
    def weights(self, queries: Tensor, memory: AttentionMemory) -> Tensor:
        """(batch, target, hidden_size) -> (batch, target, source)."""

    def forward(self, queries: Tensor, memory: AttentionMemory) -> tuple[Tensor, Tensor]:
        """Attend from every query.

        Args:
            queries: (rows, target, hidden_size). Each row of the memory can have several consecutive rows: the beams
                of a sentence.
            memory: from `remember`.

        Returns:
            Contexts (rows, target, memory_size) and weights (rows, target, source). The weights of a query sum to 1
            over the visible positions, and are exactly 0 elsewhere.
        """
        rows, target, _ = queries.shape
        grouped = queries.reshape(memory.values.shape[0], -1, queries.shape[2])
        weights = self.weights(grouped, memory)
        contexts = torch.bmm(weights, memory.values)
        return contexts.view(rows, target, -1), weights.view(rows, target, -1)


class ScoredAttention(RnnAttention):
    """Attention to the whole memory, with a score for each pair of query and key."""

    @abstractmethod
    def scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        """(batch, target, hidden_size) and (batch, source, key_size) -> (batch, target, source)."""

    def weights(self, queries: Tensor, memory: AttentionMemory) -> Tensor:
        return masked_softmax(self.scores(queries, memory.keys), None if memory.mask is None else memory.mask[:, None])


class AdditiveScore(ScoredAttention):
    """`score(h, m) = v . tanh(W h + U m)`.

    With the decoder's previous state, this is the alignment model of Bahdanau et al. 2015 (appendix A.1.2); with the
    current state, it is the score `concat` of Luong et al. 2015 (equation 8), whose matrix is [W; U] here.
    """

    def __init__(self, hidden_size: int, memory_size: int) -> None:
        super().__init__()
        self.query_projection = nn.Linear(hidden_size, hidden_size, bias=False)
        self.key_projection = nn.Linear(memory_size, hidden_size, bias=False)
        self.energy = nn.Linear(hidden_size, 1, bias=False)

    def keys(self, values: Tensor) -> Tensor:
        return self.key_projection(values)

    def scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        hidden = torch.tanh(self.query_projection(queries)[:, :, None] + keys[:, None])  # (batch, target, source, size)
        return self.energy(hidden).squeeze(-1)


class DotScore(ScoredAttention):
    """`score(h, m) = h . m` (Luong et al. 2015, equation 8)."""

    def keys(self, values: Tensor) -> Tensor:
        return values

    def scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        return torch.bmm(queries, keys.transpose(1, 2))


class GeneralScore(DotScore):
    """`score(h, m) = h . W m` (Luong et al. 2015, equation 8)."""

    def __init__(self, hidden_size: int, memory_size: int) -> None:
        super().__init__()
        self.key_projection = nn.Linear(memory_size, hidden_size, bias=False)

    def keys(self, values: Tensor) -> Tensor:
        return self.key_projection(values)


class LocalWindow(RnnAttention):
    """Attention in a window around a predicted position (local-p, Luong et al. 2015, section 3.2).

    `p_t = S sigmoid(v . tanh(W h_t))` (equation 9) in a source of S real tokens, with positions from 0. The weights are
    the `softmax` of the score over `|s - p_t| <= D`, times `exp(-(s - p_t)^2 / (2 sigma^2))` with `sigma = D / 2`
    (equation 10), so they do not sum to 1.

    Args:
        score: the score of queries and keys.
        hidden_size: size of a query.
        half_width: D, in tokens.
    """

    def __init__(self, score: ScoredAttention, hidden_size: int, half_width: int) -> None:
        super().__init__()
        self.score = score
        self.half_width = half_width
        self.position_projection = nn.Linear(hidden_size, hidden_size, bias=False)
        self.position_energy = nn.Linear(hidden_size, 1, bias=False)

    def keys(self, values: Tensor) -> Tensor:
        return self.score.keys(values)

    def weights(self, queries: Tensor, memory: AttentionMemory) -> Tensor:
        mask = memory.mask
        if mask is None:
            mask = torch.ones(memory.values.shape[:2], dtype=torch.bool, device=queries.device)
        lengths = mask.sum(dim=1)  # (batch,)
        positions = mask.long().cumsum(dim=1) - 1  # (batch, source), of real tokens only
        fraction = torch.sigmoid(self.position_energy(torch.tanh(self.position_projection(queries))))
        distance = positions[:, None] - lengths[:, None, None] * fraction  # (batch, target, source)
        is_seen = mask[:, None] & (distance.abs() <= self.half_width)
        weights = masked_softmax(self.score.scores(queries, memory.keys), is_seen)
        # exp(-d^2 / (2 (D/2)^2))
        return weights * torch.exp(-2 * (distance / self.half_width) ** 2).to(weights.dtype)


def masked_softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax over the last dimension where `mask` is true; exactly 0 elsewhere, even if no entry is true."""
    if mask is None:
        return scores.softmax(dim=-1)
    scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores.softmax(dim=-1) * mask


def make_attention(config: RnnDecoderConfig, memory_size: int) -> RnnAttention | None:
    """Create the attention that the configuration names.

    Raises:
        ValueError: a dot product between states of different sizes.
    """
    hidden_size, score = config.hidden_size, config.attention_score
    if config.attention == "none":
        return None
    if config.attention == "bahdanau":
        return AdditiveScore(hidden_size, memory_size)
    if score == "dot" and hidden_size != memory_size:
        raise ValueError(
            f"attention_score='dot' needs a memory of hidden_size={hidden_size} features, got {memory_size}: use "
            "'general' or 'concat'."
        )
    score_class = {"dot": DotScore, "general": GeneralScore, "concat": AdditiveScore}[score]
    scored = score_class() if score == "dot" else score_class(hidden_size, memory_size)
    if config.attention_window == "local_p":
        return LocalWindow(scored, hidden_size, config.attention_window_size)
    return scored
