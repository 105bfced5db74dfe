"""A grid is refused as a whole before its first run, if one of its entries cannot be trained."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tl_toolkit.comparison.execution.dry_run import plan
from tl_toolkit.comparison.execution.rehearsals import FOLDER
from tl_toolkit.comparison.execution.scheduler import InProcess, execute
from tl_toolkit.comparison.planning.grid import make_grid
from tl_toolkit.errors import UserError
from tl_toolkit.workflows.compare import rehearse, train

SIZES = {"hidden_size": 7, "embedding_size": 5}


def content(dataset_folder: Path, *entries: dict[str, Any], **more: Any) -> dict[str, Any]:
    own = {"model_type": "rnn", "config_overrides": SIZES, "num_train_epochs": 1}
    named = [{"name": f"entry {number}", **own, **entry} for number, entry in enumerate(entries, 1)]
    shared = {"dataset_name": str(dataset_folder), "use_cpu": True, "label_budgets": [20, "all"], "seeds": [1, 2]}
    return {**shared, "entries": named, **more}


def never(arguments: Any) -> dict[str, Any]:
    raise AssertionError("it was trained")


WRONG = [
    ({"strategy": "lora", "lora_r": 0}, "lora_r"),
    ({"metric_for_best_model": "f2"}, "f2 is not a metric"),
    ({"model_type": "bag_of_ngrams", "config_overrides": None, "num_train_epochs": None,
      "gradient_checkpointing": True}, "gradient_checkpointing"),
    ({"config_overrides": {"num_hidden_layers": 100_000}}, "at most"),
    ({"dataloader_drop_last": True, "per_device_train_batch_size": 64}, "drop_last"),
    ({"optim": "galore_adamw"}, "galore"),
    ({"model_name_or_path": "stage:lm", "model_type": None, "config_overrides": None, "strategy": "full",
      "optim": "galore_adamw"}, "galore"),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "problem"), WRONG)
def test_the_third_entry_is_refused_before_the_first_is_trained(
    wrong: dict[str, Any], problem: str, dataset_folder: Path, tmp_path: Path
) -> None:
    stage = {"dataset_name": str(dataset_folder), "model_type": "awd_lstm", "num_train_epochs": 1}
    stages = {"lm": {**stage, "per_device_train_batch_size": 3, "config_overrides": {**SIZES, "num_hidden_layers": 1}}}
    given = content(
        dataset_folder,
        {},
        {"model_type": "bag_of_ngrams", "config_overrides": None, "num_train_epochs": None},
        wrong,
        stages=stages,
    )
    for start in (
        lambda grid: plan(grid, tmp_path / "planned", rehearse=rehearse),
        lambda grid: execute(grid, tmp_path / "out", retry_failed=False, executor=InProcess(never), rehearse=rehearse),
    ):
        with pytest.raises(UserError, match=problem) as raised:
            start(make_grid(given, {}, "the grid"))
        assert "the entry 'entry 3'" in str(raised.value)
    assert not (tmp_path / "planned").exists() and not list(tmp_path.glob("out/*/*"))


def test_a_wrong_stage_is_refused(dataset_folder: Path, tmp_path: Path) -> None:
    stage = {"dataset_name": str(dataset_folder), "model_type": "awd_lstm", "optim": "galore_adamw"}
    own = {"model_name_or_path": "stage:lm", "model_type": None, "config_overrides": None}
    grid = make_grid(content(dataset_folder, own, stages={"lm": stage}), {}, "the grid")
    with pytest.raises(UserError, match="In the stage 'lm': .*galore"):
        plan(grid, tmp_path, rehearse=rehearse)


def test_an_entry_is_rehearsed_after_its_teacher(dataset_folder: Path, tmp_path: Path) -> None:
    def taught(teacher: dict[str, Any]) -> dict[str, Any]:
        return content(dataset_folder, {"strategy": "distilled", "teacher": "entry 2"}, teacher, label_budgets=[20])

    assert "4 runs" in plan(make_grid(taught({}), {}, "the grid"), tmp_path, rehearse=rehearse)
    with pytest.raises(UserError, match="In the entry 'entry 2': .*galore"):
        plan(make_grid(taught({"optim": "galore_adamw"}), {}, "the grid"), tmp_path, rehearse=rehearse)


def test_each_entry_is_rehearsed_once_and_leaves_nothing(dataset_folder: Path, tmp_path: Path) -> None:
    rehearsed: list[Any] = []

    def noted(arguments: Any, keep: bool) -> None:
        rehearsed.append((arguments.run.name, arguments.data.label_budget))
        rehearse(arguments, keep)

    def run() -> None:
        assert execute(grid, tmp_path, retry_failed=False, executor=InProcess(train), rehearse=noted) == 0

    grid = make_grid(content(dataset_folder, {}, {"optim": "sgd"}), {}, "the grid")
    run()
    assert rehearsed == [("entry 1", 20), ("entry 2", 20)]
    assert not (tmp_path / FOLDER).exists()
    records = [path.read_bytes() for path in sorted(tmp_path.glob("runs/*/result.json"))]
    run()
    assert len(rehearsed) == 2 and len(records) == 8  # entries with a completed run are not rehearsed
    assert [path.read_bytes() for path in sorted(tmp_path.glob("runs/*/result.json"))] == records


def test_a_bug_is_left_to_the_run_that_records_it(dataset_folder: Path, tmp_path: Path) -> None:
    def broken(arguments: Any, keep: bool) -> None:
        raise KeyError("a bug of the toolkit")

    grid = make_grid(content(dataset_folder, {}, label_budgets=[20], seeds=[1]), {}, "the grid")
    # The error is raised by this file, which is code outside the toolkit.
    with pytest.raises(UserError, match="In the entry 'entry 1': Code outside the toolkit failed: KeyError"):
        execute(grid, tmp_path, retry_failed=False, executor=InProcess(train), rehearse=broken)


def test_a_rehearsal_of_many_runs_is_cheap(dataset_folder: Path, tmp_path: Path) -> None:
    grid = make_grid(content(dataset_folder, {}, {}, {}, seeds=[*range(6)]), {}, "the grid")
    assert len(grid.runs) == 36
    plan(grid, tmp_path, rehearse=rehearse)  # imports
    began = time.process_time()
    plan(grid, tmp_path, rehearse=rehearse)
    assert time.process_time() - began < 10
