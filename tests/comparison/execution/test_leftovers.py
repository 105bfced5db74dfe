"""The next comparison removes partly written files of a killed comparison, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

from tl_toolkit.comparison.execution.jobs import StageJob
from tl_toolkit.comparison.execution.scheduler import _remove_leftovers
from tl_toolkit.comparison.planning.stages import Stage

DEAD = 2**22 + 7  # above the highest process id on Linux


def test_half_written_files_of_dead_processes_are_removed(tmp_path: Path) -> None:
    names = {
        f".results.jsonl.{DEAD}": False, f".report.html.{DEAD}.tmp": False, f"figures/.curve.svg.{DEAD}.tmp": False,
        f".report.html.{os.getpid()}.tmp": True, ".gitignore": True, "results.jsonl": True, ".git/config": True,
        "stages/.lm.old/model.safetensors": False, "stages/lm/model.safetensors": True,
        ".incoming/runs/x/result.json": False,
    }  # fmt: skip
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("half")
    _remove_leftovers(tmp_path)
    assert {name: (tmp_path / name).exists() for name in names} == names
    assert not (tmp_path / ".incoming").exists() and not (tmp_path / "stages" / ".lm.old").exists()


def test_a_stage_that_was_killed_at_its_end_is_tidied(tmp_path: Path) -> None:
    folder = tmp_path / "stages" / "lm"
    (folder / "checkpoint-3").mkdir(parents=True)
    for name in ("model.safetensors", f".result.json.{DEAD}", "stage.json"):
        (folder / name).write_text("{}")
    StageJob(Stage("lm", {}), "a key").tidy(tmp_path)
    assert {path.name for path in folder.iterdir()} == {"model.safetensors", "stage.json"}
