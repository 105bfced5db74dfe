"""Classification from logits to predictions: metrics, predictions, and the tasks of trained models."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from datasets import Dataset, DatasetDict

from tl_toolkit.config.arguments import DataArguments
from tl_toolkit.data.tokenizers import build_tokenizer
from tl_toolkit.errors import UserError
from tl_toolkit.tasks import Regression, TextClassification, task_for_model

NAMES = ["neg", "pos"]


def config(labels=("neg", "neutral", "pos"), **more):
    from transformers import BertConfig

    return BertConfig(id2label=dict(enumerate(labels)), label2id={name: i for i, name in enumerate(labels)}, **more)


def test_metrics_and_predictions(tmp_path, task_of, csv):
    task = task_of(csv(tmp_path / "rows.csv", 61))
    split = task.prepare(1)["test"]
    labels = np.array(split["label"])
    logits = np.random.default_rng(0).normal(size=(len(labels), 3)).astype(np.float32)
    from sklearn.metrics import f1_score

    metrics = task.metrics(logits, labels)
    assert metrics["accuracy"] == pytest.approx((logits.argmax(1) == labels).mean())
    assert metrics["macro_f1"] == pytest.approx(f1_score(labels, logits.argmax(1), average="macro"))
    frame = task.predictions(logits, split)
    assert list(frame.columns) == [
        "row", "text", "label", "label_name", "prediction", "prediction_name", "scores",
    ]  # fmt: skip
    names = np.array(["neg", "neutral", "pos"])
    assert frame["label_name"].tolist() == names[labels].tolist()
    assert frame["prediction_name"].tolist() == names[logits.argmax(1)].tolist()
    assert frame["row"].tolist() == split["row"][:] and frame["label"].tolist() == labels.tolist()
    np.testing.assert_allclose(np.stack(frame["scores"]).sum(axis=1), 1, rtol=1e-6)
    assert (np.stack(frame["scores"]).argmax(1) == frame["prediction"]).all()
    frame.to_parquet(tmp_path / "p.parquet")
    import pyarrow.parquet as pq

    types = {field.name: str(field.type) for field in pq.read_schema(tmp_path / "p.parquet")}
    assert (types["row"], types["label"], types["prediction"]) == ("int64",) * 3 and "float" in types["scores"]
    with pytest.raises(ValueError, match="5 predictions"):
        task.predictions(logits[:5], split)
    huge = task.predictions(logits * 1e30, split)
    assert np.isfinite(np.stack(huge["scores"])).all()


def test_predictions_show_the_beginning_of_a_text(tmp_path, task_of):
    Dataset.from_dict({"text": ["x" * 401] * 20, "label": [0, 1] * 10}).to_parquet(tmp_path / "d.parquet")
    task = task_of(tmp_path / "d.parquet")
    split = task.prepare(1)["test"]
    assert task.predictions(np.zeros((len(split), 2)), split)["text"].str.len().tolist() == [400] * len(split)


def test_the_labels_of_a_multi_label_row_are_listed_by_name(tmp_path):
    kinds = config(problem_type="multi_label_classification")
    task = task_for_model(DataArguments(dataset_name="x"), kinds)
    rows = Dataset.from_dict({"row": [0, 1], "text": ["a", "b"], "label": [[1, 0, 1], [0, 0, 0]]})
    frame = task.predictions(np.array([[-2.0, 3.0, -1.0], [1.0, 1.0, -5.0]]), rows)
    assert frame["label_name"].tolist() == [["neg", "pos"], []]
    assert frame["prediction_name"].tolist() == [["neutral"], ["neg", "neutral"]]
    frame.to_parquet(tmp_path / "p.parquet", index=False)
    import pandas as pd

    assert [list(names) for names in pd.read_parquet(tmp_path / "p.parquet")["label_name"]] == [["neg", "pos"], []]


def test_prediction_maps_labels_by_name(tmp_path, csv):
    csv(tmp_path / "rows.csv", 7, labels=("pos", "neg"))
    task = task_for_model(DataArguments(dataset_name=str(tmp_path / "rows.csv")), config())
    rows = task.prepare_for_prediction()
    assert rows["label"][:] == [2, 0, 2, 0, 2, 0, 2] and rows["row"][:] == list(range(7))
    assert task.config_arguments()["num_labels"] == 3
    assert isinstance(task, TextClassification)
    csv(tmp_path / "rows.csv", 7, labels=("pos", "negative"))
    with pytest.raises(UserError, match="unknown labels: 'negative'; the known labels are 'neg', 'neutral', 'pos'"):
        task.prepare_for_prediction()


def test_prediction_without_labels(tmp_path, folder):
    (tmp_path / "lines.txt").write_text("one\ntwo\n")
    task = TextClassification.for_model(DataArguments(dataset_name=str(tmp_path / "lines.txt")), config())
    rows = task.prepare_for_prediction()
    assert rows.column_names == ["row", "text"]
    predictions = task.predictions(np.array([[0, 0, 7], [0, 5, 0]]), rows)
    assert list(predictions.columns) == ["row", "text", "prediction", "prediction_name", "scores"]
    assert predictions["prediction_name"].tolist() == ["pos", "neutral"]
    tokenizer = build_tokenizer("word", ["one two"], min_frequency=1)
    assert "labels" not in task.encode(DatasetDict({"rows": rows}), tokenizer, None)["rows"].column_names
    path = folder(tmp_path / "d", train=[0, 1], test=[-1, -1])
    task = TextClassification.for_model(DataArguments(dataset_name=str(path)), config(NAMES))
    assert task.prepare_for_prediction("test").column_names == ["row", "text"]
    assert task.prepare_for_prediction("training")["label"][:] == [0, 1]
    with pytest.raises(UserError, match="no split 'validation'; its splits are 'train', 'test'"):
        task.prepare_for_prediction("validation")


@pytest.mark.parametrize("named", [{}, {"label_column": "label"}])
def test_prediction_with_an_empty_label_column(tmp_path, named):
    (tmp_path / "d.csv").write_text("text,label\none,\ntwo,\n")
    arguments = DataArguments(dataset_name=str(tmp_path / "d.csv"), **named)
    for labels in (NAMES, ["score"]):
        assert task_for_model(arguments, config(labels)).prepare_for_prediction().column_names == ["row", "text"]


def test_a_guessed_label_column_does_not_prevent_prediction(tmp_path, caplog):
    (tmp_path / "d.csv").write_text("text,year\na,1999\nb,2001\n")
    task = task_for_model(DataArguments(dataset_name=str(tmp_path / "d.csv")), config())
    with caplog.at_level(logging.WARNING):
        assert task.prepare_for_prediction().column_names == ["row", "text"]
    assert "'year' does not contain labels of this model" in caplog.text
    task.arguments.label_column = "year"
    with pytest.raises(UserError, match="unknown labels: '1999', '2001'"):
        task.prepare_for_prediction()


def test_the_model_determines_the_task(tmp_path, csv):
    arguments = DataArguments(dataset_name="x")
    assert isinstance(task_for_model(arguments, config(["score"])), Regression)
    assert isinstance(task_for_model(arguments, config(NAMES)), TextClassification)
    multi = task_for_model(arguments, config(problem_type="multi_label_classification"))
    assert multi.main_metric == "micro_f1"
    csv(tmp_path / "rows.csv", 7)
    multi.arguments.dataset_name = str(tmp_path / "rows.csv")
    with pytest.raises(
        UserError, match="model is for multi_label_classification, but the label column 'label' is for single"
    ):
        multi.prepare_for_prediction()
