"""Stages: their order, their keys, their execution, and the runs that need them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tl_toolkit.atomic_files import write_json
from tl_toolkit.comparison.execution.scheduler import InProcess, check_data, execute
from tl_toolkit.comparison.planning.grid import Grid, make_grid
from tl_toolkit.comparison.report.writing import write_report
from tl_toolkit.config.arguments import Arguments
from tl_toolkit.config.pretrain_arguments import PretrainArguments
from tl_toolkit.errors import UserError
from tl_toolkit.evaluation.results import Result, read_results
from tl_toolkit.records.record import read_record
from tl_toolkit.workflows.compare import train


class Call(NamedTuple):
    """The arguments of a pre-training run, and the files in its folder."""

    arguments: PretrainArguments
    found: list[str]


class Pretraining:
    """A stand-in for pre-training: writes a language model, records its calls, and fails on request."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.failing: dict[str, BaseException] = {}

    def run(self, arguments: PretrainArguments) -> dict[str, Any]:
        folder = Path(arguments.run.output_dir)
        self.calls.append(Call(arguments, sorted(path.name for path in folder.iterdir())))
        if arguments.run.name in self.failing:
            (folder / "checkpoint-3").mkdir(exist_ok=True)
            raise self.failing[arguments.run.name]
        (folder / "model.safetensors").write_text("weights")
        record = {
            "schema_version": 1, "status": "completed", "error": None, "cost": {"train_seconds": 31.0},
            "metrics": {"validation": {"perplexity": 17.0}},
        }  # fmt: skip
        write_json(folder / "result.json", record)
        return record

    @property
    def names(self) -> list[str]:
        return [call.arguments.run.name for call in self.calls]


@pytest.fixture
def pretraining() -> Pretraining:
    return Pretraining()


STAGES = {
    "adapted": {"model_name_or_path": "stage:general", "dataset_name": "target.csv"},
    "general": {"model_type": "rnn", "dataset_name": "articles", "dataset_config_name": "en", "learning_rate": "1e-2"},
}
ENTRIES = [
    {"name": "scratch", "model_type": "rnn"},
    {"name": "general", "model_name_or_path": "stage:general"},
    {"name": "adapted", "model_name_or_path": "stage:adapted"},
]
CONTENT = {"dataset_name": "rows.csv", "seeds": [1], "stages": STAGES, "entries": ENTRIES}


def planned(content: dict = CONTENT, **flags: Any) -> Grid:
    return make_grid(content, flags, "grid.yaml")


def test_stages_come_after_their_dependencies(pretraining: Pretraining, tmp_path: Path) -> None:
    grid = planned()
    assert list(grid.stages) == ["general", "adapted"]
    assert [run.stages for run in grid.runs] == [(), ("general",), ("general", "adapted")]
    assert [run.arguments(tmp_path).model.model_name_or_path for run in grid.runs] == [
        None, str(tmp_path / "stages" / "general"), str(tmp_path / "stages" / "adapted"),
    ]  # fmt: skip
    arguments = grid.stages["adapted"].arguments(tmp_path)
    assert arguments.model.model_name_or_path == str(tmp_path / "stages" / "general")
    assert arguments.run.output_dir == str(tmp_path / "stages" / "adapted")


def test_a_stage_shared_by_two_others_comes_once(pretraining: Pretraining) -> None:
    both = {"model_name_or_path": "stage:adapted", "tokenizer_name": "stage:other", "dataset_name": "x"}
    stages = {"both": both, "other": {"model_name_or_path": "stage:general"}, **STAGES}
    grid = planned({**CONTENT, "stages": stages, "entries": [{"name": "x", "model_name_or_path": "stage:both"}]})
    assert grid.runs[0].stages == ("general", "adapted", "other", "both")


def test_stages_share_use_cpu_alone_with_the_grid(pretraining: Pretraining, tmp_path: Path) -> None:
    grid = planned({**CONTENT, "learning_rate": 0.5, "use_cpu": True}, weight_decay=0.25)
    settings = grid.stages["adapted"].settings
    assert settings == {**STAGES["adapted"], "use_cpu": True}
    assert planned(use_cpu=True).stages["adapted"].settings == settings
    assert planned().stages["adapted"].settings == STAGES["adapted"]


def test_flags_replace_the_datasets_of_stages(pretraining: Pretraining) -> None:
    stages = planned(stage_datasets=["general=here/with=sign"]).stages
    assert stages["general"].settings == {
        "model_type": "rnn", "dataset_name": "here/with=sign", "learning_rate": "1e-2"
    }  # fmt: skip
    assert stages["adapted"].settings == STAGES["adapted"]
    for wrong in ("general", "general=", "genral=here"):
        with pytest.raises(UserError, match=f"--stage_datasets must be .* but is '{wrong}'.*'general'"):
            planned(stage_datasets=[wrong])


