from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file
from transformers import TrainerState

from tl_toolkit.config.arguments import RunArguments
from tl_toolkit.tasks.text_classification import TextClassification
from tl_toolkit.training.trainer import breaks_tie

ACCURACY = [0.5, 0.7, 0.7, 0.7, 0.6, 0.7]
LOSS = [0.9, 0.8, 0.5, 0.6, 0.2, 0.5]  # the third of equal accuracy has the lowest loss; the sixth only equals it


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Evaluations during training that give ACCURACY and LOSS, beginning after the first `done`."""

    def begin(done: int = 0) -> None:
        scores = iter(list(zip(ACCURACY, LOSS, strict=True))[done:])

        def metrics(self: object, *_: object) -> dict[str, float]:
            accuracy, loss = next(scores, (0.0, 9.0))  # the final evaluations come last
            return {"loss": loss, "accuracy": accuracy, "macro_f1": 1 - accuracy}

        monkeypatch.setattr(TextClassification, "metrics", metrics)

    return begin


def best_step(folder: Path) -> tuple[int, dict]:
    states = [json.loads(path.read_text()) for path in folder.glob("checkpoint-*/trainer_state.json")]
    last = max(states, key=lambda state: state["global_step"])
    return last["best_global_step"], last


@pytest.mark.parametrize("save", ["epoch", "best"])
def test_the_lower_loss_wins_among_equal_main_metrics(
    finetune: Callable, tmp_path: Path, tiny_rnn: dict, scripted: Callable, save: str
) -> None:
    scripted()
    finetune(**tiny_rnn, num_train_epochs=6, save_strategy=save, save_total_limit=9)
    step, state = best_step(tmp_path / "out")
    assert step == 18  # the third of six epochs of six updates
    assert Path(state["best_model_checkpoint"]).name == "checkpoint-18"
    saved, best = (load_file(tmp_path / "out" / name / "model.safetensors") for name in (".", "checkpoint-18"))
    body = [name for name in best if not name.startswith("classifier")]
    assert body and all((saved[name] == best[name]).all() for name in body)
    if save == "best":  # one checkpoint for each improvement
        assert {path.name for path in (tmp_path / "out").glob("checkpoint-*")} == {
            "checkpoint-6", "checkpoint-12", "checkpoint-18"
        }  # fmt: skip


def test_it_holds_for_errors_and_after_resuming(
    finetune: Callable, tmp_path: Path, tiny_rnn: dict, scripted: Callable
) -> None:
    settings = {
        **tiny_rnn, "num_train_epochs": 6, "save_total_limit": 9,
        "metric_for_best_model": "macro_f1", "greater_is_better": False,
    }  # fmt: skip
    scripted()
    finetune(**settings)
    assert best_step(tmp_path / "out")[0] == 18
    for name in ("result.json", "model.safetensors"):
        (tmp_path / "out" / name).unlink()
    for step in (18, 24, 30, 36):  # as after a kill in the third epoch
        (tmp_path / "out" / f"checkpoint-{step}" / "trainer_state.json").unlink()
    scripted(2)
    finetune(**settings, resume_from_checkpoint="true")
    assert best_step(tmp_path / "out")[0] == 18


def test_early_stopping_waits_for_a_better_main_metric(
    finetune: Callable, tmp_path: Path, tiny_rnn: dict, scripted: Callable
) -> None:
    scripted()
    record = finetune(**tiny_rnn, num_train_epochs=6, early_stopping_patience=2)
    assert record["cost"]["epochs"] == 4  # the second epoch is the last improvement
    assert best_step(tmp_path / "out")[0] == 18


def test_a_tie_needs_an_equal_metric_and_a_lower_loss(tmp_path: Path) -> None:
    args = RunArguments(output_dir=str(tmp_path), metric_for_best_model="accuracy")
    history = [{"step": 5, "loss": 0.1}, {"step": 5, "eval_loss": 0.4}, {"step": 7, "eval_loss": 0.2}]
    state = TrainerState(best_metric=0.7, best_global_step=5, log_history=history)
    assert breaks_tie(args, state, {"eval_accuracy": 0.7, "eval_loss": 0.3})
    assert not breaks_tie(args, state, {"eval_accuracy": 0.7, "eval_loss": 0.4})
    assert not breaks_tie(args, state, {"eval_accuracy": 0.8, "eval_loss": 0.3})
    assert not breaks_tie(args, state, {"eval_accuracy": 0.7})
    assert not breaks_tie(args, TrainerState(), {"eval_accuracy": 0.7, "eval_loss": 0.3})
