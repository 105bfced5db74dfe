"""A fitted bag of n-grams equals scikit-learn's pipeline on the same texts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from transformers import PreTrainedTokenizerFast

from tl_toolkit.data.tokenizers import build_tokenizer
from tl_toolkit.errors import UserError
from tl_toolkit.models import BagOfNgramsConfig, BagOfNgramsForSequenceClassification
from tl_toolkit.strategies.bag_of_ngrams import learn_ngrams, solve_weights

WORDS = ["Good", "bad", "dull", "fine", "not", "very", "plot", "cast", "and", "the"]
SINGLE, MULTI = "single_label_classification", "multi_label_classification"
SETTINGS: dict[str, tuple[str, dict[str, Any], Callable[..., Any], dict[str, Any]]] = {
    "words": ("word", {}, TfidfVectorizer, {"sublinear_tf": True, "ngram_range": (1, 2)}),
    "words, plain tf, n-grams of 2 and 3": (
        *("word", {"sublinear_tf": False, "ngram_range": (2, 3)}, TfidfVectorizer, {"ngram_range": (2, 3)}),
    ),
    "words in two rows or more": (
        *("word", {"min_rows": 2}, TfidfVectorizer, {"sublinear_tf": True, "ngram_range": (1, 2), "min_df": 2}),
    ),
    "word counts": ("word", {"weighting": "counts"}, CountVectorizer, {"ngram_range": (1, 2)}),
    "characters": (
        *("char", {"ngram_range": [2, 5]}, TfidfVectorizer),
        {"sublinear_tf": True, "ngram_range": (2, 5), "analyzer": "char"},
    ),
}


def texts_of(seed: int, rows: int, words: list[str] = WORDS) -> list[str]:
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(words, size=random.integers(1, 17))) for _ in range(rows)]


TRAINING = [*texts_of(0, 61), "fine"]
OTHERS = [*texts_of(1, 41, [*WORDS, "unheard", "DULL"]), "unheard", "fine", "good " * 97]


def targets_of(texts: list[str], problem_type: str) -> np.ndarray:
    noise = np.random.default_rng(2).normal(size=len(texts))
    values = np.array([text.count("Good") - text.count("not Good") - text.count("bad") for text in texts]) + noise / 2
    if problem_type == SINGLE:
        return np.digitize(values, [-0.5, 0.7])
    if problem_type == MULTI:
        return np.stack([values > 0, np.array(["cast" in text for text in texts])], axis=1).astype(int)
    return values


def encoded(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> Dataset:
    return Dataset.from_dict({"input_ids": tokenizer(texts)["input_ids"]})


def new_model(tokenizer: PreTrainedTokenizerFast, problem_type: str = SINGLE, **fields: Any) -> Any:
    labels = {SINGLE: 3, MULTI: 2}.get(problem_type, 1)
    config = BagOfNgramsConfig(
        vocab_size=len(tokenizer), pad_token_id=0, num_labels=labels, problem_type=problem_type, **fields
    )
    return BagOfNgramsForSequenceClassification(config).eval()


@torch.no_grad()
def logits_of(model: Any, tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> torch.Tensor:
    return model(**tokenizer(texts, padding=True, return_tensors="pt")).logits.double()


@pytest.mark.parametrize("problem_type", [SINGLE, MULTI, "regression"])
@pytest.mark.parametrize("settings", SETTINGS)
def test_equals_the_pipeline_of_scikit_learn(settings: str, problem_type: str) -> None:
    kind, fields, vectorizer_class, arguments = SETTINGS[settings]
    tokenizer = build_tokenizer(kind, TRAINING, min_frequency=1)
    own = {} if kind == "char" else {"tokenizer": tokenizer.tokenize, "token_pattern": None}
    vectorizer = vectorizer_class(lowercase=False, **own, **arguments)
    model = new_model(tokenizer, problem_type, **fields)
    targets = targets_of(TRAINING, problem_type)

    learn_ngrams(model, encoded(tokenizer, TRAINING))
    solution = solve_weights(model, encoded(tokenizer, TRAINING), targets)

    features, others = vectorizer.fit_transform(TRAINING), vectorizer.transform(OTHERS)
    assert model.config.num_ngrams == solution["features"] == features.shape[1]
    table = [tuple(index for index in row if index >= 0) for row in model.ngrams.token_ids().tolist()]
    joined = "" if kind == "char" else " "
    names = [joined.join(tokenizer.convert_ids_to_tokens(row)) for row in table]
    assert sorted(names) == sorted(vectorizer.get_feature_names_out())
    logits = logits_of(model, tokenizer, OTHERS)
    strength = solution["regularisation"]
    exact = {"tol": 1e-9, "max_iter": 100_000}
    if problem_type == "regression":
        expected = Ridge(strength, **exact).fit(features, targets).predict(others)
        np.testing.assert_allclose(logits[:, 0], expected, atol=1e-4)
        return
    if problem_type == MULTI:
        columns = [LogisticRegression(C=c, **exact).fit(features, y) for c, y in zip(strength, targets.T, strict=True)]
        probabilities = np.stack([model.predict_proba(others)[:, 1] for model in columns], axis=1)
        decisions = np.stack([model.predict(others) for model in columns], axis=1)
        predicted, decided = logits.sigmoid(), logits > 0
    else:
        classifier = LogisticRegression(C=strength, **exact).fit(features, targets)
        probabilities, decisions = classifier.predict_proba(others), classifier.predict(others)
        predicted, decided = logits.softmax(-1), logits.argmax(-1)
    np.testing.assert_allclose(predicted, probabilities, atol=1e-4)
    np.testing.assert_array_equal(decided, decisions)
    assert len(np.unique(decisions)) > 1


def test_two_classes_equal_one_logistic_regression() -> None:
    tokenizer = build_tokenizer("word", TRAINING, min_frequency=1)
    model = new_model(tokenizer)
    model.config.num_labels = 2
    model = BagOfNgramsForSequenceClassification(model.config).eval()
    targets = targets_of(TRAINING, MULTI)[:, 0]
    learn_ngrams(model, encoded(tokenizer, TRAINING))
    strength = solve_weights(model, encoded(tokenizer, TRAINING), targets)["regularisation"]
    vectorizer = TfidfVectorizer(
        tokenizer=tokenizer.tokenize, token_pattern=None, lowercase=False, sublinear_tf=True, ngram_range=(1, 2)
    )
    classifier = LogisticRegression(C=strength, tol=1e-9, max_iter=9999).fit(
        vectorizer.fit_transform(TRAINING), targets
    )
    expected = classifier.predict_proba(vectorizer.transform(OTHERS))
    np.testing.assert_allclose(logits_of(model, tokenizer, OTHERS).softmax(-1), expected, atol=1e-4)


def test_class_weights_are_those_of_scikit_learn() -> None:
    tokenizer = build_tokenizer("word", TRAINING, min_frequency=1)
    model, targets = new_model(tokenizer), targets_of(TRAINING, SINGLE)
    learn_ngrams(model, encoded(tokenizer, TRAINING))
    solution = solve_weights(model, encoded(tokenizer, TRAINING), targets, class_weights=[5.0, 1.0, 0.5])
    vectorizer = TfidfVectorizer(
        tokenizer=tokenizer.tokenize, token_pattern=None, lowercase=False, sublinear_tf=True, ngram_range=(1, 2)
    )
    weighted = LogisticRegression(
        C=solution["regularisation"], class_weight={0: 5.0, 1: 1.0, 2: 0.5}, tol=1e-9, max_iter=9999
    ).fit(vectorizer.fit_transform(TRAINING), targets)
    expected = weighted.predict_proba(vectorizer.transform(OTHERS))
    np.testing.assert_allclose(logits_of(model, tokenizer, OTHERS).softmax(-1), expected, atol=1e-4)


def test_max_ngrams_keeps_those_in_the_most_rows() -> None:
    # By hand: 5 is in three rows, 7 and (5, 7) are in two, and the others are in one. (5, 7) has a higher key than 7.
    rows = Dataset.from_dict({"input_ids": [[5, 7, 11], [13, 5, 7], [5, 5, 2]]})
    config = BagOfNgramsConfig(vocab_size=17, max_ngrams=2)
    model = BagOfNgramsForSequenceClassification(config)
    learn_ngrams(model, rows)
    assert model.ngrams.token_ids().tolist() == [[5, -1], [7, -1]]
    expected = [1 + np.log(4 / 4), 1 + np.log(4 / 3)]
    np.testing.assert_allclose(model.ngrams.idf, expected, rtol=1e-6)
    assert model.config.num_ngrams == 2 and model.classifier.weight.shape == (2, 2)


def test_nothing_to_count_is_an_error() -> None:
    rows = Dataset.from_dict({"input_ids": [[5, 7, 11], [13], [3, 2]]})
    model = BagOfNgramsForSequenceClassification(BagOfNgramsConfig(vocab_size=17, ngram_range=(4, 5)))
    with pytest.raises(UserError, match="No sequence of 4 to 5 tokens is in 1 or more of the 3 training texts"):
        learn_ngrams(model, rows)


@pytest.mark.parametrize("weighting", ["tfidf", "counts"])
def test_without_ngrams_every_text_gets_the_same_answer(weighting):
    tokenizer, classes = build_tokenizer("word", TRAINING), targets_of(TRAINING, SINGLE)
    config = BagOfNgramsConfig(vocab_size=len(tokenizer), max_ngrams=0, weighting=weighting, num_labels=3)
    model, rows = BagOfNgramsForSequenceClassification(config), encoded(tokenizer, TRAINING)
    config.problem_type = SINGLE
    learn_ngrams(model, rows)
    solve_weights(model, rows, classes)
    inputs = tokenizer(["good plot", "", "dull"], padding=True, return_tensors="pt")
    with torch.no_grad():
        chances = model(inputs["input_ids"], inputs["attention_mask"]).logits.softmax(dim=1)
    np.testing.assert_allclose(chances, np.tile(np.bincount(classes) / len(classes), (3, 1)), atol=1e-5)
