"""Bags of n-grams from the arguments to the model folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from tl_toolkit.config.parsing import arguments_from
from tl_toolkit.errors import UserError
from tl_toolkit.models import BagOfNgramsForSequenceClassification
from tl_toolkit.workflows.predict import parse_predict_arguments, predict

Finetune = Callable[..., dict]
NGRAMS: dict[str, Any] = {"model_type": "bag_of_ngrams", "num_train_epochs": 0}


def test_a_run_equals_scikit_learn_on_the_words_of_its_texts(
    finetune: Finetune, dataset_folder: Path, tmp_path: Path
) -> None:
    record = finetune(**NGRAMS)
    train, test = (pd.read_parquet(dataset_folder / f"{split}.parquet") for split in ("train", "test"))
    vectorizer = TfidfVectorizer(token_pattern=r"\S+", sublinear_tf=True, ngram_range=(1, 2))
    features = vectorizer.fit_transform(train["text"])
    strength = record["solution"]["regularisation"]
    classifier = LogisticRegression(C=strength, tol=1e-9, max_iter=9999).fit(features, train["label"])
    expected = classifier.predict_proba(vectorizer.transform(test["text"]))

    saved = pd.read_parquet(tmp_path / "out" / record["predictions"]["test"])
    np.testing.assert_allclose(np.stack(saved["scores"]), expected, atol=1e-4)
    decisions = classifier.classes_[expected.argmax(axis=1)]
    np.testing.assert_array_equal(saved["prediction_name"], decisions)
    assert record["metrics"]["test"]["accuracy"] == pytest.approx((decisions == test["label"]).mean())

    assert record["strategy"] == {"name": "probe"} and record["history"] == []
    words = features.shape[1]
    assert record["solution"]["features"] == words and record["solution"]["rows"] == len(train)
    assert record["cost"]["parameters"] == {"total": 3 * words + 3, "trained": 3 * words + 3}
    assert record["cost"]["train_seconds"] > 0 and record["cost"]["steps"] == 0
    assert record["identity"]["model"]["config"]["num_ngrams"] == words
    assert record["identity"]["max_length"] is None

    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    assert isinstance(model, BagOfNgramsForSequenceClassification) and model.config.num_ngrams == words
    best = pipeline("text-classification", model=str(tmp_path / "out"))(test["text"][0])[0]
    assert best["score"] == pytest.approx(expected[0].max(), abs=1e-4)
    given = {"dataset_name": str(dataset_folder), "model_name_or_path": str(tmp_path / "out"), "split": "test"}
    run = {"output_dir": str(tmp_path / "predicted"), "use_cpu": True, "disable_tqdm": True}
    again = predict(parse_predict_arguments({**given, **run}))
    np.testing.assert_allclose(np.stack(again.predictions["scores"]), expected, atol=1e-4)


def test_rare_words_and_long_texts_are_kept(finetune: Finetune, tmp_path: Path) -> None:
    texts = [f"{'filler ' * 300}{word}{row}" for row, word in enumerate(["good", "bad"] * 11)]
    rows = pd.DataFrame({"text": texts, "label": [row % 2 for row in range(22)]})
    for split in ("train", "validation", "test"):
        (tmp_path / "long").mkdir(exist_ok=True)
        rows.to_parquet(tmp_path / "long" / f"{split}.parquet")
    record = finetune(**NGRAMS, dataset_name=str(tmp_path / "long"))
    assert record["metrics"]["test"]["accuracy"] == 1.0  # the last word of a text, which no other text has, decides
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert len(tokenizer) == 4 + 23 and len(tokenizer(texts[0])["input_ids"]) == 301
    cut = finetune("cut", **NGRAMS, dataset_name=str(tmp_path / "long"), max_length=256)
    assert cut["metrics"]["test"]["accuracy"] == 0.5 and cut["identity"]["max_length"] == 256
    assert cut["arguments"]["max_length"] == 256  # to repeat the run, although it is the default of other models


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"model_type": "bag_of_ngrams"}, (None, 1, 1_000_000)),
        ({"model_type": "bag_of_ngrams", "max_length": 256, "tokenizer_min_frequency": 2}, (256, 2, 1_000_000)),
        ({"model_type": "rnn"}, (256, 2, 30_000)),
    ],
)
def test_defaults_of_the_family(given: dict[str, Any], expected: tuple[Any, ...]) -> None:
    data, model, *_ = arguments_from({"dataset_name": "x", "output_dir": "y", **given}, "the test")
    assert (data.max_length, model.tokenizer_min_frequency, model.tokenizer_vocab_size) == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strategy": "scratch"}, "--strategy 'scratch' cannot be used with --model_type 'bag_of_ngrams'"),
        (
            {"num_train_epochs": 3},
            "--num_train_epochs 3.0 does not apply .* or use another --model_type",
        ),
        (
            {"task": "token-classification"},
            "labels or a number for a text, but --task is 'token-classification'",
        ),
        ({"config_overrides": "ngram_range=[2,23]"}, r"ngram_range \(2, 23\) is too long"),
        ({"config_overrides": "min_rows=97"}, "No sequence of 1 to 2 tokens is in 97 or more of the 66 training texts"),
    ],
)
def test_what_cannot_be_is_refused(finetune: Finetune, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        finetune(**{**NGRAMS, **settings})


def test_a_fitted_model_cannot_be_trained_further(finetune: Finetune, tmp_path: Path) -> None:
    finetune(**NGRAMS, strategy="probe", skip_test=True)
    with pytest.raises(UserError, match="cannot be trained further. Use --model_type bag_of_ngrams to fit a new one"):
        finetune("again", model_name_or_path=str(tmp_path / "out"))
