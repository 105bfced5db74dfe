"""The loss of each problem type as a mean over a whole batch, independent of how the batch is split."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def total_weight(labels: Tensor, weights: Tensor | None) -> Tensor:
    """The divisor of a mean loss: the number of labels other than -100, or the sum of their class weights."""
    counted = labels[labels != -100]
    return torch.as_tensor(counted.numel()) if weights is None else weights.to(labels.device)[counted].sum()


def summed_loss(
    logits: Tensor, labels: Tensor, problem_type: str, label_smoothing: float = 0.0, weights: Tensor | None = None
) -> Tensor:
    """The loss summed over the labels; labels of -100 are ignored.

    Args:
        logits: (rows, labels), for regression (rows, 1).
        labels: class ids (rows,) for `single_label_classification`, 0 or 1 (rows, labels) for
            `multi_label_classification`, numbers (rows,) for `regression`.
        weights: the weight of each class (labels,), as in torch's `CrossEntropyLoss`; for
            `multi_label_classification` of the presence of each label, its `pos_weight`.
    """
    logits = logits.float()  # a half-precision sum over a batch would be too inaccurate for the optimiser
    weights = None if weights is None else weights.to(logits.device)
    if problem_type == "single_label_classification":
        return functional.cross_entropy(
            logits, labels, weight=weights, reduction="sum", label_smoothing=label_smoothing
        )
    labels = labels.float()
    if problem_type == "multi_label_classification":
        losses = functional.binary_cross_entropy_with_logits(logits, labels, reduction="none", pos_weight=weights)
    elif problem_type == "regression":
        losses = functional.mse_loss(logits.squeeze(-1), labels, reduction="none")
    else:
        raise ValueError(f"Unknown problem type {problem_type!r}.")
    return losses.masked_fill(labels == -100, 0.0).sum()


def batch_mean_loss(
    problem_type: str, label_smoothing: float = 0.0, weights: Tensor | None = None
) -> Callable[..., Tensor]:
    """A `compute_loss_func` for Trainer that divides by the number of labels of the whole batch, or by their weight.

    With gradient accumulation or several processes, Trainer passes that divisor of the whole batch. The average of the
    means over its parts would be a different number if the parts differ in size. `weights` are those of `summed_loss`;
    those of multi-label problems do not change the divisor, as in torch's `BCEWithLogitsLoss`.
    """
    of_classes = weights if problem_type == "single_label_classification" else None

    def compute(outputs: Any, labels: Tensor, num_items_in_batch: Tensor | float | None = None) -> Tensor:
        loss = summed_loss(outputs["logits"], labels, problem_type, label_smoothing, weights)
        return loss / (total_weight(labels, of_classes) if num_items_in_batch is None else num_items_in_batch)

    return compute


def mean_loss(logits: Any, labels: Any, problem_type: str) -> float:
    """The mean loss of gathered arrays, see `summed_loss`."""
    loss = summed_loss(torch.as_tensor(logits), torch.as_tensor(labels), problem_type)
    return loss.item() / labels.size


def token_mean_loss(label_smoothing: float = 0.0, weights: Tensor | None = None) -> Callable[..., Tensor]:
    """As `batch_mean_loss`, with one label per token: logits (rows, time, labels), labels (rows, time)."""
    whole = batch_mean_loss("single_label_classification", label_smoothing, weights)

    def compute(outputs: Any, labels: Tensor, num_items_in_batch: Tensor | float | None = None) -> Tensor:
        return whole({"logits": outputs["logits"].flatten(0, 1)}, labels.flatten(), num_items_in_batch)

    return compute


def row_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy summed over the tokens of each row: (rows, time, labels), (rows, time) -> (rows,)."""
    losses = functional.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), reduction="none")
    return losses.view_as(labels).sum(dim=1)
