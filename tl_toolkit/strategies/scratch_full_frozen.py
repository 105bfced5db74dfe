"""The simple strategies: train everything from scratch, tune everything, or train only the head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .base import Strategy
from .layer_groups import head_parameters, layer_groups

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel


class Scratch(Strategy):
    """No transfer: trains all weights from random values."""

    name = "scratch"
    from_scratch = True


class Full(Strategy):
    """Tunes all weights of the checkpoint (Devlin et al. 2019, section 3.2).

    A new head may have a higher learning rate than the body tolerates (`head_learning_rate`).
    """

    name = "full"

    def learning_rates(
        self, model: nn.Module, learning_rate: float, head_learning_rate: float | None = None
    ) -> dict[str, float]:
        rate = self.arguments.head_learning_rate or head_learning_rate
        return {} if rate is None else dict.fromkeys(head_parameters(model), rate)


class Frozen(Strategy):
    """Trains only the head on features of the checkpoint (Peters et al. 2019, "To Tune or Not to Tune?").

    The head is the last layer group of the model. Frozen layers are in evaluation mode, without dropout, so that their
    features are the same in every epoch.
    """

    name = "frozen"
    reads_features = True

    def prepare(self, model: PreTrainedModel) -> PreTrainedModel:
        head = set(layer_groups(model)[-1])
        for name, parameter in model.named_parameters():
            if name not in head:
                parameter.requires_grad_(False)
        frozen = {part for module in model.modules() if _is_frozen(module) for part in module.modules()}

        def evaluate(*_: Any) -> None:
            for module in frozen if model.training else ():
                module.training = False

        model.register_forward_pre_hook(evaluate)  # Trainer sets the whole model to training mode before every update
        return model


def _is_frozen(module: nn.Module) -> bool:
    own = [parameter.requires_grad for parameter in module.parameters()]
    return bool(own) and not any(own)
