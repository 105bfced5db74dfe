"""Texts without tokens, such as an empty text with a tokenizer that adds no special tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, pipeline

from tl_toolkit.data.tokenizers import build_tokenizer

SIZES: dict[str, dict[str, Any]] = {
    "rnn": {"embedding_size": 7, "hidden_size": 13, "num_hidden_layers": 2, "pooling": "attention"},
    "awd_lstm": {"embedding_size": 7, "hidden_size": 13, "num_hidden_layers": 2, "direction": "both"},
    "self_attention": {"embedding_size": 8, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2},
    "bag_of_ngrams": {"num_ngrams": 11},
}


@pytest.mark.parametrize("family", SIZES)
def test_the_prediction_for_an_empty_text_does_not_depend_on_its_batch(family: str, tmp_path: Path) -> None:
    tokenizer = build_tokenizer("char", ["wine", "iron"], max_length=64)
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        family, vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, num_labels=3, **SIZES[family]
    )
    model = AutoModelForSequenceClassification.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1)  # biases, so that an empty text has non-zero outputs
        alone = model(**tokenizer([""], return_tensors="pt")).logits
        beside = model(**tokenizer(["", "wine"], padding=True, return_tensors="pt")).logits
    assert alone.shape == (1, 3) and alone.isfinite().all() and alone.abs().sum() > 0
    torch.testing.assert_close(alone[0], beside[0])

    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    classify = pipeline("text-classification", model=str(tmp_path), top_k=None)
    (result,) = classify([""])
    expected = alone[0].softmax(-1)
    assert {one["label"]: one["score"] for one in result} == pytest.approx(
        {config.id2label[index]: float(expected[index]) for index in range(3)}, abs=1e-6
    )
