"""Texts without a token: tokenizers that add no special tokens make nothing of an empty text."""

from __future__ import annotations

import torch
from torch import Tensor


def not_empty(
    input_ids: Tensor | None, attention_mask: Tensor | None, pad_token_id: int | None
) -> tuple[Tensor | None, Tensor | None]:
    """A batch of texts without a single token, (batch, 0), as one position of padding, (batch, 1), which nobody reads.

    Every other batch is returned as it is. An empty text beside longer ones is padding alone as well, so that its
    answer does not depend on its batch.
    """
    if input_ids is None or input_ids.shape[1] > 0:
        return input_ids, attention_mask
    # A tokenizer's empty tensor is one of floating-point numbers.
    padding = torch.full((len(input_ids), 1), pad_token_id or 0, dtype=torch.long, device=input_ids.device)
    return padding, torch.zeros_like(padding)
