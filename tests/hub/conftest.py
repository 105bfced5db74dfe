"""Fixtures: a Hub server on loopback for each test, and the folder of a run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

from server_fixture import hub  # noqa: E402, F401


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """The folder of a finished run with a tiny classifier."""
    from run_folders import make_run_folder

    return make_run_folder(tmp_path / "run")
