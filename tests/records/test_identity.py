"""The identity of a run: every field counts, by name, and nothing of this machine is in it."""

from __future__ import annotations

import copy
import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from safetensors.torch import save_file

from tl_toolkit.config.arguments import ModelArguments, RunArguments
from tl_toolkit.data.tokenizers import build_tokenizer
from tl_toolkit.errors import UserError
from tl_toolkit.models.configuration_rnn import RnnConfig
from tl_toolkit.records.identity import (
    MAY_DIFFER,
    check_same_run,
    differences,
    identity_of,
    identity_of_model,
    read_identity,
    rows_of,
    tokens_of,
    write_identity,
)

RECORD = {
    "task": {"name": "text-classification", "labels": ["bad", "good"]},
    "dataset": {
        "fingerprint": "0123456789abcdef",
        "columns": {"text": "review", "text_pair": None, "label": "verdict"},
    },
    "model": {"class": "RnnForSequenceClassification"},
    "strategy": {"name": "discriminative", "lr_decay": 2.6, "groups": ["rnn.layers", "classifier"]},
    "seed": 5,
    "arguments": {"seed": 5, "label_budget": 13, "weight_decay": 0.2, "logging_steps": 3, "learning_rate": 0.1},
    "toolkit_version": "0.1.0",
    "versions": {"python": "3.11.7", "torch": "2.13.0"},
}
TITLES = {
    "train": "training rows", "data": "dataset", "start": "weights", "global_batch": "global batch", "name": "strategy",
    "class": "the model", "learning_rates": "learning rates", "steps": "updates",
}  # fmt: skip
SCHEDULE = {"steps": 22, "epochs": 2.0, "global_batch": 11, "learning_rates": [0.1, 0.01]}


def make_identity(record: dict[str, Any] = RECORD, **changes: Any) -> dict[str, Any]:
    given = {
        "rows": {"train": tokens_of(np.arange(7)), "test": tokens_of(np.arange(3))},
        "processing": build_tokenizer("word", ["a fine film"], min_frequency=1),
        "max_length": 19,
        "config": RnnConfig(hidden_size=13, id2label={0: "bad", 1: "good"}),
        "model_arguments": ModelArguments(model_type="rnn"),
        "schedule": SCHEDULE,
    }
    return identity_of(record, **{**given, **changes})


def paths_of(value: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if isinstance(value, dict) and value:
        return [found for key, own in value.items() for found in paths_of(own, (*path, key))]
    return [path]


def test_each_field_changed_in_turn_is_named() -> None:
    identity = make_identity()
    paths = paths_of(identity)
    assert len(paths) > 40
    for path in paths:
        changed = copy.deepcopy(identity)
        part = changed
        for key in path[:-1]:
            part = part[key]
        part[path[-1]] = 1999 if path[-1] == "count" else "another"
        (difference,) = differences(changed, identity)
        name = path[1] if path[0] == "rows" else path[-1]
        assert TITLES.get(name, name) in difference
        if path[-1] != "hash":
            assert ("1999" if path[-1] == "count" else "was another") in difference.replace(",", "")


def test_all_differences_are_in_one_paragraph(tmp_path: Path) -> None:
    identity = make_identity()
    write_identity(tmp_path / "checkpoint-3", identity)
    assert check_same_run(tmp_path / "checkpoint-3", make_identity())
    other = make_identity({**RECORD, "seed": 7}, schedule={**SCHEDULE, "steps": 44}, max_length=None)
    with pytest.raises(UserError) as caught:
        check_same_run(tmp_path / "checkpoint-3", other)
    message = str(caught.value)
    for part in ("checkpoint-3", "--seed: was 5, is now 7", "updates: was 22, is now 44", "was 19, is now not set"):
        assert part in message
    assert "\n" not in message and "--weight_decay" not in message


def test_a_checkpoint_without_an_identity_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert not check_same_run(tmp_path, make_identity())
    assert "could not be checked" in caplog.text and str(tmp_path) in caplog.text


def test_rows_and_tokens_are_compared_by_content() -> None:
    rows = Dataset.from_dict({"row": [2, 3], "text": ["a", "b"], "label": [0, 1]})
    assert rows_of(rows) == rows_of(Dataset.from_dict({"row": [2, 3], "text": ["a", "b"], "label": [0, 1]}))
    for column, values in {"row": [2, 5], "text": ["a", "c"], "label": [1, 0]}.items():
        changed = rows_of(Dataset.from_dict({**rows.to_dict(), column: values}))
        assert changed["count"] == 2 and changed["hash"] != rows_of(rows)["hash"]
    assert tokens_of(np.arange(5)) != tokens_of(np.arange(5)[::-1].copy())


def test_the_tokenizer_counts_but_not_its_last_call() -> None:
    tokenizer = build_tokenizer("word", ["a fine film"], min_frequency=1)
    before = make_identity(processing=tokenizer)["tokenizer"]
    tokenizer(["a fine film", "a film"], truncation=True, max_length=2, padding=True)
    assert make_identity(processing=tokenizer)["tokenizer"] == before
    other = build_tokenizer("word", ["a fine movie"], min_frequency=1)
    assert make_identity(processing=other)["tokenizer"] != before


def test_the_weights_of_the_start_count_but_not_their_place(tmp_path: Path) -> None:
    import torch

    starts = []
    for name, value in (("a", 1.0), ("b", 1.0), ("c", 2.0)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"model_type": "rnn"}))
        save_file({"weight": torch.full((3, 5), value)}, folder / "model.safetensors")
        arguments = ModelArguments(model_name_or_path=str(folder))
        starts.append(make_identity(model_arguments=arguments)["model"]["start"])
    assert starts[0] == starts[1] != starts[2]
    of_hub = SimpleNamespace(**{"_commit_hash": "c0ffee", "to_diff_dict": dict})
    arguments = ModelArguments(model_name_or_path="nobody/nothing")
    assert make_identity(config=of_hub, model_arguments=arguments)["model"]["start"] == "c0ffee"


def test_there_is_no_folder_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "vectors.txt").write_text("a 1\n")
    arguments = {"vectors": str(tmp_path / "vectors.txt"), "dataset_name": str(tmp_path), "label_budget": 13}
    identity = make_identity({**RECORD, "arguments": arguments})
    assert identity["settings"] == {"vectors": "vectors.txt", "label_budget": 13}
    assert str(tmp_path) not in json.dumps(identity)


def test_what_may_differ_names_arguments() -> None:
    """A name that transformers drops or renames would silently be compared again."""
    known = {name for kind in (RunArguments, ModelArguments) for name in kind.__dataclass_fields__}
    assert MAY_DIFFER - known <= {"logging_dir", "include_tokens_per_second"}  # of earlier versions
    assert not MAY_DIFFER & {"seed", "learning_rate", "label_budget", "optim", "bf16", "weight_decay"}


def test_a_model_without_an_identity_is_described_by_its_record(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "rnn"}))
    assert identity_of_model(str(tmp_path), None) == {"columns": {}, "settings": {}}
    record = {"schema_version": 1, "dataset": {"columns": {"text": "review"}}, "arguments": {"source_prefix": "say: "}}
    (tmp_path / "result.json").write_text(json.dumps(record))
    assert identity_of_model(str(tmp_path), None) == {
        "columns": {"text": "review"},
        "settings": {"source_prefix": "say: "},
    }
    write_identity(tmp_path, make_identity())
    assert identity_of_model(str(tmp_path), None) == read_identity(tmp_path) == make_identity()
