"""Cross-entropy of a linear output layer that never stores the logits of all tokens at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

IGNORED = -100
_LOGITS_AT_ONCE = 2**21  # 8 MiB in float32: larger chunks are not faster on a CPU


def chunked_cross_entropy(
    hidden_states: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, chunk_size: int | None = None
) -> Tensor:
    """Summed cross-entropy of `hidden_states @ weight.T + bias`, in float32.

    Equal to `torch.nn.functional.cross_entropy(..., reduction="sum")` in value and gradients, but needs only the memory
    of one chunk of logits: the gradients of a chunk are computed together with its logits.

    Args:
        hidden_states: (tokens, size).
        weight: (vocab_size, size).
        bias: (vocab_size,).
        targets: (tokens,) token ids, -100 for tokens to ignore.
        chunk_size: tokens per chunk; by default as many as give about two million logits.
    """
    if chunk_size is None:
        chunk_size = max(1, _LOGITS_AT_ONCE // weight.shape[0])
    return _ChunkedCrossEntropy.apply(hidden_states, weight, bias, targets, chunk_size)


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_states: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, chunk_size: int
    ) -> Tensor:
        wanted = ctx.needs_input_grad[:3]
        hidden_grad = torch.empty_like(hidden_states) if wanted[0] else None
        weight_grad = torch.zeros_like(weight) if wanted[1] else None
        bias_grad = torch.zeros_like(bias) if bias is not None and wanted[2] else None
        loss = torch.zeros((), dtype=torch.float32, device=hidden_states.device)
        for start in range(0, len(targets), chunk_size):
            chunk = slice(start, start + chunk_size)
            hidden, target = hidden_states[chunk], targets[chunk]
            # (chunk, vocab_size); converted to float32 after a product in half precision
            logits = torch.nn.functional.linear(hidden, weight, bias).float()
            counts = (target != IGNORED)[:, None].to(logits.dtype)
            index = target.clamp(min=0)[:, None]
            highest, own = logits.amax(dim=1, keepdim=True), logits.gather(1, index)
            exponentials = logits.sub_(highest).exp_()  # in the memory of the logits, as all that follows
            total = exponentials.sum(dim=1, keepdim=True)
            loss += ((total.log() + highest - own) * counts).sum()
            if any(wanted):
                # d loss / d logits = softmax - one-hot target
                error = exponentials.mul_(counts / total).scatter_add_(1, index, -counts).to(hidden.dtype)
                if hidden_grad is not None:
                    torch.mm(error, weight, out=hidden_grad[chunk])
                if weight_grad is not None:
                    weight_grad.addmm_(error.t(), hidden)
                if bias_grad is not None:
                    bias_grad += error.sum(dim=0)
        ctx.save_for_backward(hidden_grad, weight_grad, bias_grad)
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, loss_grad: Tensor) -> tuple[Tensor | None, ...]:
        scaled = (None if grad is None else grad * loss_grad.to(grad.dtype) for grad in ctx.saved_tensors)
        return (*scaled, None, None)
