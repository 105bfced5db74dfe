"""Fine-tuning that begins with the head and lets one more layer follow in every epoch."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from ..errors import UserError, listing
from .discriminative import Discriminative
from .layer_groups import group_names, layer_groups

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel, TrainingArguments

logger = logging.getLogger(__name__)


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
                f"The strategy {self.name!r} cannot be used with FSDP or DeepSpeed, which shard parameters once and "
                "for all by whether they are trained. Use 'discriminative' there, or plain data parallelism here."
            )
        for name in ("auto_find_batch_size", "ddp_static_graph"):
            if getattr(args, name):
                raise UserError(
                    f"The strategy {self.name!r} cannot be used with --{name}: what is trained changes with the epochs."
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
                "%d epochs are fewer than the %d layer groups: never trained are %s. Train for more epochs "
                "(--num_train_epochs) to reach them.",
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
