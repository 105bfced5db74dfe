"""Datasets by Hub id: revisions, configurations, private ones, streams, and offline use."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from huggingface_hub import CommitOperationAdd, HfApi
from safetensors.torch import load_file
from server import HubServer

ROOT = Path(__file__).parents[2]
# Run several recipes in one Python process, because importing takes seconds; print exit codes and standard errors.
DRIVER = """
import contextlib, io, json, os, runpy, sys

sys.stderr.reconfigure(line_buffering=True)
results = []
for recipe, *arguments in json.loads(sys.argv[1]):
    token = os.environ.pop("HF_TOKEN", None) if "--no_token" in arguments else None
    sys.argv = [recipe, *(each for each in arguments if each != "--no_token")]
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
            runpy.run_path(recipe, run_name="__main__")
        code = 0
    except SystemExit as stopped:
        code = stopped.code or 0
    results.append([code, " ".join(errors.getvalue().split())])
    if token is not None:
        os.environ["HF_TOKEN"] = token
print(json.dumps(results))
"""
CARD = """---
configs:
- config_name: small
  data_files:
  - {split: train, path: small/train.parquet}
  - {split: test, path: small/test.parquet}
- config_name: large
  data_files:
  - {split: train, path: large/train-*.parquet}
---
"""
MODEL = ["--model_type", "rnn", "--config_overrides", "embedding_size=7,hidden_size=13,num_hidden_layers=1"]


def parquet(rows: int, seed: int) -> bytes:
    """Texts of three classes with a class word in each text."""
    words = [["apple", "pear", "plum"], ["iron", "tin", "lead"], ["rhine", "elbe", "oder"]]
    texts = [f"the {words[row % 3][(row + seed) % 3]} {row}" for row in range(rows)]
    content = io.BytesIO()
    pd.DataFrame({"text": texts, "label": [row % 3 for row in range(rows)]}).to_parquet(content)
    return content.getvalue()


@pytest.fixture
def commits(hub: HubServer) -> list[str]:
    """The two commits of user/data, the first with the tag v1; user/secret is private."""
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    files = {"small/train": 60, "small/test": 30, "large/train-0": 45, "large/train-1": 45}
    first = [CommitOperationAdd("README.md", CARD.encode())]
    first += [CommitOperationAdd(f"{path}.parquet", parquet(rows, 0)) for path, rows in files.items()]
    made = []
    for name, private in (("user/data", False), ("user/secret", True)):
        api.create_repo(name, repo_type="dataset", private=private)
        made.append(api.create_commit(name, list(map(again, first)), commit_message="1", repo_type="dataset").oid)
    api.create_tag("user/data", tag="v1", repo_type="dataset")
    second = [CommitOperationAdd("small/train.parquet", parquet(66, 1))]
    return [made[0], api.create_commit("user/data", second, commit_message="2", repo_type="dataset").oid]


def again(operation: CommitOperationAdd) -> CommitOperationAdd:
    return CommitOperationAdd(operation.path_in_repo, operation.path_or_fileobj)


def run_all(hub: HubServer, *runs: list[str], **environment: str) -> list[tuple[int, str]]:
    """The exit codes and standard errors of recipes."""
    command = [sys.executable, "-c", DRIVER, json.dumps([[str(ROOT / "recipes" / run[0]), *run[1:]] for run in runs])]
    environment = hub.environment(HF_HUB_VERBOSITY="error", **environment)
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert hub.token not in done.stdout + done.stderr
    return [(code, errors) for code, errors in json.loads(done.stdout.splitlines()[-1])]


def test_revisions_configurations_and_private_datasets(hub: HubServer, commits: list[str], tmp_path: Path) -> None:
    def finetune(output: str, *flags: str, name: str = "user/data", config: str = "small") -> list[str]:
        flags = (*flags, "--dataset_config_name", config) if config else flags
        training = ["--max_steps", "2", "--use_cpu", "--disable_tqdm", "--output_dir", str(tmp_path / output)]
        return ["finetune.py", "--dataset_name", name, *MODEL, *training, *flags]

    def dataset(output: str) -> dict[str, Any]:
        return json.loads((tmp_path / output / "result.json").read_text())["dataset"]

    api = HfApi(endpoint=hub.endpoint, token=hub.new_token("somebody"))
    api.create_repo("somebody/gated", repo_type="dataset")
    hub.store.repositories["dataset", "somebody/gated"].gated = True
    hub.fault("expired_token", path="user/expired", times=None)
    old, new = ["--dataset_revision", "v1"], ["--dataset_revision", "main"]
    results = run_all(
        hub,
        finetune("new"),
        finetune("old", *old),
        finetune("streamed", *old, "--stream_rows", "21", config="large"),
        finetune("none", "--dataset_revision", "v2"),
        finetune("none", config="smal"),
        finetune("none", config=""),
        finetune("none", "--no_token", name="user/secret"),
        finetune("secret", name="user/secret"),
        finetune("none", name="user/nowhere"),
        finetune("none", name="somebody/gated"),
        finetune("none", name="user/expired"),
    )
    assert [code for code, _ in results] == [0, 0, 0, 2, 2, 2, 2, 0, 2, 2, 2], results
    said = [text for _, text in results]
    assert "has no revision 'v2' (--dataset_revision): it has the branch 'main' and the tag 'v1'" in said[3]
    assert "has no configuration 'smal' (--dataset_config_name); it has 'small', 'large'" in said[4]
    assert "several configurations: set --dataset_config_name to one of 'small', 'large'" in said[5]
    assert "you are not logged in: run `hf auth login`" in said[6]
    assert "'user/nowhere' was not found" in said[8] and "the current token has no access to it" in said[8]
    assert "is gated: request access at https://huggingface.co/datasets/somebody/gated" in said[9]
    assert "the current token is invalid, expired or revoked" in said[10]
    assert not any("Traceback" in text for text in said)
    assert [dataset(name)["revision"] for name in ("old", "new", "streamed")] == [commits[0], commits[1], commits[0]]
    assert dataset("old")["rows"]["train"] + dataset("old")["rows"]["validation"] == 60
    assert dataset("new")["rows"]["train"] + dataset("new")["rows"]["validation"] == 66
    assert len({dataset(name)["fingerprint"] for name in ("old", "new", "streamed")}) == 3
    assert sum(dataset("streamed")["rows"].values()) == 21
    assert hub.sent("GET", "/large/train-0.parquet") and not hub.sent("GET", "/large/train-1.parquet")

    # Without a network each revision is the requested one, even if the newest copy in the cache is another.
    results = run_all(
        hub,
        finetune("old-offline", *old),
        finetune("new-offline", *new),
        finetune("none", "--dataset_revision", "f" * 40),
        finetune("none", "--dataset_revision", "v2"),
        finetune("none", "--stream_rows", "3"),
        HF_HUB_OFFLINE="1",
    )
    assert [code for code, _ in results] == [0, 0, 2, 2, 2], results
    for name in ("old", "new"):
        assert dataset(f"{name}-offline") == dataset(name)
    assert "is commit ffffffffffff, which is not in the cache" in results[2][1]
    assert "cannot be resolved to a commit" in results[3][1]
    assert "the Hub cannot be reached" in results[4][1]


def test_pretraining_streams_the_shards_of_a_repository(hub: HubServer, commits: list[str], tmp_path: Path) -> None:
    """The weights are those of the same files on disk; nothing is downloaded to the cache."""
    (tmp_path / "large").mkdir()
    for shard in ("train-0", "train-1"):
        (tmp_path / "large" / f"{shard}.parquet").write_bytes(
            hub.files("user/data", repo_type="dataset")[f"large/{shard}.parquet"]
        )

    def pretrain(output: str, *source: str) -> list[str]:
        flags = "--streaming --max_train_tokens 300 --evaluation_rows 7 --per_device_train_batch_size 2 --use_cpu"
        flags += " --disable_tqdm --tokenizer_name whitespace"
        return [
            "pretrain.py",
            "--dataset_name",
            *source,
            *MODEL,
            *flags.split(),
            "--output_dir",
            str(tmp_path / output),
        ]

    config = ["--dataset_config_name", "large"]
    results = run_all(
        hub,
        pretrain("hub", "user/data", *config, "--dataset_revision", "v1"),
        pretrain("disk", str(tmp_path / "large")),
        pretrain("none", "user/data", *config, "--dataset_revision", "v2"),
        pretrain("none", "user/nowhere"),
        pretrain("none", "user/data"),
    )
    assert [code for code, _ in results] == [0, 0, 2, 2, 2], results
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("hub", "disk"))
    assert all(torch.equal(second[name], weight) for name, weight in first.items())
    record = json.loads((tmp_path / "hub" / "result.json").read_text())["dataset"]
    assert (record["revision"], record["tokens"]["train"]) == (commits[0], 300)
    assert "has no revision 'v2'" in results[2][1] and "'user/nowhere' was not found" in results[3][1]
    assert "set --dataset_config_name to one of 'small', 'large'" in results[4][1]
