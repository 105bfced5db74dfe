from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tl_toolkit.comparison.execution.dry_run import plan
from tl_toolkit.comparison.execution.jobs import Job
from tl_toolkit.comparison.execution.scheduler import jobs_of
from tl_toolkit.comparison.planning.grid import Grid, make_grid
from tl_toolkit.comparison.planning.keys import key_of
from tl_toolkit.errors import UserError


@pytest.fixture
def content(dataset_folder: Path) -> dict[str, Any]:
    return {
        "dataset_name": str(dataset_folder), "label_budgets": [10, 20, "all"], "seeds": [1, 2],
        "entries": [
            {"name": "a", "model_type": "rnn", "num_train_epochs": 3, "per_device_train_batch_size": 5},
            {"name": "b", "model_type": "rnn", "num_train_epochs": 5},
        ],
    }  # fmt: skip


def grid_of(content: dict[str, Any]) -> Grid:
    return make_grid(content, {}, "the grid")


def jobs_in(content: dict[str, Any], output: Path) -> dict[str, Job]:
    return {job.name: job for job in jobs_of(grid_of(content), output)}


def leave(job: Any, output: Path, **changes: Any) -> None:
    """Write a record and a model of a completed job: 20 s in total, 12 s of training with 6 updates."""
    seconds = {"data": 5.0, "train": 10.0, "select": 2.0, "evaluate": 3.0, "total": 20.0}
    record = {
        "schema_version": 1, "status": "completed", "key": job.key, "hardware": {"world_size": 1},
        "cost": {"seconds": seconds, "steps": 6, "disk_bytes": 3_000_000},
    } | changes  # fmt: skip
    folder = output / job.name
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(record))
    (folder / "model.safetensors").touch()


def lines_of(text: str) -> dict[str, list[str]]:
    """The state and time cells of a table, by entry, budget and seed."""
    table = text.split("\n\n")[0].splitlines()[1:]
    cells = [[cell.replace("\u00a0", " ") for cell in line.split("  ") if cell] for line in table]
    return {" ".join(part.strip() for part in row[:3]): [part.strip() for part in row[3:]] for row in cells}


