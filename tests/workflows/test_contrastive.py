"""The strategy `contrastive`, from the arguments to the model folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer, BertConfig, BertForSequenceClassification, pipeline

from tl_toolkit.data.tokenizers import build_tokenizer
from tl_toolkit.errors import UserError
from tl_toolkit.models import PooledEncoderConfig, PooledEncoderForSequenceClassification
from tl_toolkit.strategies.head_input import HeadInput
from tl_toolkit.training.pairs import pair_loss
from tl_toolkit.workflows.predict import parse_predict_arguments, predict

Finetune = Callable[..., dict]


@pytest.fixture
def bert(tmp_path: Path, dataset_folder: Path) -> str:
    texts = pd.read_parquet(dataset_folder / "train.parquet")["text"]
    tokenizer = build_tokenizer("word", texts, max_length=64)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=12, num_hidden_layers=2, num_attention_heads=3, intermediate_size=17,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    return str(tmp_path / "bert")


def _run(finetune: Finetune, output: str, checkpoint: str, **settings: object) -> dict:
    return finetune(
        output,
        **{"model_name_or_path": checkpoint, "strategy": "contrastive", "num_train_epochs": 1, "label_budget": 24}
        | settings,
    )


def test_the_loss_is_the_squared_error_of_cosines_of_mean_pooled_vectors(bert: str) -> None:
    """By hand, each text encoded alone: padding and the other texts of the batch do not matter."""
    encoder, tokenizer = AutoModel.from_pretrained(bert).eval(), AutoTokenizer.from_pretrained(bert)
    config = PooledEncoderConfig(encoder_config=encoder.config, num_labels=3)
    model = PooledEncoderForSequenceClassification(config).eval()
    model.model.encoder.load_state_dict(encoder.state_dict(), strict=False)
    texts = ["the old apple", "iron", "a new plum and some very old fig"]
    pairs, cosines = [(0, 2), (0, 1), (1, 2), (2, 0)], [1.0, 0.0, 0.0, 1.0]
    with torch.no_grad():
        vectors = [encoder(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0) for text in texts]
    expected = 0.0
    for (one, other), wanted in zip(pairs, cosines, strict=True):
        cosine = vectors[one] @ vectors[other] / (vectors[one].norm() * vectors[other].norm())
        expected += (float(cosine) - wanted) ** 2 / 4
    first, second = torch.tensor(pairs).T
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    head = HeadInput([model.classifier], selects=False)
    loss = pair_loss(head, model, first, second, torch.tensor(cosines), batch)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    loss.backward()
    assert model.classifier.weight.grad is None and model.model.encoder.embeddings.word_embeddings.weight.grad.any()


def test_it_tunes_the_body_and_leaves_an_ordinary_model(
    finetune: Finetune, tmp_path: Path, dataset_folder: Path, bert: str
) -> None:
    record = _run(
        finetune,
        "out",
        bert,
        learning_rate=3e-3,
        max_steps=30,
        per_device_train_batch_size=16,
        train_sampling_strategy="group_by_length",
    )
    assert record["strategy"] == {"name": "contrastive"} and record["kind"] == "transformer"
    losses = [entry["loss"] for entry in record["history"] if "loss" in entry]
    assert losses[-1] < losses[0] / 2
    cost = record["cost"]
    assert cost["steps"] == 30 and cost["parameters"]["trained"] == cost["parameters"]["total"]
    assert cost["train_seconds"] > 0 and cost["features"]["reused_rows"] == 0
    assert not list((tmp_path / "cache").rglob("*.safetensors"))  # no other run has this body
    before, after = load_file(f"{bert}/model.safetensors"), load_file(tmp_path / "out" / "model.safetensors")
    name = "encoder.layer.1.output.dense.weight"
    assert not torch.allclose(before[f"bert.{name}"], after[f"model.encoder.{name}"])
    predictions = pd.read_parquet(tmp_path / "out" / "predictions_test.parquet")
    classify = pipeline("text-classification", str(tmp_path / "out"), device="cpu", trust_remote_code=True)
    found = classify(pd.read_parquet(dataset_folder / "test.parquet")["text"].tolist())
    assert [one["label"] for one in found] == predictions["prediction_name"].tolist()
    np.testing.assert_allclose([one["score"] for one in found], np.stack(predictions["scores"]).max(1), atol=1e-5)
    given = {"model_name_or_path": str(tmp_path / "out"), "dataset_name": str(dataset_folder), "use_cpu": True}
    again = predict(parse_predict_arguments({**given, "output_dir": str(tmp_path / "again"), "disable_tqdm": True}))
    assert again.metrics == pytest.approx(record["metrics"]["test"], abs=1e-5)
    probe = finetune("probe", model_name_or_path=bert, strategy="probe", num_train_epochs=0, label_budget=24)
    assert record["metrics"]["test"]["accuracy"] > probe["metrics"]["test"]["accuracy"]


def test_without_settings_it_passes_once_through_all_pairs(finetune: Finetune, bert: str) -> None:
    settings = {"num_train_epochs": 0, "per_device_train_batch_size": None}
    record = _run(finetune, "out", bert, train_sampling_strategy="group_by_length", **settings)
    assert record["resolved"]["learning_rate"] == 2e-5
    assert record["cost"]["steps"] == 2 * 3 * 8 * 8 // 16  # 192 pairs of different classes, and as many of the same


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"task": "regression"}, "compares texts of the same and of different classes"),
        ({"early_stopping_patience": 3}, "--early_stopping_patience 3 does not apply to the strategy 'contrastive'"),
        ({"model_name_or_path": None, "model_type": "rnn"}, "'contrastive' transfers from a checkpoint"),
    ],
)
def test_what_does_not_apply_is_refused(finetune: Finetune, bert: str, settings: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        _run(finetune, "out", bert, **settings)
