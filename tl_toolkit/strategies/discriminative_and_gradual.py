"""The two strategies of ULMFiT: discriminative learning rates and gradual unfreezing."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from ..config.processes import sharding
from ..errors import UserError, listing
from .base import Strategy
from .layer_groups import group_names, layer_groups
from .optimisation import reshard

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel, TrainingArguments

    from ..config.arguments import StrategyArguments

logger = logging.getLogger(__name__)


class Discriminative(Strategy):
    """Tunes all layers, with lower learning rates closer to the input (Howard and Ruder 2018, section 3.2).

    Layer group l of L, counted from the embeddings to the head, has the rate `learning_rate / lr_decay ** (L - l)`: the
    head has the learning rate itself, the group below it 1/2.6 of it by default, and so on. Therefore the default
    learning rate, that of the head, is higher than that of `full`.
    """

    name = "discriminative"

    def __init__(self, arguments: StrategyArguments) -> None:
        super().__init__(arguments)
        self.group_names: list[str] = []
        if arguments.lr_decay < 1:
            raise UserError(f"--lr_decay must be 1 (no decay) or more, but is {arguments.lr_decay:g}.")

    def prepare(self, model: PreTrainedModel) -> PreTrainedModel:
        self.group_names = group_names(layer_groups(model))
        return model

    def learning_rates(
        self, model: nn.Module, learning_rate: float, head_learning_rate: float | None = None
    ) -> dict[str, float]:
        rates: dict[str, float] = {}
        for above, group in enumerate(reversed(layer_groups(model))):
            if (rate := learning_rate / self.arguments.lr_decay**above) != learning_rate:
                rates |= dict.fromkeys(group, rate)
        return rates

    def record(self) -> dict[str, Any]:
        """Return the entry in a result record; it has the groups, embeddings first, once a model was prepared."""
        groups = {"groups": self.group_names} if self.group_names else {}
        return {"name": self.name, "lr_decay": self.arguments.lr_decay, **groups}


class GradualUnfreezing(Discriminative):
    """Trains the head in the first epoch and one more layer group in every further epoch (Howard and Ruder 2018, 3.3).

    Unfrozen groups stay unfrozen and have the learning rates of `discriminative`. Frozen layers keep their dropout.
    """

    name = "gradual_unfreezing"

    def prepare(self, model: PreTrainedModel) -> PreTrainedModel:
        super().prepare(model)
        self.least_epochs = len(self.group_names)
        return model

    def configure(self, args: TrainingArguments) -> None:
        super().configure(args)
        if sharding(args) == "DeepSpeed":
            raise UserError(
                f"The strategy {self.name!r} cannot be used with DeepSpeed, whose optimiser also steps for frozen "
                "layers, so that they would train differently later. Use fsdp.yaml, or the strategy 'discriminative'."
            )
        for name in ("auto_find_batch_size", "ddp_static_graph"):
            if getattr(args, name):
                raise UserError(
                    f"The strategy {self.name!r} cannot be used with --{name}: it trains other layers in every epoch."
                )
        args.ddp_find_unused_parameters = True  # do not wait for gradients of frozen layers

    def callbacks(self, model: nn.Module) -> list[TrainerCallback]:
        return [Unfreezing(model, layer_groups(model))]


class Unfreezing(TrainerCallback):
    """Freezes the groups that are not yet trained, at the start of every epoch.

    All parameters require a gradient until training starts: distributed data parallel training determines the
    parameters to average when it wraps the model, and would miss those that are unfrozen later. Parameters that the
    model itself fixes stay fixed, and a group that only has such parameters is skipped.
    """

    def __init__(self, model: nn.Module, groups: list[list[str]]) -> None:
        parameters = dict(model.named_parameters())
        trainable = [[name for name in group if parameters[name].requires_grad] for group in groups]
        self.titles = [name for name, group in zip(group_names(groups), trainable, strict=True) if group]
        self.groups = [group for group in trainable if group]

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        never = self.titles[: max(0, len(self.titles) - state.num_train_epochs)]
        if never and state.is_world_process_zero:
            logger.warning(
                "%d epochs are fewer than the %d layer groups, so these are never trained: %s. Increase "
                "--num_train_epochs to train them.",
                state.num_train_epochs,
                len(self.titles),
                listing(never),
            )

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # A resumed run may start in the middle of an epoch; then `state.epoch` is a fraction, which is rounded down.
        self._train_from(len(self.groups) - 1 - int(state.epoch or 0), kwargs["model"])

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._train_from(0, kwargs["model"])

    def _train_from(self, first: int, model: nn.Module) -> None:
        reshard(model)
        parameters = dict(model.named_parameters())  # by name, because FSDP replaces them
        for number, group in enumerate(self.groups):
            for name in group:
                parameters[name].requires_grad_(number >= first)
