"""The strategy `probe` and the features of `frozen`, from the arguments to the model folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression, Ridge
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    pipeline,
)

from tl_toolkit.data.tokenizers import build_tokenizer
from tl_toolkit.errors import UserError
from tl_toolkit.strategies.head_input import HeadInput
from tl_toolkit.workflows.predict import parse_predict_arguments, predict

Finetune = Callable[..., dict]


@pytest.fixture
def bert(tmp_path: Path, dataset_folder: Path) -> str:
    """A tiny BERT with dropout and features that vary, and without a head for the labels."""
    texts = pd.read_parquet(dataset_folder / "train.parquet")["text"]
    tokenizer = build_tokenizer("word", texts, max_length=64)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=12, num_hidden_layers=2, num_attention_heads=3, intermediate_size=17,
        pad_token_id=tokenizer.pad_token_id, initializer_range=0.4, hidden_dropout_prob=0.3,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    return str(tmp_path / "bert")


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all batches whose features were computed, without the one that finds the head."""
    sizes: list[int] = []
    run = HeadInput.run

    def counting(self: HeadInput, model: object, inputs: dict) -> tuple:
        features, logits = run(self, model, inputs)
        sizes.append(len(features))
        return features, logits

    monkeypatch.setattr(HeadInput, "run", counting)
    monkeypatch.setattr("tl_toolkit.training.features.head_input", _uncounted(sizes))
    return sizes


def _uncounted(sizes: list[int]) -> Callable:
    from tl_toolkit.strategies.head_input import head_input

    def call(*given: object) -> object:
        before = len(sizes)
        found = head_input(*given)
        del sizes[before:]
        return found

    return call


def _pooled(checkpoint: str, texts: list[str]) -> np.ndarray:
    """The means of the token vectors, as sentence-transformers computes them, one text at a time."""
    model, tokenizer = AutoModel.from_pretrained(checkpoint).eval(), AutoTokenizer.from_pretrained(checkpoint)
    with torch.no_grad():
        vectors = [model(**tokenizer(text, return_tensors="pt")).last_hidden_state.mean(1) for text in texts]
    return torch.cat(vectors).numpy()


def _probe(finetune: Finetune, output: str, checkpoint: str, **settings: object) -> dict:
    return finetune(output, model_name_or_path=checkpoint, strategy="probe", num_train_epochs=0, **settings)


def test_a_probe_equals_logistic_regression_on_the_same_features(
    finetune: Finetune, tmp_path: Path, dataset_folder: Path, bert: str
) -> None:
    record = _probe(finetune, "out", bert)
    train, test = (pd.read_parquet(dataset_folder / f"{split}.parquet") for split in ("train", "test"))
    strength = record["solution"]["regularisation"]
    reference = LogisticRegression(C=strength, tol=1e-9, max_iter=100_000).fit(
        _pooled(bert, train["text"]), train["label"]
    )
    logits = reference.decision_function(_pooled(bert, test["text"])) / record["calibration"]["temperature"]
    expected = softmax(logits, axis=1)
    scores = np.stack(pd.read_parquet(tmp_path / "out" / "predictions_test.parquet")["scores"])
    np.testing.assert_allclose(scores, expected, atol=5e-3)  # calibration makes differences of logits larger
    assert np.ptp(expected, axis=0).min() > 0.2  # and not because every row has the same scores
    before, after = load_file(f"{bert}/model.safetensors"), load_file(tmp_path / "out" / "model.safetensors")
    body = {name.replace("model.encoder.", "bert."): weight for name, weight in after.items() if "encoder." in name}
    assert len(body) > 30 and all(torch.equal(weight, before[name]) for name, weight in body.items())


