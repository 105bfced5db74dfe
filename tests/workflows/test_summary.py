"""The printed line about the data of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from tl_toolkit.workflows.summary import print_data


def record(labels: list[str] | None, pair: str | None = None) -> dict:
    columns = {"text": "review", "text_pair": pair, "label": "stars"}
    rows = {"train": 1432, "validation": 48, "test": 120}
    dataset = {"columns": columns, "rows": rows, "validation_from": "train", "test_from": "test"}
    return {"dataset": dataset, "task": {"labels": labels}}


def args(rank: int = 0, log_level: str = "passive") -> SimpleNamespace:
    return SimpleNamespace(process_index=rank, log_level=log_level)


@pytest.mark.parametrize(
    ("labels", "pair", "expected"),
    [
        (["bad", "good"], None, "text: review · label: stars (bad, good)"),
        (["a\nb", "c"], None, r"text: review · label: stars (a\nb, c)"),
        (None, "title", "text: review + title · label: stars (a number)"),
        ([f"c{i}" for i in range(13)], None, "label: stars (c0, c1, c2, c3, c4, c5, c6, c7, c8, c9 and 3 more)"),
    ],
)
def test_columns_classes_and_rows(
    capsys: pytest.CaptureFixture, labels: list[str] | None, pair: str | None, expected: str
) -> None:
    print_data(record(labels, pair), args())
    line = capsys.readouterr().out
    assert f"{expected} · 1,432 training, 48 validation (from train), 120 test rows\n" in line


def test_only_the_first_process_prints_and_none_with_log_level_error(capsys: pytest.CaptureFixture) -> None:
    print_data(record(["bad", "good"]), args(rank=1))
    print_data(record(["bad", "good"]), args(log_level="error"))
    assert capsys.readouterr().out == ""


def test_a_run_describes_its_data_before_training(
    finetune: Callable[..., dict], tiny_rnn: dict, capsys: pytest.CaptureFixture
) -> None:
    finetune(**tiny_rnn, num_train_epochs=1, label_budget=12)
    line = "text: text · label: label (fruit, metal, river) · 12 training, 31 validation, 47 test rows"
    assert capsys.readouterr().out.splitlines()[0] == line


def test_findings_are_printed_and_recorded(
    finetune: Callable[..., dict], tiny_rnn: dict, dataset_folder: Path, capsys: pytest.CaptureFixture
) -> None:
    rows = pd.read_parquet(dataset_folder / "train.parquet")
    rows.loc[[3, 5], "text"] = pd.read_parquet(dataset_folder / "test.parquet")["text"][0]
    rows.loc[5, "label"] = rows.loc[3, "label"]
    rows.to_parquet(dataset_folder / "train.parquet")
    record = finetune(**tiny_rnn, num_train_epochs=1, max_length=2)
    look = record["dataset"]["data_look"]
    assert look["in_test"] == {"count": 2, "rows": [3, 5]}
    assert look["truncated"]["length"] == 2 and look["truncated"]["splits"]["train"]["of"] == 66
    printed = capsys.readouterr().out.splitlines()
    assert printed[1].startswith("Most frequent label: ")
    assert printed[2].startswith("Duplicate training texts: 2 also in test (rows 3, 5)")
    assert printed[2].endswith(". --drop_duplicates leaves them out")
    assert printed[3].startswith("Texts cut to 2 tokens: ") and " of 66 in training" in printed[3]


def test_a_language_model_run_describes_its_texts(pretrain: Callable[..., dict], capsys: pytest.CaptureFixture) -> None:
    sizes = "embedding_size=5,hidden_size=7,num_hidden_layers=1"
    trained = pretrain(model_type="rnn", config_overrides=sizes, num_train_epochs=1)
    tokens = trained["dataset"]["tokens"]
    expected = f"text: text · 66 training texts ({tokens['train']:,} tokens), 31 validation texts ("
    assert capsys.readouterr().out.splitlines()[0].startswith(expected)
