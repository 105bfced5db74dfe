"""Classification from files to predictions: rows, labels, cuts, budgets, errors."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from tl_toolkit.data.tokenizers import build_tokenizer
from tl_toolkit.errors import UserError
from tl_toolkit.tasks import Regression, TextClassification, make_task, task_for_model
from tl_toolkit.training.arguments import DataArguments

NAMES = ["neg", "pos"]


def task_of(path, **arguments):
    return make_task(DataArguments(dataset_name=str(path), **arguments))


def csv(path: Path, rows: int = 211, labels: tuple = ("pos", "neg", "neutral")) -> Path:
    frame = pd.DataFrame(
        {"text": [f"text number {i}" for i in range(rows)], "label": [labels[i % len(labels)] for i in range(rows)]}
    )
    frame.to_csv(path, index=False)
    return path


def folder(path: Path, **splits: list[int]) -> Path:
    """A saved dataset with ClassLabel splits of the given labels."""
    features = Features({"sentence": Value("string"), "label": ClassLabel(names=NAMES)})
    DatasetDict(
        {
            name: Dataset.from_dict(
                {"sentence": [f"{name} {i}" for i in range(len(ids))], "label": ids}, features=features
            )
            for name, ids in splits.items()
        }
    ).save_to_disk(path)
    return path


def test_one_file_gives_three_disjoint_splits_and_a_record(tmp_path):
    task = task_of(csv(tmp_path / "rows.csv"), label_budget=17, validation_budget=11)
    data = task.prepare(seed=1)
    record = task.record()
    assert record["dataset"] | {"name": "", "fingerprint": ""} == {
        "name": "", "config": None, "revision": None, "fingerprint": "", "versions": None,
        "columns": {"text": "text", "text_pair": None, "label": "label"},
        "rows": {"train": 17, "validation": 11, "test": 42},
        "validation_from": "train", "test_from": "train",
    }  # fmt: skip
    assert record["task"] == {
        "name": "text-classification", "problem_type": "single_label_classification",
        "labels": ["neg", "neutral", "pos"], "main_metric": "accuracy", "greater_is_better": True,
    }  # fmt: skip
    assert record["budget"] == {
        "label_budget": 17,
        "validation_budget": 11,
        "train_labels": 17,
        "validation_labels": 11,
    }
    json.dumps(record)
    rows = [set(data[role]["row"]) for role in ("train", "validation", "test")]
    assert sum(map(len, rows)) == len(set.union(*rows))
    for split in data.values():
        for row in split:
            assert row["text"] == f"text number {row['row']}"
            assert task.labels[row["label"]] == ("pos", "neg", "neutral")[row["row"] % 3]
    assert task.config_arguments() == {
        "num_labels": 3, "id2label": {0: "neg", 1: "neutral", 2: "pos"},
        "label2id": {"neg": 0, "neutral": 1, "pos": 2}, "problem_type": "single_label_classification",
    }  # fmt: skip


def test_test_rows_stay_while_seeds_change_the_others(tmp_path):
    path = csv(tmp_path / "rows.csv")
    first, second, again = (task_of(path, label_budget=29, test_budget=23).prepare(seed) for seed in (1, 2, 1))
    assert first["test"]["row"][:] == second["test"]["row"][:] and len(first["test"]) == 23
    assert first["validation"]["row"][:] != second["validation"]["row"][:]
    assert first["train"]["row"][:] != second["train"]["row"][:]
    assert first["train"]["row"][:] == again["train"]["row"][:]
    larger = task_of(path, label_budget=101).prepare(1)
    assert set(first["train"]["row"]) < set(larger["train"]["row"])


def test_splits_of_the_dataset_are_used_under_their_usual_names(tmp_path):
    path = folder(tmp_path / "d", train=[0, 1] * 11, dev=[0, 1] * 3, test=[1, 0] * 2, unsupervised=[-1] * 5)
    task = task_of(path)
    data = task.prepare(1)
    assert {role: len(split) for role, split in data.items()} == {"train": 22, "validation": 6, "test": 4}
    assert data["validation"]["text"][0] == "dev 0"
    assert (task.record()["dataset"]["validation_from"], task.record()["dataset"]["test_from"]) == (
        "validation",
        "test",
    )
    assert task.labels == NAMES


def test_validation_is_cut_from_train_never_from_test(tmp_path):
    task = task_of(folder(tmp_path / "d", train=[0, 1] * 50, test=[1, 0] * 7))
    data = task.prepare(1)
    assert {role: len(split) for role, split in data.items()} == {"train": 90, "validation": 10, "test": 14}
    assert all(text.startswith("train") for text in data["validation"]["text"])
    assert sorted(data["validation"]["label"]) == [0] * 5 + [1] * 5
    assert task.record()["dataset"]["validation_from"] == "train"


@pytest.mark.parametrize("splits", [{"test": [-1] * 9}, {}], ids=["withheld", "absent"])
def test_without_test_labels_the_validation_split_is_reported(tmp_path, splits):
    task = task_of(folder(tmp_path / "d", train=[0, 1] * 50, validation=[1, 0] * 7, **splits))
    data = task.prepare(1)
    assert {role: len(split) for role, split in data.items()} == {"train": 90, "validation": 10, "test": 14}
    assert data["test"]["text"][0] == "validation 0"
    assert (task.record()["dataset"]["validation_from"], task.record()["dataset"]["test_from"]) == (
        "train",
        "validation",
    )


def test_a_validation_split_named_by_the_user_stays_one(tmp_path):
    path = folder(tmp_path / "d", train=[0, 1] * 50, validation=[1, 0] * 7)
    task = task_of(path, validation_split_name="validation")
    data = task.prepare(1)
    assert {role: len(split) for role, split in data.items()} == {"train": 80, "validation": 14, "test": 20}
    assert task.record()["dataset"]["test_from"] == "train"


def test_rows_marked_as_unlabelled_are_left_out(tmp_path, caplog):
    path = folder(tmp_path / "d", train=[0, 1, -1] * 20, test=[0, 1])
    with caplog.at_level(logging.WARNING):
        data = task_of(path).prepare(1)
    assert len(data["train"]) + len(data["validation"]) == 40
    assert -1 not in data["train"]["label"][:]
    assert "20 of 60 rows of split 'train' have no label" in caplog.text


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([10, 9, -1], ["-1", "9", "10"]),
        (["b", "a", "c"], ["a", "b", "c"]),
        ([True, False], ["False", "True"]),
        ([1.0, 0.0], ["0", "1"]),
        (["10", "9"], ["9", "10"]),
    ],
)
def test_classes_get_names_in_the_order_of_their_type(tmp_path, values, names):
    Dataset.from_dict({"text": ["x"] * 60, "label": values * (60 // len(values))}).to_parquet(tmp_path / "d.parquet")
    task = task_of(tmp_path / "d.parquet", label_column="label")
    data = task.prepare(1)
    assert task.labels == names
    assert {task.labels[row["label"]] for row in data["train"]} == set(names)
    row = data["train"][0]
    raw = values[row["row"] % len(values)]
    assert task.labels[row["label"]] == str(int(raw) if isinstance(raw, float) else raw)


MULTI_ROWS = [["b"], ["a", "c"], [], ["a"], ["c", "b", "a"]] * 13


@pytest.mark.parametrize("kind", ["strings", "ids", "multi_hot", "columns", "class_label"])
def test_multi_label_in_all_its_forms(tmp_path, kind):
    indicators = [[int(name in row) for name in "abc"] for row in MULTI_ROWS]
    columns: dict = {"text": [f"t{i}" for i in range(len(MULTI_ROWS))]}
    arguments, names = {}, ["0", "1", "2"]
    if kind == "strings":
        columns["labels"], names = MULTI_ROWS, ["a", "b", "c"]
    elif kind == "ids":
        columns["labels"] = [["abc".index(name) for name in row] for row in MULTI_ROWS]
    elif kind == "multi_hot":
        columns["labels"] = indicators
    elif kind == "columns":
        columns |= {name: [row[i] for row in indicators] for i, name in enumerate("abc")}
        arguments, names = {"label_column": "a,b,c"}, ["a", "b", "c"]
    data = Dataset.from_dict(columns) if kind != "class_label" else None
    if data is None:
        from datasets import List

        features = Features({"text": Value("string"), "labels": List(ClassLabel(names=["a", "b", "c"]))})
        data = Dataset.from_dict({**columns, "labels": MULTI_ROWS}, features=features)
        names = ["a", "b", "c"]
    data.to_parquet(tmp_path / "d.parquet")
    task = task_of(tmp_path / "d.parquet", **arguments)
    splits = task.prepare(1)
    assert task.labels == names and task.problem_type == "multi_label_classification"
    assert task.main_metric == "micro_f1"
    for row in splits["train"]:
        assert row["label"] == indicators[row["row"]]
    encoded = task.tokenize(splits, build_tokenizer("word", splits["train"]["text"], min_frequency=1), None)
    assert encoded["train"].features["labels"].feature.dtype == "float32"
    batch = task.collator(build_tokenizer("word", ["a"], min_frequency=1))([encoded["test"][i] for i in range(3)])
    assert batch["labels"].dtype.is_floating_point and batch["labels"].shape == (3, 3)
    logits = np.where(np.array(splits["test"]["label"]) == 1, 2.0, -2.0)
    assert task.metrics(logits, np.array(encoded["test"]["labels"]))["accuracy"] == 1.0
    frame = task.predictions(logits, splits["test"])
    frame.to_parquet(tmp_path / "p.parquet")
    import pyarrow.parquet as pq

    types = {
        field.name: str(field.type.value_type)
        for field in pq.read_schema(tmp_path / "p.parquet")
        if "list" in str(field.type)
    }
    assert types == {"label": "int8", "prediction": "int8", "scores": "float"}
    np.testing.assert_allclose(frame["scores"][0], 1 / (1 + np.exp(-logits[0])), rtol=1e-6)


def test_sentence_pairs(tmp_path):
    rows = [{"premise": f"p{i}", "hypothesis": "h " * (i % 3), "label": i % 2} for i in range(40)]
    (tmp_path / "d.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    task = task_of(tmp_path / "d.jsonl")
    data = task.prepare(1)
    assert task.record()["dataset"]["columns"] == {"text": "premise", "text_pair": "hypothesis", "label": "label"}
    tokenizer = build_tokenizer("word", ["h " + " ".join(f"p{i}" for i in range(40))], min_frequency=1)
    encoded = task.tokenize(data, tokenizer, None)
    for row, ids in zip(data["train"], encoded["train"]["input_ids"], strict=True):
        assert tokenizer.convert_ids_to_tokens(ids) == [row["text"], *row["text_pair"].split()]
    assert list(task.predictions(np.zeros((len(data["test"]), 2)), data["test"]).columns) == [
        "row", "text", "text_pair", "label", "prediction", "scores",
    ]  # fmt: skip


def test_tokenize_cuts_measures_and_never_leaves_a_row_empty(tmp_path):
    texts = ["one two three four five", "", "  ", "two"] * 10
    Dataset.from_dict({"text": texts, "label": [0, 1] * 20}).to_parquet(tmp_path / "d.parquet")
    task = task_of(tmp_path / "d.parquet")
    data = task.prepare(1)
    tokenizer = build_tokenizer("word", texts, max_length=5)
    encoded = task.tokenize(data, tokenizer, 3)["train"]
    assert encoded.column_names == ["input_ids", "attention_mask", "length", "labels"]
    for row, got in zip(data["train"], encoded, strict=True):
        expected = tokenizer(row["text"])["input_ids"][:3] or [tokenizer.unk_token_id]
        assert got["input_ids"] == expected and got["attention_mask"] == [1] * len(expected)
        assert got["length"] == len(expected) and got["labels"] == row["label"]
    assert max(task.tokenize(data, tokenizer, None)["train"]["length"]) == 5
    assert max(task.tokenize(data, tokenizer, 99)["train"]["length"]) == 5
    with pytest.raises(UserError, match="--max_length is 0"):
        task.tokenize(data, tokenizer, 0)


def test_tokenize_with_special_tokens_and_types(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(
        models.WordLevel({"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "text": 4}, unk_token="[UNK]")
    )
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"], model_max_length=13,
    )  # fmt: skip
    task = task_of(csv(tmp_path / "rows.csv", 31))
    data = task.prepare(1)
    encoded = task.tokenize(data, tokenizer, 4)["train"]
    assert encoded[0]["input_ids"] == [2, 4, 1, 3] and encoded[0]["token_type_ids"] == [0] * 4
    with pytest.raises(UserError, match="adds 2 special tokens.*at least 3"):
        task.tokenize(data, tokenizer, 2)
    batch = task.collator(tokenizer)([{"input_ids": [2] * 9, "labels": 1}, {"input_ids": [2], "labels": 0}])
    assert batch["input_ids"].shape == (2, 9)  # not 16: the model has 13 positions


@pytest.mark.parametrize(("on_gpu", "width"), [(True, 8), (False, 3)])
def test_collator_pads_to_a_multiple_of_eight_on_a_gpu(tmp_path, monkeypatch, on_gpu, width):
    monkeypatch.setattr("torch.cuda.is_available", lambda: on_gpu)
    task = task_of(csv(tmp_path / "rows.csv", 31))
    data = task.prepare(1)
    tokenizer = build_tokenizer("word", data["train"]["text"], min_frequency=1, max_length=256)
    batch = task.collator(tokenizer)([task.tokenize(data, tokenizer, 256)["train"][i] for i in range(5)])
    assert batch["input_ids"].shape == (5, width) and batch["attention_mask"].sum() == 15
    assert batch["labels"].tolist() == data["train"]["label"][:5]


def test_metrics_and_predictions(tmp_path):
    task = task_of(csv(tmp_path / "rows.csv", 61))
    split = task.prepare(1)["test"]
    labels = np.array(split["label"])
    logits = np.random.default_rng(0).normal(size=(len(labels), 3)).astype(np.float32)
    from sklearn.metrics import f1_score

    metrics = task.metrics(logits, labels)
    assert metrics["accuracy"] == pytest.approx((logits.argmax(1) == labels).mean())
    assert metrics["macro_f1"] == pytest.approx(f1_score(labels, logits.argmax(1), average="macro"))
    frame = task.predictions(logits, split)
    assert list(frame.columns) == ["row", "text", "label", "prediction", "scores"]
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


def test_predictions_show_the_beginning_of_a_text(tmp_path):
    Dataset.from_dict({"text": ["x" * 401] * 20, "label": [0, 1] * 10}).to_parquet(tmp_path / "d.parquet")
    task = task_of(tmp_path / "d.parquet")
    split = task.prepare(1)["test"]
    assert task.predictions(np.zeros((len(split), 2)), split)["text"].str.len().tolist() == [400] * len(split)


def config(labels=("neg", "neutral", "pos"), **more):
    from transformers import BertConfig

    return BertConfig(id2label=dict(enumerate(labels)), label2id={name: i for i, name in enumerate(labels)}, **more)


def test_prediction_maps_labels_by_name(tmp_path):
    csv(tmp_path / "rows.csv", 7, labels=("pos", "neg"))
    task = task_for_model(DataArguments(dataset_name=str(tmp_path / "rows.csv")), config())
    rows = task.prepare_for_prediction()
    assert rows["label"][:] == [2, 0, 2, 0, 2, 0, 2] and rows["row"][:] == list(range(7))
    assert task.config_arguments()["num_labels"] == 3
    assert isinstance(task, TextClassification)
    csv(tmp_path / "rows.csv", 7, labels=("pos", "negative"))
    with pytest.raises(
        UserError, match="labels that are not known here: 'negative'; known are 'neg', 'neutral', 'pos'"
    ):
        task.prepare_for_prediction()


def test_prediction_without_labels(tmp_path):
    (tmp_path / "lines.txt").write_text("one\ntwo\n")
    task = TextClassification.for_model(DataArguments(dataset_name=str(tmp_path / "lines.txt")), config())
    rows = task.prepare_for_prediction()
    assert rows.column_names == ["row", "text"]
    assert list(task.predictions(np.zeros((2, 3)), rows).columns) == ["row", "text", "prediction", "scores"]
    tokenizer = build_tokenizer("word", ["one two"], min_frequency=1)
    assert "labels" not in task.tokenize(DatasetDict({"rows": rows}), tokenizer, None)["rows"].column_names
    path = folder(tmp_path / "d", train=[0, 1], test=[-1, -1])
    task = TextClassification.for_model(DataArguments(dataset_name=str(path)), config(NAMES))
    assert task.prepare_for_prediction("test").column_names == ["row", "text"]
    assert task.prepare_for_prediction("training")["label"][:] == [0, 1]
    with pytest.raises(UserError, match="no split 'validation'; its splits are 'train', 'test'"):
        task.prepare_for_prediction("validation")


def test_a_column_that_is_only_guessed_to_be_the_label_stops_no_prediction(tmp_path, caplog):
    (tmp_path / "d.csv").write_text("text,year\na,1999\nb,2001\n")
    task = task_for_model(DataArguments(dataset_name=str(tmp_path / "d.csv")), config())
    with caplog.at_level(logging.WARNING):
        assert task.prepare_for_prediction().column_names == ["row", "text"]
    assert "'year' holds no labels of this model" in caplog.text
    task.arguments.label_column = "year"
    with pytest.raises(UserError, match="not known here: '1999', '2001'"):
        task.prepare_for_prediction()


def test_the_kind_of_model_settles_the_task(tmp_path):
    arguments = DataArguments(dataset_name="x")
    assert isinstance(task_for_model(arguments, config(["score"])), Regression)
    assert isinstance(task_for_model(arguments, config(NAMES)), TextClassification)
    multi = task_for_model(arguments, config(problem_type="multi_label_classification"))
    assert multi.main_metric == "micro_f1"
    csv(tmp_path / "rows.csv", 7)
    multi.arguments.dataset_name = str(tmp_path / "rows.csv")
    with pytest.raises(
        UserError, match="model is for multi_label_classification and the label column 'label' for single"
    ):
        multi.prepare_for_prediction()


def jsonl(path: Path, rows: list) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


GOOD = [{"text": f"t{i}", "label": i % 2} for i in range(40)]


@pytest.mark.parametrize(
    ("rows", "arguments", "message"),
    [
        ([*GOOD, {"text": None, "label": 1}], {}, "Row 40 of split 'train' has no text in column 'text' .1 of 41"),
        ([*GOOD, {"text": "t", "label": None}], {}, "Row 40 of column 'label' .* has no label .1 of 41"),
        ([{"text": i, "label": str(i % 2)} for i in range(9)], {}, "'text' is int64, not a string"),
        ([{"text": "t", "label": None, "x": 1}] * 9, {"label_column": "label"}, "null"),
        ([{"text": f"t{i}", "label": "x"} for i in range(9)], {}, "Every row has the label 'x'.*two classes"),
        ([{"text": f"t{i}", "label": i} for i in range(99)], {}, "99 different values in 99 rows"),
        ([{"text": "t", "label": 0.5}] * 9, {"label_column": "label"}, "holds the number 0.5.*--task regression"),
        ([{"text": "t", "a": 1, "b": 2}] * 9, {"label_column": "a,b"}, "Row 0 of column 'b' .* holds 2: several"),
        (GOOD, {"label_budget": 41}, "budget of 41 labels .* has 29"),
        (GOOD, {"label_budget": 0}, "--label_budget is 0"),
        (GOOD, {"validation_budget": -1}, "--validation_budget is -1"),
        (GOOD, {"validation_fraction": 1.5}, "--validation_fraction is 1.5"),
        (GOOD, {"test_split_name": "test"}, "no split 'test' .--test_split_name"),
        (GOOD, {"test_split_name": "train"}, "'train' is named for train and test"),
        (GOOD, {"task": "classification"}, "no task 'classification'.*Did you mean 'text-classification'"),
        (GOOD[:2], {}, "1 row cannot be parted"),
    ],
)
def test_bad_data_is_refused(tmp_path, rows, arguments, message):
    with pytest.raises(UserError, match=message):
        task_of(jsonl(tmp_path / "d.jsonl", rows), **arguments).prepare(1)


def test_labels_outside_the_range(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    features = Features({"text": Value("string"), "label": ClassLabel(names=NAMES)})
    table = pa.table({"text": ["a", "b", "c"], "label": [0, 1, 7]}).cast(
        pa.schema([("text", pa.string()), ("label", pa.int64())])
    )
    pq.write_table(table.replace_schema_metadata(features.arrow_schema.metadata), tmp_path / "d.parquet")
    with pytest.raises(UserError, match="Row 2 of column 'label' .* label 7, outside the range 0 to 1"):
        task_of(tmp_path / "d.parquet").prepare(1)


def test_empty_and_unlabelled_splits(tmp_path):
    (tmp_path / "a").mkdir()
    for name, rows in (("train", 10), ("test", 0)):
        csv(tmp_path / "a" / f"{name}.csv", rows)
    with pytest.raises(UserError, match="split 'test' .* is empty"):
        task_of(tmp_path / "a").prepare(1)
    with pytest.raises(UserError, match="No row of the train split 'train' has a label"):
        task_of(folder(tmp_path / "b", train=[-1] * 5)).prepare(1)
    with pytest.raises(UserError, match="No row of the test split 'test' has a label"):
        task_of(folder(tmp_path / "c", train=[0, 1] * 5, test=[-1]), test_split_name="test").prepare(1)
    with pytest.raises(UserError, match="no split to train on; name one of 'a', 'b'"):
        task_of(folder(tmp_path / "d", a=[0], b=[1])).prepare(1)
    with pytest.raises(RuntimeError, match="prepare"):
        task_of("x").record()


def test_warnings(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        task_of(folder(tmp_path / "one", train=[1] * 40, test=[0, 1])).prepare(1)
    assert "of one class, 'pos'" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        task_of(csv(tmp_path / "few.csv", 40), label_budget=2).prepare(1)
    assert "1 of 3 classes have no training row" in caplog.text


@pytest.mark.parametrize(
    ("name", "rows", "classes"),
    [
        ("sst2", (6920, 872, 1821), 2), ("ag_news_subset", (8797, 978, 7600), 4),
        ("names", (14012, 2000, 2000), 18), ("dna_splice", (2552, 319, 319), 3),
    ],
)  # fmt: skip
def test_real_datasets(name, rows, classes):
    root = os.environ.get("TL_TOOLKIT_TEST_DATA")
    if not root:
        pytest.skip("TL_TOOLKIT_TEST_DATA names no folder with datasets")
    task = task_of(Path(root) / "data" / name)
    data = task.prepare(1)
    assert tuple(map(len, data.values())) == rows and len(task.labels) == classes
    budgeted = task_of(Path(root) / "data" / name, label_budget=100).prepare(1)
    assert len(set(budgeted["train"]["label"])) == classes
