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
    """Two kills here; the script itself uses sixty, on a larger grid."""
    monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", "1")
    specification = importlib.util.spec_from_file_location("kill_comparison", SCRIPT)
    assert specification is not None and specification.loader is not None
    script = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(script)
    said: list[str] = []
    phases = ["training", "saving"]
    problems = script.kill_again_and_again(tmp_path, 2, seed=5, say=said.append, phases=phases, dataset=None)
    assert not problems, "\n".join([*said, *problems])
    kills = [line["signal"] for line in script.lines_of(tmp_path / "kills.jsonl") if "signal" in line]
    assert len(kills) == 2 and any(kills), said  # it was running when it was killed
