"""Flags and configuration fields as MyST, from the code, so that no page holds a copy of them."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from typing import get_args
from unittest.mock import patch

from tl_toolkit import models
from tl_toolkit.cli import VERBS, Verb
from tl_toolkit.config import help as verb_help
from tl_toolkit.models.strict_config import StrictConfig


@cache
def parsers() -> dict[str, verb_help.VerbParser]:
    """The parser of each verb, as its own code makes it."""
    found: dict[str, verb_help.VerbParser] = {}

    def keep(action: argparse.Action, parser: verb_help.VerbParser, *_: object) -> None:
        found[parser.help.verb] = parser
        parser.exit()

    with patch.object(verb_help._HelpAll, "__call__", keep):
        for name, verb in VERBS.items():
            with suppress(SystemExit):
                verb.run(["--help_all"], verb_help.Help(name, verb.description, verb.main_flag, verb.common))
    return found


def groups(parser: verb_help.VerbParser) -> dict[str, list[argparse.Action]]:
    """The toolkit's own flags of a verb under a title for each dataclass."""
    actions = {action.dest: action for action in reversed(parser._actions)}
    plain = verb_help.VerbParser(parser.kinds, verb_help.Help())  # a verb may explain flags of transformers as common
    return {title: [actions[name] for name in names] for title, names in plain._groups()}


def own_flags() -> dict[str, dict[str, argparse.Action]]:
    """All flags of the toolkit by title and name."""
    merged: dict[str, dict[str, argparse.Action]] = {}
    for parser in parsers().values():
        for title, actions in groups(parser).items():
            for action in actions:
                merged.setdefault(title, {}).setdefault(action.dest, action)
    return merged


def inherited_flags() -> dict[str, argparse.Action]:
    parser = verb_help.VerbParser(parsers()["finetune"].kinds, verb_help.Help())
    actions = {action.dest: action for action in reversed(parser._actions)}
    return {name: actions[name] for name in parser._inherited()}


def options(actions: Iterable[argparse.Action]) -> str:
    """Flags in MyST, as options, which can be linked and found by search."""
    return "\n\n".join(map(_option, actions))


def _option(action: argparse.Action) -> str:
    text = " ".join((action.help or "").replace("%%", "%").split())
    parts = [_escape(text)]
    if action.choices and f"{{{','.join(map(str, action.choices))}}}" not in verb_help._values(action):
        parts.append("Values: " + ", ".join(f"`{choice}`" for choice in action.choices) + ".")
    default = getattr(action.default, "value", action.default)
    if default not in (None, "", [], argparse.SUPPRESS) and action.dest != "help_all":
        shown = str(default).lower() if isinstance(default, bool) else default
        parts.append(f"Default: `{shown}`.")
    return f"````{{option}} --{action.dest} {verb_help._values(action)}\n{' '.join(parts)}\n````"


def _escape(text: str) -> str:
    """Plain text of help as MyST; what stands in backticks stays code, and flags become it."""
    return "".join(
        part if part.startswith("`") else re.sub(r"([\\*<>$\[\]{}|`])", r"\\\1", part)
        for part in re.split(r"(`[^`]+`)", re.sub(r"(?<![`\w-])--\w+", r"`\g<0>`", text))
    )


def verb_sections() -> str:
    parts = []
    for name, parser in parsers().items():
        titles = [f"[{title.split(':')[0]}](flags.md#{_anchor(title)})" for title in groups(parser)]
        if parser._inherited():
            titles.append("[options of transformers](training_arguments.md)")
        parts.append(f"## {name}\n\n{_description(VERBS[name])}\n\nFlags: {', '.join(titles)}.")
    return "\n\n".join(parts)


def _description(verb: Verb) -> str:
    """The help of a verb: its indented commands become blocks of code, its paragraphs text."""
    blocks = re.split(r"\n\n", verb.description)
    return "\n\n".join(
        f"```bash\n{inspect.cleandoc(block)}\n```" if block.startswith("    ") else _escape(block) for block in blocks
    )


def _anchor(title: str) -> str:
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def flag_sections() -> str:
    return "\n\n".join(f"## {title}\n\n{options(actions.values())}" for title, actions in own_flags().items())


def fields_table(name: str) -> str:
    """The fields of a configuration that the user may set, with defaults, as a Markdown table."""
    config = getattr(models, name)
    texts: dict[str, str] = {}
    for kind in reversed(config.__mro__):
        texts.update(_described(kind) if kind.__module__.startswith("tl_toolkit") else {})
    lines = ["| field and default | meaning |", "|---|---|"]
    for field in sorted(dataclasses.fields(config), key=lambda field: field.name in StrictConfig.__annotations__):
        if field.name not in texts or not field.init:
            continue
        values = ", ".join(f"`{value}`" for value in get_args(field.type) if isinstance(value, str))
        text = _escape(texts[field.name])
        if values and not all(value.strip("`") in texts[field.name] for value in values.split(", ")):
            text += f" Values: {values}."
        default = None if field.default is dataclasses.MISSING else field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        shown = "none" if default in (None, "") else str(default).lower() if isinstance(default, bool) else default
        lines.append(f"| `{field.name}` <br> {shown} | {text} |")
    return "\n".join(lines)


def _described(kind: type) -> Iterator[tuple[str, str]]:
    section = re.search(r"^Args:\n((?:    .*\n?|\n)*)", inspect.cleandoc(kind.__doc__ or ""), re.MULTILINE)
    for names, text in re.findall(r"^    ([\w, ]+): (.*(?:\n     .*)*)", section[1] if section else "", re.MULTILINE):
        yield from ((name.strip(), " ".join(text.split())) for name in names.split(","))
