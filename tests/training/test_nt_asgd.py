from __future__ import annotations

import copy
import io
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForSequenceClassification, TrainerCallback

from tl_toolkit.config.arguments import RunArguments
from tl_toolkit.config.parsing import arguments_from
from tl_toolkit.errors import UserError
from tl_toolkit.records.record import changed_arguments
from tl_toolkit.training.nt_asgd import NtAsgd, NtAsgdTrigger, averaged
from tl_toolkit.training.trainer import BaseTrainer

TARGET = torch.tensor([[2.0, -3.0, 5.0], [-7.0, 11.0, 13.0]])
RATE, DECAY = 0.3, 0.05


def quadratic() -> tuple[nn.Linear, Callable[[], None]]:
    """A layer that approaches TARGET with noise, and a function that computes its gradients."""
    torch.manual_seed(0)
    layer = nn.Linear(3, 2).double()

    def backward() -> None:
        layer.zero_grad()
        noise = 1 + 0.5 * torch.randn(2, 3, dtype=torch.double)
        (noise * (layer.weight - TARGET) ** 2).sum().backward()  # the bias has no gradient

    return layer, backward


def iterates(optimizer: torch.optim.Optimizer, layer: nn.Linear, backward: Callable[[], None], steps: int) -> list:
    found = []
    for _ in range(steps):
        backward()
        optimizer.step()
        found.append(layer.weight.detach().clone())
    return found


def test_before_the_trigger_it_equals_sgd() -> None:
    layer, backward = quadratic()
    momentum = 0.7
    optimizer = NtAsgd(layer.parameters(), lr=RATE, weight_decay=DECAY, momentum=momentum)
    by_hand, velocity = layer.weight.detach().clone(), torch.zeros(2, 3, dtype=torch.double)
    for _ in range(5):
        backward()
        velocity = momentum * velocity + layer.weight.grad + DECAY * by_hand
        by_hand = by_hand - RATE * velocity
        optimizer.step()
        torch.testing.assert_close(layer.weight.detach(), by_hand)
    before = layer.weight.detach().clone()
    optimizer.swap()
    assert torch.equal(layer.weight, before) and not optimizer.swapped and not optimizer.triggered


def test_the_average_is_the_mean_of_the_iterates_since_the_trigger() -> None:
    layer, backward = quadratic()
    optimizer = NtAsgd(layer.parameters(), lr=RATE, weight_decay=DECAY)
    at_trigger = iterates(optimizer, layer, backward, 3)[-1]
    optimizer.trigger()
    optimizer.trigger()  # a second call has no effect
    seen = [at_trigger, *iterates(optimizer, layer, backward, 7)]
    bias = layer.bias.detach().clone()
    optimizer.swap()
    torch.testing.assert_close(layer.weight.detach(), torch.stack(seen).mean(0))
    assert torch.equal(layer.bias, bias)
    with pytest.raises(RuntimeError, match="swap"):
        optimizer.step()
    optimizer.swap()
    assert torch.equal(layer.weight, seen[-1])


def test_it_agrees_with_the_averaged_sgd_of_torch() -> None:
    layer, backward = quadratic()
    optimizer = NtAsgd(layer.parameters(), lr=RATE, weight_decay=DECAY)
    start = layer.weight.detach().clone()
    optimizer.trigger()
    first, *others = iterates(optimizer, layer, backward, 11)
    optimizer.swap()

    layer_of_torch, backward = quadratic()
    asgd = torch.optim.ASGD(layer_of_torch.parameters(), lr=RATE, weight_decay=DECAY, t0=0, lambd=0)
    same = iterates(asgd, layer_of_torch, backward, 11)
    torch.testing.assert_close(torch.stack(same), torch.stack([first, *others]))
    # torch's average excludes the start and, because its weights lag by one step, the first iterate
    of_torch = asgd.state[layer_of_torch.weight]["ax"]
    torch.testing.assert_close(12 * layer.weight.detach() - start - first, 10 * of_torch)


@pytest.mark.parametrize("saved", ["before the trigger", "after it", "while swapped"])
def test_a_saved_state_resumes_exactly(saved: str) -> None:
    def run(interrupted: bool) -> tuple[torch.Tensor, torch.Tensor]:
        layer, backward = quadratic()
        optimizer = NtAsgd(layer.parameters(), lr=RATE, weight_decay=DECAY, momentum=0.3)
        iterates(optimizer, layer, backward, 3)
        if saved != "before the trigger":
            optimizer.trigger()
            iterates(optimizer, layer, backward, 5)
        if saved == "while swapped":
            optimizer.swap()
        if interrupted:
            file = io.BytesIO()
            torch.save({"model": layer.state_dict(), "optimizer": optimizer.state_dict()}, file)
            file.seek(0)
            stored, generator = torch.load(file, weights_only=True), torch.get_rng_state()
            layer, backward = quadratic()
            optimizer = NtAsgd(layer.parameters(), lr=17.0)
            layer.load_state_dict(stored["model"])
            optimizer.load_state_dict(stored["optimizer"])
            torch.set_rng_state(generator)
        if saved == "while swapped":
            assert optimizer.swapped
            optimizer.swap()
        optimizer.trigger()
        last = iterates(optimizer, layer, backward, 7)[-1]
        optimizer.swap()
        return last, layer.weight.detach()

    for one, other in zip(run(False), run(True), strict=True):
        assert torch.equal(one, other)


