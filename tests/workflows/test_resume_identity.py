"""A run is resumed by the same run only; what differs is named before anything is trained or removed."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tl_toolkit.errors import UserError
from tl_toolkit.records.checkpoints import is_complete
from tl_toolkit.records.identity import IDENTITY_NAME
from tl_toolkit.workflows import lifecycle

Finetune = Callable[..., dict]
OVERRIDES = ["embedding_size=7", "hidden_size=13", "num_hidden_layers=1", "embedding_dropout=0", "classifier_dropout=0"]
"""Those of `tiny_rnn`."""

CHANGES: list[tuple[dict[str, Any], list[str]]] = [
    ({"label_budget": 30}, ["training rows: was 66, is now 30", "--label_budget: was not set, is now 30", "tokenizer"]),
    ({"validation_budget": 7}, ["validation rows: was 31, is now 7", "--validation_budget"]),
    ({"test_budget": 7}, ["test rows: was 47, is now 7", "--test_budget"]),
    ({"seed": 7}, ["--seed: was 42, is now 7"]),
    ({"learning_rate": 0.1}, ["learning rates (--learning_rate): was 0.005, is now 0.1"]),
    ({"num_train_epochs": 3}, ["updates: was 12, is now 18", "epochs (--num_train_epochs): was 2, is now 3"]),
    ({"max_steps": 5}, ["updates: was 12, is now 5"]),
    ({"per_device_train_batch_size": 22}, ["global batch", "was 11, is now 22", "updates: was 12, is now 6"]),
    ({"tokenizer_name": "char"}, ["the tokenizer"]),
    ({"max_length": 4}, ["--max_length: was 256, is now 4"]),
    ({"text_column": "note"}, ["the text column: was text, is now note", "training rows: 66 others"]),
    ({"label_column": "other"}, ["labels in their order", "was fruit, metal, river, is now no, yes"]),
    (
        {"config_overrides": ",".join(OVERRIDES).replace("hidden_size=13", "hidden_size=11")},
        ["hidden_size of the model (--config_overrides): was 13, is now 11"],
    ),
    ({"drop_duplicates": True}, ["--drop_duplicates: was not set, is now True"]),
    ({"weight_decay": 0.3}, ["--weight_decay: was not set, is now 0.3"]),
    ({"lr_scheduler_type": "constant"}, ["--lr_scheduler_type: was not set, is now constant"]),
    ({"optim": "adafactor"}, ["--optim"]),
    ({"eval_strategy": "steps", "eval_steps": 4, "save_strategy": "steps", "save_steps": 4}, ["--eval_steps"]),
]


@pytest.fixture
def two_columns(dataset_folder: Path) -> Path:
    """The usual rows with a second column of texts and a second label."""
    for path in dataset_folder.glob("*.parquet"):
        rows = pd.read_parquet(path)
        rows["note"] = rows["text"].str.upper()
        rows["other"] = ["yes" if len(text) % 2 else "no" for text in rows["text"]]
        rows.to_parquet(path)
    return dataset_folder


@pytest.fixture
def settings(tiny_rnn: dict, two_columns: Path) -> dict[str, Any]:
    return {**tiny_rnn, "text_column": "text", "label_column": "label", "save_total_limit": 10}


def test_each_changed_argument_is_refused_by_name(finetune: Finetune, tmp_path: Path, settings: dict) -> None:
    record = finetune(**settings)
    folder = tmp_path / "out"
    checkpoint = folder / "checkpoint-6"
    for place in (folder, checkpoint, folder / "checkpoint-12"):
        assert json.loads((place / IDENTITY_NAME).read_text()) == record["identity"]
    assert json.loads((folder / "result.json").read_text())["identity"] == record["identity"]
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    for change, expected in CHANGES:
        with pytest.raises(UserError, match="checkpoint-6' belongs to another run") as caught:
            finetune(**{**settings, **change}, resume_from_checkpoint=str(checkpoint))
        message = str(caught.value)
        assert all(part in message for part in expected), message
        assert "\n" not in message
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_other_rows_of_the_same_number_are_refused(finetune: Finetune, tmp_path: Path, settings: dict) -> None:
    finetune(**settings)
    path = tmp_path / "data" / "train.parquet"
    rows = pd.read_parquet(path)
    rows.loc[5, "text"] = "the old plum and some zinc"
    rows.to_parquet(path)
    with pytest.raises(UserError, match="content of the dataset.*training rows: 66 others"):
        finetune(**settings, resume_from_checkpoint="true")


def test_other_versions_are_refused(finetune: Finetune, monkeypatch: pytest.MonkeyPatch, settings: dict) -> None:
    finetune(**settings)
    monkeypatch.setattr(lifecycle, "versions", lambda: {"python": "3.99.1", "torch": "99"})
    with pytest.raises(UserError, match="the version of torch: was .*, is now 99"):
        finetune(**settings, resume_from_checkpoint="true")


def test_another_base_of_an_adapter_is_refused(finetune: Finetune, tmp_path: Path, settings: dict) -> None:
    """The adapter's checkpoint does not contain the weights that it was trained on."""
    for name, epochs in (("base", 1), ("other", 2)):
        finetune(name, **settings, num_train_epochs=epochs)
    common = {name: settings[name] for name in ("text_column", "label_column")}
    tuned = {**common, "strategy": "lora", "num_train_epochs": 1, "model_name_or_path": str(tmp_path / "base")}
    finetune("lora", **tuned)
    assert (tmp_path / "lora" / IDENTITY_NAME).is_file()
    with pytest.raises(UserError, match="weights that training starts from"):
        finetune("lora", **{**tuned, "model_name_or_path": str(tmp_path / "other")}, resume_from_checkpoint="true")
    shutil.copytree(tmp_path / "base", tmp_path / "moved")
    moved = {**tuned, "model_name_or_path": str(tmp_path / "moved")}
    assert finetune("lora", **moved, resume_from_checkpoint="true")["status"] == "completed"


