"""The Hub server of tests/hub."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "hub"))

from server_fixture import hub  # noqa: E402, F401
