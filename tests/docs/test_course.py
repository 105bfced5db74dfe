"""The chapters of the course run: each day another third of them, with few steps. `make docs-test` runs them whole."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "docs"))

from _site.chapters import CHAPTERS, COURSE, run  # noqa: E402

TODAY = int(time.strftime("%j")) % 3


@pytest.mark.parametrize("chapter", CHAPTERS[TODAY::3], ids=lambda chapter: chapter.stem)
def test_a_chapter_runs(chapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib.pyplot as plt

    monkeypatch.chdir(COURSE)
    monkeypatch.setenv("MPLBACKEND", "agg")
    plt.switch_backend("agg")
    try:
        run(chapter)
    finally:
        plt.close("all")