def test_the_folder_of_a_probe_is_an_ordinary_model(
    finetune: Finetune, tmp_path: Path, dataset_folder: Path, bert: str
) -> None:
    record = _probe(finetune, "out", bert)
    assert record == json.loads((tmp_path / "out" / "result.json").read_text())
    assert record["strategy"] == {"name": "probe"}
    assert record["cost"]["parameters"]["trained"] == 3 * 13
    assert (record["cost"]["steps"], record["cost"]["epochs"], record["history"]) == (0, 0.0, [])
    assert record["cost"]["train_seconds"] > 0 and record["cost"]["examples_per_second"] > 0
    predictions = pd.read_parquet(tmp_path / "out" / "predictions_test.parquet")
    texts = pd.read_parquet(dataset_folder / "test.parquet")["text"].tolist()
    classify = pipeline("text-classification", str(tmp_path / "out"), device="cpu", trust_remote_code=True)
    found = classify(texts)
    assert [one["label"] for one in found] == predictions["prediction_name"].tolist()
    np.testing.assert_allclose([one["score"] for one in found], np.stack(predictions["scores"]).max(1), atol=1e-5)
    accuracy = (predictions["prediction"] == predictions["label"]).mean()
    assert record["metrics"]["test"]["accuracy"] == pytest.approx(accuracy)
    assert record["cost"]["inference"]["rows_per_second"] > 0
    given = {"model_name_or_path": str(tmp_path / "out"), "dataset_name": str(dataset_folder), "use_cpu": True}
    again = predict(parse_predict_arguments({**given, "output_dir": str(tmp_path / "again"), "disable_tqdm": True}))
    assert again.metrics == pytest.approx(record["metrics"]["test"], abs=1e-5)


