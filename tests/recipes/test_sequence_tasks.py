"""Every task on sequences, on one process and on two: training at the same global batch, answers and metrics."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

RECIPES = Path(__file__).parents[2] / "recipes"
DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def numbers(folder: Path) -> list[str]:
    """Numbers in figures and in words."""
    rng = np.random.default_rng(0)
    for split, rows in {"train": 61, "validation": 17, "test": 23}.items():
        made = [rng.integers(0, 10, rng.integers(1, 5)) for _ in range(rows)]
        frame = {
            "source": ["".join(map(str, number)) for number in made],
            "target": [" ".join(DIGITS[digit] for digit in number) for number in made],
        }
        pd.DataFrame(frame).to_parquet(folder / f"{split}.parquet")
    overrides = "embedding_size=11,hidden_size=13,attention=luong,input_feeding=true"
    return ["--dataset_name", str(folder), "--model_type", "rnn_encoder_decoder", "--config_overrides", overrides,
            "--tokenizer_name", "char", "--label_smoothing_factor", "0.1", "--generation_num_beams", "2"]  # fmt: skip


def tags(folder: Path) -> list[str]:
    """Sentences in which a name follows its title."""
    rng = np.random.default_rng(0)
    for split, rows in {"train": 61, "validation": 17, "test": 23}.items():
        words = [rng.choice(["a", "king", "rex", "leo", "of", "dr"], rng.integers(1, 9)).tolist() for _ in range(rows)]
        entity = [["B-P" if before == "dr" else "O" for before in [None, *own[:-1]]] for own in words]
        pd.DataFrame({"tokens": words, "ner_tags": entity}).to_parquet(folder / f"{split}.parquet")
    overrides = "embedding_size=11,hidden_size=13,bidirectional=true,crf=true,character_encoder=cnn"
    overrides += ",embedding_dropout=0,classifier_dropout=0"
    return ["--dataset_name", str(folder), "--model_type", "rnn", "--config_overrides", overrides]


def series(folder: Path) -> list[str]:
    """Two variables with a season of seven steps, and holes."""
    steps = np.arange(143)
    values = {"x": np.sin(2 * np.pi * steps / 7) * 3 + 5, "y": np.cos(2 * np.pi * steps / 7) + steps % 5}
    frame = pd.DataFrame({"date": pd.date_range("2020-01-01", periods=143, freq="D"), **values})
    frame.loc[frame.index % 17 == 3, "y"] = np.nan
    frame.to_csv(folder / "series.csv", index=False)
    return ["--dataset_name", str(folder / "series.csv"), "--context_length", "11", "--prediction_length", "5",
            "--model_type", "rnn", "--config_overrides", "hidden_size=13"]  # fmt: skip


def pictures(folder: Path) -> list[str]:
    """Digits with captions."""
    overrides = "encoder_channels=[7,11],encoder_stride=4,embedding_size=11,hidden_size=13,attention=bahdanau"
    return ["--dataset_name", "builtin:digits", "--model_type", "rnn_image_captioner", "--config_overrides", overrides,
            "--label_budget", "61", "--validation_budget", "17", "--test_budget", "23"]  # fmt: skip


TASKS: dict[str, Callable[[Path], list[str]]] = {
    "translation": numbers,
    "token-classification": tags,
    "forecasting": series,
    "captioning": pictures,
}


def launch(config: str, *arguments: str) -> None:
    command = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--config_file",
        str(RECIPES / "accelerate" / config),
    ]
    command += ["--main_process_port", str(20_000 + os.getpid() % 20_000), str(RECIPES / "finetune.py"), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("task", TASKS)
def test_two_processes_do_what_one_does(tmp_path: Path, task: str) -> None:
    (tmp_path / "data").mkdir()
    common = [
        "--task", task, *TASKS[task](tmp_path / "data"), "--num_train_epochs", "2", "--optim", "sgd",
        "--learning_rate", "0.2", "--disable_tqdm", "--per_device_eval_batch_size", "5", "--use_cpu",
    ]  # fmt: skip
    for name, config, batch, parts in (("one", "one_cpu.yaml", "12", "1"), ("two", "two_cpu.yaml", "3", "2")):
        sizes = ["--per_device_train_batch_size", batch, "--gradient_accumulation_steps", parts]
        launch(config, *common, *sizes, "--output_dir", str(tmp_path / name))
    one, two = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("one", "two"))
    assert (one["hardware"]["world_size"], two["hardware"]["world_size"]) == (1, 2)
    for split in ("validation", "test"):
        assert two["metrics"][split] == pytest.approx(one["metrics"][split], abs=1e-4)
        first, second = (pd.read_parquet(tmp_path / n / f"predictions_{split}.parquet") for n in ("one", "two"))
        assert first["row"].tolist() == second["row"].tolist()
        if task == "forecasting":
            forecasts = [np.array([np.stack(window) for window in frame["prediction"]]) for frame in (first, second)]
            assert forecasts[0].shape[1:] == (5, 2)
            np.testing.assert_allclose(*forecasts, atol=1e-4)
        else:
            assert [list(answer) for answer in first["prediction"]] == [list(answer) for answer in second["prediction"]]
    before = [entry["loss"] for entry in one["history"] if "loss" in entry]
    after = [entry["loss"] for entry in two["history"] if "loss" in entry]
    assert after == pytest.approx(before, rel=1e-4) and min(before) < before[0]
    weights, others = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    for name, weight in weights.items():
        torch.testing.assert_close(others[name], weight, atol=1e-5, rtol=1e-4)
