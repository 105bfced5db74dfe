"""Markdown from templates: what a template is given is text and stays text, unless it was made to be more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..evaluation.formatting import markdown_text

TEMPLATES = Path(__file__).parent / "templates"

MARKER = (
    "<!-- Written by tl_toolkit, which replaces this file when it publishes again. Without this line it is yours. -->"
)
"""In every README that was generated, so that one that somebody wrote is never overwritten."""


class Raw(str):
    """Text that goes into a template as it is: code, or Markdown that was made here."""


def render(template: str, context: dict[str, Any]) -> str:
    """A template of this package; every value that is not `Raw` is escaped."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: str(value) if isinstance(value, Raw) else markdown_text(value),
    )
    return environment.get_template(template).render(context).strip() + "\n"


def is_generated(readme: str) -> bool:
    """Whether a README was written here, and may be written again."""
    return MARKER in readme


def escaped(text: str) -> Raw:
    """Text that Markdown shows as it is, as a part of something that is `Raw`."""
    return Raw(markdown_text(text))


def code_span(text: str) -> Raw:
    """Text between backticks, on one line."""
    return Raw(f"`{' '.join(text.replace('`', chr(39)).split())}`")


def link(text: str, address: str) -> Raw:
    """A link; the address is one of the Hub's, in which nothing has to be escaped."""
    return Raw(f"[{escaped(text)}]({address})")


def code_block(text: str) -> Raw:
    """Text for the inside of a fenced block, which it cannot end."""
    return Raw(text.replace("```", "` ` `").strip("\n"))
