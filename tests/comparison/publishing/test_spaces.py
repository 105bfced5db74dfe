"""The Gradio Space of a comparison: its files, and its app with real models but without gradio and the toolkit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[2] / "hub"))

from comparison_folder import ENTRIES, SECRET, make_comparison  # noqa: E402
from huggingface_hub import HfApi, SpaceCard  # noqa: E402
from run_folders import make_run_folder  # noqa: E402
from server import HubServer  # noqa: E402

from tl_toolkit.comparison.publishing.arguments import parse_comparison_arguments  # noqa: E402
from tl_toolkit.comparison.publishing.publish import publish_comparison  # noqa: E402
from tl_toolkit.comparison.publishing.spaces import _pinned  # noqa: E402
from tl_toolkit.errors import UserError  # noqa: E402
from tl_toolkit.hub.arguments import parse_publish_arguments  # noqa: E402
from tl_toolkit.hub.publishing import publish  # noqa: E402

ASK = """
import json, sys
sys.modules["gradio"] = sys.modules["tl_toolkit"] = None  # neither can be imported
import app
answers = app.classify("iron and tin " * 5000)
print(json.dumps({"answers": answers, "page": app.page("<script>alert(1)</script>"), "empty": app.page(" ")}))
"""


def push(hub: HubServer, folder: Path, *flags: str, repo_id: str) -> None:
    request = parse_comparison_arguments([str(folder), "--repo_id", repo_id, *flags])
    send = publish if request.publish.repo_type == "model" else publish_comparison
    send(request, HfApi(endpoint=hub.endpoint, token=hub.token), lambda line: None)


def ask(hub: HubServer, space: Path, repo_id: str = "user/demo") -> dict[str, Any]:
    """Download the files of a Space into `space`, and run its app."""
    for name, content in hub.files(repo_id, repo_type="space").items():
        (space / name).parent.mkdir(parents=True, exist_ok=True)
        (space / name).write_bytes(content)
    environment = hub.environment() | {"OMP_NUM_THREADS": "1"}
    told = subprocess.run(
        [sys.executable, "-c", ASK], cwd=space, env=environment, capture_output=True, text=True, timeout=300
    )
    assert told.returncode == 0, told.stderr[-3000:]
    return json.loads(told.stdout.splitlines()[-1])


def test_the_space_predicts_with_every_entry(hub: HubServer, tmp_path: Path) -> None:
    folder = make_comparison(tmp_path / "comparison")
    make_run_folder(tmp_path / "published")
    push(hub, tmp_path / "published", repo_id="user/published")
    commit = hub.commits("user/published")[0].oid
    push(
        hub, folder, "--repo_type", "space", "--space_sdk", "gradio", "--model", f"{ENTRIES[1]}=user/published",
        repo_id="user/demo",
    )  # fmt: skip
    files = hub.files("user/demo", repo_type="space")
    models = json.loads(files["models.json"])["models"]
    assert [model["name"] for model in models] == list(ENTRIES)
    assert [model["model"] for model in models] == ["models/0", "user/published"]
    assert [model["revision"] for model in models] == [None, commit]
    assert all(model["trust_remote_code"] for model in models)
    assert not [name for name in files if "predictions" in name or "result" in name]
    for name, content in files.items():
        assert SECRET.encode() not in content and b"/home/" not in content, name
    card = SpaceCard(files["README.md"].decode())
    card.validate(repo_type="space")
    assert (card.data.sdk, card.data.app_file, card.data.models) == ("gradio", "app.py", ["user/published"])
    assert all("==" in line for line in files["requirements.txt"].decode().splitlines() if not line.startswith("--"))

    told = ask(hub, tmp_path / "space")
    assert [answer["name"] for answer in told["answers"]] == list(ENTRIES)
    for answer in told["answers"]:
        assert "error" not in answer and set(answer["scores"]) == {"fruit", "metal", "river"}
        assert sum(answer["scores"].values()) == pytest.approx(1, abs=1e-5)
        assert list(answer["scores"].values()) == sorted(answer["scores"].values(), reverse=True)
    assert "<script>" not in told["page"] and "LSTM &lt;b&gt;" in told["page"] and "metal" in told["page"]
    assert "<table" not in told["empty"]


def test_code_of_others_is_not_run_and_a_missing_model_stops_no_other(hub: HubServer, tmp_path: Path) -> None:
    folder = make_comparison(tmp_path / "comparison")
    hub.new_token("stranger")
    make_run_folder(tmp_path / "theirs")
    request = parse_publish_arguments([str(tmp_path / "theirs"), "--repo_id", "stranger/theirs"])
    publish(request, HfApi(endpoint=hub.endpoint, token=hub.new_token("stranger")), lambda line: None)
    settings = json.loads((tmp_path / "theirs" / "config.json").read_text())
    settings["auto_map"] = {name: f"stranger/theirs--{value}" for name, value in settings["auto_map"].items()}
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    api.create_repo("user/borrows")
    content = json.dumps(settings).encode()
    api.upload_file(path_or_fileobj=content, path_in_repo="config.json", repo_id="user/borrows")
    commit = api.model_info("user/borrows").sha
    assert _pinned("user/borrows", "user/demo", api) == {
        "model": "user/borrows", "revision": commit, "trust_remote_code": False
    }  # fmt: skip
    flags = ["--repo_type", "space", "--space_sdk", "gradio", "--model", f"{ENTRIES[0]}=stranger/theirs"]
    push(hub, folder, *flags, repo_id="user/demo")
    models = json.loads(hub.files("user/demo", repo_type="space")["models.json"])["models"]
    assert [model["trust_remote_code"] for model in models] == [False, True]
    first, second = ask(hub, tmp_path / "space")["answers"]
    assert "error" in first and "scores" not in first
    assert "scores" in second


def test_a_missing_model_is_reported_before_anything_is_sent(hub: HubServer, tmp_path: Path) -> None:
    folder = make_comparison(tmp_path / "comparison")
    flags = ["--repo_type", "space", "--space_sdk", "gradio", "--model", f"{ENTRIES[0]}=user/gone"]
    with pytest.raises(UserError, match="'user/gone'"):
        push(hub, folder, *flags, repo_id="user/demo")
    assert not hub.sent("POST", "/api/repos/create")


@pytest.mark.parametrize(
    ("changes", "flags", "said"),
    [
        ({"task": {"name": "translation", "main_metric": "bleu"}}, [], "the task of this comparison is 'translation'"),
        ({}, ["--model", "LSTM=user/x"], "names the entry 'LSTM'"),
        ({"metrics": {}, "status": "failed"}, [], "No run .* has finished"),
    ],
)
def test_comparisons_that_a_gradio_space_cannot_show(
    tmp_path: Path, changes: dict[str, Any], flags: list[str], said: str
) -> None:
    folder = make_comparison(tmp_path / "comparison", **changes)
    asked = [str(folder), "--repo_type", "space", "--space_sdk", "gradio", "--dry_run", *flags]
    with pytest.raises(UserError, match=said):
        publish_comparison(parse_comparison_arguments(asked))


def test_missing_models_are_reported(tmp_path: Path) -> None:
    folder = make_comparison(tmp_path / "comparison")
    os.unlink(folder / "runs" / "run-1" / "model.safetensors")
    with pytest.raises(UserError, match="No run of the entry .* has kept its model"):
        publish_comparison(
            parse_comparison_arguments([str(folder), "--repo_type", "space", "--space_sdk", "gradio", "--dry_run"])
        )
