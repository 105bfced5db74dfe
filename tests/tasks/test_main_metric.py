from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset
from sklearn.metrics import precision_recall_fscore_support

from tl_toolkit.config.arguments import DataArguments
from tl_toolkit.config.parsing import arguments_from
from tl_toolkit.errors import UserError
from tl_toolkit.evaluation.formatting import metric_heading, metric_name, score
from tl_toolkit.evaluation.predictions import PredictionReader
from tl_toolkit.evaluation.results import as_result
from tl_toolkit.evaluation.statistics.scored_rows import row_metrics, score_rows
from tl_toolkit.metrics.scores import CLASS_SCORES, class_score
from tl_toolkit.tasks import make_task
from tl_toolkit.workflows.finetune import finetune as run
from tl_toolkit.workflows.summary import print_summary


def value_from_rows(record: dict, folder: Path) -> float:
    """The main metric of the test rows, computed from the predictions as a comparison does."""
    result = as_result({**record, "folder": "."})
    scored = score_rows(result, record["task"]["main_metric"], PredictionReader(folder))
    assert scored is not None
    return float(scored.metric.value(scored.quantities.mean(axis=0)))


@pytest.mark.parametrize("sets", [False, True])
def test_the_scores_of_a_class_are_those_of_scikit_learn(sets: bool) -> None:
    generator = np.random.default_rng(7)
    labels, predictions = generator.integers(2 if sets else 5, size=(2, 101, *([3] if sets else [])))
    expected = precision_recall_fscore_support(labels, predictions, zero_division=0)
    for index in range(3):
        found = [class_score(name, predictions, labels, index) for name in ("precision", "recall", "f1")]
        assert found == pytest.approx([own[index] for own in expected[:3]])
    absent = np.zeros_like(labels)
    assert all(class_score(name, absent, absent, 2) == 0 for name in CLASS_SCORES)


@pytest.mark.parametrize("metric", ["macro_f1", "loss", "f1:river", "recall:river", "precision:metal"])
def test_it_selects_the_model_and_is_recorded_for_every_split(
    finetune: Callable, tmp_path: Path, tiny_rnn: dict, metric: str
) -> None:
    record = finetune(**tiny_rnn, main_metric=metric, num_train_epochs=3, learning_rate=0.01)
    assert record["task"]["main_metric"] == record["arguments"]["main_metric"] == metric
    assert record["task"]["greater_is_better"] is (metric != "loss")
    tried = [entry[f"eval_{metric}"] for entry in record["history"] if f"eval_{metric}" in entry]
    assert len(tried) == 3
    if metric == "loss":
        assert record["metrics"]["validation"]["loss"] <= min(tried)  # lower after calibration
        return
    assert record["metrics"]["validation"][metric] == max(tried)
    assert value_from_rows(record, tmp_path / "out") == pytest.approx(record["metrics"]["test"][metric], abs=1e-9)


def test_a_label_of_label_sets(finetune: Callable, tmp_path: Path, dataset_folder: Path, tiny_rnn: dict) -> None:
    for path in dataset_folder.glob("*.parquet"):
        frame = pd.read_parquet(path)
        frame["label"] = [[label, "long"] if len(text) > 30 else [label] for text, label in frame.to_numpy()]
        frame.to_parquet(path)
    record = finetune(**tiny_rnn, main_metric="f1:long", learning_rate=0.02, num_train_epochs=8)
    assert record["metrics"]["test"]["f1:long"] > 0.5
    assert value_from_rows(record, tmp_path / "out") == pytest.approx(record["metrics"]["test"]["f1:long"])


