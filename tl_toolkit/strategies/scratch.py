"""Training from random weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import Strategy

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Scratch(Strategy):
    """No transfer: every weight starts random and is trained."""

    name = "scratch"
    from_scratch = True
    learning_rate = 1e-3
    epochs = 10.0

    def prepare(self, model: PreTrainedModel) -> PreTrainedModel:
        return model