def test_what_has_no_effect_may_differ(finetune: Finetune, tmp_path: Path, settings: dict) -> None:
    """Logging, output paths, the place of the data, and processes or accumulation at the same global batch."""
    whole = finetune(**settings, per_device_eval_batch_size=16)
    shutil.copytree(tmp_path / "data", tmp_path / "moved")
    other = {
        "dataset_name": str(tmp_path / "moved"), "logging_steps": 1, "log_level": "error", "name": "again",
        "per_device_train_batch_size": 11, "per_device_eval_batch_size": 5, "max_steps": 12, "save_total_limit": 3,
        "learning_rate": 0.005, "config_overrides": ",".join(reversed(OVERRIDES)),
    }  # fmt: skip
    checkpoint = str(tmp_path / "out" / "checkpoint-6")
    resumed = finetune("other", **{**settings, **other}, resume_from_checkpoint=checkpoint)
    assert resumed["metrics"]["test"] == pytest.approx(whole["metrics"]["test"])
    assert resumed["cost"]["steps"] == whole["cost"]["steps"] == 12
    accumulated = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 11}
    resumed = finetune("accumulated", **{**settings, **accumulated}, resume_from_checkpoint=checkpoint)
    assert resumed["cost"]["steps"] == 12 and resumed["identity"] == whole["identity"]


def test_a_checkpoint_of_the_first_version_is_resumed_with_a_warning(
    finetune: Finetune, tmp_path: Path, settings: dict, caplog: pytest.LogCaptureFixture
) -> None:
    finetune(**settings)
    checkpoint = tmp_path / "out" / "checkpoint-6"
    (checkpoint / IDENTITY_NAME).unlink()
    assert is_complete(checkpoint)
    with caplog.at_level(logging.WARNING):
        record = finetune("again", **settings, resume_from_checkpoint=str(checkpoint))
    assert record["status"] == "completed" and "could not be checked" in caplog.text
    (checkpoint / IDENTITY_NAME).write_text('{"seed": 4')
    assert not is_complete(checkpoint)


def test_each_changed_argument_of_a_language_model_is_refused_by_name(
    pretrain: Callable[..., dict], tmp_path: Path
) -> None:
    settings = {"model_type": "awd_lstm", "config_overrides": "embedding_size=7,hidden_size=13,num_hidden_layers=2"}
    pretrain(**settings, save_total_limit=10)
    checkpoint = min(tmp_path.glob("out/checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    changes = {
        "max_train_tokens": (200, ["--max_train_tokens: was not set, is now 200", "training rows"]),
        "window_length": (12, ["--window_length: was 11, is now 12"]),
        "random_window_lengths": (False, ["--random_window_lengths: was not set, is now False"]),
        "shuffle_documents": (True, ["training rows:", "others", "--shuffle_documents"]),
        "seed": (7, ["--seed: was 42, is now 7"]),
        "per_device_train_batch_size": (6, ["global batch", "was 3, is now 6"]),
        "per_device_eval_batch_size": (7, ["evaluation batch", "was 2, is now 7"]),
    }
    for name, (value, expected) in changes.items():
        with pytest.raises(UserError, match="belongs to another run") as caught:
            pretrain("other", **{**settings, name: value}, resume_from_checkpoint=str(checkpoint))
        assert all(part in str(caught.value) for part in expected), str(caught.value)
    assert not (tmp_path / "other").exists()
