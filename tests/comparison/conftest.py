"""Synthetic comparisons for the tests of this folder."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent))

from synthetic import make_record, write_comparison, write_lines, write_parquet, write_rich_comparison  # noqa: E402


@pytest.fixture
def comparison(tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """Writes a comparison into `tmp_path`; keywords as in `write_comparison`."""
    return lambda **keywords: write_comparison(tmp_path, **keywords)


@pytest.fixture(name="make_record")
def make_record_fixture() -> Callable[..., dict[str, Any]]:
    return make_record


@pytest.fixture(name="write_parquet")
def write_parquet_fixture() -> Callable[..., None]:
    return write_parquet


@pytest.fixture(name="write_lines")
def write_lines_fixture() -> Callable[..., None]:
    return write_lines


@pytest.fixture
def rich_comparison(tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """Writes a comparison whose records tell all they can into `tmp_path`."""
    return lambda **keywords: write_rich_comparison(tmp_path, **keywords)
