from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tl_toolkit.config.arguments import RunArguments
from tl_toolkit.errors import UserError
from tl_toolkit.training.lr_finder import find_learning_rate
from tl_toolkit.training.trainer import BaseTrainer

CURVATURES = (3.0, 0.5)


class Bowl(nn.Module):
    """The loss is `(3 a^2 + 0.5 b^2) / 2` for any input; dropout uses the random number generator."""

    def __init__(self, slope: float = 1.0) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.tensor(1.0))
        self.dropout = nn.Dropout(0.1)
        self.slope = slope

    def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        self.dropout(x)
        return {"loss": self.slope * (CURVATURES[0] * self.a**2 + CURVATURES[1] * self.b**2) / 2}


def make_trainer(folder: Path, model: nn.Module | None = None, **settings: Any) -> BaseTrainer:
    args = RunArguments(
        **{
            "output_dir": str(folder), "use_cpu": True, "disable_tqdm": True, "eval_strategy": "no",
            "save_strategy": "no", "optim": "sgd", "learning_rate": 0.5, "weight_decay": 0.0, "max_grad_norm": 0.0,
            "per_device_train_batch_size": 3, "logging_steps": 1, "find_lr_start": 1e-4, "find_lr_steps": 53,
            "num_train_epochs": 2, **settings,
        }
    )  # fmt: skip
    rows = [{"x": torch.ones(2), "labels": torch.zeros(())} for _ in range(13)]
    trainer = BaseTrainer(model or Bowl(), args, learning_rates={"b": 0.5 / 2.6}, train_dataset=rows)
    trainer.create_optimizer_and_scheduler(1)  # to check the settings, as a run does
    trainer.optimizer = trainer.lr_scheduler = None
    return trainer


@pytest.mark.parametrize("parts", [1, 2])
def test_the_sweep_is_exponential_and_keeps_the_ratios_of_groups(tmp_path: Path, parts: int) -> None:
    """Each expected loss is computed from the rates before it, so the updates used exactly these rates."""
    found = find_learning_rate(make_trainer(tmp_path, gradient_accumulation_steps=parts), tmp_path)
    rates = found["learning_rates"]
    assert rates == pytest.approx([1e-4 * (10 / 1e-4) ** (t / 52) for t in range(len(rates))], rel=1e-12)
    a = b = 1.0
    losses = []
    for rate in rates:
        losses.append((CURVATURES[0] * a**2 + CURVATURES[1] * b**2) / 2)
        a, b = a * (1 - rate * CURVATURES[0]), b * (1 - rate / 2.6 * CURVATURES[1])
    assert found["losses"] == pytest.approx(losses, rel=1e-4)


def test_the_loss_is_smoothed_the_sweep_stopped_and_a_rate_suggested(tmp_path: Path) -> None:
    found = find_learning_rate(make_trainer(tmp_path), tmp_path)
    rates, losses, smoothed = (found[name] for name in ("learning_rates", "losses", "smoothed_losses"))
    for t in range(len(losses)):  # exponentially weighted means, written as sums
        weights = [0.9 ** (t - s) for s in range(t + 1)]
        expected = sum(w * loss for w, loss in zip(weights, losses, strict=False)) / sum(weights)
        assert smoothed[t] == pytest.approx(expected)
    assert len(losses) < 53 and smoothed[-1] > 4 * min(smoothed)
    assert all(loss <= 4 * min(smoothed[: t + 1]) for t, loss in enumerate(smoothed[:-1]))
    lowest = rates[int(np.argmin(smoothed))]
    assert found["minimum_divided_by_10"] == lowest / 10
    assert 1e-3 < found["suggestion"] < lowest
    assert found["suggestion"] < 2 / CURVATURES[0]  # above it gradient descent diverges
    assert json.loads((tmp_path / "lr_finder.json").read_text()) == found
    assert (tmp_path / "lr_finder.png").read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in tmp_path.iterdir()} == {"lr_finder.json", "lr_finder.png"}


def test_a_sweep_does_not_affect_the_following_training(tmp_path: Path) -> None:
    def train(search: bool) -> tuple[list[float], list[float], float, float, float]:
        random.seed(1), np.random.seed(2), torch.manual_seed(3)
        trainer = make_trainer(tmp_path)
        if search:
            find_learning_rate(trainer, tmp_path)
            assert trainer.model.a.item() == 1.0 and trainer.model.a.grad is None
        trainer.train()
        history = [entry for entry in trainer.state.log_history if "learning_rate" in entry]
        losses, rates = [e["loss"] for e in history], [e["learning_rate"] for e in history]
        return losses, rates, random.random(), np.random.rand(), torch.rand(()).item()

    assert train(search=True) == train(search=False)
    assert len(train(search=True)[0]) == 10


def test_nothing_is_frozen_in_the_sweep(finetune: Callable[..., dict], tmp_path: Path, tiny_rnn: dict) -> None:
    """Unfreezing would change the trained layers during the sweep. The sweep only writes the curve."""
    finetune("base", **tiny_rnn, num_train_epochs=1)
    common = {"model_name_or_path": str(tmp_path / "base"), "find_lr": True, "find_lr_steps": 23}
    found = {
        name: finetune(name, **common, strategy=name) for name in ("gradual_unfreezing", "discriminative", "frozen")
    }
    assert found["gradual_unfreezing"]["losses"] == found["discriminative"]["losses"] != found["frozen"]["losses"]
    left = {path.name for path in (tmp_path / "frozen").iterdir()}
    assert left == {"lr_finder.json", "lr_finder.png"}


def test_no_suggestion_if_the_loss_never_falls(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    found = find_learning_rate(make_trainer(tmp_path, Bowl(slope=0.0)), tmp_path)
    assert found["suggestion"] is None
    assert "did not fall" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"not finite at the lowest learning rate, 0\.0001"):
        find_learning_rate(make_trainer(tmp_path, Bowl(slope=float("nan"))), tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"find_lr_start": 0}, "must be above 0"), ({"find_lr_end": 1e-8}, "1e-08"), ({"find_lr_steps": 9}, "is 9")],
)
def test_invalid_sweeps_are_refused(tmp_path: Path, settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        RunArguments(output_dir=str(tmp_path), **settings)