def test_without_records_the_time_is_unknown_and_nothing_is_written(content: dict[str, Any], tmp_path: Path) -> None:
    text = plan(grid_of(content), tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert len(lines_of(text)) == 12 and all(cells == ["to run", "unknown"] for cells in lines_of(text).values())
    assert "12 runs, 12 of them to run." in text and "Time: unknown" in text


@pytest.mark.parametrize(
    ("changes", "problem"),
    [({"label_column": "labl"}, "no column 'labl'"), ({"label_budgets": [10, 7001]}, "7,001")],
)
def test_errors_that_stop_the_comparison_stop_the_dry_run(content, changes, problem, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=problem):
        plan(grid_of(content | changes), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_the_state_of_runs_and_the_remaining_work(content: dict[str, Any], tmp_path: Path) -> None:
    jobs = jobs_in(content, tmp_path)
    leave(jobs["runs/a-10-seed1"], tmp_path)
    leave(jobs["runs/b-10-seed1"], tmp_path, status="failed")
    leave(jobs["runs/a-20-seed1"], tmp_path, key="another")
    lines = lines_of(plan(grid_of(content), tmp_path))
    assert lines["a 10 labels 1"] == ["done"]
    assert lines["b 10 labels 1"] == ["failed (kept)"]
    assert lines["a 20 labels 1"] == ["rerun: changed", "about 20 s"]  # the time before the change
    assert lines["a 10 labels 2"] == ["to run", "about 20 s"]
    assert lines["b 20 labels 1"] == ["to run", "about 20 s"]  # the time of other entries at this budget
    retried = plan(grid_of(content), tmp_path, retry_failed=True)
    assert lines_of(retried)["b 10 labels 1"][0] == "rerun: failed before"
    assert "10 of them to run" in plan(grid_of(content), tmp_path) and "11 of them to run" in retried


def test_other_budgets_are_scaled_by_updates(content: dict[str, Any], tmp_path: Path) -> None:
    jobs = jobs_in(content, tmp_path)
    leave(jobs["runs/a-10-seed1"], tmp_path)  # 3 epochs of 2 updates
    lines = lines_of(plan(grid_of(content), tmp_path))
    assert lines["a 20 labels 1"] == ["to run", "about 32 s"]  # 12 updates: twice the 12 s of training
    content["entries"][0]["min_train_steps"] = 24
    lines = lines_of(plan(grid_of(content), tmp_path))
    assert lines["a 20 labels 1"] == ["to run", "about 56 s"]  # 24 updates


def test_the_remaining_totals_are_divided_by_concurrent_runs(content: dict[str, Any], tmp_path: Path) -> None:
    content = {**content, "label_budgets": [10], "seeds": [1, 2, 3]}
    jobs = jobs_in(content, tmp_path)
    leave(jobs["runs/a-10-seed1"], tmp_path)
    text = plan(grid_of(content), tmp_path).replace("\u00a0", " ")
    assert "Time: about 100 s." in text and "Disk: about 15 MB for models." in text
    assert "Of 5 estimates: 2 based on the same entry and budget; 3 based on other entries." in text
    assert "Time: about 50 s, 2 at once." in plan(grid_of(content), tmp_path, at_once=2).replace("\u00a0", " ")
    assert "Time: about 20 s, 50 at once." in plan(grid_of(content), tmp_path, at_once=50).replace("\u00a0", " ")
    assert "no models are kept" in plan(grid_of({**content, "keep_models": False}), tmp_path)


def test_searches_and_stages_are_listed(content: dict[str, Any], tmp_path: Path) -> None:
    stage = {"model_type": "rnn", "dataset_name": content["dataset_name"]}
    content = {
        **content, "label_budgets": [10], "seeds": [1], "tuning": {"trials": 7}, "stages": {"lm": stage},
        "entries": [
            {**content["entries"][0], "search": {"weight_decay": {"low": 0, "high": "0.1"}}},
            {"name": "c", "model_name_or_path": "stage:lm"},
        ],
    }  # fmt: skip
    jobs = jobs_in(content, tmp_path)
    lines = lines_of(plan(grid_of(content), tmp_path))
    assert lines["stage lm to run unknown"] == []
    assert lines["tuning of a 10 labels 7 trials to run"] == ["unknown"]
    leave(jobs["runs/a-10-seed1"], tmp_path, key="another")
    lines = lines_of(plan(grid_of(content), tmp_path))
    assert lines["tuning of a 10 labels 7 trials to run"] == ["about 2.3 min"]
    job: Any = jobs["searches/a-10"]
    for number, values in enumerate(({"weight_decay": 0.01}, {"weight_decay": 0.02})):  # one has a wrong key
        folder = tmp_path / job.name / f"trial-{number}"
        folder.mkdir(parents=True)
        key = key_of([job.key, 0, values])
        (folder / "result.json").write_text(json.dumps({"schema_version": 1, "key": key, "values": values}))
    lines = lines_of(plan(grid_of(content), tmp_path))
    assert lines["tuning of a 10 labels 6 trials to run"] == ["about 2.0 min"]
    content["entries"][0]["search"] = {"weight_decay": [0, 0.1]}  # only two settings exist
    assert "tuning of a 10 labels 2 trials to run" in lines_of(plan(grid_of(content), tmp_path))
    leave(jobs["runs/c-10-seed1"], tmp_path)
    assert lines_of(plan(grid_of(content), tmp_path))["stage lm not needed"] == []


def test_several_datasets_have_a_column(content: dict[str, Any], tmp_path: Path) -> None:
    del content["label_budgets"]
    path = content.pop("dataset_name")
    content["datasets"] = [{"name": name, "dataset_name": path, "label_budgets": [3]} for name in ("x", "y")]
    head, first = plan(grid_of(content), tmp_path).splitlines()[:2]
    assert head.split() == ["dataset", "budget", "seed", "state", "time"]
    assert first.split() == ["a", "x", "3", "labels", "1", "to", "run", "unknown"]
