"""Class names are spelt as in the file, over all splits, and rows without a label are counted."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tl_toolkit.errors import UserError


def write(path: Path, labels: list[str], column: str = "label") -> Path:
    path.parent.mkdir(exist_ok=True)
    lines = [f"words of text {place},{label}" for place, label in enumerate(labels)]
    path.write_text("\n".join([f"text,{column}", *lines]) + "\n")
    return path


def prepared(task_of, path: Path, **arguments):
    task = task_of(path, **arguments)
    return task, task.prepare(1)


def names_by_row(task, data) -> dict[int, str]:
    return {row["row"]: task.labels[row["label"]] for split in data.values() for row in split}


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["TRUE", "FALSE"], ["FALSE", "TRUE"]),
        (["true", "false", ""], ["false", "true"]),
        (["True", "False"], ["False", "True"]),
        (["1.0", "2.0", "10.0"], ["1.0", "2.0", "10.0"]),  # in the order of the numbers
        (["4.50", "3.00", "none"], ["3.00", "4.50", "none"]),
        (["007", "7", "10"], ["007", "7", "10"]),
        (["None", "NA", "null", "nan"], ["NA", "None", "nan", "null"]),
        (["1E3", "2E3", ""], ["1E3", "2E3"]),
        (["+1", "-1", "0"], ["-1", "0", "+1"]),
        (["1", "2", ""], ["1", "2"]),
        (["1.0", "1", "2"], ["1", "2"]),  # one class, although written in two ways
    ],
)
def test_names_are_spelt_as_in_the_file(tmp_path, task_of, labels, names, caplog):
    rows = labels * 8
    with caplog.at_level(logging.WARNING):
        task, data = prepared(task_of, write(tmp_path / "d.csv", rows))
    assert task.labels == names
    found = names_by_row(task, data)
    expected = {row: label for row, label in enumerate(rows) if label}
    same = {"1.0": "1"} if "1" in names else {}
    assert found == {row: same.get(label, label) for row, label in expected.items()}
    assert ("8 of 24 rows of split 'train' have no label" in caplog.text) == ("" in labels)


@pytest.mark.parametrize("other", [["TRUE", "FALSE", "UNSURE"], ["1.0", "2.0", "n/a"], ["1E3", "2E3", "B7"]])
def test_splits_spell_a_class_alike(tmp_path, task_of, other):
    write(tmp_path / "d" / "train.csv", other * 8)
    write(tmp_path / "d" / "test.csv", other[:2] * 4)  # these alone look like booleans or numbers
    task, data = prepared(task_of, tmp_path / "d")
    assert task.labels == sorted(other)
    assert [task.labels[row["label"]] for row in data["test"]] == other[:2] * 4


def test_a_split_with_one_of_the_classes(tmp_path, task_of):
    write(tmp_path / "d" / "train.csv", ["TRUE", "FALSE"] * 8)
    write(tmp_path / "d" / "test.csv", ["TRUE"] * 4)
    task, data = prepared(task_of, tmp_path / "d")
    assert task.labels == ["FALSE", "TRUE"] and set(data["test"]["label"]) == {1}


def test_json_numbers_keep_their_spelling(tmp_path, task_of):
    path = tmp_path / "d.jsonl"
    path.write_text("\n".join(f'{{"text": "t{n}", "label": {["1.0", "2.0", "null"][n % 3]}}}' for n in range(24)))
    assert prepared(task_of, path)[0].labels == ["1.0", "2.0"]


def test_fractions_are_refused_as_classes(tmp_path, task_of):
    with pytest.raises(UserError, match="contains the number 4.5, which is not a class"):
        prepared(task_of, write(tmp_path / "d.csv", ["4.50", "3.00"] * 8))


def test_a_model_that_knows_the_values_under_other_names(tmp_path, task_of):
    task, _ = prepared(task_of, write(tmp_path / "train.csv", ["1", "2"] * 8))
    task.arguments.dataset_name = str(write(tmp_path / "new.csv", ["2.0", "1.0"] * 4))
    assert list(task.prepare_for_prediction()["label"]) == [1, 0] * 4


@pytest.mark.parametrize("cell", ["['joy', 'fear']", "[]", "[1, 2]"])
def test_lists_written_as_text_are_refused(tmp_path, task_of, cell):
    with pytest.raises(UserError, match="'labels' of split 'train' contains .*a list written as text.*JSON Lines"):
        prepared(task_of, write(tmp_path / "d.csv", [f'"{cell}"', "['joy']"] * 8, "labels"))


def test_one_row_per_class_if_the_column_is_named(tmp_path, task_of, caplog):
    path = write(tmp_path / "d.csv", [f"open_{n}" for n in range(60)], "intent")
    with pytest.raises(UserError, match="60 different values in 60 rows.*Name another column.*or this one"):
        prepared(task_of, path)
    with caplog.at_level(logging.WARNING):
        task, _ = prepared(task_of, path, label_column="intent")
    assert len(task.labels) == 60 and "60 different values in 60 rows" in caplog.text
