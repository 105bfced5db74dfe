"""Publishing the folder of a run: which files, how often, and where."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi

from tl_toolkit.errors import UserError
from tl_toolkit.hub.arguments import parse_publish_arguments
from tl_toolkit.hub.publishing import publish

Publish = Callable[..., list[str]]


@pytest.fixture
def push(hub: Any, monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Publishes a folder with the user's token and returns the printed lines."""
    monkeypatch.setenv("HF_TOKEN", hub.token)

    def call(folder: Path, *flags: str, repo_id: str = "user/sst2") -> list[str]:
        printed: list[str] = []
        request = parse_publish_arguments([str(folder), "--repo_id", repo_id, *flags])
        publish(request, HfApi(endpoint=hub.endpoint, token=hub.token), printed.append)
        return printed

    return call


def test_first_push_holds_model_code_card_and_record_and_nothing_else(
    hub: Any, run_folder: Path, push: Publish
) -> None:
    push(run_folder)
    published = hub.files("user/sst2")
    code = {name for name in published if name.endswith(".py")}
    assert {"configuration_rnn.py", "modeling_rnn.py", "modeling_rnn_token_classification.py", "pooling.py"} <= code
    assert set(published) - code == {
        *(".gitattributes", "README.md", "config.json", "learning_curve.png", "model.safetensors", "result.json"),
        *("tokenizer.json", "tokenizer_config.json"),
    }
    assert published["model.safetensors"] == (run_folder / "model.safetensors").read_bytes()
    record = json.loads(published["result.json"])
    assert record["predictions"] == {} and record["metrics"]["test"]["accuracy"] == 0.5
    assert len(hub.commits("user/sst2")) == 2  # the Hub's initial commit, and one


def test_second_push_of_the_same_files_sends_nothing_and_makes_no_commit(
    hub: Any, run_folder: Path, push: Publish
) -> None:
    push(run_folder)
    before = len(hub.requests)
    said = push(run_folder)
    assert {request.method for request in hub.requests[before:]} == {"GET"}
    assert len(hub.commits("user/sst2")) == 2
    assert any("Nothing has changed" in line for line in said)


def test_only_changed_files_are_sent(hub: Any, run_folder: Path, push: Publish) -> None:
    push(run_folder)
    record = json.loads((run_folder / "result.json").read_text())
    record["metrics"]["test"]["accuracy"] = 0.75
    (run_folder / "result.json").write_text(json.dumps(record))
    before = len(hub.requests)
    push(run_folder)
    assert not [request for request in hub.requests[before:] if request.method == "PUT"]
    newest, first, _ = hub.commits("user/sst2")
    assert {path for path in newest.files if newest.files[path] != first.files[path]} == {"result.json", "README.md"}


def test_files_of_another_model_are_removed_and_others_stay(hub: Any, run_folder: Path, push: Publish) -> None:
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    api.create_repo("user/sst2")
    for path in ("model-00001-of-00002.safetensors", "adapter_config.json", "notes.md", "pytorch_model.bin"):
        api.upload_file(path_or_fileobj=b"old", path_in_repo=path, repo_id="user/sst2")
    said = push(run_folder)
    there = set(hub.files("user/sst2"))
    assert "notes.md" in there and "model.safetensors" in there
    assert not there & {"model-00001-of-00002.safetensors", "adapter_config.json", "pytorch_model.bin"}
    assert any("Removed" in line and "pytorch_model.bin" in line for line in said)


def test_branch_private_message_and_a_name_without_a_user(hub: Any, run_folder: Path, push: Publish) -> None:
    flags = ("--revision", "v2", "--private", "--commit_message", "Second try")
    push(run_folder, *flags, repo_id="sst2")
    assert "model.safetensors" in hub.files("user/sst2", revision="v2")
    assert "model.safetensors" not in hub.files("user/sst2")
    assert hub.commits("user/sst2", revision="v2")[0].title == "Second try"
    assert HfApi(endpoint=hub.endpoint, token=hub.token).repo_info("user/sst2").private


def test_private_is_refused_for_a_public_repository(hub: Any, run_folder: Path, push: Publish) -> None:
    push(run_folder)
    with pytest.raises(UserError, match="exists and is public"):
        push(run_folder, "--private")


def test_pull_request_is_opened_once_and_main_stays(hub: Any, run_folder: Path, push: Publish) -> None:
    other = HfApi(endpoint=hub.endpoint, token=hub.new_token("somebody"))
    other.create_repo("somebody/model")
    with pytest.raises(UserError, match="no write access there.*--create_pr"):
        push(run_folder, repo_id="somebody/model")
    said = push(run_folder, "--create_pr", repo_id="somebody/model")
    assert set(hub.files("somebody/model")) == {".gitattributes"}
    assert "model.safetensors" in hub.files("somebody/model", revision="refs/pr/1")
    assert said[-1].endswith("/discussions/1")
    again = push(run_folder, "--create_pr", repo_id="somebody/model")
    assert "Nothing has changed" in again[-2] and again[-1].endswith("/discussions/1")
    assert len(list(other.get_repo_discussions("somebody/model"))) == 1
    with pytest.raises(UserError, match="this model repository does not exist"):
        push(run_folder, "--create_pr", repo_id="user/nowhere")


