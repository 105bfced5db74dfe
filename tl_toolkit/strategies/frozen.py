"""A frozen body under a trained head."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import Strategy
from .layer_groups import layer_groups

if TYPE_CHECKING:
    from transformers import PreTrainedModel


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
