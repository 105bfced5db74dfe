"""Classification from files to model inputs: rows, labels, splits, budgets, tokens."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from tl_toolkit.data.tokenizers import build_tokenizer
from tl_toolkit.errors import UserError

NAMES = ["neg", "pos"]


def test_one_file_is_split_into_three_disjoint_parts_and_recorded(tmp_path, task_of, csv):
    task = task_of(csv(tmp_path / "rows.csv"), label_budget=17, validation_budget=11)
    data = task.prepare(seed=1)
    record = task.record()
    assert record["dataset"] | {"name": "", "fingerprint": ""} == {
        "name": "", "config": None, "revision": None, "fingerprint": "", "versions": None,
        "columns": {"text": "text", "text_pair": None, "label": "label"},
        "rows": {"train": 17, "validation": 11, "test": 42},
        "validation_from": "train", "test_from": "train",
        "data_look": {"most_frequent": {"label": "neg", "share": 6 / 17}},
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
        "constant_answer": np.bincount(data["train"]["label"]).argmax(),
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


def test_only_training_and_validation_rows_depend_on_the_seed(tmp_path, task_of, csv):
    path = csv(tmp_path / "rows.csv")
    first, second, again = (task_of(path, label_budget=29, test_budget=23).prepare(seed) for seed in (1, 2, 1))
    assert first["test"]["row"][:] == second["test"]["row"][:] and len(first["test"]) == 23
    assert first["validation"]["row"][:] != second["validation"]["row"][:]
    assert first["train"]["row"][:] != second["train"]["row"][:]
    assert first["train"]["row"][:] == again["train"]["row"][:]
    larger = task_of(path, label_budget=101).prepare(1)
    assert set(first["train"]["row"]) < set(larger["train"]["row"])


def test_splits_of_the_dataset_are_found_by_common_names(tmp_path, task_of, folder):
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


def test_validation_rows_come_from_train_and_never_from_test(tmp_path, task_of, folder):
    task = task_of(folder(tmp_path / "d", train=[0, 1] * 50, test=[1, 0] * 7))
    data = task.prepare(1)
    assert {role: len(split) for role, split in data.items()} == {"train": 90, "validation": 10, "test": 14}
    assert all(text.startswith("train") for text in data["validation"]["text"])
    assert sorted(data["validation"]["label"]) == [0] * 5 + [1] * 5
    assert task.record()["dataset"]["validation_from"] == "train"


@pytest.mark.parametrize("splits", [{"test": [-1] * 9}, {}], ids=["withheld", "absent"])
def test_without_test_labels_the_validation_split_is_the_test_split(tmp_path, splits, task_of, folder):
    task = task_of(folder(tmp_path / "d", train=[0, 1] * 50, validation=[1, 0] * 7, **splits))
    data = task.prepare(1)
    assert {role: len(split) for role, split in data.items()} == {"train": 90, "validation": 10, "test": 14}
    assert data["test"]["text"][0] == "validation 0"
    assert (task.record()["dataset"]["validation_from"], task.record()["dataset"]["test_from"]) == (
        "train",
        "validation",
    )


def test_a_validation_split_named_by_the_user_is_not_used_for_test(tmp_path, task_of, folder):
    path = folder(tmp_path / "d", train=[0, 1] * 50, validation=[1, 0] * 7)
    task = task_of(path, validation_split_name="validation")
    data = task.prepare(1)
    assert {role: len(split) for role, split in data.items()} == {"train": 80, "validation": 14, "test": 20}
    assert task.record()["dataset"]["test_from"] == "train"


def test_rows_marked_as_unlabelled_are_left_out(tmp_path, caplog, task_of, folder):
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
def test_class_names_are_sorted_by_their_type(tmp_path, values, names, task_of):
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
def test_multi_label_in_all_its_forms(tmp_path, kind, task_of):
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
    encoded = task.encode(splits, build_tokenizer("word", splits["train"]["text"], min_frequency=1), None)
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
    names = {"label_name": "string", "prediction_name": "string"}
    assert types == {"label": "int8", "prediction": "int8", "scores": "float", **names}
    np.testing.assert_allclose(frame["scores"][0], 1 / (1 + np.exp(-logits[0])), rtol=1e-6)


def test_sentence_pairs(tmp_path, task_of):
    rows = [{"premise": f"p{i}", "hypothesis": "h " * (i % 3), "label": i % 2} for i in range(40)]
    (tmp_path / "d.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    task = task_of(tmp_path / "d.jsonl")
    data = task.prepare(1)
    assert task.record()["dataset"]["columns"] == {"text": "premise", "text_pair": "hypothesis", "label": "label"}
    tokenizer = build_tokenizer("word", ["h " + " ".join(f"p{i}" for i in range(40))], min_frequency=1)
    encoded = task.encode(data, tokenizer, None)
    for row, ids in zip(data["train"], encoded["train"]["input_ids"], strict=True):
        assert tokenizer.convert_ids_to_tokens(ids) == [row["text"], *row["text_pair"].split()]
    assert list(task.predictions(np.zeros((len(data["test"]), 2)), data["test"]).columns) == [
        "row", "text", "text_pair", "label", "label_name", "prediction", "prediction_name", "scores",
    ]  # fmt: skip


def test_tokenize_truncates_measures_and_never_returns_empty_rows(tmp_path, task_of):
    texts = ["one two three four five", "", "  ", "two"] * 10
    Dataset.from_dict({"text": texts, "label": [0, 1] * 20}).to_parquet(tmp_path / "d.parquet")
    task = task_of(tmp_path / "d.parquet")
    data = task.prepare(1)
    tokenizer = build_tokenizer("word", texts, max_length=5)
    encoded = task.encode(data, tokenizer, 3)["train"]
    assert encoded.column_names == ["input_ids", "attention_mask", "is_cut", "length", "labels"]
    for row, got in zip(data["train"], encoded, strict=True):
        expected = tokenizer(row["text"])["input_ids"][:3] or [tokenizer.unk_token_id]
        assert got["input_ids"] == expected and got["attention_mask"] == [1] * len(expected)
        assert got["length"] == len(expected) and got["labels"] == row["label"]
        assert got["is_cut"] == (len(row["text"].split()) > 3)
    assert max(task.encode(data, tokenizer, None)["train"]["length"]) == 5
    assert max(task.encode(data, tokenizer, 99)["train"]["length"]) == 5
    with pytest.raises(UserError, match="--max_length must be .* is 0"):
        task.encode(data, tokenizer, 0)


def test_tokenize_with_special_tokens_and_types(tmp_path, task_of, csv):
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
    encoded = task.encode(data, tokenizer, 4)["train"]
    assert encoded[0]["input_ids"] == [2, 4, 1, 3] and encoded[0]["token_type_ids"] == [0] * 4
    with pytest.raises(UserError, match="must be 3 or more, .* adds 2 special tokens"):
        task.encode(data, tokenizer, 2)
    batch = task.collator(tokenizer)([{"input_ids": [2] * 9, "labels": 1}, {"input_ids": [2], "labels": 0}])
    assert batch["input_ids"].shape == (2, 9)  # not 16: the model has 13 positions


@pytest.mark.parametrize(("on_gpu", "width"), [(True, 8), (False, 3)])
def test_collator_pads_to_a_multiple_of_eight_on_a_gpu(tmp_path, monkeypatch, on_gpu, width, task_of, csv):
    monkeypatch.setattr("torch.cuda.is_available", lambda: on_gpu)
    task = task_of(csv(tmp_path / "rows.csv", 31))
    data = task.prepare(1)
    tokenizer = build_tokenizer("word", data["train"]["text"], min_frequency=1, max_length=256)
    batch = task.collator(tokenizer)([task.encode(data, tokenizer, 256)["train"][i] for i in range(5)])
    assert batch["input_ids"].shape == (5, width) and batch["attention_mask"].sum() == 15
    assert batch["labels"].tolist() == data["train"]["label"][:5]


def test_class_ids_with_their_names_in_another_column(tmp_path, task_of):
    """As in SetFit/sst2, with the same file names: the ids are the label, and names are not a second text."""
    for seed, (split, rows) in enumerate({"train": 23, "dev": 7, "test": 11}.items()):
        ids = np.random.default_rng(seed).permutation(np.arange(rows) % 2)
        lines = [
            json.dumps({"text": f"{split} {row}", "label": int(i), "label_text": ["negative", "positive"][i]})
            for row, i in enumerate(ids)
        ]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines))
    task = task_of(tmp_path)
    data = task.prepare(1)
    assert tuple(map(len, data.values())) == (23, 7, 11) and task.labels == ["0", "1"]
    assert task.record()["dataset"]["columns"] == {"text": "text", "text_pair": None, "label": "label"}
    assert data["validation"]["text"][0] == "dev 0"


@pytest.mark.parametrize(
    ("name", "rows", "classes"),
    [
        ("sst2", (6920, 872, 1821), 2), ("ag_news_subset", (8797, 978, 7600), 4),
        ("names", (14012, 2000, 2000), 18), ("dna_splice", (2552, 319, 319), 3),
    ],
)  # fmt: skip
def test_real_datasets(name, rows, classes, task_of):
    root = os.environ.get("TL_TOOLKIT_TEST_DATA")
    if not root:
        pytest.skip("TL_TOOLKIT_TEST_DATA names no folder with datasets")
    task = task_of(Path(root) / "data" / name)
    data = task.prepare(1)
    assert tuple(map(len, data.values())) == rows and len(task.labels) == classes
    budgeted = task_of(Path(root) / "data" / name, label_budget=100).prepare(1)
    assert len(set(budgeted["train"]["label"])) == classes