def test_requested_files_are_included_but_no_pickle(hub: Any, run_folder: Path, push: Publish) -> None:
    (run_folder / "weights.pth").write_bytes(b"pickle")
    with pytest.raises(UserError, match="is a pickle"):
        push(run_folder, "--include", "weights*")
    with pytest.warns(UserWarning, match="data file"):
        push(run_folder, "--include", "predictions_*.parquet")
    published = hub.files("user/sst2")
    assert "predictions_test.parquet" in published and "weights.pth" not in published
    assert json.loads(published["result.json"])["predictions"] == {"test": "predictions_test.parquet"}


def test_a_hand_written_readme_is_kept(hub: Any, run_folder: Path, push: Publish) -> None:
    (run_folder / "README.md").write_text("---\nlicense: mit\n---\n# Mine\n")
    push(run_folder)
    assert hub.files("user/sst2")["README.md"] == b"---\nlicense: mit\n---\n# Mine\n"


def test_dry_run_lists_files_and_sizes_without_token_or_request(
    hub: Any, run_folder: Path, push: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    said: list[str] = []
    request = parse_publish_arguments([str(run_folder), "--repo_id", "user/sst2", "--dry_run"])
    assert publish(request, None, said.append) is None
    weights = next(line for line in said if line.startswith("model.safetensors"))
    assert f"{(run_folder / 'model.safetensors').stat().st_size / 1000:.1f} kB" in weights
    assert any(line.startswith("predictions_test.parquet") and "texts of the dataset" in line for line in said)
    assert "Nothing was sent" in said[-1] and not hub.requests


def test_code_of_a_family_is_completed_from_the_toolkit(hub: Any, run_folder: Path, push: Publish) -> None:
    (run_folder / "modeling_rnn_time_series.py").unlink()
    config = json.loads((run_folder / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "somebody/rnn--configuration_rnn.RnnConfig"}
    (run_folder / "config.json").write_text(json.dumps(config))
    push(run_folder)
    published = hub.files("user/sst2")
    assert "modeling_rnn_time_series.py" in published
    auto_map = json.loads(published["config.json"])["auto_map"]
    assert auto_map["AutoConfig"] == "configuration_rnn.RnnConfig"
    assert auto_map["AutoModelForTokenClassification"] == "modeling_rnn.RnnForTokenClassification"


def test_folders_without_a_finished_model_are_refused_before_the_hub_is_contacted(
    hub: Any, run_folder: Path, push: Publish, tmp_path: Path
) -> None:
    def changed(name: str, change: Callable[[Path], object]) -> Path:
        folder = shutil.copytree(run_folder, tmp_path / name)
        change(folder)
        return folder

    def fail(folder: Path) -> None:
        record = json.loads((folder / "result.json").read_text())
        (folder / "result.json").write_text(json.dumps(record | {"status": "failed", "error": "The loss was nan."}))

    def pickled(folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")

    def unfinished(folder: Path) -> None:
        (folder / "result.json").unlink()
        (folder / "checkpoint-3").mkdir()

    refused = {
        "does not exist": tmp_path / "nowhere",
        "is a file": run_folder / "config.json",
        "no readable config.json": changed("a", lambda folder: (folder / "config.json").unlink()),
        "is not valid JSON": changed("b", lambda folder: (folder / "config.json").write_text("{")),
        "did not finish .The loss was nan": changed("c", fail),
        "pickled .pytorch_model.bin": changed("d", pickled),
        "is not finished.*--resume_from_checkpoint": changed("e", unfinished),
        "no weights to publish": changed("f", lambda folder: (folder / "model.safetensors").unlink()),
        "is damaged": changed("g", lambda folder: _cut(folder / "model.safetensors")),
        "the Hub accepts at most 50 GB": changed("h", lambda folder: _stretch(folder / "model.safetensors")),
    }
    for message, folder in refused.items():
        with pytest.raises(UserError, match=message):
            push(folder)
    assert not hub.sent("POST") and not hub.sent("PUT")


@pytest.mark.parametrize("repo_id", ["a/b/c", "user/-x", "user/x..y", "user/", "user/" + "x" * 97, "user/ä"])
def test_invalid_names_are_refused(hub: Any, run_folder: Path, push: Publish, repo_id: str) -> None:
    with pytest.raises(UserError, match="not a repository name"):
        push(run_folder, repo_id=repo_id)
    assert not hub.requests


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def _stretch(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(51 * 10**9)  # a sparse file, which takes no disk space
