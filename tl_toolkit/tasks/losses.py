"""The loss of each problem type as a mean over a whole batch, independent of how the batch is split."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def summed_loss(logits: Tensor, labels: Tensor, problem_type: str, label_smoothing: float = 0.0) -> Tensor:
    """The loss summed over the labels; labels of -100 are ignored.

    Args:
        logits: (rows, labels), for regression (rows, 1).
        labels: class ids (rows,) for `single_label_classification`, 0 or 1 (rows, labels) for
            `multi_label_classification`, numbers (rows,) for `regression`.
    """
    logits = logits.float()  # a half-precision sum over a batch would be too inaccurate for the optimiser
    if problem_type == "single_label_classification":
        return functional.cross_entropy(logits, labels, reduction="sum", label_smoothing=label_smoothing)
    labels = labels.float()
    if problem_type == "multi_label_classification":
        losses = functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    elif problem_type == "regression":
        losses = functional.mse_loss(logits.squeeze(-1), labels, reduction="none")
    else:
        raise ValueError(f"Unknown problem type {problem_type!r}.")
    return losses.masked_fill(labels == -100, 0.0).sum()


def batch_mean_loss(problem_type: str, label_smoothing: float = 0.0) -> Callable[..., Tensor]:
    """A `compute_loss_func` for Trainer that divides by the number of labels of the whole batch.

    With gradient accumulation or several processes, Trainer passes the number of labels in the whole batch. The
    average of the means over its parts would be a different number if the parts differ in size.
    """

    def compute(outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        loss = summed_loss(outputs["logits"], labels, problem_type, label_smoothing)
        return loss / (labels.numel() if num_items_in_batch is None else num_items_in_batch)

    return compute


def mean_loss(logits: Any, labels: Any, problem_type: str) -> float:
    """The mean loss of gathered arrays, see `summed_loss`."""
    loss = summed_loss(torch.as_tensor(logits), torch.as_tensor(labels), problem_type)
    return loss.item() / labels.size


def token_mean_loss(label_smoothing: float = 0.0) -> Callable[..., Tensor]:
    """As `batch_mean_loss`, with one label per token: logits (rows, time, labels), labels (rows, time)."""

    def compute(outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        logits = outputs["logits"].flatten(0, 1).float()
        loss = functional.cross_entropy(logits, labels.flatten(), reduction="sum", label_smoothing=label_smoothing)
        return loss / ((labels != -100).sum() if num_items_in_batch is None else num_items_in_batch)

    return compute


def row_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy summed over the tokens of each row: (rows, time, labels), (rows, time) -> (rows,)."""
    losses = functional.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), reduction="none")
    return losses.view_as(labels).sum(dim=1)
