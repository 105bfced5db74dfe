"""Progress output and trackers of a comparison."""

from __future__ import annotations

import io
import os
import types
from pathlib import Path
from typing import Any

import pytest

from tl_toolkit.comparison.execution.jobs import RunJob, tracked
from tl_toolkit.comparison.execution.progress import Progress
from tl_toolkit.comparison.execution.scheduler import InProcess, execute, jobs_of
from tl_toolkit.comparison.planning.grid import make_grid
from tl_toolkit.workflows.compare import train

MODEL = {"model_type": "rnn", "config_overrides": "embedding_size=7,hidden_size=13,num_hidden_layers=1"}


@pytest.fixture
def content(dataset_folder: Path) -> dict[str, Any]:
    entries = [{"name": "short", **MODEL}, {"name": "long", **MODEL, "weight_decay": 0.5}]
    shared = {"dataset_name": str(dataset_folder), "use_cpu": True, "num_train_epochs": 1}
    return {**shared, "label_budgets": [12, 31], "seeds": [1, 2], "entries": entries, "keep_models": False}


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_remaining_time_is_estimated_from_similar_runs_and_divided_by_workers(
    content: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr("tl_toolkit.comparison.execution.progress.time.perf_counter", clock)
    jobs = jobs_of(make_grid(content, {}, "the grid"), tmp_path)
    lines: list[str] = []
    live = io.StringIO()
    progress = Progress(jobs, lines.append, at_once=2, live=live)
    completed = {"status": "completed", "entry": "short", "task": {"main_metric": "accuracy"}}
    completed["metrics"] = {"test": {"accuracy": 0.75}}
    named = {
        (job.planned.entry, job.planned.label_budget, job.planned.seed): job for job in jobs if isinstance(job, RunJob)
    }
    progress.begin(named["short", 12, 1])
    clock.now += 3
    progress.end(named["short", 12, 1], completed)
    progress.begin(named["long", 12, 1])
    clock.now += 11
    reason = f"no luck {'with this ' * 50}or any other number"  # the remedy is often at the end
    progress.end(named["long", 12, 1], {"status": "failed", "error": reason})
    # Remaining: three short runs (12 once, 31 twice) of 3 s each, and three long ones of 11 s each.
    assert progress.seconds_left() == (3 * 3 + 3 * 11) / 2
    progress.begin(named["long", 12, 2])
    clock.now += 5
    assert progress.seconds_left() == (3 * 3 + 3 * 11 - 5) / 2
    progress.refresh()
    last = live.getvalue().rpartition("\r\x1b[K")[2]
    assert last.startswith("2/8 runs  |  1 failed  |  'long' with 12 labels and seed 2  |  about 18 s left"[:79])
    assert lines[0] == "[1/8] short  12 labels  seed 1  accuracy 0.750      3.0 s   about 10 s left"
    assert lines[1].startswith("[2/8] long   12 labels  seed 1  FAILED             11.0 s")
    assert lines[2] == f"        {reason}"
    assert not any("\x1b" in line for line in lines)


def test_the_last_long_run_is_waited_for(content: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("tl_toolkit.comparison.execution.progress.time.perf_counter", clock)
    content |= {"label_budgets": [12], "seeds": [1]}
    short, long = jobs_of(make_grid(content, {}, "the grid"), tmp_path)
    progress = Progress([short, long], lambda line: None, at_once=7)
    progress.begin(short)
    clock.now += 13
    progress.end(short, {"status": "completed", "metrics": {}})
    assert progress.seconds_left() == 13


def test_the_report_is_rebuilt_while_the_grid_runs_and_never_stops_it(
    content: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tl_toolkit.comparison.execution.scheduler._REPORT_SECONDS", 0.0)
    content |= {"label_budgets": [12], "seeds": [1]}
    seen: list[int] = []

    def report() -> None:
        seen.append(len((tmp_path / "results.jsonl").read_text().splitlines()))
        raise ZeroDivisionError("a defect of the report")

    lines: list[str] = []
    grid = make_grid(content, {}, "the grid")
    assert execute(grid, tmp_path, retry_failed=False, executor=InProcess(train), say=lines.append, report=report) == 0
    assert seen[0] == 1 and sorted(seen) == seen
    assert any("a defect of the report" in line for line in lines)
    assert sum(line.startswith("[") for line in lines) == 2


def test_trackers_see_each_run_as_a_separate_run(content: dict, tmp_path: Path) -> None:
    runs: list[tuple[str, str]] = []

    def train(arguments: Any) -> dict[str, Any]:
        place = Path(os.environ["TENSORBOARD_LOGGING_DIR"])
        assert not place.exists()  # nothing of an earlier run
        place.mkdir(parents=True)
        (place / "events").write_text(arguments.run.run_name)
        runs.append((arguments.run.run_name, str(place.relative_to(tmp_path))))
        return {"schema_version": 1, "status": "completed", "metrics": {}}

    content |= {"label_budgets": [12], "seeds": [3], "report_to": "none"}
    for _ in range(2):
        execute(
            make_grid(content, {}, "the grid"),
            tmp_path,
            retry_failed=False,
            executor=InProcess(train),
            say=lambda line: None,
        )
        content["weight_decay"] = 0.25  # so that one of the two is rerun
    names = ["short-12-seed3", "long-12-seed3", "short-12-seed3"]
    assert runs == [(name, f"runs/{name}/tensorboard") for name in names]
    assert (tmp_path / "runs" / "short-12-seed3" / "tensorboard" / "events").exists()  # kept without the model
    assert "TENSORBOARD_LOGGING_DIR" not in os.environ


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_the_run_of_a_tracker_ends_with_the_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = ["begun"]
    monkeypatch.setitem(__import__("sys").modules, name, types.SimpleNamespace(finish=runs.pop))
    for _ in range(2):  # the second time, there is no run to end
        with tracked(tmp_path):
            pass
    assert not runs