def test_averaging_may_be_triggered_within_an_evaluation() -> None:
    layer, backward = quadratic()
    optimizer = NtAsgd(layer.parameters(), lr=RATE)
    last = iterates(optimizer, layer, backward, 2)[-1]
    with averaged(optimizer):
        optimizer.trigger()
    assert torch.equal(layer.weight, last) and not optimizer.swapped
    further = iterates(optimizer, layer, backward, 1)[-1]
    with pytest.raises(ZeroDivisionError), averaged(optimizer):
        torch.testing.assert_close(layer.weight.detach(), (last + further) / 2)
        raise ZeroDivisionError
    assert torch.equal(layer.weight, further)
    optimizer.finish()
    torch.testing.assert_close(layer.weight.detach(), (last + further) / 2)
    iterates(optimizer, layer, backward, 1)  # continues as SGD
    assert not optimizer.triggered and not optimizer.state[layer.weight]


@pytest.mark.parametrize(
    ("interval", "losses", "expected"),
    [
        (5, [9, 8, 7, 6, 5, 4, 3, 2], None),  # falling
        (5, [5, 6, 7, 8, 9, 10], None),  # needs more than five earlier losses
        (5, [5, 6, 7, 8, 9, 10, 11], 7),
        (5, [9, 5, 6, 6, 6, 6, 6, 6], 8),  # at 7, the best loss more than five evaluations ago is 9
        (5, [9, 5, 6, 6, 6, 6, 6, 5], None),  # equal to the best is not above it
        (2, [5, 6, 7, 4, 6], 5),
        (2, [5, 6, 7, 8], 4),
        (0, [5, 6], 2),
        (0, [5, 5], None),
    ],
)
def test_the_trigger_rule(interval: int, losses: list[float], expected: int | None) -> None:
    class Counting(NtAsgd):
        triggered_at: int | None = None

        def trigger(self) -> None:
            self.triggered_at = self.triggered_at or evaluation

    optimizer = Counting(nn.Linear(3, 2).parameters(), lr=RATE)
    callback: Any = NtAsgdTrigger(interval)
    for evaluation, loss in enumerate(losses, 1):
        if evaluation == 3:  # as in a checkpoint
            callback = NtAsgdTrigger.from_state(copy.deepcopy(callback.state()))
        callback.on_evaluate(None, None, None, metrics={"eval_loss": loss}, optimizer=optimizer)
        callback.on_evaluate(None, None, None, metrics={"test_loss": 1e9}, optimizer=optimizer)  # another split
    assert optimizer.triggered_at == expected


class Rows(torch.utils.data.Dataset):
    """Rows of a noisy line, read in a fixed order."""

    def __init__(self, rows: int) -> None:
        generator = torch.Generator().manual_seed(rows)
        self.x = torch.randn(rows, 3, generator=generator)
        self.y = self.x @ torch.tensor([2.0, -3.0, 5.0]) + torch.randn(rows, generator=generator)

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        return {"x": self.x[row], "labels": self.y[row]}


