"""Fine-tuning of the whole checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import Strategy

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Full(Strategy):
    """Every weight starts from the checkpoint and is tuned (Devlin et al. 2019, section 3.2)."""

    name = "full"
    learning_rate = 5e-5
    epochs = 3.0

    def prepare(self, model: PreTrainedModel) -> PreTrainedModel:
        return model
