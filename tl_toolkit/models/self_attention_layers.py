"""The modules of a self-attention network (Vaswani et al. 2017, "Attention Is All You Need")."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers.activations import ACT2FN
from transformers.cache_utils import Cache
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .configuration_self_attention import SelfAttentionConfig


def eager_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    is_causal: bool = False,
    **kwargs: Any,
) -> tuple[Tensor, Tensor]:
    """Scaled dot-product attention, `softmax(Q K^T / sqrt(d_k)) V`: equation 1 of Vaswani et al. 2017.

    Args:
        module: the attention layer, used only to check for training mode.
        query: (batch, heads, queries, head size).
        key, value: (batch, heads, keys, head size).
        attention_mask: (batch or 1, 1, queries, keys), either boolean with True for visible keys, or added to the
            scores; None makes all keys visible, or with `is_causal` the keys up to the query's own position.
        scaling: factor of the products, `1 / sqrt(d_k)`.
        dropout: probability of dropping a weight.

    Returns:
        (batch, queries, heads, head size) and the weights (batch, heads, queries, keys).
    """
    scores = query @ key.transpose(2, 3) * scaling
    if attention_mask is None and is_causal and query.shape[2] > 1:
        attention_mask = torch.ones(scores.shape[2:], dtype=torch.bool, device=scores.device).tril()
    if attention_mask is not None:
        if attention_mask.dtype == torch.bool:
            scores = scores.masked_fill(~attention_mask, torch.finfo(scores.dtype).min)
        else:
            scores = scores + attention_mask
    weights = scores.softmax(dim=-1, dtype=torch.float32).to(value.dtype)
    weights = nn.functional.dropout(weights, p=dropout, training=module.training)
    return (weights @ value).transpose(1, 2), weights


class MultiHeadAttention(nn.Module):
    """Multi-head attention of a sequence to itself: section 3.2.2 of Vaswani et al. 2017."""

    def __init__(self, config: SelfAttentionConfig, layer_idx: int) -> None:
        super().__init__()
        self.config = config
        self.layer_idx = layer_idx
        self.head_size = config.hidden_size // config.num_attention_heads
        self.is_causal = config.is_causal
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)
        self.output = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        past_key_values: Cache | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """(batch, time, hidden_size) -> the same shape, and the weights if the implementation returns them."""
        batch, time, _ = hidden_states.shape
        by_head = (batch, time, -1, self.head_size)
        query = self.query(hidden_states).view(by_head).transpose(1, 2)  # (batch, heads, time, head_size)
        key = self.key(hidden_states).view(by_head).transpose(1, 2)
        value = self.value(hidden_states).view(by_head).transpose(1, 2)
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)
        attend: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention)
        if kwargs.get("output_attentions") and self.config._attn_implementation == "sdpa":
            attend = eager_attention  # torch's fused function does not return weights
        dropout = self.config.attention_dropout if self.training else 0.0
        scaling = self.head_size**-0.5
        attended, weights = attend(
            self, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )  # (batch, time, heads, head_size)
        return self.output(attended.reshape(batch, time, -1)), weights


class FeedForward(nn.Module):
    """Two linear maps at every position, `f(x W_1 + b_1) W_2 + b_2`: equation 2 of Vaswani et al. 2017."""

    def __init__(self, config: SelfAttentionConfig) -> None:
        super().__init__()
        self.inner = nn.Linear(config.hidden_size, config.intermediate_size)
        self.activation = ACT2FN[config.hidden_act]
        self.output = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, hidden_states: Tensor) -> Tensor:
        return self.output(self.activation(self.inner(hidden_states)))


class SelfAttentionLayer(GradientCheckpointingLayer):
    """Attention, then feed-forward, each with a residual and a layer norm.

    `post`: `LayerNorm(x + Sublayer(x))`, section 3.1 of Vaswani et al. 2017.
    `pre`: `x + Sublayer(LayerNorm(x))`, table 1 of Xiong et al. 2020, which trains without a warm-up.
    """

    def __init__(self, config: SelfAttentionConfig, layer_idx: int) -> None:
        super().__init__()
        self.pre_norm = config.norm_position == "pre"
        self.attention = MultiHeadAttention(config, layer_idx)
        self.attention_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.feed_forward = FeedForward(config)
        self.feed_forward_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout)

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        past_key_values: Cache | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """(batch, time, hidden_size) -> the same shape."""
        if self.pre_norm:
            normed = self.attention_norm(hidden_states)
            attended, _ = self.attention(normed, attention_mask, past_key_values, **kwargs)
            hidden_states = hidden_states + self.dropout(attended)
            transformed = self.feed_forward(self.feed_forward_norm(hidden_states))
            return hidden_states + self.dropout(transformed)
        attended, _ = self.attention(hidden_states, attention_mask, past_key_values, **kwargs)
        hidden_states = self.attention_norm(hidden_states + self.dropout(attended))
        transformed = self.feed_forward(hidden_states)
        return self.feed_forward_norm(hidden_states + self.dropout(transformed))


class SelfAttentionEmbeddings(nn.Module):
    """Token embeddings, multiplied by `sqrt(hidden_size)`, plus positions: sections 3.4 and 3.5 of Vaswani et al."""

    def __init__(self, config: SelfAttentionConfig) -> None:
        super().__init__()
        self.hidden_size = config.hidden_size
        self.max_position_embeddings = config.max_position_embeddings
        self.tokens = nn.Embedding(config.vocab_size, config.embedding_size, padding_idx=config.pad_token_id)
        same = config.embedding_size == config.hidden_size
        self.projection = nn.Identity() if same else nn.Linear(config.embedding_size, config.hidden_size, bias=False)
        learned = config.position_embedding_type == "learned"
        self.positions = nn.Embedding(config.max_position_embeddings, config.hidden_size) if learned else None
        self.dropout = nn.Dropout(config.embedding_dropout)

    def forward(self, inputs_embeds: Tensor, position_ids: Tensor) -> Tensor:
        """(batch, time, embedding_size), and (batch or 1, time) from 0 -> (batch, time, hidden_size)."""
        tokens = self.projection(inputs_embeds) * math.sqrt(self.hidden_size)
        if self.positions is None:
            positions = sinusoidal_positions(position_ids, self.hidden_size).to(tokens.dtype)
        else:
            positions = self.positions(position_ids)
        return self.dropout(tokens + positions)


def position_ids_from_mask(attention_mask: Tensor, length: int) -> Tensor:
    """Positions that only count real tokens, so padding does not shift them, wherever it is.

    Args:
        attention_mask: (batch, past + length), 1 for real tokens.
        length: number of tokens at the end of the mask to return positions for.

    Returns:
        (batch, length), from 0. A padding token gets the position of the real token before it, or 0.
    """
    return (attention_mask.long().cumsum(dim=-1) - 1).clamp(min=0)[:, -length:]


def sinusoidal_positions(position_ids: Tensor, size: int) -> Tensor:
    """Fixed position vectors: `PE(p, 2i) = sin(p / 10000^(2i/d))`, `PE(p, 2i+1) = cos(p / 10000^(2i/d))`.

    Vaswani et al. 2017, "Attention Is All You Need", section 3.5. They are computed on each call, for any length, in
    float32: a table in the model's buffers would have to be filled again after every load.

    Args:
        position_ids: (batch, time), from 0.
        size: `d`, the size of a vector; with an odd size the last sine has no cosine.

    Returns:
        (batch, time, size), float32.
    """
    even = torch.arange(0, size, 2, device=position_ids.device, dtype=torch.float32)
    angles = position_ids[..., None].float() * 10000.0 ** (-even / size)  # (batch, time, ceil(size / 2))
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)[..., :size]
