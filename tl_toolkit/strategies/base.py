"""What a strategy is: how knowledge moves into a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import UserError

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel, TrainerCallback, TrainingArguments

    from ..config.arguments import StrategyArguments


class Strategy(ABC):
    """Prepares a model for training and hands back an ordinary model afterwards.

    Class attributes:
        name: what users call it.
        from_scratch: whether it trains random weights, and so has no use for a checkpoint.
        wraps: whether `prepare` wraps the model, so that `finish` has to undo it.
        learning_rate, epochs: what is usual for it, where the user does not say.
    """

    name: ClassVar[str]
    from_scratch: ClassVar[bool] = False
    wraps: ClassVar[bool] = False
    learning_rate: ClassVar[float]
    epochs: float

    def __init__(self, arguments: StrategyArguments) -> None:
        self.arguments = arguments

    @abstractmethod
    def prepare(self, model: PreTrainedModel) -> nn.Module:
        """The module to train: `model` itself, changed in place, or a wrapper around it.

        Raises:
            UserError: the strategy cannot be applied to this model.
        """

    def configure(self, args: TrainingArguments) -> None:
        """Set what the strategy needs of the trainer; called before there is one.

        Raises:
            UserError: the strategy cannot be used with these arguments.
        """
        if self.wraps and args.fsdp_plugin_args is not None:
            raise UserError(f"The strategy {self.name!r} cannot be used with FSDP: it cannot merge sharded weights.")

    def learning_rates(self, model: nn.Module, learning_rate: float) -> dict[str, float]:
        """Peak learning rates of parameters, by name, that are not trained with the run's own, `learning_rate`."""
        return {}

    def callbacks(self, model: nn.Module) -> list[TrainerCallback]:
        """What the trainer of `model`, the module that `prepare` made, is to call while it trains."""
        return []

    def finish(self, model: nn.Module, output_dir: Path) -> PreTrainedModel:
        """The trained model without any wrapper; what only the strategy can save goes to `output_dir`."""
        return model

    def record(self) -> dict[str, Any]:
        """What a result record says about the strategy."""
        return {"name": self.name}
