"""Language-model training as a user starts it, on one process and on two."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

ROOT = Path(__file__).parents[2]
RECIPE = str(ROOT / "recipes" / "pretrain.py")
MODELS = {
    "rnn": "embedding_size=7,hidden_size=13,num_hidden_layers=2",
    # Regularisers on, dropout off: two processes would draw other masks than one.
    "awd_lstm": "embedding_size=7,hidden_size=13,num_hidden_layers=2,dropout_multiplier=0,direction=backward",
    "gpt2": "n_embd=8,n_layer=1,n_head=2,resid_pdrop=0,embd_pdrop=0,attn_pdrop=0",
}


def launch(config: str, *arguments: str) -> None:
    command = [sys.executable, "-m", "accelerate.commands.launch"]
    command += ["--config_file", str(ROOT / "recipes" / "accelerate" / config)]
    command += ["--main_process_port", str(20_000 + os.getpid() % 20_000), RECIPE, *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]


def record_of(folder: Path) -> dict:
    return json.loads((folder / "result.json").read_text())


@pytest.mark.parametrize("model_type", MODELS)
def test_two_processes_do_what_one_does(dataset_folder: Path, tmp_path: Path, model_type: str) -> None:
    """The same global lanes: the same training, evaluations and weights; and what one trained, two evaluate alike."""
    common = [
        "--dataset_name", str(dataset_folder), "--use_cpu", "--disable_tqdm", "--window_length", "11", "--block_size",
        "9", "--model_type", model_type, "--config_overrides", MODELS[model_type], "--num_train_epochs", "2", "--optim",
        "sgd", "--learning_rate", "0.5",
    ]  # fmt: skip
    for name, config, batch in (("one", "one_cpu.yaml", "6"), ("two", "two_cpu.yaml", "3")):
        batches = ["--per_device_train_batch_size", batch, "--per_device_eval_batch_size", batch]
        launch(config, *common, *batches, "--output_dir", str(tmp_path / name))
    one, two = (record_of(tmp_path / name) for name in ("one", "two"))
    assert (one["hardware"]["world_size"], two["hardware"]["world_size"]) == (1, 2)
    assert one["cost"]["steps"] == two["cost"]["steps"]
    for split in ("validation", "test"):
        assert two["metrics"][split] == pytest.approx(one["metrics"][split], rel=1e-5)
    rows = [pd.read_parquet(tmp_path / name / "predictions_test.parquet") for name in ("one", "two")]
    pd.testing.assert_frame_equal(*rows, rtol=1e-4)
    losses = [[e["loss"] for e in record["history"] if "loss" in e] for record in (one, two)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    for name, weight in first.items():
        torch.testing.assert_close(second[name], weight, atol=1e-5, rtol=1e-4)
    states = sorted(path.name for path in tmp_path.glob("two/checkpoint-*/carried_state_*"))
    if model_type != "gpt2":
        assert set(states) == {"carried_state_0_of_2.pt", "carried_state_1_of_2.pt"}


def test_two_processes_resume_in_the_middle_of_an_epoch(dataset_folder: Path, tmp_path: Path) -> None:
    common = [
        "--dataset_name", str(dataset_folder), "--use_cpu", "--disable_tqdm", "--window_length", "11", "--model_type",
        "awd_lstm", "--config_overrides", "embedding_size=7,hidden_size=13,num_hidden_layers=2", "--save_strategy",
        "steps", "--save_steps", "5", "--eval_strategy", "steps", "--eval_steps", "5", "--logging_steps", "1",
        "--per_device_train_batch_size", "2", "--max_steps", "13", "--save_total_limit", "9",
    ]  # fmt: skip
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    launch("two_cpu.yaml", *common, "--output_dir", str(whole))
    checkpoint = str(whole / "checkpoint-5")
    launch("two_cpu.yaml", *common, "--output_dir", str(resumed), "--resume_from_checkpoint", checkpoint)
    losses = [[e["loss"] for e in record_of(folder)["history"] if "loss" in e] for folder in (whole, resumed)]
    assert len(losses[0]) == 13 and losses[0] == losses[1]


def test_what_is_wrong_is_one_paragraph_and_help_names_the_flags(tmp_path: Path) -> None:
    command = [sys.executable, RECIPE, "--model_type", "rnn", "--dataset_name", "./nowhere.txt", "--output_dir"]
    done = subprocess.run([*command, str(tmp_path / "out")], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and "Traceback" not in done.stderr and "nowhere.txt" in done.stderr
    shown = subprocess.run([sys.executable, RECIPE, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert shown.returncode == 0
    for flag in ("--window_length", "--block_size", "--max_train_tokens", "--strategy", "--config"):
        assert flag in shown.stdout
