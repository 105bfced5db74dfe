"""Each chapter of the course has its parts, and the code that it names exists. No cell is run here."""

from __future__ import annotations

import ast
import fnmatch
import re
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "docs"))

from _site.chapters import CHAPTERS, COURSE  # noqa: E402

EACH = pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.stem)


def test_the_course_lists_all_chapters_in_order() -> None:
    assert 10 <= len(CHAPTERS) <= 12
    assert [chapter.stem[:3] for chapter in CHAPTERS] == [f"{place:02}_" for place in range(1, len(CHAPTERS) + 1)]
    toctree = re.search(r"^```\{toctree\}\n(.*?)^```", (COURSE / "index.md").read_text(), re.MULTILINE | re.DOTALL)
    assert toctree
    assert ":glob:" in toctree[1]
    patterns = toctree[1].split()
    listed = [chapter for chapter in CHAPTERS if any(fnmatch.fnmatch(chapter.stem, pattern) for pattern in patterns)]
    assert listed == CHAPTERS


@EACH
def test_a_chapter_has_its_parts(chapter: Path) -> None:
    text = re.sub(r"^```\{code-cell\}.*?^```", "", chapter.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1
    assert "\n$$\n" in text or chapter.stem == "05_lstm_gru"
    assert "## What the paper found, and this run\n" in text
    exercise, solution = text.split("## Exercise\n")[1].split(":::{admonition} Solution\n:collapsible: closed\n")
    assert exercise.strip()
    assert solution.split("\n:::")[0].strip()
    assert 'code_prompt_show: "Solution' in chapter.read_text().split("## Exercise\n")[1]


@EACH
def test_the_code_that_a_chapter_names_exists(chapter: Path) -> None:
    text = chapter.read_text()
    shown = re.findall(r"^```\{literalinclude\} (\S+)\n:pyobject: (\S+)$", text, re.MULTILINE)
    assert shown
    assert len(shown) == text.count("{literalinclude}")
    for file, name in shown:
        assert "/tl_toolkit/" in file
        body = ast.parse((COURSE / file).read_text()).body
        for part in name.split("."):
            found = [own for own in body if getattr(own, "name", None) == part]
            assert found, f"{file} has no {name}"
            body = getattr(found[0], "body", [])


def test_results_are_small_and_read_by_a_chapter() -> None:
    texts = "".join(chapter.read_text() for chapter in CHAPTERS)
    for file in (COURSE / "results").iterdir():
        assert file.stat().st_size < 50_000
        assert f"results/{file.name}" in texts
