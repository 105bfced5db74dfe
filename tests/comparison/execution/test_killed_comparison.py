"""A comparison that is killed and restarted ends with the same records as an uninterrupted one."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "kill_comparison.py"


def test_a_comparison_that_is_killed_ends_with_the_same_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three kills here; the script itself uses ten."""
    monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", "1")
    specification = importlib.util.spec_from_file_location("kill_comparison", SCRIPT)
    assert specification is not None and specification.loader is not None
    script = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(script)
    said: list[str] = []
    problems = script.kill_again_and_again(tmp_path, kills=3, seed=5, flags=["--parallel_runs", "2"], say=said.append)
    assert not problems, "\n".join([*said, *problems])
    assert sum("it had ended" in line for line in said) < 2, said  # it was running when it was killed
