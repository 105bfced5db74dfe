"""The two strategies of ULMFiT: a learning rate for every layer, and one layer more in every epoch."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from ..errors import UserError, listing
from .base import Strategy
from .layer_groups import group_names, layer_groups

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel, TrainingArguments

    from ..config.arguments import StrategyArguments

logger = logging.getLogger(__name__)


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
            raise UserError(f"--lr_decay must be 1 (no decay) or more, but is {arguments.lr_decay:g}.")

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


class GradualUnfreezing(Discriminative):
    """In the first epoch the head is trained, and in every further one a layer group more (Howard and Ruder 2018, 3.3).

    What is unfrozen stays so and has the rates of `discriminative`. Frozen layers keep their dropout.
    """

    name = "gradual_unfreezing"
    epochs = 10.0

    def prepare(self, model: PreTrainedModel) -> PreTrainedModel:
        super().prepare(model)
        self.epochs = max(self.epochs, len(self.group_names))  # the last group has its turn, too
        return model

    def configure(self, args: TrainingArguments) -> None:
        super().configure(args)
        if args.fsdp_plugin_args is not None or args.deepspeed_plugin is not None:
            raise UserError(
                f"The strategy {self.name!r} cannot be used with FSDP or DeepSpeed, which fix the set of trained "
                "parameters at the start. Use the strategy 'discriminative', or plain data parallelism."
            )
        for name in ("auto_find_batch_size", "ddp_static_graph"):
            if getattr(args, name):
                raise UserError(
                    f"The strategy {self.name!r} cannot be used with --{name}: it trains other layers in every epoch."
                )
        args.ddp_find_unused_parameters = True  # processes do not wait for the gradients of frozen layers

    def callbacks(self, model: nn.Module) -> list[TrainerCallback]:
        return [Unfreezing(model, layer_groups(model))]


class Unfreezing(TrainerCallback):
    """Freezes the groups whose turn has not come, at the beginning of every epoch.

    Until training begins everything requires a gradient: the processes of distributed data parallel training agree when
    they wrap a model on the parameters that they average, and those that are unfrozen later would not be among them.
    Parameters that are fixed in the model itself stay so, and a group of them alone takes no turn.
    """

    def __init__(self, model: nn.Module, groups: list[list[str]]) -> None:
        parameters = dict(model.named_parameters())
        trainable = [[parameters[name] for name in group if parameters[name].requires_grad] for group in groups]
        self.names = [name for name, group in zip(group_names(groups), trainable, strict=True) if group]
        self.groups = [group for group in trainable if group]

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        never = self.names[: max(0, len(self.names) - state.num_train_epochs)]
        if never and state.is_world_process_zero:
            logger.warning(
                "%d epochs are fewer than the %d layer groups, so these are never trained: %s. Increase "
                "--num_train_epochs to train them.",
                state.num_train_epochs,
                len(self.names),
                listing(never),
            )

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # In the middle of an epoch, which a resumed run may begin with, the fraction is that of the running one.
        first = len(self.groups) - 1 - int(state.epoch or 0)
        for number, group in enumerate(self.groups):
            for parameter in group:
                parameter.requires_grad_(number >= first)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        for group in self.groups:
            for parameter in group:
                parameter.requires_grad_(True)
