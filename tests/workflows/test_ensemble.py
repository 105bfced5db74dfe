"""The ensemble of a forward and a backward classifier."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from tl_toolkit.errors import UserError
from tl_toolkit.workflows.ensemble import ensemble, parse_ensemble_arguments
from tl_toolkit.workflows.summary import print_ensemble_summary

SIZES = "embedding_size=7,hidden_size=13,num_hidden_layers=2,classifier_hidden_size=5"
Train = Callable[..., str]


@pytest.fixture
def member(finetune: Callable[..., dict], tmp_path: Path) -> Train:
    """Train a small classifier that reads in `direction`, and return its folder."""

    def call(direction: str, output: str | None = None, sizes: str = SIZES, **settings: Any) -> str:
        output = output or direction
        overrides = f"{sizes},direction={direction}"
        common = {"model_type": "awd_lstm", "learning_rate": 0.03, "tokenizer_min_frequency": 1, "label_budget": 41}
        finetune(output, **{**common, "config_overrides": overrides, **settings})
        return str(tmp_path / output)

    return call


def join(tmp_path: Path, forward: str, backward: str, *flags: str) -> dict[str, Any]:
    where = ["--forward", forward, "--backward", backward, "--output_dir", str(tmp_path / "both")]
    return ensemble(parse_ensemble_arguments([*where, "--use_cpu", "--disable_tqdm", *flags]))


def scores(folder: str | Path, texts: list[str]) -> np.ndarray:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        return model(**tokenizer(texts, padding=True, return_tensors="pt")).logits.softmax(-1).numpy()


def test_the_ensemble_averages_the_probabilities_of_its_members(
    member: Train, dataset_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    forward, backward = member("forward", seed=3), member("backward", seed=3)
    record = join(tmp_path, forward, backward)
    both = tmp_path / "both"
    assert json.loads((both / "result.json").read_text()) == json.loads(json.dumps(record))

    texts = pd.read_parquet(dataset_folder / "test.parquet")["text"].tolist()
    alone = [scores(folder, texts) for folder in (forward, backward)]
    assert np.abs(alone[0] - alone[1]).max() > 0.001  # near chance, which calibration shows
    np.testing.assert_allclose(scores(both, texts), np.mean(alone, axis=0), atol=1e-6)
    saved = pd.read_parquet(both / "predictions_test.parquet")
    assert saved["text"].tolist() == texts
    np.testing.assert_allclose(np.stack(saved["scores"]), np.mean(alone, axis=0), atol=1e-6)
    predicted = pipeline("text-classification", model=str(both), device="cpu")(texts, top_k=None)
    by_name = [{one["label"]: one["score"] for one in row} for row in predicted]
    names = ["fruit", "metal", "river"]
    np.testing.assert_allclose([[row[name] for name in names] for row in by_name], np.mean(alone, axis=0), atol=1e-6)

    assert (record["status"], record["strategy"]["name"]) == ("completed", "ensemble")
    assert record["metrics"]["test"]["accuracy"] == pytest.approx((saved["label"] == saved["prediction"]).mean())
    for described, folder in zip(record["members"], (forward, backward), strict=True):
        own = json.loads((Path(folder) / "result.json").read_text())
        for split in ("validation", "test"):  # the rows of the member's own run
            assert described["metrics"][split] == pytest.approx(own["metrics"][split], abs=1e-6)
        assert described["train_seconds"] == own["cost"]["train_seconds"]
    assert record["budget"]["train_labels"] == 41 and record["seed"] == 3

    print_ensemble_summary(record, str(both))
    header = next(line.split() for line in capsys.readouterr().out.splitlines() if "ensemble" in line)
    assert header[-3:] == ["forward", "backward", "ensemble"]


def test_the_ensemble_contains_the_weights_of_its_members(member: Train, tmp_path: Path) -> None:
    forward, backward = member("forward"), member("backward")
    join(tmp_path, forward, backward)
    joined, *members = (
        AutoModelForSequenceClassification.from_pretrained(folder).state_dict()
        for folder in (tmp_path / "both", forward, backward)
    )
    assert set(members[0]).isdisjoint(members[1]) and set(joined) == {*members[0], *members[1]}
    assert all(torch.equal(joined[name], weight) for own in members for name, weight in own.items())


def test_flags_override_the_record_of_the_forward_member(member: Train, dataset_folder: Path) -> None:
    forward, backward = member("forward"), member("backward")
    where = ["--forward", forward, "--backward", backward]
    data = parse_ensemble_arguments(where).data
    assert (data.dataset_name, data.label_budget, data.max_length) == (str(dataset_folder), 41, None)
    data = parse_ensemble_arguments([*where, "--dataset_name", "other", "--label_budget", "none"]).data
    assert (data.dataset_name, data.label_budget) == ("other", None)


def test_members_trained_on_other_rows_cause_a_warning(
    member: Train, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    forward, backward = member("forward", seed=3), member("backward", seed=5)
    with caplog.at_level(logging.WARNING):
        parse_ensemble_arguments(["--forward", forward, "--backward", backward])
    assert "'seed'" in caplog.text and "test rows" in caplog.text


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"sizes": SIZES.replace("13", "17")}, ["hidden_size", "13", "17"]),
        ({"tokenizer_lowercase": False}, ["tokenizers", "--tokenizer_name"]),
        ({"max_length": 3}, ["256", "--max_length"]),
        ({"task": "regression", "label_column": "number"}, ["different labels", "'fruit'", "'number'"]),
    ],
)
def test_members_that_do_not_fit_are_refused(
    member: Train, dataset_folder: Path, tmp_path: Path, settings: dict, named: list[str]
) -> None:
    for path in dataset_folder.glob("*.parquet"):
        frame = pd.read_parquet(path)
        frame.assign(number=range(len(frame))).to_parquet(path)
    common = {"num_train_epochs": 1, "label_column": "label", "text_column": "text"}
    forward, backward = member("forward", **common), member("backward", **{**common, **settings})
    with pytest.raises(UserError) as caught:
        join(tmp_path, forward, backward)
    assert all(name in str(caught.value) for name in named), str(caught.value)
    assert not list((tmp_path / "both").glob("*"))


def test_each_member_reads_in_its_direction(member: Train, tmp_path: Path) -> None:
    forward = member("forward", num_train_epochs=1)
    with pytest.raises(UserError, match=r"--backward .*reads 'forward'"):
        join(tmp_path, forward, forward)
    with pytest.raises(UserError, match=r"needs --backward"):
        parse_ensemble_arguments(["--forward", forward])


def test_two_networks_of_the_family_rnn(member: Train, dataset_folder: Path, tmp_path: Path) -> None:
    settings = {"model_type": "rnn", "sizes": "embedding_size=7,hidden_size=13,pooling=max"}
    forward, backward = member("forward", **settings), member("backward", **settings)
    record = join(tmp_path, forward, backward)
    texts = pd.read_parquet(dataset_folder / "test.parquet")["text"].tolist()
    alone = [scores(folder, texts) for folder in (forward, backward)]
    assert np.abs(alone[0] - alone[1]).max() > 0.001 and record["model"]["model_type"] == "rnn"
    np.testing.assert_allclose(scores(tmp_path / "both", texts), np.mean(alone, axis=0), atol=1e-6)


def test_other_families_are_refused(finetune: Callable[..., dict], tiny_rnn: dict, tmp_path: Path) -> None:
    sizes = "embedding_size=8,hidden_size=8,num_hidden_layers=1,num_attention_heads=2"
    finetune("attention", model_type="self_attention", config_overrides=sizes, num_train_epochs=1)
    with pytest.raises(UserError, match=r"'self_attention'.*awd_lstm"):
        join(tmp_path, *[str(tmp_path / "attention")] * 2)


def test_other_labels_in_the_dataset_are_refused(member: Train, dataset_folder: Path, tmp_path: Path) -> None:
    forward, backward = (member(direction, num_train_epochs=1) for direction in ("forward", "backward"))
    other = tmp_path / "other.csv"
    pd.DataFrame({"text": ["a", "b", "c", "d"] * 5, "label": ["yes", "no"] * 10}).to_csv(other, index=False)
    with pytest.raises(UserError, match=r"'no', 'yes'.*'fruit'"):
        join(tmp_path, forward, backward, "--dataset_name", str(other), "--label_budget", "none")


def test_find_lr_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--find_lr does not apply to ensemble, which trains nothing"):
        parse_ensemble_arguments(["--forward", str(tmp_path), "--backward", str(tmp_path), "--find_lr"])