class Line(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(3, 1)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": (self.linear(x)[:, 0] - labels).square().mean()}


class Watch(TrainerCallback):
    """Records the iterates after every step, and the model's weights in every evaluation."""

    def __init__(self) -> None:
        self.iterates: list[torch.Tensor] = []
        self.evaluated: list[torch.Tensor] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.iterates.append(kwargs["model"].linear.weight.detach().clone())

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.evaluated.append(kwargs["model"].linear.weight.detach().clone())


def make_trainer(folder: Path, **settings: Any) -> tuple[BaseTrainer, Watch]:
    base: dict[str, Any] = {
        "optim": "nt_asgd",
        "nt_asgd_interval": 0,
        "learning_rate": 0.3,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0,
        "num_train_epochs": 6,
        "per_device_train_batch_size": 5,
        "eval_strategy": "steps",
        "save_strategy": "steps",
        "eval_steps": 2,
        "save_steps": 2,
        "save_total_limit": None,
        "load_best_model_at_end": False,
        "logging_strategy": "no",
    }
    args = RunArguments(output_dir=str(folder), use_cpu=True, disable_tqdm=True, **{**base, **settings})
    watch = Watch()
    trainer = BaseTrainer(Line(), args, train_dataset=Rows(13), eval_dataset=Rows(7), callbacks=[watch])
    return trainer, watch


def mean(tensors: Iterable[torch.Tensor]) -> torch.Tensor:
    return torch.stack(list(tensors)).mean(0)


def saved_weight(folder: Path, step: int) -> torch.Tensor:
    return load_file(folder / f"checkpoint-{step}" / "model.safetensors")["linear.weight"]


def test_evaluations_and_saved_weights_are_averages_and_training_is_unaffected(tmp_path: Path) -> None:
    trainer, watch = make_trainer(tmp_path / "all")
    trainer.train()
    losses = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert len(losses) == 9  # 18 updates
    trigger = next(i for i in range(1, 9) if losses[i] > min(losses[:i]))
    assert trigger < 6
    start = 2 * (trigger + 1) - 1  # index of the iterate in that evaluation
    for i in range(9):
        expected = watch.iterates[2 * i + 1] if i <= trigger else mean(watch.iterates[start : 2 * i + 2])
        torch.testing.assert_close(watch.evaluated[i], expected)
        torch.testing.assert_close(saved_weight(tmp_path / "all", 2 * i + 2), expected)
    torch.testing.assert_close(trainer.model.linear.weight.detach(), mean(watch.iterates[start:]))
    loss = trainer.evaluate()["eval_loss"]  # after training, weights are not exchanged
    torch.testing.assert_close(loss, losses[-1])

    plain, other = make_trainer(tmp_path / "sgd", optim="sgd", eval_strategy="no", save_strategy="no")
    plain.train()
    for one, two in zip(watch.iterates, other.iterates, strict=True):
        assert torch.equal(one, two)


def test_the_best_model_is_the_best_average(tmp_path: Path) -> None:
    trainer, _ = make_trainer(tmp_path, load_best_model_at_end=True, metric_for_best_model="loss")
    trainer.train()
    losses = {entry["step"]: entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry}
    best = min(losses, key=losses.__getitem__)
    assert torch.equal(trainer.model.linear.weight, saved_weight(tmp_path, best))
    torch.testing.assert_close(trainer.evaluate()["eval_loss"], losses[best])


@pytest.mark.parametrize("step", [2, 4, 10, 12, 16])
def test_a_stopped_run_resumes_exactly(tmp_path: Path, step: int) -> None:
    trainer, watch = make_trainer(tmp_path / "whole", nt_asgd_interval=1)
    trainer.train()
    whole = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    again, other = make_trainer(tmp_path / "again", nt_asgd_interval=1)
    again.train(resume_from_checkpoint=str(tmp_path / "whole" / f"checkpoint-{step}"))
    assert [entry["eval_loss"] for entry in again.state.log_history if "eval_loss" in entry] == whole
    for one, two in zip(watch.iterates[step:], other.iterates, strict=True):
        assert torch.equal(one, two)
    assert torch.equal(trainer.model.linear.weight, again.model.linear.weight)


def test_fine_tuning_with_it(finetune: Callable[..., dict], tiny_rnn: dict[str, str], tmp_path: Path) -> None:
    settings = {"optim": "nt_asgd", "nt_asgd_interval": 0, "learning_rate": 3.0, "lr_scheduler_type": "constant"}
    record = finetune(**tiny_rnn, **settings, num_train_epochs=6, optim_args="momentum=0.3")
    assert record["arguments"]["optim"] == "nt_asgd" and record["arguments"]["nt_asgd_interval"] == 0
    best = max(entry["eval_accuracy"] for entry in record["history"] if "eval_accuracy" in entry)
    assert record["metrics"]["validation"]["accuracy"] == best
    assert AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").config.model_type == "rnn"


def test_arguments(tmp_path: Path) -> None:
    def given(**settings: Any) -> Any:
        return arguments_from({"output_dir": str(tmp_path), **settings}, "the test")

    arguments = given(optim="nt_asgd", nt_asgd_interval=3)
    assert arguments.run.optim == "nt_asgd"
    assert changed_arguments(arguments) | {"optim": "nt_asgd", "nt_asgd_interval": 3} == changed_arguments(arguments)
    assert "optim" not in changed_arguments(given())
    assert given(optim="adafactor").run.optim == "adafactor"
    with pytest.raises(UserError, match="nt_asgd.*eval_strategy"):
        given(optim="nt_asgd", eval_strategy="no")
    with pytest.raises(UserError, match="--nt_asgd_interval must be .* is -1"):
        given(optim="nt_asgd", nt_asgd_interval=-1)
    with pytest.raises(UserError, match="nt_asg'.*nt_asgd"):
        given(optim="nt_asg")