def change(stage: str, **settings: Any) -> dict:
    return {**CONTENT, "stages": {**STAGES, stage: {**STAGES[stage], **settings}}}


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (change("adapted", model_name_or_path="stage:generall"), ["'adapted'", "'generall'", "'general'?"]),
        (change("general", model_name_or_path="stage:adapted"), ["general -> adapted -> general"]),
        (change("general", tokenizer_name="stage:general"), ["general -> general"]),
        (change("general", output_dir="x"), ["output_dir", "'general'"]),
        (change("general", evaluate_only=True), ["evaluate_only", "'general'", "no model"]),
        (change("general", window_lenght=1), ["window_lenght", "'window_length'", "'general'"]),
        (change("general", strategy="full"), ["'full'", "--model_type 'rnn'"]),
        ({**CONTENT, "stages": {}}, ["the entry 'general'", "there are no stages"]),
        ({**CONTENT, "stages": ["general"]}, ["'stages'", "mapping"]),
        ({**CONTENT, "stages": {**STAGES, "../up": {}}}, ["'../up'"]),
    ],
)
def test_wrong_stages_are_refused(pretraining: Pretraining, content: dict, names: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        planned(content)
    assert all(name.lower() in str(caught.value).lower() for name in names), str(caught.value)


def test_an_unused_stage_is_skipped_with_a_warning(pretraining: Pretraining, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        grid = planned({**CONTENT, "entries": ENTRIES[:2]})
    assert list(grid.stages) == ["general"] and "'adapted'" in caplog.text


@pytest.fixture
def content(dataset_folder: Path) -> dict:
    return {
        **CONTENT,
        "dataset_name": str(dataset_folder),
        "label_budgets": [12],
        "stages": {name: {**own, "dataset_name": str(dataset_folder)} for name, own in STAGES.items()},
    }


Execute = Callable[..., tuple[list[str], dict[str, Result]]]


@pytest.fixture
def run(tmp_path: Path, pretraining: Pretraining, make_record: Callable[..., dict[str, Any]]) -> Execute:
    """Execute a grid whose runs train nothing, but check that the stages they start from are complete."""

    def train(arguments: Arguments | PretrainArguments) -> dict[str, Any]:
        if isinstance(arguments, PretrainArguments):
            return pretraining.run(arguments)
        start = arguments.model.model_name_or_path
        assert start is None or read_record(Path(start))["status"] == "completed"
        folder = Path(arguments.run.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.safetensors").write_text("weights")
        strategy = {"name": "full" if start else "scratch"}
        return make_record(arguments.run.name, arguments.data.label_budget, arguments.run.seed, 0.7, strategy=strategy)

    def call(content: dict, **options: bool) -> tuple[list[str], dict[str, Result]]:
        lines: list[str] = []
        output = tmp_path / "out"
        for stage in content["stages"].values():
            stage.pop("dataset_config_name", None)
        grid = planned(content)
        check_data(grid, output)
        execute(grid, output, **{"retry_failed": False, **options}, executor=InProcess(train), say=lines.append)
        return lines, {result.entry: result for result in read_results(output / "results.jsonl")}

    return call


def test_stages_run_once_and_changes_rerun_their_dependants(
    pretraining: Pretraining, content: dict, run: Execute, tmp_path: Path
) -> None:
    _, first = run(content)
    assert all(result.completed for result in first.values())
    assert pretraining.names == ["general", "adapted"]
    assert [stage["name"] for stage in first["adapted"].record["stages"]] == ["general", "adapted"]
    assert [result.pretrain_seconds for result in first.values()] == [None, 31.0, 62.0]
    page = write_report(tmp_path / "out", "A title").read_text()
    summary = (tmp_path / "out" / "report.md").read_text()
    assert "Pre-training, s" in page and "Pre-training, s" in summary
    assert "shared by all its runs, took" in summary

    lines, _ = run(content)
    assert pretraining.names == ["general", "adapted"] and sum("cached" in line for line in lines) == 3

    content["stages"]["adapted"]["num_train_epochs"] = 3
    _, second = run(content)
    assert pretraining.names == ["general", "adapted", "adapted"]
    keys = [[results[name].record["key"] for name in ("scratch", "general", "adapted")] for results in (first, second)]
    assert [a == b for a, b in zip(*keys, strict=True)] == [True, True, False]

    content["stages"]["general"]["num_train_epochs"] = 3
    run({**content, "seeds": [1, 2]})
    assert pretraining.names[3:] == ["general", "adapted"]
    assert [call.found for call in pretraining.calls] == [["stage.json"]] * 5  # no files of other settings remain


def test_a_failed_stage_fails_the_runs_that_need_it_and_no_other(
    pretraining: Pretraining, content: dict, run: Execute, tmp_path: Path
) -> None:
    pretraining.failing["general"] = ZeroDivisionError("a defect")
    lines, results = run(content)
    assert pretraining.names == ["general"]
    assert results["scratch"].completed
    for name in ("general", "adapted"):
        error = results[name].record["error"]
        assert error == "The stage 'general', which this run needs, failed: ZeroDivisionError: a defect"
    assert "defect" in (tmp_path / "out" / "stages" / "general" / "error.txt").read_text()
    page = write_report(tmp_path / "out", "A title").read_text()
    assert "a defect" in page and "Pre-training, s" not in page  # no run has this cost

    run({**content, "seeds": [1, 2]})
    assert pretraining.names == ["general"]
    pretraining.failing.clear()
    _, results = run(content, retry_failed=True)
    assert pretraining.names == ["general", "general", "adapted"]
    assert all(result.completed for result in results.values())


def test_a_killed_stage_resumes_if_its_settings_are_unchanged(
    pretraining: Pretraining, content: dict, run: Execute, tmp_path: Path
) -> None:
    pretraining.failing["general"] = KeyboardInterrupt()  # like a kill, this stops the whole grid
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run(content)
    assert [call.found for call in pretraining.calls] == [["stage.json"], ["checkpoint-3", "stage.json"]]
    assert all(call.arguments.run.resume_from_checkpoint == "true" for call in pretraining.calls)
    content["stages"]["general"]["learning_rate"] = 0.5
    pretraining.failing.clear()
    run(content)
    assert pretraining.calls[2].found == ["stage.json"]
    left = {path.name for path in (tmp_path / "out" / "stages").iterdir()}
    assert left == {"general", "adapted"}


def test_checkpoints_are_removed_when_a_stage_completes(
    pretraining: Pretraining, content: dict, run: Execute, tmp_path: Path
) -> None:
    pretraining.failing["general"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        run(content)
    pretraining.failing.clear()
    run(content)
    folder = tmp_path / "out" / "stages" / "general"
    assert read_record(folder) is not None and not list(folder.glob("checkpoint-*"))


def test_a_folder_that_is_not_a_stage_is_kept(
    pretraining: Pretraining, content: dict, run: Execute, tmp_path: Path
) -> None:
    folder = tmp_path / "out" / "stages" / "general"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_text("mine")
    with pytest.raises(UserError, match="holds something else"):
        run(content)
    assert (folder / "model.safetensors").read_text() == "mine" and pretraining.calls == []


def test_a_stage_without_its_dataset_is_refused_before_any_run(
    pretraining: Pretraining, content: dict, run: Execute, tmp_path: Path
) -> None:
    content["stages"]["general"]["dataset_name"] = "./nowhere.csv"
    with pytest.raises(UserError, match="nowhere"):
        run(content)
    assert not (tmp_path / "out" / "runs").exists()


def test_a_classifier_starts_from_the_weights_of_a_stage(dataset_folder: Path, tmp_path: Path) -> None:
    """Without stand-ins: two language models, the second trained from the first, and a classifier."""
    from safetensors.torch import load_file

    reading = {"dataset_name": str(dataset_folder), "window_length": 11, "per_device_train_batch_size": 3}
    sizes = {"embedding_size": 7, "hidden_size": 13, "num_hidden_layers": 2}
    stages = {
        "general": {**reading, "model_type": "awd_lstm", "config_overrides": sizes, "num_train_epochs": 1},
        "adapted": {**reading, "model_name_or_path": "stage:general", "num_train_epochs": 1},
    }
    entries = [{"name": "frozen", "model_name_or_path": "stage:adapted", "strategy": "frozen", "num_train_epochs": 1}]
    shared = {"dataset_name": str(dataset_folder), "use_cpu": True, "label_budgets": [12], "seeds": [1]}
    grid = planned({**shared, "stages": stages, "entries": entries})
    output = tmp_path / "out"
    assert execute(grid, output, retry_failed=False, executor=InProcess(train), say=lambda line: None) == 0
    general, adapted, classifier = (
        load_file(output / folder / "model.safetensors")
        for folder in ("stages/general", "stages/adapted", grid.runs[0].folder)
    )
    body = [name for name in classifier if "body" in name]
    assert len(body) == 9
    assert all((classifier[name] == adapted[name]).all() for name in body)
    assert not any((general[name] == adapted[name]).all() for name in body)
    (result,) = read_results(output / "results.jsonl")
    assert result.completed and result.pretrain_seconds == sum(
        read_record(output / "stages" / name)["cost"]["train_seconds"] for name in stages
    )
