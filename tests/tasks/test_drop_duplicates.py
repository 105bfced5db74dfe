"""`--drop_duplicates` on datasets: only training rows are dropped, before budgets are drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tl_toolkit.config.arguments import DataArguments
from tl_toolkit.config.pretrain_arguments import pretrain_arguments_from
from tl_toolkit.errors import UserError
from tl_toolkit.tasks import make_task

ROWS = {
    "train": [("a", "n"), ("a ", "n"), ("b", "n"), ("b", "p"), ("c", "p"), ("d", "p")]
    + [(f"t{i}", "np"[i % 2]) for i in range(13)],
    "validation": [("d", "n"), ("v", "p"), ("v", "p")],
    "test": [("c", "p"), ("w", "n"), ("w", "p")],
}  # fmt: skip


def write(folder: Path, **rows: Any) -> Path:
    folder.mkdir()
    for split, own in (rows or ROWS).items():
        lines = [json.dumps({"text": text, "label": label}) for text, label in own]
        (folder / f"{split}.jsonl").write_text("\n".join(lines))
    return folder


def test_only_training_rows_are_dropped(tmp_path: Path, task_of: Any) -> None:
    path = write(tmp_path / "data")
    task = task_of(path, drop_duplicates=True)
    dropped, plain = task.prepare(1), task_of(path).prepare(1)
    assert dropped["train"]["row"][:] == [0, *range(6, 19)]
    for role in ("validation", "test"):
        assert dropped[role].to_dict() == plain[role].to_dict() and len(dropped[role]) == 3
    look = task.record()["dataset"]["data_look"]
    assert look["dropped"] == {"in_test": 1, "in_validation": 1, "several_labels": 2, "repeated": 1}
    assert task.record()["budget"]["train_labels"] == 14


def test_budgets_are_drawn_from_the_other_rows(tmp_path: Path, task_of: Any) -> None:
    path = write(tmp_path / "data")
    rows = task_of(path, drop_duplicates=True, label_budget=14).prepare(1)["train"]["row"]
    assert rows[:] == [0, *range(6, 19)]
    with pytest.raises(UserError, match="a number from 1 to 14"):
        task_of(path, drop_duplicates=True, label_budget=15).prepare(1)


def test_held_out_rows_are_the_same_with_and_without(tmp_path: Path, task_of: Any) -> None:
    path = write(tmp_path / "data", train=[(f"t{i // 2}", "np"[i // 2 % 2]) for i in range(80)])
    plain, dropped = (task_of(path, drop_duplicates=flag).prepare(3) for flag in (False, True))
    for role in ("validation", "test"):
        assert plain[role].to_dict() == dropped[role].to_dict()
    texts = [set(dropped[role]["text"]) for role in ("train", "validation", "test")]
    assert not texts[0] & (texts[1] | texts[2]) and len(texts[0]) == len(dropped["train"])
    assert set(plain["train"]["text"]) & (texts[1] | texts[2])


def test_tasks_without_texts_to_compare_refuse_it() -> None:
    for task in ("forecasting", "captioning"):
        with pytest.raises(UserError, match=f"--drop_duplicates .* those of --task {task} have none"):
            make_task(DataArguments(task=task, drop_duplicates=True))
    given = {"model_type": "rnn", "dataset_name": "x", "output_dir": "x"}
    pretrain_arguments_from(given, "the test")
    with pytest.raises(UserError, match="--drop_duplicates does not apply to language models"):
        pretrain_arguments_from({**given, "drop_duplicates": True}, "the test")
