"""Fine-tuning of the whole checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import Strategy
from .layer_groups import head_parameters

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel


class Full(Strategy):
    """Every weight starts from the checkpoint and is tuned (Devlin et al. 2019, section 3.2).

    With few labels there are few updates, and a random head needs larger ones than the body can bear:
    `head_learning_rate` is for it.
    """

    name = "full"
    learning_rate = 5e-5
    epochs = 3.0

    def prepare(self, model: PreTrainedModel) -> PreTrainedModel:
        return model

    def learning_rates(self, model: nn.Module, learning_rate: float) -> dict[str, float]:
        rate = self.arguments.head_learning_rate
        return {} if rate is None else dict.fromkeys(head_parameters(model), rate)
