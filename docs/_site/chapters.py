"""Run the code of a chapter in this process, without Jupyter: what a test can afford."""

import re
from pathlib import Path
from typing import Any

import yaml

COURSE = Path(__file__).parents[1] / "course"
CHAPTERS = sorted(COURSE.glob("[0-9]*.md"))
_CELL = re.compile(r"^(`{3,})\{code-cell\}[^\n]*\n((?::[^\n]*\n)*)(.*?)^\1\s*$", re.MULTILINE | re.DOTALL)


def run(chapter: Path) -> dict[str, Any]:
    """The variables after all cells have run, with the small values of `quick` instead of those in `parameters`.

    A cell tagged `parameters` is followed by the assignments that the front matter of the chapter has under `quick`.
    The cells see the folder of the chapter as the working directory.
    """
    text = chapter.read_text()
    quick = yaml.safe_load(text.split("---\n")[1]).get("quick", {})
    variables: dict[str, Any] = {"__name__": "__main__"}
    for cell in _CELL.finditer(text):
        line = text[: cell.start(3)].count("\n")
        exec(compile("\n" * line + cell[3], str(chapter), "exec"), variables)
        if "parameters" in cell[2]:
            variables.update(quick)
    return variables
