from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from sklearn.utils.class_weight import compute_class_weight
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tl_toolkit.config.arguments import DataArguments
from tl_toolkit.config.class_weight import parse_class_weight
from tl_toolkit.config.parsing import arguments_from, parse_arguments
from tl_toolkit.errors import UserError
from tl_toolkit.tasks import make_task
from tl_toolkit.tasks.class_weights import balanced, balanced_presence, class_weights
from tl_toolkit.tasks.losses import batch_mean_loss, token_mean_loss, total_weight

WEIGHTS = torch.tensor([0.3, 2.0, 5.0])


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    labels = np.repeat([0, 1, 3], [2, 7, 11])
    weights = balanced(np.bincount(labels, minlength=5))
    expected = compute_class_weight("balanced", classes=np.unique(labels), y=labels)
    np.testing.assert_allclose(weights[[0, 1, 3]], expected)
    assert weights[2] == weights[4] == 1  # classes without training rows


def test_a_balanced_label_is_a_balanced_problem_of_two_classes() -> None:
    rows, counts = 13, np.array([3, 0, 13, 11])
    weights = balanced_presence(counts, rows)
    for weight, count in zip(weights[[0, 3]], counts[[0, 3]], strict=True):
        absence, presence = compute_class_weight("balanced", classes=np.arange(2), y=[0] * (rows - count) + [1] * count)
        assert weight == pytest.approx(presence / absence)
    assert weights[1] == weights[2] == 1


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_that_of_torch_however_a_batch_is_split(smoothing: float) -> None:
    generator = torch.Generator().manual_seed(3)
    logits, labels = torch.randn(11, 3, generator=generator), torch.tensor([0, 2, 1, 1, 0, 2, 2, 0, 0, 0, -100])
    expected = torch.nn.CrossEntropyLoss(weight=WEIGHTS, label_smoothing=smoothing)(logits, labels)
    loss = batch_mean_loss("single_label_classification", smoothing, WEIGHTS)
    torch.testing.assert_close(loss({"logits": logits}, labels), expected)
    total = total_weight(labels, WEIGHTS)
    assert total.item() == pytest.approx(5 * 0.3 + 2 * 2.0 + 3 * 5.0)
    parts = sum(loss({"logits": logits[a:b]}, labels[a:b], num_items_in_batch=total) for a, b in ((0, 7), (7, 11)))
    torch.testing.assert_close(parts, expected)
    tokens = token_mean_loss(smoothing, WEIGHTS)({"logits": logits.view(1, 11, 3)}, labels.view(1, 11))
    torch.testing.assert_close(tokens, expected)


def test_the_loss_of_label_sets_is_that_of_torch() -> None:
    generator = torch.Generator().manual_seed(5)
    logits, labels = torch.randn(7, 3, generator=generator), torch.randint(0, 2, (7, 3), generator=generator).float()
    expected = torch.nn.BCEWithLogitsLoss(pos_weight=WEIGHTS)(logits, labels)
    loss = batch_mean_loss("multi_label_classification", 0.0, WEIGHTS)
    torch.testing.assert_close(loss({"logits": logits}, labels), expected)


