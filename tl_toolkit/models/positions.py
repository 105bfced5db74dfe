"""Where a token stands, and the vectors that say so."""

from __future__ import annotations

import torch
from torch import Tensor


def position_ids_from_mask(attention_mask: Tensor, length: int) -> Tensor:
    """Positions that count real tokens only, so that padding, wherever it stands, moves nothing.

    Args:
        attention_mask: (batch, past + length), 1 for real tokens.
        length: number of tokens at the end of the mask whose positions are wanted.

    Returns:
        (batch, length), from 0. A padding token gets the position of the real token before it, or 0.
    """
    return (attention_mask.long().cumsum(dim=-1) - 1).clamp(min=0)[:, -length:]


def sinusoidal_positions(position_ids: Tensor, size: int) -> Tensor:
    """Fixed position vectors: `PE(p, 2i) = sin(p / 10000^(2i/d))`, `PE(p, 2i+1) = cos(p / 10000^(2i/d))`.

    Vaswani et al. 2017, "Attention Is All You Need", section 3.5. Computed when asked for, at any length, in float32:
    a table among the model's buffers would have to be filled again after every load.

    Args:
        position_ids: (batch, time), from 0.
        size: `d`, the size of a vector; with an odd size the last sine has no cosine.

    Returns:
        (batch, time, size), float32.
    """
    even = torch.arange(0, size, 2, device=position_ids.device, dtype=torch.float32)
    angles = position_ids[..., None].float() * 10000.0 ** (-even / size)  # (batch, time, ceil(size / 2))
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)[..., :size]
