"""Learning-rate range test: find a learning rate for the model and data of a run."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.optim.lr_scheduler import LambdaLR
from transformers import EarlyStoppingCallback, TrainerCallback
from transformers.trainer_pt_utils import nested_gather
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from ..atomic_files import write_json, write_whole
from ..config.processes import sharding
from ..errors import UserError
from ..strategies.discriminative_and_gradual import Unfreezing

if TYPE_CHECKING:
    from .trainer import BaseTrainer

SMOOTHING = 0.9
STOP_AT = 4.0
PICTURE_NAME, CURVE_NAME = "lr_finder.png", "lr_finder.json"
_CHANGED = ("args", "state", "control", "optimizer", "lr_scheduler", "_created_lr_scheduler")  # of the trainer


def find_learning_rate(trainer: BaseTrainer, output_dir: Path) -> dict[str, Any]:
    """Sweep the learning rate over the updates of a short training and suggest one (Smith 2017, section 3.3).

    Update t of N has the rate `start * (end / start) ** (t / (N - 1))`; groups with other rates keep their ratio to the
    run's. Layers that a strategy would unfreeze later are not frozen. The loss is smoothed exponentially with bias
    correction (Kingma and Ba 2015, section 3), and the sweep stops early if the smoothed loss exceeds four times its
    minimum. The suggestion is the rate before the minimum at which the smoothed loss falls most steeply over the
    logarithm of the rate; a more cautious choice is a tenth of the rate at the minimum.

    Writes `lr_finder.json` and `lr_finder.png` to `output_dir` and prints both suggestions. The model's weights, the
    random number generators and the trainer are restored afterwards.

    Args:
        trainer: a trainer that has not been trained yet; `find_lr_start`, `find_lr_end` and `find_lr_steps` of its
            arguments are the start, the end and N.

    Returns:
        `suggestion` (None if the loss never fell), `minimum_divided_by_10`, and the curve with one entry per update:
        `learning_rates`, `losses` and `smoothed_losses`.

    Raises:
        UserError: FSDP or DeepSpeed is used, or the first loss is not finite.
    """
    args: Any = trainer.args
    if sharding(args):
        raise UserError("--find_lr cannot be used with FSDP or DeepSpeed. Run it in one process.")
    with _restored(trainer):
        sweep = _Sweep(trainer, args.find_lr_start, args.find_lr_end, args.find_lr_steps)
        sweep.run()
    found = sweep.result()
    if trainer.is_world_process_zero():
        write_json(output_dir / CURVE_NAME, found)
        _draw(found, output_dir / PICTURE_NAME)
        _print_suggestions(found, output_dir)
    return found


class _Sweep(TrainerCallback):
    """Raises the learning rate with every update of an otherwise ordinary training and records the losses."""

    def __init__(self, trainer: BaseTrainer, start: float, end: float, steps: int) -> None:
        self.trainer, self.start, self.end, self.steps = trainer, start, end, steps
        self.rates: list[float] = []
        self.losses: list[float] = []
        self.smoothed: list[float] = []
        self._average, self._rate = 0.0, start

    def rate(self, step: int) -> float:
        return self.start * (self.end / self.start) ** (step / (self.steps - 1))

    def run(self) -> None:
        trainer = self.trainer
        base = trainer.args.learning_rate
        trainer.args = copy.copy(trainer.args)
        trainer.args.max_steps = self.steps
        trainer.args.eval_strategy = trainer.args.logging_strategy = IntervalStrategy.NO
        trainer.args.save_strategy = SaveStrategy.NO
        trainer.args.load_best_model_at_end = trainer.args.eval_on_start = trainer.args.logging_first_step = False
        for kind in (EarlyStoppingCallback, Unfreezing):
            while trainer.pop_callback(kind) is not None:
                pass
        trainer.add_callback(self)
        trainer.create_optimizer()
        self.schedule = LambdaLR(trainer.optimizer, lambda step: self.rate(step) / base)
        trainer.lr_scheduler = self.schedule
        trainer._created_lr_scheduler = False  # Trainer replaces a schedule that it created itself
        trainer.train()

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer._tr_loss.zero_()  # Trainer accumulates the losses of all updates and their parts
        if self.trainer.lr_scheduler is not self.schedule:
            raise RuntimeError("The trainer has replaced the learning-rate schedule of the sweep.")
        self._rate = self.rate(self.schedule.last_epoch)  # unchanged after an update that overflowed in half precision

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # Gathered, so that all processes stop together.
        loss = nested_gather(self.trainer._tr_loss, args.parallel_mode).mean().item()
        if not math.isfinite(loss):
            control.should_training_stop = True
            return
        self.rates.append(self._rate)
        self.losses.append(loss)
        self._average = SMOOTHING * self._average + (1 - SMOOTHING) * loss
        self.smoothed.append(self._average / (1 - SMOOTHING ** len(self.losses)))
        if self.smoothed[-1] > STOP_AT * min(self.smoothed):
            control.should_training_stop = True

    def result(self) -> dict[str, Any]:
        if not self.losses:
            raise UserError(
                f"The loss was not finite at the lowest learning rate, {self.start:g} (--find_lr_start): check the "
                "labels and inputs, or train without half precision."
            )
        lowest = int(np.argmin(self.smoothed))
        return {
            "suggestion": self._steepest(lowest),
            "minimum_divided_by_10": self.rates[lowest] / 10,
            "learning_rates": self.rates,
            "losses": self.losses,
            "smoothed_losses": self.smoothed,
        }

    def _steepest(self, lowest: int) -> float | None:
        """Return the rate of the steepest descent before the minimum, without the hardly smoothed first tenth.

        Descents are measured over a tenth of the sweep, because differences between two updates are noise.
        """
        first, reach = self.steps // 10, max(1, self.steps // 20)
        slopes = {}  # by update, because the logarithms of the rates are equally spaced
        for middle in range(first, lowest):
            left, right = max(first, middle - reach), min(lowest, middle + reach)
            slopes[middle] = (self.smoothed[right] - self.smoothed[left]) / (right - left)
        steepest = min(slopes, key=lambda middle: slopes[middle], default=None)
        return None if steepest is None or slopes[steepest] >= 0 else self.rates[steepest]


@contextmanager
def _restored(trainer: BaseTrainer) -> Iterator[None]:
    """Restore the trainer, its model and all random number generators on exit."""
    model: Any = trainer.model
    weights = {name: value.detach().to("cpu", copy=True) for name, value in model.state_dict().items()}
    before = {name: getattr(trainer, name) for name in _CHANGED}
    callbacks = list(trainer.callback_handler.callbacks)
    generators = random.getstate(), np.random.get_state()
    trainer.control = copy.copy(trainer.control)
    try:
        with torch.random.fork_rng(range(torch.cuda.device_count())):
            yield
    finally:
        model.load_state_dict(weights)
        model.zero_grad(set_to_none=True)
        for name, value in before.items():
            setattr(trainer, name, value)
        trainer.callback_handler.callbacks = callbacks
        for name in ("optimizer", "lr_scheduler"):
            setattr(trainer.callback_handler, name, before[name])
        random.setstate(generators[0])
        np.random.set_state(generators[1])


def _print_suggestions(found: dict[str, Any], output_dir: Path) -> None:
    print()
    if found["suggestion"] is None:
        print("The loss did not fall at any learning rate of the sweep.")
    else:
        print(f"Steepest descent of the loss:       --learning_rate {found['suggestion']:.2g}")
    print(f"A tenth of the rate at its minimum: --learning_rate {found['minimum_divided_by_10']:.2g}")
    print(f"Curve saved to {output_dir / PICTURE_NAME} and {output_dir / CURVE_NAME}")


def _draw(found: dict[str, Any], path: Path) -> None:
    """Plot raw and smoothed losses over the learning rate, with both suggestions."""
    from matplotlib import rc_context

    from ..figures.palette import MUTED, SERIES
    from ..figures.style import PLOT_STYLE, new_figure

    rates, losses, smoothed = (np.array(found[name]) for name in ("learning_rates", "losses", "smoothed_losses"))
    with rc_context(PLOT_STYLE):
        figure = new_figure(6.4, 4.0, layout="constrained")
        axes = figure.subplots()
        axes.plot(rates, losses, color=MUTED, alpha=0.4, linewidth=1, label="loss of an update")
        axes.plot(rates, smoothed, color=SERIES[0], linewidth=2, label="smoothed")
        marks = (("suggestion", SERIES[1], "steepest descent"), ("minimum_divided_by_10", SERIES[2], "minimum / 10"))
        for name, colour, text in marks:
            if (rate := found[name]) is not None:
                axes.axvline(rate, color=colour, linewidth=1.5, linestyle="--", label=f"{text}: {rate:.2g}")
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda rate, _: f"{rate:.0e}".replace("e-0", "e-").replace("e+0", "e"))
        # Limit the axis, because a single huge loss at the end would flatten the curve.
        low, high = min(losses.min(), smoothed.min()), max(smoothed.max(), np.percentile(losses, 90))
        margin = 0.05 * (high - low) or 0.5
        axes.set_ylim(low - margin, high + margin)
        axes.set_xlabel("learning rate")
        axes.set_ylabel("training loss")
        axes.legend(frameon=False, loc="best")
        write_whole(path, lambda temporary: figure.savefig(temporary, dpi=150, format="png"))
