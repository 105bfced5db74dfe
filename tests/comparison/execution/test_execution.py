from __future__ import annotations

import json
from pathlib import Path

import pytest

from tl_toolkit.comparison.execution.scheduler import InProcess, execute
from tl_toolkit.comparison.planning.grid import Grid, make_grid
from tl_toolkit.comparison.report.writing import write_report
from tl_toolkit.evaluation.results import read_results
from tl_toolkit.workflows.compare import train


@pytest.fixture
def content(dataset_folder: Path) -> dict:
    rnn = {"model_type": "rnn", "config_overrides": "embedding_size=7,hidden_size=13,num_hidden_layers=1"}
    return {
        "dataset_name": str(dataset_folder),
        "use_cpu": True,
        "num_train_epochs": 1,
        "label_budgets": [12],
        "seeds": [1],
        "keep_models": False,
        "entries": [{"name": "plain", **rnn}, {"name": "broken", **rnn, "optim": "sgd", "learning_rate": 1e38}],
    }


def run(content: dict, output_dir: Path, retry_failed: bool = False) -> tuple[Grid, list[str]]:
    lines: list[str] = []
    grid = make_grid(content, {}, "the grid")
    execute(grid, output_dir, retry_failed=retry_failed, executor=InProcess(train), say=lines.append)
    return grid, lines


def test_a_grid_survives_a_failed_run_and_resumes(content: dict, tmp_path: Path) -> None:
    content["entries"][1]["max_grad_norm"] = 0
    content["entries"][1]["num_train_epochs"] = 4
    output = tmp_path / "comparison"
    run(content, output)
    results = {result.entry: result for result in read_results(output / "results.jsonl")}
    assert results["plain"].completed
    assert results["broken"].record["status"] == "failed"
    assert "loss was" in results["broken"].record["error"]
    left = {path.name for path in (output / results["plain"].folder).iterdir()}
    assert left == {"result.json", "predictions_validation.parquet", "predictions_test.parquet"}

    stamp = (output / results["plain"].folder / "result.json").stat().st_mtime_ns
    _, lines = run({**content, "seeds": [1, 2]}, output)  # another seed adds only its own runs
    assert (output / results["plain"].folder / "result.json").stat().st_mtime_ns == stamp
    assert sum("cached" in line for line in lines) == 2
    assert len(read_results(output / "results.jsonl")) == 4

    html = write_report(output, "A <title>").read_text()
    assert "A &lt;title&gt;" in html and "loss was" in html


def test_a_changed_entry_and_a_truncated_record_are_rerun(content: dict, tmp_path: Path) -> None:
    output = tmp_path / "comparison"
    content["entries"] = content["entries"][:1]
    grid, _ = run(content, output)
    record = output / grid.runs[0].folder / "result.json"
    first = json.loads(record.read_text())
    record.write_text(record.read_text()[:100])
    _, lines = run(content, output)
    assert "cached" not in lines[0]
    again = json.loads(record.read_text())
    assert (again["metrics"], again["key"]) == (first["metrics"], first["key"])
    content["entries"][0]["learning_rate"] = 0.01
    _, lines = run(content, output)
    assert "cached" not in lines[0]
    assert json.loads(record.read_text())["key"] != first["key"]


def test_runs_without_their_model_are_rerun_if_models_are_kept(content: dict, tmp_path: Path) -> None:
    output = tmp_path / "comparison"
    del content["entries"][1]
    grid, _ = run(content, output)
    weights = output / grid.runs[0].folder / "model.safetensors"
    assert not weights.exists()
    _, lines = run({**content, "keep_models": True}, output)
    assert weights.exists() and "cached" not in lines[0]
    for keep_models in (True, False):  # an existing model is neither trained again nor removed
        _, lines = run({**content, "keep_models": keep_models}, output)
        assert weights.exists() and "cached" in lines[0]


def test_a_failed_run_is_not_rerun_because_its_model_is_missing(content: dict, tmp_path: Path) -> None:
    content["entries"] = [{**content["entries"][1], "max_grad_norm": 0, "num_train_epochs": 4}]
    content["keep_models"] = True
    run(content, tmp_path / "comparison")
    _, lines = run(content, tmp_path / "comparison")
    assert "cached" in lines[0] and "FAILED" in lines[0]


def test_a_stopped_run_resumes_from_its_checkpoint(
    content: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tl_toolkit.comparison.execution import jobs
    from tl_toolkit.training.trainer import ToolkitTrainer

    (entry,) = content["entries"][:1]
    content |= {"entries": [entry], "num_train_epochs": 5, "save_only_model": False, "per_device_train_batch_size": 5}
    run(content, tmp_path / "whole")
    steps: list[int] = []
    step = ToolkitTrainer.training_step

    def stopping(trainer: ToolkitTrainer, *args: object, **kwargs: object) -> object:
        steps.append(trainer.state.global_step)
        if len(steps) == 8:
            raise KeyboardInterrupt
        return step(trainer, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(ToolkitTrainer, "training_step", stopping)
    with pytest.raises(KeyboardInterrupt):
        run(content, tmp_path / "stopped")
    assert not (tmp_path / "stopped" / "results.jsonl").exists()
    run(content, tmp_path / "stopped")
    assert steps[8:] == list(range(6, 15))  # two of five epochs are in the checkpoint
    scores = [read_results(tmp_path / name / "results.jsonl")[0].record["metrics"] for name in ("whole", "stopped")]
    assert scores[0] == scores[1]
    (folder,) = (tmp_path / "stopped" / "runs").iterdir()
    assert not list(folder.glob("checkpoint-*")) and not (folder / jobs._KEY_NAME).exists()