def test_batches_and_the_order_of_rows_do_not_matter(
    finetune: Finetune, tmp_path: Path, dataset_folder: Path, bert: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _probe(finetune, "one", bert, per_device_eval_batch_size=64)
    monkeypatch.setattr("tl_toolkit.training.feature_store.cache_folder", lambda: tmp_path / "another")
    record = _probe(finetune, "two", bert, per_device_eval_batch_size=3)
    assert record["cost"]["features"]["computed_rows"] == len({*_texts(dataset_folder)})
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    torch.testing.assert_close(one["classifier.weight"], two["classifier.weight"], atol=1e-4, rtol=1e-3)


def _texts(folder: Path) -> list[str]:
    return [text for path in folder.glob("*.parquet") for text in pd.read_parquet(path)["text"]]


def test_budgets_and_seeds_compute_the_features_of_a_row_once(
    finetune: Finetune, dataset_folder: Path, bert: str, computed: list[int]
) -> None:
    for budget in (12, 30, 66):
        for seed in (1, 2):
            for strategy in ("probe", "frozen"):
                finetune(model_name_or_path=bert, strategy=strategy, num_train_epochs=0, label_budget=budget, seed=seed)
    assert sum(computed) == 2 * len({*_texts(dataset_folder)})  # probe and frozen read different layers


def test_folds_share_the_features(finetune: Finetune, dataset_folder: Path, bert: str, computed: list[int]) -> None:
    rows = {*pd.read_parquet(dataset_folder / "train.parquet")["text"]}
    for split in ("validation", "test"):
        (dataset_folder / f"{split}.parquet").unlink()
    records = [_probe(finetune, f"fold{fold}", bert, folds=3, fold=fold) for fold in (1, 2, 3)]
    assert [record["cost"]["features"]["computed_rows"] for record in records] == [len(rows), 0, 0]
    assert records[1]["identity"]["settings"]["fold"] == 2  # a checkpoint of another fold is not resumed
    assert sum(computed) == len(rows) and sum(record["dataset"]["rows"]["test"] for record in records) == 66


def test_another_checkpoint_has_other_features(
    finetune: Finetune, tmp_path: Path, dataset_folder: Path, bert: str
) -> None:
    weights = load_file(f"{bert}/model.safetensors")
    weights["bert.encoder.layer.1.output.LayerNorm.bias"][3] += 0.5
    shutil.copytree(bert, tmp_path / "changed")
    save_file(weights, tmp_path / "changed" / "model.safetensors", {"format": "pt"})
    for checkpoint in (bert, str(tmp_path / "changed")):
        record = _probe(finetune, Path(checkpoint).name + "_probe", checkpoint)
        assert record["cost"]["features"]["computed_rows"] == len({*_texts(dataset_folder)})


def test_a_crf_is_refused(finetune: Finetune, tmp_path: Path, dataset_folder: Path) -> None:
    for path in dataset_folder.glob("*.parquet"):
        words = pd.read_parquet(path)["text"].str.split()
        pd.DataFrame({"tokens": words, "tags": [["B-X"] + ["O"] * (len(own) - 1) for own in words]}).to_parquet(path)
    common = {"task": "token-classification", "num_train_epochs": 0}
    sizes = "embedding_size=7,hidden_size=11,crf=true"
    finetune("base", **{**common, "num_train_epochs": 1}, model_type="rnn", config_overrides=sizes)
    with pytest.raises(UserError, match="last linear layer.*RnnForTokenClassification.*'frozen'"):
        _probe(finetune, "out", str(tmp_path / "base"), task="token-classification")
    record = finetune("frozen", **common, model_name_or_path=str(tmp_path / "base"), strategy="frozen")
    assert "features" not in record["cost"]


def test_frozen_trains_as_with_the_whole_model(
    finetune: Finetune, tmp_path: Path, bert: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Epoch by epoch the same losses, and the same model, as when the body runs in every update."""
    common = {"model_name_or_path": bert, "strategy": "frozen", "learning_rate": 0.02, "num_train_epochs": 3}
    common["config_overrides"] = "classifier_dropout=0.0"  # its random numbers differ, as the body draws none
    features = finetune("features", **common)
    monkeypatch.setattr("tl_toolkit.training.features.head_input", lambda *_: None)
    whole = finetune("whole", **common)
    assert "features" in features["cost"] and "features" not in whole["cost"]
    for one, two in zip(features["history"], whole["history"], strict=True):
        for name in {"loss", "eval_loss", "eval_accuracy"} & one.keys():
            assert float(one[name]) == pytest.approx(float(two[name]), abs=1e-4)
    assert features["metrics"]["test"]["loss"] == pytest.approx(whole["metrics"]["test"]["loss"], abs=1e-5)
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("features", "whole"))
    for name, weight in one.items():
        torch.testing.assert_close(weight, two[name], atol=1e-4, rtol=1e-3)
    assert not torch.equal(
        one["bert.pooler.dense.weight"], load_file(f"{bert}/model.safetensors")["bert.pooler.dense.weight"]
    )


def test_frozen_can_be_resumed(finetune: Finetune, tmp_path: Path, bert: str) -> None:
    common = {"model_name_or_path": bert, "strategy": "frozen", "learning_rate": 0.02, "num_train_epochs": 3}
    whole = finetune("whole", **common, save_total_limit=5)
    (tmp_path / "again").mkdir()
    (tmp_path / "whole" / "checkpoint-6").rename(tmp_path / "again" / "checkpoint-6")
    resumed = finetune("again", **common, resume_from_checkpoint=str(tmp_path / "again" / "checkpoint-6"))
    assert resumed["metrics"]["test"]["loss"] == pytest.approx(whole["metrics"]["test"]["loss"], abs=1e-6)


def test_a_learning_rate_is_found_for_frozen(finetune: Finetune, bert: str) -> None:
    settings = {"find_lr": True, "find_lr_steps": 11, "strategy": "frozen"}
    found = finetune(model_name_or_path=bert, **settings)
    assert len(found["losses"]) == 11 and np.isfinite(found["losses"]).all()


@pytest.mark.parametrize("strategy", ["probe", "frozen"])
def test_several_labels(finetune: Finetune, tmp_path: Path, dataset_folder: Path, bert: str, strategy: str) -> None:
    for path in dataset_folder.glob("*.parquet"):
        frame = pd.read_parquet(path)
        frame["label"] = [[label, "long"] if len(text) > 30 else [label] for label, text in frame.to_numpy()[:, ::-1]]
        frame.to_parquet(path)
    record = finetune(model_name_or_path=bert, strategy=strategy, num_train_epochs=0)
    assert record["task"]["problem_type"] == "multi_label_classification"
    if strategy == "probe":
        train, test = (pd.read_parquet(dataset_folder / f"{split}.parquet") for split in ("train", "test"))
        for place, name in enumerate(record["task"]["labels"]):
            reference = LogisticRegression(C=record["solution"]["regularisation"][place], tol=1e-9, max_iter=100_000)
            reference.fit(_pooled(bert, train["text"]), [name in own for own in train["label"]])
            expected = reference.predict_proba(_pooled(bert, test["text"]))[:, 1]
            scores = np.stack(pd.read_parquet(tmp_path / "out" / "predictions_test.parquet")["scores"])
            np.testing.assert_allclose(scores[:, place], expected, atol=2e-3)


def test_regression(finetune: Finetune, tmp_path: Path, dataset_folder: Path, bert: str) -> None:
    for path in dataset_folder.glob("*.parquet"):
        frame = pd.read_parquet(path)
        frame["label"] = frame["text"].str.count("old") + 100.5
        frame.to_parquet(path)
    record = _probe(finetune, "out", bert, task="regression")
    train, test = (pd.read_parquet(dataset_folder / f"{split}.parquet") for split in ("train", "test"))
    reference = Ridge(record["solution"]["regularisation"]).fit(_pooled(bert, train["text"]), train["label"])
    found = pd.read_parquet(tmp_path / "out" / "predictions_test.parquet")["prediction"]
    np.testing.assert_allclose(found, reference.predict(_pooled(bert, test["text"])), atol=1e-3)


def _words(checkpoint: str, frame: pd.DataFrame) -> tuple[np.ndarray, list[str]]:
    """The features and the tag of each word; every word is one token."""
    model, tokenizer = AutoModel.from_pretrained(checkpoint).eval(), AutoTokenizer.from_pretrained(checkpoint)
    found = []
    for words in frame["tokens"]:
        encoded = tokenizer(list(words), is_split_into_words=True, return_tensors="pt")
        places = [place for place, word in enumerate(encoded.word_ids(0)) if word is not None]
        with torch.no_grad():
            found.append(model(**encoded).last_hidden_state[0, places])
    return torch.cat(found).numpy(), [tag for own in frame["tags"] for tag in own]


@pytest.mark.parametrize("strategy", ["probe", "frozen"])
def test_tags(finetune: Finetune, tmp_path: Path, dataset_folder: Path, bert: str, strategy: str) -> None:
    for path in dataset_folder.glob("*.parquet"):
        frame = pd.read_parquet(path)
        words = frame["text"].str.split()
        tags = [["O" if word in "the a of and some very old new" else "B-X" for word in own] for own in words]
        pd.DataFrame({"tokens": words, "tags": tags}).to_parquet(path)
    settings = {"task": "token-classification", "num_train_epochs": 0 if strategy == "probe" else 2}
    record = finetune(model_name_or_path=bert, strategy=strategy, **settings)
    assert record["cost"]["features"]["computed_rows"] > 0
    if strategy == "probe":
        train = _words(bert, pd.read_parquet(dataset_folder / "train.parquet"))
        test = _words(bert, pd.read_parquet(dataset_folder / "test.parquet"))
        reference = LogisticRegression(C=record["solution"]["regularisation"], tol=1e-9, max_iter=100_000).fit(*train)
        assert record["solution"]["rows"] == len(train[0])
        assert record["metrics"]["test"]["accuracy"] == pytest.approx(reference.score(*test), abs=0.01)
    found = pd.read_parquet(tmp_path / "out" / "predictions_test.parquet")
    model = pipeline("token-classification", str(tmp_path / "out"), device="cpu")
    for words, tags in zip(found["words"][:9], found["prediction"], strict=False):
        assert [one["entity"] for one in model(" ".join(words), ignore_labels=[])] == list(tags)


def test_a_class_without_training_rows(finetune: Finetune, tmp_path: Path, dataset_folder: Path, bert: str) -> None:
    frame = pd.read_parquet(dataset_folder / "train.parquet")
    frame[frame["label"] != "metal"].to_parquet(dataset_folder / "train.parquet")
    record = _probe(finetune, "out", bert)
    scores = np.stack(pd.read_parquet(tmp_path / "out" / "predictions_test.parquet")["scores"])
    assert record["task"]["labels"] == ["fruit", "metal", "river"] and scores[:, 1].max() < 1.1e-6


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"learning_rate": 0.1}, ["--learning_rate 0.1", "probe", "frozen"]),
        ({"num_train_epochs": 4}, ["--num_train_epochs 4", "probe"]),
        ({"max_steps": 4}, ["--max_steps 4"]),
        ({"find_lr": True}, ["--find_lr"]),
        ({"task": "translation"}, ["probe", "--task translation", "token-classification"]),
    ],
)
def test_settings_of_updates_are_refused_before_the_run_begins(
    finetune: Finetune, tmp_path: Path, settings: dict, named: list[str]
) -> None:
    with pytest.raises(UserError) as refused:
        finetune(model_name_or_path="./nowhere", strategy="probe", **{"num_train_epochs": 0, **settings})
    assert all(name in str(refused.value) for name in named)
    assert not (tmp_path / "out").exists()


def test_random_weights_are_refused(finetune: Finetune, tiny_rnn: dict) -> None:
    with pytest.raises(UserError, match="probe"):
        finetune(**tiny_rnn, strategy="probe", num_train_epochs=0)


def test_a_recurrent_checkpoint(finetune: Finetune, tmp_path: Path, tiny_rnn: dict) -> None:
    finetune("base", **tiny_rnn, num_train_epochs=5, learning_rate=0.02)
    record = _probe(finetune, "out", str(tmp_path / "base"))
    assert record["metrics"]["test"]["accuracy"] > 0.5
    AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
