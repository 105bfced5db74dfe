"""Entries that learn from another entry of a grid."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tl_toolkit.comparison.execution.jobs import RunJob
from tl_toolkit.comparison.execution.scheduler import jobs_of
from tl_toolkit.comparison.planning.grid import Grid, make_grid
from tl_toolkit.errors import UserError

STUDENT = {"name": "student", "model_type": "rnn", "strategy": "distilled", "teacher": "large, tuned"}
GRID = {
    "label_budgets": [12, 24],
    "seeds": [1, 2],
    "entries": [STUDENT, {"name": "large, tuned", "model_type": "rnn", "learning_rate": 0.01}],
}


def _grid(folder: Path, **changes: Any) -> Grid:
    content = copy.deepcopy({**GRID, "dataset_name": str(folder)})
    for name, own in changes.items():
        entry = next(entry for entry in content["entries"] if entry["name"].startswith(name))
        entry.update(own)
    return make_grid(content, {}, "the grid")


def test_a_run_follows_the_run_of_its_teacher_and_reads_its_model(dataset_folder: Path, tmp_path: Path) -> None:
    grid = _grid(dataset_folder)
    assert [run.entry for run in grid.runs] == ["large, tuned", "student"] * 4
    for teacher, student in zip(grid.runs[::2], grid.runs[1::2], strict=True):
        assert student.taught_by is not None and student.taught_by.folder == teacher.folder
        assert student.arguments(tmp_path).strategy.teacher == str(tmp_path / teacher.folder)
    moved = replace(grid.runs[1], fold=2, folds=3, seed=7).with_budget(17)
    assert moved.taught_by is not None and moved.taught_by.folder == "runs/large_tuned-17-seed7-fold2of3"


def test_a_job_needs_its_teacher_whose_model_is_kept(dataset_folder: Path, tmp_path: Path) -> None:
    grid = replace(_grid(dataset_folder), keep_models=False)
    jobs = {job.name: job for job in jobs_of(grid, tmp_path) if isinstance(job, RunJob)}
    student, teacher = jobs["runs/student-12-seed2"], jobs["runs/large_tuned-12-seed2"]
    assert student.needs == (teacher.name,) and teacher.needs == ()
    assert teacher.keep_models and not student.keep_models


def test_another_teacher_changes_the_key(dataset_folder: Path, tmp_path: Path) -> None:
    def keys(grid: Grid) -> dict[str, str]:
        return {job.name: job.key for job in jobs_of(grid, tmp_path)}

    before, after = keys(_grid(dataset_folder)), keys(_grid(dataset_folder, large={"learning_rate": 0.02}))
    assert {name for name in before if before[name] == after[name]} == set()
    assert before == keys(_grid(dataset_folder))


def test_a_teacher_that_is_no_entry_is_a_folder(dataset_folder: Path, tmp_path: Path) -> None:
    run = next(run for run in _grid(dataset_folder, student={"teacher": "user/model"}).runs if run.entry == "student")
    assert run.taught_by is None and run.arguments(tmp_path).strategy.teacher == "user/model"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"student": {"seeds": [1, 3]}}, "'large, tuned', which has no run with 12 labels and seed 3"),
        ({"student": {"teacher": "student"}}, "student -> student"),
        ({"large": {"strategy": "distilled", "teacher": "student"}}, "student -> large, tuned -> student"),
        ({"student": {"teacher": None}}, "needs --teacher"),
    ],
)
def test_what_cannot_be_planned_is_refused(dataset_folder: Path, changes: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        _grid(dataset_folder, **changes)
