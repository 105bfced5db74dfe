"""Each launch file on a CPU: the losses, weights and checkpoints of one process, also sharded.

One launch trains several models, because starting processes takes longer. `benchmarks/launch_files.py`, which the
launcher runs, makes the number in docs/running.md for more families.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

ROOT = Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("launch_files", ROOT / "benchmarks" / "launch_files.py")
assert _spec is not None and _spec.loader is not None
launch_files = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(launch_files)
SIZES = {"embedding_size": 7, "hidden_size": 13}
EXACT = {"embedding_dropout": 0, "classifier_dropout": 0}
COMMON = {
    "global_batch_size": 12, "num_train_epochs": 3, "min_train_steps": 0, "learning_rate": 0.02, "logging_steps": 1,
    "save_strategy": "steps", "eval_strategy": "steps", "save_steps": 4, "eval_steps": 4, "save_total_limit": 9,
    "use_cpu": True, "disable_tqdm": True,
}  # fmt: skip
CONTINUED = "checkpoint-4"  # within the first epoch of six updates


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, Any]], dict[str, Any]]:
    """The folder, the arguments and the records of the runs in this process, which has one thread and no launcher."""
    from small_texts import make_texts
    from transformers import AutoTokenizer

    from tl_toolkit import RnnModel, finetune

    folder = tmp_path_factory.mktemp("alone")
    for kind in ("texts", "dates"):
        (folder / kind).mkdir()
    for seed, (split, rows) in enumerate({"train": 66, "validation": 31, "test": 17}.items()):
        texts, labels = make_texts(rows, seed)
        pd.DataFrame({"text": texts, "label": labels}).to_parquet(folder / "texts" / f"{split}.parquet")
        numbers = [str(number) for number in np.random.default_rng(seed).integers(0, 9999, rows)]
        pairs = {"source": numbers, "target": [number[::-1] for number in numbers]}
        pd.DataFrame(pairs).to_parquet(folder / "dates" / f"{split}.parquet")
    texts_of = {"dataset_name": str(folder / "texts"), **COMMON}
    rnn = {**texts_of, "model_type": "rnn", "config_overrides": SIZES | EXACT}
    runs = {
        "rnn": rnn,
        "self_attention": {
            **texts_of, "model_type": "self_attention", "config_overrides": {
                "embedding_size": 12, "hidden_size": 12, "num_attention_heads": 3, "num_hidden_layers": 2,
                "hidden_dropout": 0, "attention_dropout": 0, **EXACT,
            },
        },
        "reversed": {
            **COMMON, "task": "translation", "dataset_name": str(folder / "dates"), "tokenizer_name": "char",
            "model_type": "rnn_encoder_decoder", "config_overrides": {**SIZES, "attention": "luong"},
            "generation_num_beams": 2,
        },
    }  # fmt: skip
    for strategy in ("gradual_unfreezing", "lora"):
        runs[strategy] = {**texts_of, "model_name_or_path": str(folder / "body"), "strategy": strategy}
    records = {}
    for name, settings in runs.items():
        records[name] = finetune(**settings, output_dir=str(folder / name)).record
        if name == "rnn":  # without a head, so that later runs start with a new one
            RnnModel.from_pretrained(folder / name).save_pretrained(folder / "body")
            AutoTokenizer.from_pretrained(folder / name).save_pretrained(folder / "body")
    runs["continued"] = {**rnn, "resume_from_checkpoint": str(folder / "rnn" / CONTINUED)}
    return folder, runs, records | {"continued": records["rnn"]}


@pytest.mark.parametrize(
    ("config", "processes", "kind"),
    [
        ("one_gpu", 1, "NO"),
        ("multi_gpu", 2, "MULTI_CPU"),
        ("multi_node", 2, "MULTI_CPU"),
        ("fsdp", 2, "FSDP"),
        ("deepspeed_zero2", 2, "DEEPSPEED"),
    ],
)
def test_a_launch_file_trains_what_one_process_trains(
    alone: Any, tmp_path: Path, config: str, processes: int, kind: str
) -> None:
    if kind == "DEEPSPEED" and importlib.util.find_spec("deepspeed") is None:
        pytest.skip("DeepSpeed is not installed")
    folder, runs, expected = alone
    chosen = ["rnn"] if processes == 1 else ["rnn", "continued"] if kind == "MULTI_CPU" else list(runs)
    if kind == "DEEPSPEED":
        # Two are refused; the encoder-decoder differs by up to 0.02 at this learning rate, see docs/running.md.
        chosen = [name for name in chosen if name not in ("continued", "gradual_unfreezing", "reversed")]
    records = launch_files.train(config, {name: runs[name] for name in chosen}, tmp_path, processes)
    for name, record in records.items():
        own, output = record["hardware"], tmp_path / f"{name}-{config}"
        assert (own["world_size"], own["distributed_type"], own["sharded"]) == (
            processes, kind, kind in ("FSDP", "DEEPSPEED"),
        )  # fmt: skip
        assert record["resolved"]["global_batch"] == 12
        whole = expected[name]
        assert launch_files.losses(record) == pytest.approx(launch_files.losses(whole), abs=1e-5), name
        for split in ("validation", "test"):
            assert record["metrics"][split] == pytest.approx(whole["metrics"][split], abs=1e-4), name
        places = (folder / name.replace("continued", "rnn"), output)
        one, other = (load_file(place / "model.safetensors") for place in places)
        assert one.keys() == other.keys()
        if name != "self_attention":  # the biases of its keys have no gradient but rounding, which Adam enlarges
            assert all(torch.allclose(one[weight], other[weight], atol=1e-4) for weight in one), name
    code = {path.name for path in (folder / "rnn").glob("*.py")}
    assert {path.name for path in (tmp_path / f"rnn-{config}").glob("*.py")} == code
    if kind == "FSDP":
        continues_in_one_process(tmp_path, runs["rnn"], expected["rnn"])


def continues_in_one_process(sharded: Path, settings: dict[str, Any], whole: dict[str, Any]) -> None:
    from tl_toolkit import finetune

    checkpoint = str(sharded / "rnn-fsdp" / CONTINUED)
    record = finetune(**settings, output_dir=str(sharded / "one"), resume_from_checkpoint=checkpoint).record
    assert launch_files.losses(record) == pytest.approx(launch_files.losses(whole), abs=1e-5)
    state = torch.load(sharded / "one" / "checkpoint-18" / "optimizer.pt", weights_only=True)
    other = torch.load(sharded / "rnn-fsdp" / "checkpoint-18" / "optimizer.pt", weights_only=True)
    for number, own in state["state"].items():
        for name, value in own.items():
            torch.testing.assert_close(other["state"][number][name], value, atol=1e-5, rtol=1e-4)


def test_fewer_processes_than_asked_for_are_said(tmp_path: Path, finetune: Callable[..., dict]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "-m", "tl_toolkit",
         "finetune", "./nowhere.csv", "--model_type", "rnn", "--output_dir", str(tmp_path / "out")],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert "asked for several processes, but started one" in " ".join(done.stderr.split()), done.stderr[-2000:]


def test_the_checks_for_a_gpu_run_at_toy_sizes(tmp_path: Path) -> None:
    """All of `benchmarks/on_gpu.py` takes minutes on a busy processor; these parts start no further process."""
    command = [sys.executable, str(ROOT / "benchmarks" / "on_gpu.py"), "--device", "cpu", "--output_dir", str(tmp_path)]
    parts = ["--parts", "families", "language_models", "loss_memory", "imdb", "--families", "rnn", "encoder-decoder"]
    done = subprocess.run([*command, *parts], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found = json.loads((tmp_path / "on_gpu.json").read_text())
    assert found["on"]["device"] == "cpu" and found["on"]["toy"]
    assert found["families"]["rnn"]["passed"] and found["language_models"]["rnn"]["text"].startswith("the")
    assert found["imdb"]["left_out"]
    again = subprocess.run([*command, *parts], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert again.returncode == 0 and "passed" not in again.stdout  # nothing is repeated
