"""READMEs from templates: what a template is given is text and stays text, unless it was made to be more."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..evaluation import formatting as show
from .cleaning import clean_name
from .contents import CARD
from .destination import HubFile

if TYPE_CHECKING:
    from markupsafe import Markup

MARKER = (
    "<!-- Written by tl_toolkit, which replaces this file when it publishes again. Without this line it is yours. -->"
)
"""In every README that was generated, so that one that somebody wrote is never overwritten."""


def render(template: Path, context: dict[str, Any]) -> str:
    """A template with these values; every text in it is escaped, but for what is `Markup`.

    What a record does not have is empty there, at any depth; a name that `context` lacks is an error. The filters
    `count`, `seconds` and `memory` write a number above 0 and are empty for anything else; `code` and `quoted` make a
    code span and a Python literal.
    """
    import jinja2
    from jinja2.utils import missing
    from markupsafe import Markup

    class Optional(jinja2.ChainableUndefined):
        def __init__(self, hint: str | None = None, obj: Any = missing, name: str | None = None, *rest: Any) -> None:
            super().__init__(hint, obj, name, *rest)
            if obj is missing and name is not None:
                raise jinja2.UndefinedError(f"{name!r} was not handed to {template.name}")

    def plain(value: Any) -> Any:
        return Markup(show.markdown_text(value)) if isinstance(value, str) and not isinstance(value, Markup) else value

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(template.parent),
        undefined=Optional,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,
        finalize=plain,
    )
    environment.filters |= {
        "clean": lambda value: clean_name(str(value)),
        "code": lambda text: Markup(f"`{' '.join(text.replace('`', chr(39)).split())}`"),
        "count": _number(show.count),
        "memory": _number(show.memory),
        "quoted": lambda value: Markup(json.dumps(value, ensure_ascii=False)),
        "seconds": _number(show.seconds),
    }
    return environment.get_template(template.name).render(show=show, **context).strip() + "\n"


def is_generated(readme: str) -> bool:
    """Whether a README was written here, and may be written again."""
    return MARKER in readme


def own_readme(folder: Path) -> HubFile | None:
    """The card that somebody has put into `folder`, which is then published as it is."""
    path = folder / CARD
    if path.is_file() and not is_generated(path.read_text(encoding="utf-8", errors="replace")):
        return HubFile(CARD, path, "your own")
    return None


def code_block(text: str) -> Markup:
    """Text for the inside of a fenced block, which it cannot end."""
    from markupsafe import Markup

    return Markup(text.replace("```", "` ` `").strip("\n"))


def _number(write: Callable[[float], str]) -> Callable[[Any], str]:
    return lambda value: write(value) if isinstance(value, (int, float)) and math.isfinite(value) and value > 0 else ""
