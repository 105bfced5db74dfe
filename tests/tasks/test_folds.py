"""Cross-validation of one run: `folds` and `fold`, which stand in for a test split."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import StratifiedKFold

from tl_toolkit.errors import UserError
from tl_toolkit.tasks import Task

TaskOf = Callable[..., Task]
ROWS = 53


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """53 rows, the last two without any label; 13 authors, each with one or more rows."""
    rng = np.random.default_rng(5)
    topics = rng.random((ROWS, 2)) < [0.4, 0.3]
    frame = pd.DataFrame({"text": [f"text {place}" for place in range(ROWS)]})
    frame["label"] = np.where(rng.random(ROWS) < 0.3, "spam", "ham")
    frame["rating"] = rng.normal(size=ROWS).round(3)
    frame[["one", "two"]] = topics.astype(int)
    frame["author"] = [f"author {place}" for place in rng.integers(0, 13, ROWS)]
    frame.loc[ROWS - 2 :, ["label", "rating"]] = None
    frame.to_csv(tmp_path / "rows.csv", index=False)
    return tmp_path / "rows.csv"


@pytest.mark.parametrize(
    ("columns", "rows"),
    [
        ({"label_column": "label"}, ROWS - 2),
        ({"task": "regression", "label_column": "rating"}, ROWS - 2),
        ({"label_column": "one,two"}, ROWS),
        ({"label_column": "label", "group_column": "author"}, ROWS - 2),
    ],
)
def test_every_labelled_row_is_tested_once(table: Path, task_of: TaskOf, columns: dict, rows: int) -> None:
    tested, source = [], pd.read_csv(table)
    for fold in (1, 2, 3, 4, 5):
        task = task_of(table, text_column="text", folds=5, fold=fold, **columns)
        parts = task.prepare(seed=7)
        own = {role: split["row"][:] for role, split in parts.items()}
        assert sorted(sum(own.values(), [])) == list(range(rows))  # no row has two roles, none is lost
        assert parts["test"]["text"][:] == source["text"][own["test"]].tolist()
        tested.append(own["test"])
        described = task.record()["dataset"]
        assert described["folds"] == {"folds": 5, "fold": fold, "rows": rows}
        assert described["test_from"] == described["validation_from"] == "train"
        if "group_column" in columns:
            authors = {role: set(source["author"][own[role]]) for role in own}
            assert not authors["test"] & (authors["train"] | authors["validation"])
    assert sorted(sum(tested, [])) == list(range(rows))
    assert max(map(len, tested)) - min(map(len, tested)) <= (3 if "group_column" in columns else 2)
    again = task_of(table, text_column="text", folds=5, fold=1, **columns).prepare(seed=8)
    assert again["test"]["row"][:] != tested[0]  # another seed divides anew


def test_the_folds_are_those_of_scikit_learn(table: Path, task_of: TaskOf) -> None:
    labels = pd.read_csv(table)["label"].dropna()
    expected = StratifiedKFold(3, shuffle=True, random_state=11).split(labels, labels)
    for fold, (_, rows) in enumerate(expected, start=1):
        parts = task_of(table, text_column="text", label_column="label", folds=3, fold=fold).prepare(seed=11)
        assert parts["test"]["row"][:] == rows.tolist()


def test_tagged_sentences_are_divided(tmp_path: Path, task_of: TaskOf) -> None:
    rows = [{"words": ["a", "b"], "tags": ["O", "B-X"]}] * 7
    pd.DataFrame(rows).to_json(tmp_path / "tagged.jsonl", orient="records", lines=True)
    path, tested = tmp_path / "tagged.jsonl", []
    for fold in (1, 2, 3):
        tested += task_of(path, task="token-classification", folds=3, fold=fold).prepare(seed=1)["test"]["row"][:]
    assert sorted(tested) == list(range(7))


def test_a_test_split_is_not_used_and_a_validation_split_is(
    folder: Callable[..., Path], task_of: TaskOf, tmp_path: Path
) -> None:
    saved = folder(tmp_path / "saved", train=[0, 1] * 15, validation=[0, 1] * 4, test=[1, 0] * 3)
    task = task_of(saved, folds=3, fold=2)
    parts = task.prepare(seed=1)
    assert {role: len(split) for role, split in parts.items()} == {"train": 20, "validation": 8, "test": 10}
    assert all(text.startswith("train") for text in parts["test"]["text"])
    assert task.rows_to_divide() is None


def test_a_budget_is_drawn_from_the_other_folds(table: Path, task_of: TaskOf) -> None:
    named = {"text_column": "text", "label_column": "label", "folds": 5, "fold": 4}
    whole, few = task_of(table, **named).prepare(3), task_of(table, label_budget=17, **named).prepare(3)
    assert few["test"]["row"][:] == whole["test"]["row"][:] and len(few["train"]) == 17
    assert set(few["train"]["row"]) < set(whole["train"]["row"])


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"folds": 5}, "--fold must be from 1 to --folds"),
        ({"fold": 1}, "--fold must be from 1 to --folds"),
        ({"folds": 5, "fold": 6}, "they are 6 and 5"),
        ({"folds": 1, "fold": 1}, "--folds 2 or more"),
        ({"folds": 52, "fold": 1}, "--folds 52 needs at least 52 labelled rows, but the split 'train' of .* has 51"),
        ({"folds": 14, "fold": 1, "group_column": "author"}, r"at least 14 groups \(--group_column\), but .* has 1"),
    ],
)
def test_folds_that_do_not_exist(table: Path, task_of: TaskOf, settings: dict, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        task_of(table, text_column="text", label_column="label", **settings).prepare(seed=1)


def test_series_have_no_folds(task_of: TaskOf) -> None:
    with pytest.raises(UserError, match="--folds does not apply to --task forecasting"):
        task_of("builtin:stocks", task="forecasting", folds=5, fold=1)
