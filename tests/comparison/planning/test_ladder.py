"""Ladders: comparisons without a grid file."""

from __future__ import annotations

import logging

import pytest

from tl_toolkit.comparison.arguments import parse_compare_arguments
from tl_toolkit.comparison.planning import ladder
from tl_toolkit.comparison.planning.folds import with_default_folds
from tl_toolkit.errors import UserError

FIVE = ["Constant", "TF-IDF + linear", "LSTM", "BiLSTM", "Self-attention"]


@pytest.fixture(autouse=True)
def _package(monkeypatch):
    """Pretend that the package of the default checkpoint is installed."""
    monkeypatch.setattr(ladder, "builtin_model_path", lambda name: name)


def entries_of(**given):
    grid = parse_compare_arguments({"dataset_name": "reviews.csv", "label_budgets": [10], "seeds": [1], **given}).grid
    return grid.entries, grid


def test_the_entries_of_each_ladder():
    assert entries_of(entries="quick")[0] == ["Constant", "TF-IDF + linear", "BiLSTM", "minilm, probe"]
    assert entries_of(entries="ladder")[0] == [*FIVE, "minilm, probe", "minilm, fine-tuned"]
    full, grid = entries_of(entries="full")
    added = ["minilm, contrastive", "BiLSTM, distilled"]
    assert full == [*FIVE, "minilm, probe", "minilm, LoRA", "minilm, fine-tuned", *added, "ULMFiT"]
    assert [(name, stage.settings["dataset_name"]) for name, stage in grid.stages.items()] == [
        ("task-texts", "reviews.csv")
    ]


def test_unlabelled_texts_come_before_the_texts_of_the_task():
    _, grid = entries_of(entries="full", unlabelled_dataset="wiki.txt")
    assert [(name, stage.settings["dataset_name"]) for name, stage in grid.stages.items()] == [
        ("unlabelled-texts", "wiki.txt"),
        ("task-texts", "reviews.csv"),
    ]
    assert grid.stages["task-texts"].sources == ("unlabelled-texts",)


def test_the_first_language_model_starts_from_vectors():
    _, grid = entries_of(entries="full", vectors="glove.txt", unlabelled_dataset="wiki.txt")
    assert [stage.settings.get("vectors") for stage in grid.stages.values()] == ["glove.txt", None]


@pytest.mark.parametrize("texts", [None, "wiki.txt"])
def test_a_pretrained_recurrent_model_keeps_its_vocabulary(texts):
    _, grid = entries_of(entries="full", recurrent_model="wt103", unlabelled_dataset=texts)
    settings = [stage.settings for stage in grid.stages.values()]
    assert settings[0]["model_name_or_path"] == "wt103" and len(settings) == (2 if texts else 1)
    assert not any({"model_type", "tokenizer_name", "config_overrides"} & own.keys() for own in settings)


def test_checkpoints_and_vectors_of_the_user():
    names, grid = entries_of(entries="ladder", models=["user/tiny-bert", "gpt2"], vectors="glove.txt")
    assert names[-4:] == ["tiny-bert, probe", "tiny-bert, fine-tuned", "gpt2, probe", "gpt2, fine-tuned"]
    vectors = {run.entry: run.settings.get("vectors") for run in grid.runs}
    assert {name for name, own in vectors.items() if own} == {"BiLSTM + vectors"}


def test_without_the_default_checkpoint_its_entries_are_left_out(monkeypatch, caplog):
    def missing(name):
        raise UserError("It is not installed.")

    monkeypatch.setattr(ladder, "builtin_model_path", missing)
    with caplog.at_level(logging.WARNING):
        assert entries_of(entries="ladder")[0] == FIVE
    assert "left out: It is not installed." in caplog.text and "--models" in caplog.text


def test_tagging_has_neither_a_constant_nor_a_linear_entry():
    names, grid = entries_of(entries="full", task="token-classification")
    assert names == [*FIVE[2:], "minilm, probe", "minilm, LoRA", "minilm, fine-tuned"] and not grid.stages


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"entries": "tall"}, "tall"),
        ({"entries": "ladder", "task": "translation"}, "no ladder for the task 'translation'.*--config"),
        ({"entries": "quick", "unlabelled_dataset": "wiki.txt"}, "--entries full"),
        ({"entries": "ladder", "language_model": "gpt2"}, "--language_model"),
        ({"entries": "ladder", "recurrent_model": "wt103"}, "--recurrent_model.*--entries full"),
        ({"entries": [{"name": "a", "model_type": "rnn"}], "models": ["gpt2"]}, "--models.*its own entries"),
    ],
)
def test_what_a_ladder_cannot_do(given, said):
    with pytest.raises(UserError, match=f"(?s){said}"):
        entries_of(**given)


def test_flags_reach_every_entry():
    _, grid = entries_of(entries="quick", max_length=7)
    assert {run.settings["max_length"] for run in grid.runs} == {7}


def test_the_full_ladder_has_a_teacher_pairs_and_a_prompt():
    names, grid = entries_of(entries="full", language_model="user/chatty", unlabelled_dataset="wiki.txt")
    assert names[-4:] == ["minilm, contrastive", "BiLSTM, distilled", "chatty, prompt", "ULMFiT"]
    runs = {run.entry: run for run in grid.runs}
    student = runs["BiLSTM, distilled"]
    assert student.taught_by is not None and student.taught_by.entry == "minilm, fine-tuned"
    assert student.settings["unlabelled_dataset"] == "wiki.txt" and student.settings["model_type"] == "rnn"
    assert runs["chatty, prompt"].settings["model_name_or_path"] == "user/chatty"
    assert [name for name, run in runs.items() if "unlabelled_dataset" in run.settings] == ["BiLSTM, distilled"]


def test_tasks_without_classes_have_none_of_them():
    names, _ = entries_of(entries="full", task="regression")
    assert names == [*FIVE, "minilm, probe", "minilm, LoRA", "minilm, fine-tuned", "ULMFiT"]


@pytest.mark.parametrize(
    ("columns", "flags", "left_out"),
    [
        ("text,label", {}, []),
        ("sentence1,sentence2,label", {}, [("BiLSTM, distilled", "two texts"), ("gpt2, prompt", "two texts")]),
        (
            "text,a,b",
            {"label_column": "a,b"},
            [(name, "several labels") for name in ("minilm, contrastive", "BiLSTM, distilled", "gpt2, prompt")],
        ),
    ],
)
def test_entries_that_cannot_learn_from_the_rows_are_left_out(tmp_path, caplog, columns, flags, left_out):
    values = {"text": "a text {}", "sentence1": "one {}", "sentence2": "another {}", "label": "x", "a": "1", "b": "0"}
    rows = [",".join(values[name].format(row) for name in columns.split(",")) for row in range(20)]
    (tmp_path / "rows.csv").write_text("\n".join([columns, *rows]))
    given = {"dataset_name": str(tmp_path / "rows.csv"), "entries": "full", "language_model": "gpt2", "folds": 1}
    before, grid = entries_of(**given, **flags)
    with caplog.at_level(logging.WARNING):
        after, _ = with_default_folds(grid, tmp_path)
    assert [name for name in before if name not in after.entries] == [name for name, _ in left_out]
    for name, reason in left_out:
        assert f"The entry {name!r} is left out. The strategy" in caplog.text and f"they have {reason}." in caplog.text
