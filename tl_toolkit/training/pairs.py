"""Tuning of an encoder on pairs of labelled rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional
from transformers import PrinterCallback

from .trainer import BaseTrainer

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor, nn
    from transformers import PreTrainedModel, TrainerState

    from ..config.arguments import RunArguments
    from ..strategies.head_input import HeadInput


def tune_on_pairs(
    model: PreTrainedModel,
    head: HeadInput,
    rows: Dataset,
    pairs: tuple[np.ndarray, np.ndarray],
    collator: Callable[[list[dict[str, Any]]], Any],
    args: RunArguments,
) -> TrainerState:
    """Train the body of `model`, so that the cosine of the features of a pair is 1 for one class, and 0 for two.

    Args:
        head: reads the features; its weights do not change.
        rows: the inputs of the training rows, without targets.
        pairs: positions of rows (pairs, 2), and the cosine to learn (pairs,).
        collator: pads inputs.
        args: their length, batch and rates are about pairs.

    Returns:
        The state of the trainer, with the history of the loss.
    """
    own = args.without_evaluation()
    own.remove_unused_columns = False
    own.train_sampling_strategy = "random"  # pairs have no length to group by
    trained = {parameter: parameter.requires_grad for parameter in model.parameters()}
    for parameter in trained:
        parameter.requires_grad_(id(parameter) not in head.parameters)

    def collate(batch: list[tuple[np.ndarray, np.float32]]) -> dict[str, Any]:
        unique, places = np.unique([pair for pair, _ in batch], return_inverse=True)  # a text is encoded once
        first, second = torch.from_numpy(places.reshape(-1, 2)).unbind(1)
        cosines = torch.tensor([value for _, value in batch])
        return {**collator([rows[int(row)] for row in unique]), "first": first, "second": second, "cosines": cosines}

    drawn = list(zip(*pairs, strict=True))
    trainer = _PairTrainer(model, own, train_dataset=drawn, data_collator=collate, head=head)
    if own.log_level == "error":
        trainer.remove_callback(PrinterCallback)
    trainer.train()
    for parameter, was_trained in trained.items():
        parameter.requires_grad_(was_trained)
    return trainer.state


class _PairTrainer(BaseTrainer):
    def __init__(self, *args: Any, head: HeadInput, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.head = head

    def compute_loss(self, model: nn.Module, inputs: Mapping[str, Any], *_: Any, **__: Any) -> Tensor:
        given = dict(inputs)
        return pair_loss(self.head, model, given.pop("first"), given.pop("second"), given.pop("cosines"), given)


def pair_loss(
    head: HeadInput, model: nn.Module, first: Tensor, second: Tensor, cosines: Tensor, inputs: Mapping[str, Tensor]
) -> Tensor:
    """The mean of (cos(f(x), f(x')) - y)² over pairs (Reimers and Gurevych 2019, section 3, "Regression Objective").

    Args:
        head: its input f(x) is the vector of a text.
        first, second: positions of the texts x and x' of each pair in the batch (pairs,).
        cosines: y (pairs,).
        inputs: the texts of the batch.
    """
    seen: list[Tensor] = []
    hook = head.modules[0].register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    try:
        model(**inputs)
    finally:
        hook.remove()
    features = seen[0].float()
    return functional.mse_loss(functional.cosine_similarity(features[first], features[second]), cosines)
