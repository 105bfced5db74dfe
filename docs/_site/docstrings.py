"""Our docstrings are plain text with `code`: what reStructuredText would take for other markup is escaped."""

import re

from sphinx.application import Sphinx


def _escape(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    for number, line in enumerate(lines):
        parts = re.split(r"(``?[^`]+``?)", line)
        lines[number] = "".join(
            part if part.startswith("`") else re.sub(r"(\*|_\b|\|)", r"\\\1", part) for part in parts
        )


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", _escape, priority=100)  # before napoleon
    return {"parallel_read_safe": True, "parallel_write_safe": True}
