"""Runs on a sentence encoder: every strategy, resuming, prediction, pipelines and publishing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, BertConfig, BertModel, pipeline

from tl_toolkit.data.tokenizers import build_tokenizer
from tl_toolkit.errors import UserError
from tl_toolkit.hub.adapters import base_of, is_for_everybody
from tl_toolkit.hub.arguments import CardArguments
from tl_toolkit.hub.card import model_card
from tl_toolkit.hub.contents import model_contents
from tl_toolkit.workflows.predict import parse_predict_arguments, predict

Finetune = Callable[..., dict]
BODY = "model.encoder."


@pytest.fixture
def encoder(tmp_path: Path, dataset_folder: Path) -> str:
    """A tiny sentence encoder: mean pooling and normalisation, in half precision, with its tokenizer."""
    texts = pd.read_parquet(dataset_folder / "train.parquet")["text"]
    tokenizer = build_tokenizer("word", texts, max_length=64)
    torch.manual_seed(0)
    sizes = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 17}
    folder = tmp_path / "encoder"
    BertModel(BertConfig(vocab_size=len(tokenizer), **sizes)).half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    modules = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds.items()]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    return str(folder)


@pytest.mark.parametrize("strategy", ["full", "discriminative", "gradual_unfreezing", "frozen", "lora"])
def test_every_strategy_trains_what_it_says(
    finetune: Finetune, tmp_path: Path, dataset_folder: Path, encoder: str, strategy: str
) -> None:
    settings = {"strategy": strategy, "learning_rate": 0.01, "num_train_epochs": 4, "load_best_model_at_end": False}
    record = finetune(model_name_or_path=encoder, **settings)
    assert record["model"]["model_type"] == "pooled_encoder"
    assert record["model"]["model_name_or_path"] == encoder
    assert record["identity"]["model"]["config"]["pooling"] == "mean"
    before, after = load_file(Path(encoder) / "model.safetensors"), load_file(tmp_path / "out" / "model.safetensors")
    assert {weight.dtype for weight in after.values()} == {torch.float32}
    assert after["classifier.weight"].shape == (3, 12)
    own = {name.removeprefix(BODY): weight for name, weight in after.items() if name.startswith(BODY)}
    changed = {name for name, weight in own.items() if not torch.equal(weight, before[name].float())}
    matrices = {name for name, weight in own.items() if weight.ndim == 2 and ".layer." in name}
    assert changed == {"frozen": set(), "lora": matrices}.get(strategy, set(own))
    assert AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").config.normalize


def test_a_run_resumes_only_with_its_pooling(finetune: Finetune, tmp_path: Path, encoder: str) -> None:
    settings = {"model_name_or_path": encoder, "save_total_limit": 10}
    whole = finetune("whole", **settings)
    finetune("resumed", **settings, pooling="mean")
    checkpoint = str(tmp_path / "resumed" / "checkpoint-6")
    with pytest.raises(UserError, match=r"the pooling \(--pooling\): was mean, is now max"):
        finetune("resumed", **settings, pooling="max", resume_from_checkpoint=checkpoint)
    resumed = finetune("resumed", **settings, resume_from_checkpoint=checkpoint)
    assert resumed["metrics"] == whole["metrics"]
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "resumed"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_folder_predicts_here_and_in_a_pipeline(
    finetune: Finetune, tmp_path: Path, dataset_folder: Path, encoder: str
) -> None:
    record = finetune(model_name_or_path=encoder, pooling="max", num_train_epochs=4, learning_rate=0.01)
    assert record["attention"] == "attention.json"
    given = {"model_name_or_path": str(tmp_path / "out"), "dataset_name": str(dataset_folder), "use_cpu": True}
    found = predict(parse_predict_arguments({**given, "output_dir": str(tmp_path / "answers"), "disable_tqdm": True}))
    assert found.metrics == pytest.approx(record["metrics"]["test"])
    classify = pipeline("text-classification", str(tmp_path / "out"), trust_remote_code=True, device="cpu")
    texts = pd.read_parquet(dataset_folder / "test.parquet")["text"].tolist()
    scores = [answer["score"] for answer in classify(texts)]
    np.testing.assert_allclose(scores, [max(own) for own in found.predictions["scores"]], atol=1e-5)


def test_regression_and_continuing_with_other_labels(
    finetune: Finetune, tmp_path: Path, dataset_folder: Path, encoder: str
) -> None:
    finetune("first", model_name_or_path=encoder, num_train_epochs=1)
    for path in dataset_folder.glob("*.parquet"):
        rows = pd.read_parquet(path)
        rows["label"] = rows["text"].str.len().astype(float)
        rows.to_parquet(path)
    record = finetune("second", model_name_or_path=str(tmp_path / "first"), task="regression", num_train_epochs=1)
    assert record["model"]["model_type"] == "pooled_encoder"
    assert load_file(tmp_path / "second" / "model.safetensors")["classifier.weight"].shape == (1, 12)


def test_the_published_files_are_complete_and_without_local_paths(
    finetune: Finetune, tmp_path: Path, encoder: str
) -> None:
    finetune(model_name_or_path=encoder, strategy="lora", num_train_epochs=1)
    files = {file.path: file for file in model_contents(tmp_path / "out").files}
    code = {"configuration_pooled_encoder.py", "modeling_pooled_encoder.py", "pooling.py", "strict_config.py"}
    assert code <= files.keys()
    assert str(tmp_path) not in (tmp_path / "out" / "config.json").read_text()
    with pytest.raises(UserError, match="with --merge"):  # the adapter alone cannot be applied to the encoder
        base_of(tmp_path / "out", "user/encoder")
    assert not is_for_everybody(tmp_path / "out")
    card = str(model_card(tmp_path / "out", "user/fruit", CardArguments(base_model="user/encoder")))
    assert "A transformer (bert) with mean pooling" in card
    assert "base_model: user/encoder" in card and "trust_remote_code=True" in card and "@inproceedings{devlin" in card


def test_pooling_is_refused_before_the_data_is_read(finetune: Finetune, encoder: str) -> None:
    common = {"dataset_name": "/no/such/folder", "pooling": "mean"}
    with pytest.raises(UserError, match="--pooling mean makes one vector of a text"):
        finetune(**common, model_name_or_path=encoder, task="token-classification")
    with pytest.raises(UserError, match="--pooling is for checkpoints"):
        finetune(**common, model_type="rnn")
