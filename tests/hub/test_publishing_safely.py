"""Private data of this machine and tokens are never published, and downloaded code runs only if it is trusted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi

from tl_toolkit.errors import UserError
from tl_toolkit.hub.arguments import parse_publish_arguments
from tl_toolkit.hub.cleaning import clean_name, clean_record, clean_settings, clean_text
from tl_toolkit.hub.publishing import publish

RECIPES = Path(__file__).parents[2] / "recipes"


def recipe(name: str, *flags: str, cwd: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(RECIPES / name), *flags]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=900)


def test_a_run_that_publishes_itself_reveals_nothing_of_the_machine(
    hub: Any, dataset_folder: Path, tmp_path: Path
) -> None:
    """Train, save and publish twice in a separate home folder, with a token on the command line."""
    home = tmp_path / "home" / "wilhelmina"
    home.mkdir(parents=True)
    token = hub.new_token()
    env = hub.environment(token=False) | {"HOME": str(home), "USER": "wilhelmina", "LOGNAME": "wilhelmina"}
    trained = recipe(
        "finetune.py",
        *("--dataset_name", str(dataset_folder), "--output_dir", str(home / "runs" / "fruit")),
        *("--model_type", "rnn", "--config_overrides", "embedding_size=5,hidden_size=7,num_hidden_layers=1"),
        *("--num_train_epochs", "2", "--use_cpu", "--disable_tqdm", "--hub_strategy", "checkpoint"),
        *("--push_to_hub", "--hub_model_id", "user/fruit", "--hub_private_repo", "--hub_token", token),
        cwd=home,
        env=env,
    )
    assert trained.returncode == 0, trained.stderr[-2000:]
    commits = hub.commits("user/fruit")
    assert [commit.title for commit in commits][0] == "Publish rnn" and len(commits) >= 3
    assert "Training in progress, step 3" in {commit.title for commit in commits}
    assert HfApi(endpoint=hub.endpoint, token=token).repo_info("user/fruit").private

    broken = hub.fault("status", path="/preupload/", status=409)
    failed = recipe(
        *("publish.py", "runs/fruit", "--repo_id", "user/other", "--include", "*.parquet"),
        cwd=home,
        env=env | {"HF_TOKEN": token},
    )
    assert failed.returncode == 2 and broken.hits == 1 and "the name is taken" in " ".join(failed.stderr.split())
    assert failed.stderr.splitlines()[-1].strip() == (
        "tl-toolkit publish runs/fruit --repo_id user/other --include '*.parquet'"
    )

    published = {f"{commit.oid}/{path}": entry for commit in commits for path, entry in commit.files.items()}
    content = {path: hub.store.content(entry) for path, entry in published.items()}
    assert not [path for path in content if path.endswith(("training_args.bin", ".parquet", "attention.json"))]
    assert any(path.endswith("last-checkpoint/optimizer.pt") for path in content)
    assert any(path.endswith("last-checkpoint/modeling_rnn.py") for path in content)
    local = {str(path): path.read_bytes() for path in home.rglob("*") if path.is_file()}
    printed = {str(run.args): (run.stdout + run.stderr).encode() for run in (trained, failed)}
    for name, data in {**content, **local, **printed}.items():
        assert token.encode() not in data, name
    for name, data in content.items():
        assert b"wilhelmina" not in data and str(tmp_path).encode() not in data, name


def test_the_published_record_has_no_paths_and_keeps_the_results(hub: Any, run_folder: Path) -> None:
    publish(
        parse_publish_arguments([str(run_folder), "--repo_id", "user/a"]),
        HfApi(endpoint=hub.endpoint, token=hub.token),
        lambda line: None,
    )
    for name, data in hub.files("user/a").items():
        assert b"anna" not in data and b"/home" not in data, name
    record = json.loads(hub.files("user/a")["result.json"])
    own = json.loads((run_folder / "result.json").read_text())
    assert record["arguments"] == {
        "dataset_name": "sst2",
        "model_name_or_path": "lm",
        "vectors": "glove.txt.gz",
        "config_overrides": "embedding_size=5,note=notes",
        "seed": 42,
    }
    for key in ("metrics", "task", "history", "budget", "cost", "resolved", "versions"):
        assert record[key] == own[key]


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("stanfordnlp/sst2", "stanfordnlp/sst2"),
        ("builtin:minilm", "builtin:minilm"),
        ("/home/anna/outputs/lm", "lm"),
        ("/home/anna", "~"),
        ("../data/sst2/", "sst2"),
        ("~/lm", "lm"),
        (r"C:\Users\anna\lm", "lm"),
        ("data/shared/sst2", "sst2"),
        ("https://huggingface.co/user/name", "https://huggingface.co/user/name"),
        ("hf_" + "a" * 34, "hf_***"),
    ],
)
def test_names(text: str, cleaned: str) -> None:
    assert clean_name(text) == cleaned


def test_labels_and_fractions_are_not_treated_as_paths() -> None:
    assert clean_text("90% and/or 3/4, e.g. a/b; see /home/anna/x.log: it") == "90% and/or 3/4, e.g. a/b; see x.log: it"
    assert clean_record({"task": {"labels": ["/m/01b", "~/x"]}}) == {"task": {"labels": ["/m/01b", "~/x"]}}
    unchanged = b'{"id2label": {"0": "/m/01b"}}'
    assert clean_settings(unchanged) == unchanged
    assert json.loads(clean_settings(b'{"is_local": true, "name_or_path": "/home/x", "a": 1}')) == {"a": 1}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("README.md", "# Mine, by hf_" + "b" * 34, "contains a Hub token"),
        ("chat_template.jinja", "{# /home/wilhelmina/templates #}", "contains a folder name of this machine"),
        ("generation_config.json", '{"note": "C:\\\\Users\\\\wilhelmina\\\\x"}', "contains a folder name"),
    ],
)
def test_uncleanable_private_data_is_refused(hub: Any, run_folder: Path, name: str, content: str, message: str) -> None:
    (run_folder / name).write_text(content)
    with pytest.raises(UserError, match=f"{name}.*{message}"):
        publish(
            parse_publish_arguments([str(run_folder), "--repo_id", "user/a"]),
            HfApi(endpoint=hub.endpoint, token=hub.token),
        )
    assert not hub.sent("POST")


SIDE_EFFECT = "from pathlib import Path\nPath({!r}).write_text('ran')\n"


@pytest.mark.parametrize("trusted", [False, True])
def test_code_of_a_folder_is_never_run_for_a_family_of_the_toolkit(
    run_folder: Path, tmp_path: Path, trusted: bool
) -> None:
    """Even with --trust_remote_code, because the installed toolkit has the family."""
    from tl_toolkit.config.arguments import ModelArguments
    from tl_toolkit.loading.model import load_trained, make_model
    from tl_toolkit.loading.tokenizer import load_tokenizer
    from tl_toolkit.models import RnnForSequenceClassification

    ran = tmp_path / "ran"
    for path in run_folder.glob("*.py"):
        path.write_text(f"{SIDE_EFFECT.format(str(ran))}{path.read_text()}")
    arguments = ModelArguments(model_name_or_path=str(run_folder), trust_remote_code=trusted)
    tokenizer = load_tokenizer(arguments)
    head = "AutoModelForSequenceClassification"
    for model in (load_trained(arguments, head, tokenizer), make_model(arguments, head, {}, tokenizer)):
        assert type(model) is RnnForSequenceClassification
    assert not ran.exists()


def test_code_of_other_models_runs_only_if_trusted(run_folder: Path, tmp_path: Path) -> None:
    from tl_toolkit.config.arguments import ModelArguments
    from tl_toolkit.loading.model import load_config

    ran = tmp_path / "ran"
    config = json.loads((run_folder / "config.json").read_text())
    config |= {"model_type": "theirs", "auto_map": {"AutoConfig": "configuration_theirs.TheirConfig"}}
    (run_folder / "config.json").write_text(json.dumps(config))
    (run_folder / "configuration_theirs.py").write_text(
        SIDE_EFFECT.format(str(ran))
        + "from transformers import PreTrainedConfig\nclass TheirConfig(PreTrainedConfig):\n    model_type = 'theirs'\n"
    )
    with pytest.raises(UserError, match="trust_remote_code"):
        load_config(ModelArguments(model_name_or_path=str(run_folder)))
    assert not ran.exists()
    load_config(ModelArguments(model_name_or_path=str(run_folder), trust_remote_code=True))
    assert ran.exists()


def test_pickled_weights_are_not_loaded(run_folder: Path, hub: Any) -> None:
    import torch

    from tl_toolkit.config.arguments import ModelArguments
    from tl_toolkit.loading.model import load_trained

    (run_folder / "model.safetensors").unlink()
    torch.save({"rnn.embeddings.weight": torch.zeros(2)}, run_folder / "pytorch_model.bin")
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    api.create_repo("user/pickled")
    api.upload_folder(repo_id="user/pickled", folder_path=run_folder)
    for name in (str(run_folder), "user/pickled"):
        with pytest.raises(UserError, match="no safetensors weights.* Pickled weights .* are never loaded"):
            load_trained(ModelArguments(model_name_or_path=name), "AutoModelForSequenceClassification", None)
    assert not hub.sent("GET", "pytorch_model.bin")
