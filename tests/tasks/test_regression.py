"""Regression: numbers are found, keep full precision, and are scored by correlation and error."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from tl_toolkit.config.arguments import DataArguments
from tl_toolkit.data.tokenizers import build_tokenizer
from tl_toolkit.errors import UserError
from tl_toolkit.tasks import Regression, make_task


def task_of(path, **arguments):
    return make_task(DataArguments(dataset_name=str(path), task="regression", **arguments))


def jsonl(path: Path, scores: list) -> Path:
    path.write_text("\n".join(json.dumps({"text": f"t{i}", "score": score}) for i, score in enumerate(scores)))
    return path


def test_from_numbers_to_predictions(tmp_path):
    scores = [i / 7 for i in range(101)]
    task = task_of(jsonl(tmp_path / "d.jsonl", scores), label_budget=23)
    data = task.prepare(1)
    assert isinstance(task, Regression) and len(data["train"]) == 23
    assert all(row["label"] == scores[row["row"]] for split in data.values() for row in split)
    record = task.record()
    assert record["task"] == {
        "name": "regression", "problem_type": "regression", "labels": None, "main_metric": "pearson",
        "greater_is_better": True,
    }  # fmt: skip
    assert record["dataset"]["columns"]["label"] == "score"
    assert task.config_arguments() == {
        "num_labels": 1, "id2label": {0: "score"}, "label2id": {"score": 0}, "problem_type": "regression",
    }  # fmt: skip
    tokenizer = build_tokenizer("word", data["train"]["text"], min_frequency=1)
    encoded = task.encode(data, tokenizer, None)
    assert encoded["train"].features["labels"].dtype == "float32"
    batch = task.collator(tokenizer)([encoded["train"][i] for i in range(3)])
    assert batch["labels"].dtype.is_floating_point and batch["labels"].shape == (3,)
    labels = np.array(data["test"]["label"])
    metrics = task.metrics((2 * labels + 1)[:, None], labels)
    assert metrics == {
        "loss": pytest.approx(np.square(labels + 1).mean()),
        "pearson": pytest.approx(1.0), "spearman": pytest.approx(1.0),
        "mse": pytest.approx(np.square(labels + 1).mean()), "mae": pytest.approx((labels + 1).mean()),
    }  # fmt: skip
    frame = task.predictions(labels[:, None].astype(np.float32), data["test"])
    assert list(frame.columns) == ["row", "text", "label", "prediction"]
    assert frame["label"].tolist() == labels.tolist() and frame["prediction"].dtype == np.float64


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([0.5] * 20 + [float("inf")], "Row 20 of column 'score' .* is infinite"),
        (["high", "low"] * 9, "Row 0 of column 'score' .* contains 'high', .* not a number .*18 of 18 rows are not"),
    ],
)
def test_values_that_are_not_finite_numbers(tmp_path, scores, message):
    with pytest.raises(UserError, match=message):
        task_of(jsonl(tmp_path / "d.jsonl", scores)).prepare(1)


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("value", ["nan", "N/A", "abc", "1,5", "-"])
def test_a_string_that_is_not_a_number_is_reported_with_its_row(tmp_path, value, named):
    lines = [f't{i},{i / 7},{i},"{value if i == 13 else i / 3}"' for i in range(29)]
    (tmp_path / "d.csv").write_text("\n".join(["text,price,year,score" if named else "text,id,year,score", *lines]))
    arguments = {"label_column": "score"} if named else {}
    with pytest.raises(UserError, match=f"Row 13 of column 'score' .* contains '{value}', .*3 or -0.5 .1 of 29 rows"):
        task_of(tmp_path / "d.csv", **arguments).prepare(1)


def test_strings_are_parsed_as_numbers(tmp_path):
    scores = [i / 7 for i in range(31)]
    data = task_of(jsonl(tmp_path / "d.jsonl", [f" {score} " for score in scores])).prepare(1)
    assert all(row["label"] == scores[row["row"]] for split in data.values() for row in split)


def test_rows_without_a_number_are_counted_and_dropped(tmp_path, caplog):
    for scores in ([i / 7 for i in range(31)], [str(i / 7) for i in range(31)]):
        caplog.clear()
        data = task_of(jsonl(tmp_path / "d.jsonl", [*scores, None])).prepare(1)
        assert sum(map(len, data.values())) == 31
        assert "1 of 32 rows of split 'train' have no label and are not used" in caplog.text


def test_constant_labels_are_noticed(tmp_path):
    for scores, expected in (
        ([0.5] * 40, {"label": "0.5", "share": 1.0, "is_constant": True}),
        ([0.5, 0.25] * 20, None),
    ):
        task = task_of(jsonl(tmp_path / "d.jsonl", scores))
        task.prepare(1)
        assert task.record()["dataset"]["data_look"].get("most_frequent") == expected


def test_without_test_labels_the_validation_split_becomes_the_test_split(tmp_path):
    for name, scores in (("train", [i / 3 for i in range(50)]), ("validation", [1.0, 2.5]), ("test", [-1.0] * 5)):
        jsonl(tmp_path / f"{name}.jsonl", scores)
    task = task_of(tmp_path)
    assert {role: len(split) for role, split in task.prepare(1).items()} == {"train": 45, "validation": 5, "test": 2}
    assert task.record()["dataset"]["test_from"] == "validation"


def test_a_model_with_several_outputs_cannot_do_regression():
    from transformers import BertConfig

    with pytest.raises(UserError, match="one output; this model has 3"):
        Regression.for_model(DataArguments(dataset_name="x"), BertConfig(num_labels=3))


def test_real_ratings():
    root = os.environ.get("TL_TOOLKIT_TEST_DATA")
    if not root:
        pytest.skip("TL_TOOLKIT_TEST_DATA names no folder with datasets")
    task = task_of(Path(root) / "data" / "movie_ratings", label_budget=100)
    data = task.prepare(1)
    assert task.record()["dataset"]["columns"]["label"] == "rating"
    assert abs(np.mean(data["train"]["label"]) - np.mean(data["validation"]["label"])) < 0.3
