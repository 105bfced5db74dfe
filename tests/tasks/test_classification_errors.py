"""Errors and warnings for data that cannot be used for classification, or is probably wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from datasets import ClassLabel, Features, Value

from tl_toolkit.errors import UserError

NAMES = ["neg", "pos"]


def jsonl(path: Path, rows: list) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


GOOD = [{"text": f"t{i}", "label": i % 2} for i in range(40)]


@pytest.mark.parametrize(
    ("rows", "arguments", "message"),
    [
        ([*GOOD, {"text": None, "label": 1}], {}, "Row 40 of split 'train' has no text in column 'text' .1 of 41"),
        ([{"text": i, "label": str(i % 2)} for i in range(9)], {}, "'text' is int64, not a string"),
        ([{"text": "t", "label": None, "x": 1}] * 9, {"label_column": "label"}, "'label' is empty"),
        ([{"text": f"t{i}", "label": "x"} for i in range(9)], {}, "Every row has the label 'x'.*two classes"),
        ([{"text": f"t{i}", "label": i} for i in range(99)], {}, "99 different values in 99 rows"),
        ([{"text": "t", "label": 0.5}] * 9, {"label_column": "label"}, "contains the number 0.5.*--task regression"),
        ([{"text": "t", "a": 1, "b": 2}] * 9, {"label_column": "a,b"}, "Row 0 of column 'b' .* is 2: with several"),
        (GOOD, {"label_budget": 41}, "budget of 41 labels .* has 29"),
        (GOOD, {"label_budget": 0}, "--label_budget must be 1 row or more, but is 0"),
        (GOOD, {"validation_budget": -1}, "--validation_budget must be 1 row or more, but is -1"),
        (GOOD, {"validation_fraction": 1.5}, "--validation_fraction must be between 0 and 1, but is 1.5"),
        (GOOD, {"test_split_name": "test"}, "no split 'test' .--test_split_name"),
        (GOOD, {"test_split_name": "train"}, "'train' is used for train and test"),
        (GOOD, {"task": "classification"}, "no task 'classification'.*Did you mean 'text-classification'"),
        (GOOD[:2], {}, "1 row cannot be divided"),
    ],
)
def test_bad_data_raises_an_error(tmp_path, rows, arguments, message, task_of):
    with pytest.raises(UserError, match=message):
        task_of(jsonl(tmp_path / "d.jsonl", rows), **arguments).prepare(1)


def test_labels_outside_the_range(tmp_path, task_of):
    import pyarrow as pa
    import pyarrow.parquet as pq

    features = Features({"text": Value("string"), "label": ClassLabel(names=NAMES)})
    table = pa.table({"text": ["a", "b", "c"], "label": [0, 1, 7]}).cast(
        pa.schema([("text", pa.string()), ("label", pa.int64())])
    )
    pq.write_table(table.replace_schema_metadata(features.arrow_schema.metadata), tmp_path / "d.parquet")
    with pytest.raises(UserError, match="Row 2 of column 'label' .* label 7, outside the range 0 to 1"):
        task_of(tmp_path / "d.parquet").prepare(1)


def test_empty_and_unlabelled_splits(tmp_path, task_of, csv, folder):
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
