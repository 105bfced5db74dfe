"""Language-model training resumes after a stop or a kill exactly as if it had not been interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from tl_toolkit.errors import UserError
from tl_toolkit.records.checkpoints import is_complete, last_complete_checkpoint
from tl_toolkit.workflows import lifecycle

Pretrain = Callable[..., dict]
ROOT = Path(__file__).parents[2]
# Dropout and regularisers stay on, so that the test covers random generators as well as the state.
AWD_LSTM = {"model_type": "awd_lstm", "config_overrides": "embedding_size=7,hidden_size=13,num_hidden_layers=2"}
GPT2 = {"model_type": "gpt2", "config_overrides": "n_embd=8,n_layer=1,n_head=2", "block_size": 9}
STEPS = {
    "eval_strategy": "steps",
    "eval_steps": 4,
    "save_strategy": "steps",
    "save_steps": 4,
    "logging_steps": 1,
    "save_total_limit": 20,
    "learning_rate": 0.01,
}


class Stop(Exception):
    """Ends a training in the middle of an epoch."""


class StopAt(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_begin(self, args: object, state: object, control: object, **kwargs: object) -> None:
        if state.global_step == self.step:
            raise Stop


def history(record: dict) -> list[dict]:
    return [{key: e[key] for key in ("step", "loss", "eval_loss") if key in e} for e in record["history"]]


@pytest.mark.parametrize("kind", ["awd_lstm", "backward", "accumulated", "nt_asgd", "gpt2"])
def test_a_resumed_run_equals_the_uninterrupted_run(
    pretrain: Pretrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    settings = {**(GPT2 if kind == "gpt2" else AWD_LSTM), **STEPS}
    if kind == "backward":
        settings["config_overrides"] += ",direction=backward"
    elif kind == "accumulated":
        settings |= {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
    elif kind == "nt_asgd":
        settings |= {"optim": "nt_asgd", "nt_asgd_interval": 1, "learning_rate": 20.0}
    whole = pretrain("whole", **settings)
    per_epoch = whole["cost"]["steps"] // 2
    stop = per_epoch + 6  # after a checkpoint in the middle of the second epoch
    assert (stop - stop % 4) % per_epoch != 0
    usual = lifecycle.callbacks
    with monkeypatch.context() as patch:
        patch.setattr(lifecycle, "callbacks", lambda *given: [*usual(*given), StopAt(stop)])
        with pytest.raises(Stop):
            pretrain("resumed", **settings)
    (tmp_path / "resumed" / "result.json").unlink()
    resumed = pretrain("resumed", **settings, resume_from_checkpoint="true")
    assert history(resumed) == history(whole)
    assert resumed["metrics"] == whole["metrics"]
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "resumed"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_state_in_a_checkpoint_is_used_and_checked(pretrain: Pretrain, tmp_path: Path) -> None:
    settings = {**AWD_LSTM, **STEPS}
    whole = pretrain(**settings)
    checkpoint = tmp_path / "out" / "checkpoint-8"
    state = checkpoint / "carried_state_0_of_1.pt"
    assert is_complete(checkpoint)
    saved = torch.load(state, weights_only=True)
    content = state.read_bytes()

    def resumed(**changes: object) -> dict:
        name = f"other-{time.monotonic_ns()}"
        return pretrain(name, **{**settings, **changes}, resume_from_checkpoint=str(checkpoint))

    assert history(resumed())[2:] == history(whole)[2:]
    for layers in saved["layers"].values():
        for tensors, _ in layers:
            for tensor in tensors:
                tensor.neg_()
    torch.save(saved, state)
    assert history(resumed()) != history(whole)  # another state leads to another run
    state.write_bytes(content)
    (checkpoint / "identity.json").unlink()  # as in the first version: only the state can be checked
    with pytest.raises(UserError, match="window_length is 11, but this run's is 12"):
        resumed(window_length=12)
    with pytest.raises(UserError, match="max_train_tokens|tokens is"):
        resumed(max_train_tokens=200)
    state.write_bytes(content[: len(content) // 2])
    assert not is_complete(checkpoint)
    state.unlink()
    with pytest.raises(UserError, match="has no carried state"):
        resumed()


def test_a_checkpoint_needs_the_states_of_all_processes(pretrain: Pretrain, tmp_path: Path) -> None:
    pretrain(**AWD_LSTM, **STEPS)
    checkpoint = last_complete_checkpoint(tmp_path / "out")
    assert checkpoint is not None
    (checkpoint / "carried_state_0_of_1.pt").rename(checkpoint / "carried_state_0_of_2.pt")
    assert not is_complete(checkpoint)


def test_a_run_killed_with_kill_9_resumes_to_the_same_result(dataset_folder: Path, tmp_path: Path) -> None:
    command = [
        sys.executable, str(ROOT / "recipes" / "pretrain.py"), "--dataset_name", str(dataset_folder), "--use_cpu",
        "--model_type", "awd_lstm", "--config_overrides", AWD_LSTM["config_overrides"], "--disable_tqdm",
        "--per_device_train_batch_size", "3", "--window_length", "11", "--num_train_epochs", "9", "--save_strategy",
        "steps", "--save_steps", "5", "--eval_strategy", "steps", "--eval_steps", "5", "--learning_rate", "0.01",
        "--logging_steps", "1",
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def start(name: str, *more: str) -> subprocess.Popen:
        whole = [*command, "--output_dir", str(tmp_path / name), *more]
        return subprocess.Popen(whole, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    whole = start("whole")
    killed = start("killed")
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and not list(tmp_path.glob("killed/checkpoint-*/trainer_state.json")):
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "killed" / "result.json").exists()
    assert start("killed", "--resume_from_checkpoint").wait(timeout=200) == 0
    assert whole.wait(timeout=200) == 0
    records = [json.loads((tmp_path / name / "result.json").read_text()) for name in ("whole", "killed")]
    losses = [[entry["loss"] for entry in record["history"] if "loss" in entry] for record in records]
    assert losses[1] == pytest.approx(losses[0], abs=1e-6)
    for split in ("validation", "test"):
        assert records[1]["metrics"][split]["loss"] == pytest.approx(records[0]["metrics"][split]["loss"], abs=1e-6)
