"""Fine-tuning with a learning rate of its own for every layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import UserError
from .base import Strategy
from .layer_groups import group_names, layer_groups

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

    from ..config.arguments import StrategyArguments


class Discriminative(Strategy):
    """Everything is tuned, and the less the closer it is to the input (Howard and Ruder 2018, section 3.2).

    Layer group l of L, counted from the embedding to the head, learns at `learning_rate / lr_decay ** (L - l)`: the
    head at the learning rate itself, the group under it at a 2.6th of it, and so on. So the usual learning rate, the
    head's, is higher than that of `full`.
    """

    name = "discriminative"
    learning_rate = 1e-3
    epochs = 3.0

    def __init__(self, arguments: StrategyArguments) -> None:
        super().__init__(arguments)
        self.group_names: list[str] = []
        if arguments.lr_decay < 1:
            raise UserError(f"--lr_decay is {arguments.lr_decay:g}, where 1 (no decay) or more is expected.")

    def prepare(self, model: PreTrainedModel) -> PreTrainedModel:
        self.group_names = group_names(layer_groups(model))
        return model

    def learning_rates(self, model: nn.Module, learning_rate: float) -> dict[str, float]:
        rates: dict[str, float] = {}
        for above, group in enumerate(reversed(layer_groups(model))):
            if (rate := learning_rate / self.arguments.lr_decay**above) != learning_rate:
                rates |= dict.fromkeys(group, rate)
        return rates

    def record(self) -> dict[str, Any]:
        """With the groups from embedding to head, once a model was prepared."""
        groups = {"groups": self.group_names} if self.group_names else {}
        return {"name": self.name, "lr_decay": self.arguments.lr_decay, **groups}