def test_what_the_argument_may_look_like() -> None:
    expected = {"spam": 5.0, "a=b": 0.5}
    assert parse_class_weight("spam=5,a=b=.5") == parse_class_weight('{"spam": 5, "a=b": "0.5"}') == expected
    assert parse_class_weight("balanced") == "balanced"
    common = {"dataset_name": "x", "model_type": "rnn", "output_dir": "y"}
    mapping = arguments_from({**common, "class_weight": {"spam": 5, "no, ham": "1e-1"}}, "the test").data.class_weight
    assert parse_class_weight(str(mapping)) == {"spam": 5.0, "no, ham": 0.1}
    flags = [f"--{name}={value}" for name, value in common.items()]
    assert parse_arguments([*flags, "--class_weight", "none"]).data.class_weight is None
    assert class_weights("b=3", ["a", "b"], np.array([1, 1])).tolist() == [1.0, 3.0]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("balance", "Did you mean 'balanced'"),
        ("{bad", "must be balanced, none, or weights"),
        ("spam=0", "'spam' in --class_weight must be a number above 0, but is 0"),
        ("spam=much", "but is much"),
        ('{"spam": null}', "but is None"),
    ],
)
def test_a_bad_argument_is_named(text: str, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        DataArguments(class_weight=text)


def test_an_unknown_class_and_a_task_without_classes_are_refused(csv: Callable, tmp_path: Path) -> None:
    path = str(csv(tmp_path / "rows.csv"))
    task = make_task(DataArguments(dataset_name=path, class_weight="postive=2"))
    with pytest.raises(UserError, match="'postive'"):
        task.prepare(1)
    with pytest.raises(UserError, match="Did you mean 'pos'"):
        make_task(DataArguments(dataset_name=path, class_weight="poss=2")).prepare(1)
    for name in ("regression", "translation", "captioning", "forecasting"):
        with pytest.raises(UserError, match=f"--class_weight does not apply to --task {name}"):
            make_task(DataArguments(task=name, dataset_name=path, class_weight="balanced"))


def test_a_conditional_random_field_has_no_class_weights() -> None:
    task = make_task(DataArguments(task="token-classification", class_weight="balanced"))
    task._has_crf, task.class_weights = True, WEIGHTS
    with pytest.raises(UserError, match="conditional random field"):
        task.loss(0.0)


@pytest.mark.parametrize("kind", ["classes", "label sets"])
def test_a_run_trains_with_weights_over_whole_batches(
    finetune: Callable, tmp_path: Path, dataset_folder: Path, tiny_rnn: dict, kind: str
) -> None:
    frame = pd.read_parquet(dataset_folder / "train.parquet")
    keep = (frame["label"] != "river") | (frame.index % 5 == 0)
    frame[keep].to_parquet(dataset_folder / "train.parquet")
    if kind == "label sets":
        for path in dataset_folder.glob("*.parquet"):
            frame = pd.read_parquet(path)
            frame["label"] = [[label, "long"] if len(text) > 30 else [label] for text, label in frame.to_numpy()]
            frame.to_parquet(path)
    common = {**tiny_rnn, "optim": "sgd", "learning_rate": 0.5, "load_best_model_at_end": False}
    record = finetune("whole", **common, class_weight="balanced", per_device_train_batch_size=16)
    finetune("parts", **common, class_weight="balanced", per_device_train_batch_size=4, gradient_accumulation_steps=4)
    named = ",".join(f"{name}={weight}" for name, weight in record["task"]["class_weights"].items())
    finetune("named", **common, class_weight=named, per_device_train_batch_size=16)
    finetune("plain", **common, per_device_train_batch_size=16)
    assert record["arguments"]["class_weight"] == "balanced" and record["task"]["class_weights"]["river"] > 2
    whole, parts, named, plain = (
        load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts", "named", "plain")
    )
    for weight in whole:
        torch.testing.assert_close(parts[weight], whole[weight], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(named[weight], whole[weight], atol=1e-6, rtol=1e-5)
    assert any((plain[weight] - whole[weight]).abs().max() > 1e-3 for weight in whole)


@pytest.mark.parametrize("parts", [1, 6])
def test_the_loss_of_a_run_is_the_weighted_mean_of_its_rows(
    finetune: Callable, tmp_path: Path, dataset_folder: Path, tiny_rnn: dict, parts: int
) -> None:
    """One update on all rows, too small to change the model: its loss is that of torch for the saved model."""
    record = finetune(
        **tiny_rnn, class_weight="fruit=7,river=.5", optim="sgd", learning_rate=1e-9, num_train_epochs=1,
        per_device_train_batch_size=66 // parts, gradient_accumulation_steps=parts, logging_steps=1,
        validation_budget=11,
    )  # fmt: skip
    assert record["calibration"]["temperature"] == 1 and record["cost"]["steps"] == 1
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    frame = pd.read_parquet(dataset_folder / "train.parquet")
    with torch.no_grad():
        logits = model(**tokenizer(frame["text"].tolist(), padding=True, return_tensors="pt")).logits
    labels = torch.tensor([model.config.label2id[name] for name in frame["label"]])
    expected = torch.nn.CrossEntropyLoss(weight=torch.tensor([7.0, 1.0, 0.5]))(logits, labels)
    assert record["history"][0]["loss"] == pytest.approx(expected.item(), rel=1e-5)
    plain = torch.nn.CrossEntropyLoss()(logits, labels)
    assert abs(plain - expected) > 1e-3
