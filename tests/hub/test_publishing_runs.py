"""`--push_to_hub`: a run publishes itself, and a failure of the Hub does not fail the run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from server import HubServer

from tl_toolkit.errors import UserError
from tl_toolkit.hub.arguments import parse_publish_arguments


@pytest.fixture
def train(hub: HubServer, finetune: Callable[..., dict], tiny_rnn: dict[str, str]) -> Callable[..., dict]:
    def call(**settings: Any) -> dict:
        asked = {**tiny_rnn, "push_to_hub": True, "hub_token": hub.token, "hub_always_push": True, **settings}
        return finetune("fruit", **asked)

    return call


def titles(hub: HubServer, revision: str = "main") -> list[str]:
    return [commit.title for commit in hub.commits("user/fruit", revision=revision)]


def test_every_checkpoint_and_the_final_model_are_commits_that_load(hub: HubServer, train: Callable[..., dict]) -> None:
    from transformers import AutoModelForSequenceClassification

    train(hub_strategy="all_checkpoints", hub_revision="v1")
    steps = ["Training in progress, step 12", "Training in progress, step 6"]
    assert titles(hub, "v1") == ["Publish rnn", *steps, "initial commit"] and titles(hub) == ["initial commit"]
    files = set(hub.files("user/fruit", revision="v1"))
    assert {"checkpoint-6/optimizer.pt", "checkpoint-12/trainer_state.json", "checkpoint-12/modeling_rnn.py"} <= files
    assert not {file for file in files if "training_args" in file or file.endswith(".parquet")}
    last = hub.commits("user/fruit", revision="v1")[1]
    assert {"model.safetensors", "config.json", "modeling_rnn.py", "tokenizer.json"} <= set(last.files)
    assert "result.json" not in last.files and "result.json" in files
    model = AutoModelForSequenceClassification.from_pretrained("user/fruit", revision=last.oid)
    assert model.config.id2label == {0: "fruit", 1: "metal", 2: "river"}


def test_a_probe_is_published_with_its_run(
    hub: HubServer, train: Callable[..., dict], finetune: Callable[..., dict], tiny_rnn: dict, tmp_path: Path
) -> None:
    from safetensors.torch import load_file
    from transformers import AutoModelForSequenceClassification

    finetune("base", **tiny_rnn)
    train(
        model_type=None, config_overrides=None, model_name_or_path=str(tmp_path / "base"), strategy="probe",
        num_train_epochs=0,
    )  # fmt: skip
    model = AutoModelForSequenceClassification.from_pretrained("user/fruit")
    own = load_file(tmp_path / "fruit" / "model.safetensors")["classifier.weight"]
    assert (model.classifier.weight == own).all()
    assert "solved as a linear layer on frozen features" in hub.files("user/fruit")["README.md"].decode()


def test_a_hub_failure_at_the_end_leaves_a_completed_run_and_prints_the_command(
    hub: HubServer, train: Callable[..., dict], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.fault("status", path="/commit/main$", status=409, times=None)
    record = train(hub_strategy="every_save", hub_private_repo=True)
    assert record["status"] == "completed" and titles(hub) == ["initial commit"]
    assert json.loads((tmp_path / "fruit" / "result.json").read_text())["status"] == "completed"
    assert (tmp_path / "fruit" / "model.safetensors").is_file()
    printed = capsys.readouterr().err.splitlines()
    assert any(
        line.startswith("warning: The run is finished but not published. Publishing 'user/fruit'") for line in printed
    )
    command = next(line.strip() for line in printed if line.strip().startswith("tl-toolkit publish "))
    request = parse_publish_arguments(command.split()[2:])
    assert request.folder == tmp_path / "fruit" and request.destination.repo_id == "fruit"
    assert request.destination.private and hub.token not in "\n".join(printed)
    assert not list((tmp_path / "fruit").glob(".pushing-*"))


def test_a_refusal_of_the_hub_ends_the_run_before_training(
    hub: HubServer, train: Callable[..., dict], tmp_path: Path
) -> None:
    refused = {
        "not a member of 'somebody'": {"hub_model_id": "somebody/fruit"},
        "is read-only": {"hub_token": hub.new_token(role="read")},
        "does not accept the token": {"hub_token": "hf_" + "0" * 34},
        "not a repository name": {"hub_model_id": "a/b/c"},
    }
    for message, settings in refused.items():
        with pytest.raises(UserError, match=message):
            train(**settings)
        assert not (tmp_path / "fruit").exists()


def test_lora_run_from_a_folder_publishes_the_merged_model(
    hub: HubServer, train: Callable[..., dict], run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(model_name_or_path=str(run_folder), model_type=None, config_overrides=None, strategy="lora")
    files = set(hub.files("user/fruit"))
    assert "model.safetensors" in files and "adapter_config.json" not in files
    assert "not published" not in capsys.readouterr().err
