"""Two rows through all that a run does, before the run: forward, backward, evaluation, saving and loading.

It leaves no trace: weights, buffers, gradients, modes and random states are as before.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..config.processes import sharding
from ..errors import UserError
from ..records.cost import architecture
from ..shared_work import shared

if TYPE_CHECKING:
    from .trainer import BaseTrainer, ToolkitTrainer

_MOST_BYTES = 2**29  # of a model that is saved and loaded, which then takes a second or two


def rehearse_training(trainer: ToolkitTrainer) -> None:
    """Train and evaluate on two rows, one of them the longest, without an update.

    Raises:
        Exception: whatever the run would raise.
    """
    if sharding(trainer.args):  # the processes hold parts of the model
        return
    rows, model = trainer.train_dataset, trainer.model
    longest = 0
    if "length" in rows.column_names:  # read through Arrow, because a lazy column of a large dataset takes seconds
        longest = int(rows.select_columns("length").with_format("arrow")[:]["length"].to_numpy().argmax())
    few = rows.select(sorted({longest, (longest + 1) % len(rows)}))
    generation, trainer.generation = trainer.generation, {**trainer.generation, "max_new_tokens": 2}
    try:
        with _unchanged(model):
            (batch, *_) = list(trainer.get_eval_dataloader(few))
            inputs = trainer._prepare_inputs(batch)
            with trainer.accelerator.autocast():
                model.train()
                count = trainer._get_num_items_in_batch([inputs], trainer.args.device)
                loss = trainer.compute_loss(model, dict(inputs), num_items_in_batch=count)
                if loss.requires_grad:
                    loss.backward()
                model.eval()
                trainer.prediction_step(model, dict(inputs), prediction_loss_only=False)
    finally:
        trainer.generation = generation


def rehearse_saving(trainer: BaseTrainer, output_dir: Path) -> None:
    """Save the model below `output_dir` and load it again, in the first process, unless it is large or sharded.

    The runs of a comparison try it once for each architecture.

    Raises:
        UserError: a weight has changed.
        Exception: whatever the run would raise.
    """
    model: Any = trainer.model
    weights = model.state_dict()
    elsewhere = sharding(trainer.args) or not trainer.is_world_process_zero()
    if not elsewhere and sum(weight.nbytes for weight in weights.values()) <= _MOST_BYTES:
        shared("saving", lambda: architecture(model), lambda: _save_and_load(trainer, weights, output_dir))


def _save_and_load(trainer: BaseTrainer, weights: dict[str, torch.Tensor], output_dir: Path) -> None:
    from transformers import PreTrainedModel

    model: Any = trainer.model
    folder = output_dir / ".trial-model"
    try:
        trainer.save_model(str(folder), _internal_call=True)
        if not isinstance(model, PreTrainedModel):  # an adapter
            return
        with _unchanged(model):
            loaded = type(model).from_pretrained(folder).state_dict()
        for name, weight in weights.items():
            same = name in loaded and loaded[name].shape == weight.shape
            if not same or not torch.allclose(loaded[name].to(weight), weight, rtol=0, atol=0, equal_nan=True):
                raise UserError(
                    f"The model {type(model).__name__} does not survive saving: its weight {name!r} is another after "
                    "loading. Check the code of the model."
                )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _unchanged(model: torch.nn.Module) -> Iterator[None]:
    """Restore the buffers, gradients and modes of `model`, and all random states. Warnings are hidden."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    modes = {module: module.training for module in model.modules()}
    try:
        for parameter, _ in gradients:
            parameter.grad = None
        yield
    finally:
        logging.set_verbosity(verbosity)
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                if name in buffers:
                    buffer.copy_(buffers[name])
        for parameter, gradient in gradients:
            parameter.grad = gradient
        for module, mode in modes.items():
            module.training = mode
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        if devices is not None:
            torch.cuda.set_rng_state_all(devices)