@pytest.mark.parametrize(("tags", "main"), [("entities", "recall:place"), ("words", "f1:B-place")])
def test_entity_types_and_tags(tmp_path: Path, tags: str, main: str) -> None:
    generator, folder = np.random.default_rng(3), tmp_path / "names"
    folder.mkdir()
    for split, rows in {"train": 67, "validation": 23, "test": 31}.items():
        words = [["Ada", "went", *["very"] * int(generator.integers(4)), "to", "Rome"] for _ in range(rows)]
        names = {"Ada": "B-person", "Rome": "B-place"} | ({} if tags == "entities" else {"to": "other"})
        labels = [[names.get(word, "O") for word in own] for own in words]
        pd.DataFrame({"tokens": words, "ner_tags": labels}).to_parquet(folder / f"{split}.parquet")
    settings = {
        "task": "token-classification", "dataset_name": str(folder), "output_dir": str(tmp_path / "out"),
        "model_type": "rnn", "config_overrides": "embedding_size=7,hidden_size=13,num_hidden_layers=1",
        "main_metric": main, "class_weight": "balanced", "num_train_epochs": 2, "learning_rate": 0.003,
        "per_device_train_batch_size": 11, "use_cpu": True, "disable_tqdm": True,
    }  # fmt: skip
    record = run(arguments_from(settings, "the test"))
    assert record["metrics"]["validation"].keys() == record["metrics"]["test"].keys() >= {main}
    weights = record["task"]["class_weights"]
    assert weights["B-place"] == pytest.approx(weights["B-person"]) and weights["O"] < weights["B-place"]
    assert value_from_rows(record, tmp_path / "out") == pytest.approx(record["metrics"]["test"][main])
    frame = pd.read_parquet(tmp_path / "out" / "predictions_test.parquet")
    true, own = (np.concatenate([list(tags) for tags in frame[name]]) for name in ("label", "prediction"))
    hits, predicted, actual = ((true == "B-place") & (own == true)).sum(), (own == "B-place").sum(), 31
    by_hand = hits / actual if main.startswith("recall") else 2 * hits / (predicted + actual)
    assert record["metrics"]["test"][main] == pytest.approx(by_hand)
    kind = "place" if tags == "entities" else "B-place"
    assert (kind in record["never_predicted"]) == (predicted == 0)
    task = make_task(DataArguments(task="token-classification", dataset_name=str(folder), main_metric="f1:plce"))
    with pytest.raises(UserError, match=f"Did you mean '{'place' if tags == 'entities' else 'B-place'}'"):
        task.prepare(1)


@pytest.mark.parametrize(
    ("metric", "problem"),
    [
        ("acuracy", "choose one of accuracy, macro_f1, loss, f1:CLASS, recall:CLASS, precision:CLASS. Did you mean"),
        ("f1:neutrl", "the class 'neutrl', which does not occur; the classes are .* Did you mean 'neutral'"),
        ("micro_f1", "is not a metric of --task text-classification"),
        ("kappa:pos", "is not a metric"),
    ],
)
def test_a_wrong_name_is_found_before_training(csv: Callable, tmp_path: Path, metric: str, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        make_task(DataArguments(dataset_name=str(csv(tmp_path / "rows.csv")), main_metric=metric)).prepare(1)


def test_other_tasks_have_their_own_metrics() -> None:
    for name, metric, greater in (
        ("regression", "spearman", True), ("regression", "mse", False), ("translation", "chrf", True),
        ("captioning", "bleu", True), ("forecasting", "mase", False),
    ):  # fmt: skip
        task = make_task(DataArguments(task=name, main_metric=metric))
        assert task.main_metric == metric and task.greater_is_better is greater and task.metric_of_class() is None
    with pytest.raises(UserError, match="choose one of pearson, spearman, mse, mae, loss"):
        make_task(DataArguments(task="regression", main_metric="f1:x")).metric_of_class()


def test_their_names_for_readers() -> None:
    assert metric_name("f1:a: b") == "F1 of a: b" and metric_heading("recall:spam") == "Recall of spam, %"
    assert score(0.125, "precision:spam") == "12.5\u00a0%" and metric_name("mae_a:b") == "mae a:b"


def test_a_class_that_is_never_predicted_is_named(csv: Callable, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    task = make_task(DataArguments(dataset_name=str(csv(tmp_path / "rows.csv"))))
    task.prepare(1)
    logits = np.eye(3)[[0, 2, 2, 0]]
    assert task.labels == ["neg", "neutral", "pos"]
    assert task.details(logits, Dataset.from_dict({"label": [0, 1, 2, 1]})) == {"never_predicted": ["neutral"]}
    assert task.details(logits, Dataset.from_dict({"label": [0, 0, 2, 2]})) == {"never_predicted": []}
    task.problem_type = "multi_label_classification"
    sets = Dataset.from_dict({"label": [[0, 1, 1], [1, 1, 0]]})
    assert task.details(np.array([[1.0, -1, -1], [1, -1, -1]]), sets) == {"never_predicted": ["neutral", "pos"]}
    record = {
        "metrics": {"test": {"accuracy": 0.5}}, "budget": {"train_labels": 7, "validation_labels": 5},
        "cost": {"parameters": {"trained": 3, "total": 3}, "train_seconds": 1.0, "examples_per_second": 2.0},
        "hardware": {"world_size": 1, "device": "cpu"}, "never_predicted": ["neutral"],
    }  # fmt: skip
    print_summary(json.loads(json.dumps(record)), "out")
    assert "Never predicted on the test rows, where they occur: neutral." in capsys.readouterr().out
    print_summary({**record, "never_predicted": []}, "out")
    assert "Never" not in capsys.readouterr().out


def test_a_class_that_the_record_does_not_have_is_no_metric() -> None:
    task = {"name": "text-classification", "main_metric": "f1:gone", "labels": ["a", "b"]}
    assert "f1:gone" not in row_metrics(as_result({"name": "run", "task": task}))
