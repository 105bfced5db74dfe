from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import build, rows, strategy

from tl_toolkit.config.arguments import RunArguments
from tl_toolkit.errors import UserError
from tl_toolkit.strategies.optimisation import slanted_triangular, slanted_triangular_factor
from tl_toolkit.training.trainer import BaseTrainer


def equation_3(t: int, steps: int, cut_fraction: float, ratio: float) -> float:
    """Howard and Ruder (2018), equation 3, as printed, for an integer number of rising steps."""
    cut = round(steps * cut_fraction)
    p = t / cut if t < cut else 1 - (t - cut) / (cut * (1 / cut_fraction - 1))
    return (1 + p * (ratio - 1)) / ratio


@pytest.mark.parametrize(
    ("steps", "cut_fraction", "ratio"), [(70, 0.1, 32), (30, 0.1, 32), (100, 0.29, 7), (8, 0.5, 3)]
)
def test_the_schedule_follows_the_equation(steps: int, cut_fraction: float, ratio: float) -> None:
    weight = torch.nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([{"params": [weight], "lr": 0.7}, {"params": [torch.nn.Parameter(weight + 1)]}], lr=0.3)
    scheduler = slanted_triangular(optimizer, steps, cut_fraction, ratio)
    for t in range(steps):
        expected = equation_3(t, steps, cut_fraction, ratio)
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates == pytest.approx([0.7 * expected, 0.3 * expected], rel=1e-12), t
        optimizer.step()
        scheduler.step()


def test_the_schedule_if_the_number_of_rising_steps_is_not_an_integer() -> None:
    """The rate of 19 updates rises in 1.9; rounded down, the printed equation would end far below 0."""
    factors = [slanted_triangular_factor(t, 19, 0.1, 32) for t in range(19)]
    assert 1 - (18 - 1) / (1 * (1 / 0.1 - 1)) < 0  # p at the last update as printed, with cut = floor(1.9)
    assert factors[0] == 1 / 32 and factors[1] == 1.0
    assert factors[1:] == sorted(factors[1:], reverse=True) and factors[-1] > 1 / 32
    assert slanted_triangular_factor(25, 19, 0.1, 32) == 1 / 32  # after the end
    assert slanted_triangular_factor(0, 5, 0.1, 32) == 1.0  # too short to rise


@pytest.mark.parametrize("name", ["full", "discriminative", "gradual_unfreezing"])
def test_every_strategy_supports_it(tmp_path: Path, name: str) -> None:
    model, how = build("bert"), strategy(name)
    settings = {"lr_scheduler_type": "slanted_triangular", "cut_fraction": 0.2, "lr_ratio": 5.0, "logging_steps": 1}
    args = RunArguments(
        output_dir=str(tmp_path), use_cpu=True, disable_tqdm=True, eval_strategy="no", save_strategy="no",
        learning_rate=0.01, max_steps=10, per_device_train_batch_size=5, **settings,
    )  # fmt: skip
    rates = how.learning_rates(model, args.learning_rate)
    trainer = BaseTrainer(model, args, learning_rates=rates, train_dataset=rows(), callbacks=how.callbacks(model))
    trainer.train()
    logged = [entry["learning_rate"] for entry in trainer.state.log_history if "learning_rate" in entry]
    assert logged == pytest.approx([0.01 * equation_3(t, 10, 0.2, 5.0) for t in range(10)])


@pytest.mark.parametrize("how", ["scratch", "lora"])
def test_a_resumed_run_continues_the_rates_and_is_recorded(
    finetune: Callable[..., dict], tmp_path: Path, tiny_rnn: dict, how: str
) -> None:
    settings = {**tiny_rnn, "strategy": how}
    if how == "lora":
        finetune("base", **tiny_rnn, num_train_epochs=1)
        settings = {"model_name_or_path": str(tmp_path / "base"), "strategy": how}
    settings |= {
        "lr_scheduler_type": "slanted_triangular", "num_train_epochs": 5, "save_strategy": "steps", "save_steps": 8,
        "save_total_limit": 10, "eval_strategy": "no", "logging_steps": 1, "learning_rate": 0.02,
    }  # fmt: skip
    whole = finetune("whole", **settings)
    resumed = finetune("resumed", **settings, resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-8"))
    for record in (whole, resumed):
        rates = [entry["learning_rate"] for entry in record["history"] if "learning_rate" in entry]
        assert rates == pytest.approx([0.02 * equation_3(t, 30, 0.1, 32) for t in range(30)])
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "resumed"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    record = json.loads((tmp_path / "whole" / "result.json").read_text())
    assert record["arguments"]["lr_scheduler_type"] == "slanted_triangular"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr_ratio": 0.5}, "--lr_ratio must be 1 or more, but is 0.5"),
        ({"cut_fraction": 1.0}, "--cut_fraction must be .* less than 1, but is 1"),
        ({"warmup_steps": 7}, "--warmup_steps"),
    ],
)
def test_invalid_settings_are_refused(tmp_path: Path, settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        RunArguments(output_dir=str(tmp_path), lr_scheduler_type="slanted_triangular", **settings)
    RunArguments(output_dir=str(tmp_path), lr_scheduler_type="cosine", **settings)  # ignored by this schedule
