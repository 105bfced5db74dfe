"""The strategy `distilled`, from the arguments to the model folder."""

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
from small_texts import make_texts

from tl_toolkit.errors import UserError
from tl_toolkit.workflows.predict import parse_predict_arguments, predict

Finetune = Callable[..., dict]
_PLAIN = {"save_strategy": "no", "load_best_model_at_end": False}


@pytest.fixture
def teacher(finetune: Finetune, tmp_path: Path, tiny_rnn: dict[str, str]) -> str:
    finetune("teacher", **tiny_rnn, learning_rate=0.05, num_train_epochs=6)
    return str(tmp_path / "teacher")


def _run(finetune: Finetune, output: str, teacher: str | None, **settings: object) -> dict:
    sizes = "embedding_size=5,hidden_size=11,num_hidden_layers=1,embedding_dropout=0,classifier_dropout=0"
    base = {"model_type": "rnn", "config_overrides": sizes, "strategy": "distilled", "teacher": teacher}
    return finetune(output, **base | {"learning_rate": 0.03, "label_budget": 12} | settings)


def test_it_learns_from_a_teacher_and_leaves_an_ordinary_model(
    finetune: Finetune, tmp_path: Path, dataset_folder: Path, teacher: str
) -> None:
    record = _run(finetune, "out", teacher, num_train_epochs=5, unlabelled_budget=150)
    strategy = record["strategy"]
    assert record["kind"] == "distilled" and strategy["temperature"] == 2.0
    assert strategy["generated_texts"] == 150 and strategy["unlabelled_texts"] == 0
    taught = json.loads((tmp_path / "teacher" / "result.json").read_text())
    assert strategy["teacher"] == {"name": "rnn", "train_seconds": taught["cost"]["train_seconds"]}
    assert record["budget"]["train_labels"] == 12
    assert record["cost"]["examples_per_second"] > 0 and record["cost"]["steps"] == 5 * -(-(12 + 150) // 11)
    tried = record["solution"]["validation"]
    assert [own["label_weight"] for own in tried] == [0.0, 0.5]
    best = max(tried, key=lambda own: (own["accuracy"], -own["loss"]))
    assert record["solution"]["label_weight"] == best["label_weight"]
    assert record["metrics"]["validation"]["accuracy"] == pytest.approx(best["accuracy"])
    assert record["metrics"]["test"]["accuracy"] > 0.7
    given = {"model_name_or_path": str(tmp_path / "out"), "dataset_name": str(dataset_folder), "use_cpu": True}
    again = predict(parse_predict_arguments({**given, "output_dir": str(tmp_path / "again"), "disable_tqdm": True}))
    assert again.metrics == pytest.approx(record["metrics"]["test"], abs=1e-5)


def test_the_second_weight_starts_from_the_same_weights(finetune: Finetune, tmp_path: Path, teacher: str) -> None:
    common = {"unlabelled_budget": 40, "temperature": 1.0, **_PLAIN}
    both = _run(finetune, "both", teacher, **common)
    found = [_run(finetune, f"own{weight}", teacher, label_weight=weight, **common) for weight in (0.0, 0.5)]
    assert [len(own["solution"]["validation"]) for own in found] == [1, 1]
    for one, tried in zip(found, both["solution"]["validation"], strict=True):
        assert one["solution"]["validation"][0] == pytest.approx(tried, abs=1e-6)
    chosen = load_file(tmp_path / f"own{both['solution']['label_weight']}" / "model.safetensors")
    saved = load_file(tmp_path / "both" / "model.safetensors")
    for name, weight in saved.items():
        torch.testing.assert_close(weight, chosen[name])
    assert both["cost"]["steps"] == found[0]["cost"]["steps"]


def test_unlabelled_texts_are_new_ones_and_join_the_vocabulary(
    finetune: Finetune, tmp_path: Path, dataset_folder: Path, teacher: str
) -> None:
    texts, _ = make_texts(37, 9)
    held_out = pd.read_parquet(dataset_folder / "test.parquet")["text"].tolist()
    texts += ["quartz quartz fig", "quartz quartz iron"]
    long = ["quartz " * 30 + "fig.", "Opal iron tin!", "Iron 3.5 fig?"]  # one text of three sentences
    unlabelled = tmp_path / "unlabelled"
    unlabelled.mkdir()
    pd.DataFrame({"text": [*texts, " ".join(long), *texts[:5], *held_out]}).to_parquet(unlabelled / "train.parquet")
    pd.DataFrame({"text": ["never read"]}).to_parquet(unlabelled / "test.parquet")
    record = _run(finetune, "out", teacher, unlabelled_dataset=str(unlabelled), label_weight=0.0, **_PLAIN)
    assert record["strategy"]["unlabelled_texts"] == len(set(texts) - set(held_out)) + len(long)
    assert record["strategy"]["generated_texts"] == 0
    tokenizer = json.loads((tmp_path / "out" / "tokenizer.json").read_text())
    assert "quartz" in tokenizer["model"]["vocab"] and "never" not in tokenizer["model"]["vocab"]


def test_the_classes_of_a_teacher_may_have_another_order(finetune: Finetune, tmp_path: Path, teacher: str) -> None:
    other, order = tmp_path / "other", [2, 0, 1]
    shutil.copytree(teacher, other)
    weights = load_file(other / "model.safetensors")
    head = [name for name, weight in weights.items() if len(weight) == 3]
    assert len(head) == 2
    save_file(weights | {name: weights[name][order].contiguous() for name in head}, other / "model.safetensors")
    config = json.loads((other / "config.json").read_text())
    names = [config["id2label"][str(place)] for place in order]
    config |= {"id2label": dict(enumerate(names)), "label2id": {name: place for place, name in enumerate(names)}}
    (other / "config.json").write_text(json.dumps(config))
    common = {"label_weight": 0.0, "unlabelled_budget": 30, **_PLAIN}
    one, two = (_run(finetune, f"of_{Path(own).name}", str(own), **common) for own in (teacher, other))
    assert one["metrics"]["validation"] == pytest.approx(two["metrics"]["validation"], abs=1e-5)
    assert not np.isclose(one["metrics"]["validation"]["loss"], 0)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"teacher": None}, "needs --teacher"),
        ({"label_smoothing_factor": 0.1}, "--label_smoothing_factor does not apply"),
        ({"task": "regression"}, "classes that a teacher predicts"),
        ({"strategy": None}, "--teacher only applies to the strategy 'distilled'"),
        ({"label_weight": 1.5}, "from 0 to 1"),
    ],
)
def test_what_cannot_work_is_refused(finetune: Finetune, settings: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        _run(finetune, "out", **{"teacher": "folder"} | settings)


def test_a_teacher_of_other_classes_is_refused(finetune: Finetune, dataset_folder: Path, teacher: str) -> None:
    for path in dataset_folder.glob("*.parquet"):
        rows = pd.read_parquet(path)
        rows.assign(label=rows["label"].replace("metal", "stone")).to_parquet(path)
    with pytest.raises(UserError, match="'metal'.*'stone'"):
        _run(finetune, "out", teacher)
