"""Converted folders can be created on the command line and used by the recipes."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tl_toolkit.config.pretrain_arguments import parse_pretrain_arguments
from tl_toolkit.converters.fastai import to_fastai
from tl_toolkit.data.fastai_tokenizer import SPECIAL_TOKENS
from tl_toolkit.models import AwdLstmConfig, AwdLstmForCausalLM
from tl_toolkit.workflows.pretrain import pretrain

ROOT = Path(__file__).parents[2]
VOCABULARY = [*SPECIAL_TOKENS, "the", "apple", "iron", "rhine", "of"]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """A language model in fastai's format."""
    config = AwdLstmConfig(vocab_size=len(VOCABULARY), embedding_size=5, hidden_size=7, num_hidden_layers=2)
    torch.save(to_fastai(AwdLstmForCausalLM(config))["forward"], tmp_path / "w.pth")
    (tmp_path / "v.pkl").write_bytes(pickle.dumps(VOCABULARY))
    return {"weights": str(tmp_path / "w.pth"), "vocab": str(tmp_path / "v.pkl")}


def start(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(ROOT / "recipes" / "convert.py"), *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_from_the_command_line_to_a_classifier(tmp_path, files, dataset_folder, finetune):
    folder = tmp_path / "converted"
    flags = [word for name, value in files.items() for word in (f"--{name}", value)]
    done = start("--source", "fastai", *flags, "--output_dir", str(folder))
    assert done.returncode == 0, done.stderr
    assert str(folder / "model.safetensors") in done.stdout.splitlines()

    settings = ["--dataset_name", str(dataset_folder), "--use_cpu", "--num_train_epochs", "1", "--disable_tqdm", "true"]
    adapted = tmp_path / "adapted"
    flags = ["--model_name_or_path", str(folder), "--output_dir", str(adapted), *settings]
    record = pretrain(parse_pretrain_arguments(flags))
    assert record["metrics"]["validation"]["perplexity"] > 1
    before, after = (load_file(path / "model.safetensors") for path in (folder, adapted))
    assert before.keys() == after.keys()
    assert not all(torch.equal(before[name], after[name]) for name in before)

    record = finetune("classifier", model_name_or_path=str(adapted), num_train_epochs=1)
    assert 0 <= record["metrics"]["test"]["accuracy"] <= 1


def test_bad_input_is_one_paragraph_and_exit_code_2(tmp_path, files):
    torch.save(torch.nn.Linear(2, 3), tmp_path / "learner.pth")
    output = str(tmp_path / "out")
    done = start("--source", "fastai", "--weights", f"{tmp_path}/learner.pth", "--vocab", files["vocab"],
                 "--output_dir", output)  # fmt: skip
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "torch.nn.modules.linear.Linear" in done.stderr and "Only tensors" in " ".join(done.stderr.split())
    done = start("--source", "fastai", "--weights", files["weights"], "--output_dir", output)
    assert done.returncode == 2 and "needs --vocab" in " ".join(done.stderr.split())
