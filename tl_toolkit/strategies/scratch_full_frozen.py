"""The strategies that need no more than what is trained: everything from scratch, everything, or the head alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import Strategy
from .layer_groups import head_parameters, layer_groups

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel


class Scratch(Strategy):
    """No transfer: every weight starts random and is trained."""

    name = "scratch"
    from_scratch = True
    learning_rate = 1e-3
    epochs = 10.0

    def prepare(self, model: PreTrainedModel) -> PreTrainedModel:
        return model


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


class Frozen(Strategy):
    """The checkpoint extracts features and only the head is trained (Peters et al. 2019, "To Tune or Not to Tune?").

    The head is the last of the model's layer groups. Frozen layers keep their dropout, which regularises the head.
    """

    name = "frozen"
    learning_rate = 1e-3
    epochs = 10.0

    def prepare(self, model: PreTrainedModel) -> PreTrainedModel:
        head = set(layer_groups(model)[-1])
        for name, parameter in model.named_parameters():
            if name not in head:
                parameter.requires_grad_(False)
        return model
