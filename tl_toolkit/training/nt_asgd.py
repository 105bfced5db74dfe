"""NT-ASGD: SGD that becomes averaged SGD when the validation loss stops falling (Merity et al. 2017, section 4).

`--optim nt_asgd` works for every trainer derived from `BaseTrainer`, which is an `AveragingTrainer`: evaluations and
saved weights use the average, and training continues with the last iterate. A trainer with its own evaluation loop that
does not call `Trainer.evaluate` evaluates within

    with averaged(self.optimizer):
        ...

and calls `self.callback_handler.on_evaluate` with the metric `eval_loss`, which `NtAsgdTrigger` watches.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import Trainer, TrainingArguments
from transformers.trainer_callback import ExportableState, TrainerCallback
from transformers.training_args import OptimizerNames

from ..config.arguments import NT_ASGD
from ..errors import UserError


class NtAsgd(torch.optim.SGD):
    """SGD that also averages its iterates from `trigger()` on (Merity et al. 2017, algorithm 1).

    With the trigger at step T, the average after step K is 1 / (K - T + 1) · Σ w_i over i = T … K. It is stored in the
    state of each parameter, and training never reads it. `swap()` exchanges the parameters and their averages.

    A state dictionary can be saved before the trigger, after it or while swapped; loading it (and the model) restores
    exactly this state.

    Args:
        settings: other arguments of `torch.optim.SGD`.
    """

    def __init__(self, params: Any, lr: float, **settings: Any) -> None:
        super().__init__(params, lr=lr, **settings)
        self.__setstate__({})

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:  # stored in groups, which are part of every state dictionary
            group.setdefault("averaged", 0)
            group.setdefault("swapped", False)

    @property
    def triggered(self) -> bool:
        """Whether averaging has started."""
        return any(group["averaged"] for group in self.param_groups)

    @property
    def swapped(self) -> bool:
        """Whether the parameters hold the averages and the optimiser holds the iterates."""
        return any(group["swapped"] for group in self.param_groups)

    @torch.no_grad()
    def trigger(self) -> None:
        """Start averaging with the current parameters; does nothing if it has already started."""
        if self.triggered:
            return
        for group in self.param_groups:
            group["averaged"] = 1
            for parameter in group["params"]:
                self.state[parameter]["average"] = parameter.clone(memory_format=torch.preserve_format)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the parameters and their averages; does nothing before the trigger."""
        for group in self.param_groups:
            if not group["averaged"]:
                continue
            group["swapped"] = not group["swapped"]
            for parameter in group["params"]:
                average = self.state[parameter]["average"]
                held = parameter.clone()
                parameter.copy_(average)  # in place: recurrent layers, DDP and others hold views of parameters
                average.copy_(held)

    def finish(self) -> None:
        """Keep the averages as the parameters and continue as SGD."""
        if not self.swapped:
            self.swap()
        for group in self.param_groups:
            group |= {"averaged": 0, "swapped": False}
            for parameter in group["params"]:
                self.state[parameter].pop("average", None)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Take a step of SGD and, after the trigger, update the averages."""
        if self.swapped:
            raise RuntimeError("The parameters hold their averages: call swap() before the next step.")
        loss = super().step(closure)
        for group in self.param_groups:
            if not group["averaged"]:
                continue
            group["averaged"] += 1
            for parameter in group["params"]:  # also without a gradient, so that all average the same iterates
                self.state[parameter]["average"].lerp_(parameter, 1 / group["averaged"])
        return loss


class NtAsgdTrigger(TrainerCallback, ExportableState):
    """Triggers averaging if a loss exceeds the best loss from more than `interval` evaluations ago.

    This is the non-monotone criterion in the code of Merity et al.: v > min(logs[:-n]). As an `ExportableState`, the
    callback saves its losses in every checkpoint.

    Args:
        interval: n; 5 in the paper.
    """

    def __init__(self, interval: int = 5) -> None:
        self.interval = interval
        self.losses: list[float] = []

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        loss, optimizer = kwargs["metrics"].get("eval_loss"), nt_asgd_within(kwargs["optimizer"])
        if loss is None or optimizer is None:
            return
        earlier = self.losses[: max(0, len(self.losses) - self.interval)]
        if earlier and loss > min(earlier):
            optimizer.trigger()
        self.losses.append(loss)

    def state(self) -> dict[str, Any]:
        return {"args": {"interval": self.interval}, "attributes": {"losses": list(self.losses)}}


class AveragingTrainer(Trainer):
    """Trainer with `--optim nt_asgd`: it evaluates and saves the averages and trains the iterates."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.args.optim != NT_ASGD:
            return
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            raise UserError(
                f"--optim {NT_ASGD} averages whole parameters and cannot be used with FSDP or DeepSpeed, which shard "
                "them. Train in one process or with DDP."
            )
        self.add_callback(NtAsgdTrigger(self.args.nt_asgd_interval))

    @staticmethod
    def get_optimizer_cls_and_kwargs(args: TrainingArguments, model: Any = None) -> tuple[Any, Any]:
        if args.optim != NT_ASGD:
            return Trainer.get_optimizer_cls_and_kwargs(args, model)
        as_sgd = copy.copy(args)
        as_sgd.optim = OptimizerNames.SGD
        return NtAsgd, Trainer.get_optimizer_cls_and_kwargs(as_sgd, model)[1]  # --optim_args of SGD included

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        with averaged(self.optimizer):
            return super().evaluate(*args, **kwargs)

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        with averaged(self.optimizer):  # weights are the averages; the optimiser's file has the iterates
            super()._save_checkpoint(*args, **kwargs)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        optimizer = nt_asgd_within(self.optimizer)
        if optimizer is not None and optimizer.swapped:
            optimizer.swap()

    def _finalize_training(self, *args: Any, **kwargs: Any) -> Any:
        optimizer = nt_asgd_within(self.optimizer)
        if optimizer is not None:
            optimizer.finish()  # the trained model is the average, unless the best one is loaded next
        return super()._finalize_training(*args, **kwargs)


@contextmanager
def averaged(optimizer: Any) -> Iterator[None]:
    """Within this context, use the averages as parameters if `optimizer` is NT-ASGD and has averages.

    If averaging is triggered within the context, the parameters are the averages and stay unchanged.
    """
    nt_asgd = nt_asgd_within(optimizer)
    if nt_asgd is None or nt_asgd.swapped:
        yield
        return
    nt_asgd.swap()
    try:
        yield
    finally:
        if nt_asgd.swapped:
            nt_asgd.swap()


def nt_asgd_within(optimizer: Any) -> NtAsgd | None:
    """Return the optimiser inside accelerate's wrapper if it is NT-ASGD, else None."""
    inner = getattr(optimizer, "optimizer", optimizer)
    return inner if isinstance(inner, NtAsgd) else None
