"""`pretrain --streaming` trains the same model as on texts in memory, and resumes at the same place in the stream."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch.utils.data import SequentialSampler

from tl_toolkit.data.tokenizers import build_tokenizer
from tl_toolkit.errors import UserError
from tl_toolkit.training import language_model_trainer

Pretrain = Callable[..., dict]
ROOT = Path(__file__).parents[2]
RNN = {"model_type": "rnn", "config_overrides": "embedding_size=5,hidden_size=7,num_hidden_layers=1"}
GPT2 = {"model_type": "gpt2", "config_overrides": "n_embd=8,n_layer=1,n_head=2", "block_size": 8}
BERT = {
    "model_type": "bert",
    "config_overrides": "hidden_size=8,num_hidden_layers=1,num_attention_heads=2,intermediate_size=11",
    "block_size": 7,
}
WORDS = ["iron", "tin", "lead", "zinc", "gold", "elbe", "oder", "main"]
TEXTS = 17  # in each file, of 6 words and a separator


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three jsonl files with 357 training tokens, a validation file, and a tokenizer of its words."""
    folder = tmp_path_factory.mktemp("corpus")
    chance = np.random.default_rng(3)
    for name in ("train-0", "train-1", "train-2", "validation-0"):
        texts = [" ".join([f"{name}.{row}", *chance.choice(WORDS, 5)]) for row in range(TEXTS)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    tokenizer = build_tokenizer("whitespace", [" ".join(WORDS)], min_frequency=1)
    tokenizer.add_special_tokens({"mask_token": "<mask>"})
    tokenizer.save_pretrained(folder.parent / "tokenizer")
    return folder


@pytest.fixture
def stream(pretrain: Pretrain, corpus: Path) -> Pretrain:
    return lambda output, **settings: pretrain(
        output,
        **{
            "dataset_name": str(corpus), "tokenizer_name": str(corpus.parent / "tokenizer"), "num_train_epochs": 1,
            "max_train_tokens": 357, "logging_steps": 1, "learning_rate": 0.01, "save_strategy": "steps",
            "save_steps": 2, "eval_strategy": "steps", "eval_steps": 2, **settings,
        },
    )  # fmt: skip


def same_weights(*folders: Path) -> bool:
    first, second = (load_file(folder / "model.safetensors") for folder in folders)
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("model", [RNN, GPT2, BERT], ids=["lanes", "blocks", "masked"])
def test_the_weights_are_those_of_texts_in_memory_and_a_resumed_run(
    stream: Pretrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: dict
) -> None:
    """Three lanes are the three files; blocks are read in order."""
    monkeypatch.setattr(language_model_trainer, "epoch_sampler", lambda args, count: SequentialSampler(range(count)))
    record = stream("streamed", **model, streaming=True)
    memory = stream("memory", **model)
    assert same_weights(tmp_path / "streamed", tmp_path / "memory")
    assert record["metrics"] == memory["metrics"] and record["budget"] == memory["budget"]
    assert record["dataset"]["tokens"] == memory["dataset"]["tokens"]
    checkpoint = tmp_path / "streamed" / "checkpoint-2"
    stream("resumed", **model, streaming=True, resume_from_checkpoint=str(checkpoint))
    assert same_weights(tmp_path / "streamed", tmp_path / "resumed")
    state = checkpoint / "carried_state_0_of_1.pt"
    saved = torch.load(state, weights_only=True)
    place = saved["stream"].get("readers", [saved["stream"].get("reader")])[0]
    place["used"] += 1
    torch.save(saved, state)
    stream("elsewhere", **model, streaming=True, resume_from_checkpoint=str(checkpoint))
    assert not same_weights(tmp_path / "streamed", tmp_path / "elsewhere")  # the place in the checkpoint is used
