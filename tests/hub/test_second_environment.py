"""Published models work in a Python with transformers and torch but without the toolkit."""

from __future__ import annotations

import json
import subprocess
import venv
from pathlib import Path
from typing import Any

import pytest
import transformers
from huggingface_hub import HfApi
from server import HubServer
from trained_families import HEADS, TEXTS, answers_of, inputs_of, train_all

HERE = Path(__file__).parent


@pytest.fixture
def second_python(tmp_path: Path) -> list[str]:
    """The command prefix of another environment with all packages of this one except the toolkit."""
    packages = tmp_path / "packages"
    packages.mkdir()
    for entry in Path(transformers.__file__).parents[1].iterdir():
        if "tl_toolkit" not in entry.name and entry.suffix != ".pth":
            (packages / entry.name).symlink_to(entry)
    venv.create(tmp_path / "venv", symlinks=True, with_pip=False)
    (python,) = tmp_path.glob("venv/bin/python")
    return ["env", f"PYTHONPATH={packages}:{HERE}", str(python)]


def labels_of(name: str, inputs: dict[str, list[Any]]) -> tuple[str, list[Any]]:
    """The name of the target argument, and a target for each of two rows."""
    if name == "forecaster":
        return "future_values", [[[1.0, 2.0]] * 5, [[2.0, 1.0]] * 5]
    if name == "classifier":
        return "labels", [0, 1]
    if name in ("translator", "captioner"):
        return "labels", [[4, 3, 1], [3, 1, -100]]
    return "labels", inputs["input_ids"] if name != "tagger" else [[0] * len(ids) for ids in inputs["input_ids"]]


def heads_of(name: str, config: Any) -> list[str]:
    """The heads that can be loaded from a folder; a forecaster reads numbers, the other heads of its family tokens."""
    if name == "forecaster":
        return [HEADS[name]]
    impossible = {"AutoConfig", "AutoModelForTimeSeriesPrediction"}
    if getattr(config, "bidirectional", False):
        impossible.add("AutoModelForCausalLM")  # the backward direction would see the tokens to predict
    elif config.model_type == "rnn":
        impossible.add("AutoModelForMaskedLM")  # one direction sees one side of a masked token
    return sorted(set(config.auto_classes) - impossible)


def publish(hub: HubServer, folder: Path, repo_id: str) -> None:
    from tl_toolkit.hub.arguments import parse_publish_arguments
    from tl_toolkit.hub.publishing import publish

    request = parse_publish_arguments([str(folder), "--repo_id", repo_id])
    publish(request, HfApi(endpoint=hub.endpoint, token=hub.token), lambda _: None)


def test_every_family_works_without_the_toolkit(
    hub: HubServer,
    dataset_folder: Path,
    second_python: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.token)
    folders = train_all(tmp_path / "runs", dataset_folder)
    jobs: dict[str, dict[str, Any]] = {}
    expected: dict[str, dict[str, Any]] = {}
    for name, folder in folders.items():
        publish(hub, folder, f"user/{name}")
        model = getattr(transformers, HEADS[name]).from_pretrained(folder)
        inputs = inputs_of(name, folder)
        expected[name] = answers_of(model, inputs)
        if name != "forecaster":
            body = transformers.AutoModel.from_pretrained(folder)
            expected[name]["body"] = answers_of(body, inputs)["output"]
        heads = heads_of(name, model.config)
        label_name, labels = labels_of(name, inputs)
        jobs[name] = {
            "repo_id": f"user/{name}", "again": f"user/{name}-again", "heads": heads, "trained": HEADS[name],
            "inputs": inputs, "label_name": label_name, "labels": labels,
            "texts": None if name == "forecaster" else ["12", "21"] if name == "translator" else TEXTS,
        }  # fmt: skip
    (tmp_path / "jobs.json").write_text(json.dumps(jobs, default=lambda array: array.tolist()))
    command = [*second_python, str(HERE / "second_python.py"), str(tmp_path / "jobs.json"), str(tmp_path / "done.json")]
    environment = hub.environment(TRANSFORMERS_VERBOSITY="error", HF_HUB_DISABLE_PROGRESS_BARS="1")
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert hub.token not in done.stdout + done.stderr
    results = json.loads((tmp_path / "done.json").read_text())

    assert set(results) == set(HEADS)
    for name, result in results.items():
        config = transformers.AutoConfig.from_pretrained(folders[name])
        for head, found in result["classes"].items():
            assert config.auto_classes[head].endswith(f".{found}")
        assert flat(result["answers"]["output"]) == pytest.approx(flat(expected[name]["output"]), abs=1e-6), name
        assert result["answers"].get("written") == expected[name].get("written"), name
        if name != "forecaster":
            assert flat(result["body"]) == pytest.approx(flat(expected[name]["body"]), abs=1e-6), name
            assert (
                result["ids"]
                == transformers.AutoTokenizer.from_pretrained(folders[name])(jobs[name]["texts"])["input_ids"]
            )
        # The model fine-tuned there is a complete repository of its own, for every head.
        assert result["changed"] > 0 and result["same again"], name
        assert result["other head again"] in result["classes"].values()
        pushed = hub.files(f"user/{name}-again")
        for path, content in hub.files(f"user/{name}").items():
            if path.endswith(".py"):
                assert pushed[path] == content, path
        assert json.loads(pushed["config.json"])["auto_map"] == dict(config.auto_classes)
    check_pipelines(results, folders)


def check_pipelines(results: dict[str, Any], folders: dict[str, Path]) -> None:
    """Check that pipelines give the same predictions in both environments."""
    tasks = {"classifier": "text-classification", "tagger": "token-classification", "awd-lstm": "text-generation"}
    for name, task in {**tasks, "attention": "text-generation"}.items():
        options = {"max_new_tokens": 4, "do_sample": False} if task == "text-generation" else {}
        here = transformers.pipeline(task, model=str(folders[name]))(TEXTS, **options)
        for mine, theirs in zip(here, results[name]["pipeline"], strict=True):
            for one, other in zip(
                *(each if isinstance(each, list) else [each] for each in (mine, theirs)), strict=True
            ):
                assert {
                    key: pytest.approx(value, abs=1e-6) if key == "score" else value for key, value in one.items()
                } == other


def flat(values: Any) -> list[float]:
    return [number for value in values for number in flat(value)] if isinstance(values, list) else [values]
