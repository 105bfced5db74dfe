"""The command-line parser of a verb, and its help: the common flags in one screen or two, all of them on request."""

from __future__ import annotations

import argparse
import dataclasses
import re
import shutil
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, NoReturn

from transformers import HfArgumentParser, TrainingArguments
from transformers.hf_argparser import string_to_bool

from ..errors import UserError

_COLUMN = 30  # where the texts begin
_LONGEST_CHOICES = 48
_METAVARS = {"int": "N", "float": "X"}


class Help(NamedTuple):
    """The help of a verb.

    Attributes:
        verb: as it is typed after `tl-toolkit`.
        description: what it does, with examples.
        main_flag: the flag that the first argument stands for, if that does not begin with a hyphen.
        common: the flags that `--help` explains. It names the others; `--help_all` explains them all.
    """

    verb: str = "VERB"
    description: str = ""
    main_flag: str | None = None
    common: Sequence[str] = ()


class VerbParser(HfArgumentParser):
    """transformers' parser with a short and a long help; it raises errors instead of exiting."""

    def __init__(self, kinds: Iterable[type], help: Help) -> None:
        self.kinds, self.help = list(kinds), help
        super().__init__(self.kinds, prog=f"tl-toolkit {help.verb}", allow_abbrev=False)
        self.add_argument("--config", help="A YAML file with the same keys as the flags, or the name of a shipped one "
                          "(tl-toolkit configs). Flags override it.")  # fmt: skip
        self.add_argument("--help_all", action=_HelpAll, nargs=0, help="Explain all flags.")

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message[0].upper()}{message[1:]}. {self.where_flags_are}")

    @property
    def where_flags_are(self) -> str:
        """Where a user finds the flags, as the end of an error message."""
        return f"`tl-toolkit {self.help.verb} --help_all` explains all flags."

    def format_help(self, everything: bool = False) -> str:
        """The flags by group; all with their texts, or only the common ones."""
        main = f" [{self.help.main_flag.upper()}]" if self.help.main_flag else ""
        parts = [f"usage: {self.prog}{main} [--config FILE] [--flag value ...]", self.help.description]
        actions = {action.dest: action for action in reversed(self._actions)}
        for title, names in self._groups():
            explained = [name for name in names if everything or name in self.help.common]
            lines = [f"{title}:", *(_explain(actions[name], everything) for name in explained)]
            if others := " ".join(f"--{name}" for name in names if name not in explained):
                lead = "  and " if explained else "  "
                lines.append(textwrap.fill(others, _width(), break_on_hyphens=False, initial_indent=lead,
                                           subsequent_indent=" " * len(lead)))  # fmt: skip
            parts.append("\n".join(lines))
        inherited = self._inherited()
        if everything and inherited:
            lines = [_explain(actions[name], everything) for name in inherited]
            parts.append("\n".join(["Options of transformers' TrainingArguments:", *lines]))
        elif not everything:
            more = " and the options of transformers' TrainingArguments (--bf16, --max_steps, ...)" if inherited else ""
            parts.append(textwrap.fill(f"{self.prog} --help_all explains all flags{more}.", _width()))
        return "\n\n".join(parts) + "\n"

    def _groups(self) -> list[tuple[str, list[str]]]:
        """The names of the toolkit's own flags under a title for each class of arguments."""
        inherited = set(self._inherited())
        groups = []
        for kind in self.kinds:
            names = [field.name for field in dataclasses.fields(kind) if field.init and field.name not in inherited]
            groups.append(((kind.__doc__ or "").split("\n")[0].rstrip("."), names))
        groups[-1][1].extend(["config", "help_all"])
        return groups

    def _inherited(self) -> list[str]:
        """Flags that transformers explain, and that are not common here."""
        own = {"output_dir", "seed", *self.help.common}
        return [
            field.name
            for kind in self.kinds
            if issubclass(kind, TrainingArguments)
            for field in dataclasses.fields(kind)
            if field.init and field.name not in {*own, *kind.__annotations__}
        ]


class _HelpAll(argparse.Action):
    def __call__(self, parser: Any, *_: Any) -> None:
        print(parser.format_help(everything=True), end="")
        parser.exit()


def _explain(action: argparse.Action, whole: bool) -> str:
    """A flag with its values, and beside it its text: the `whole` of it, or its first sentence."""
    flag = f"  --{action.dest} {_values(action)}".rstrip()
    text = " ".join((action.help or "").replace("%%", "%").split())
    text = text if whole else re.split(r"(?<=[A-Za-z0-9)])\. |; | \(", text)[0].rstrip(".")
    if action.default not in (None, False, "", [], argparse.SUPPRESS):
        text += f" (default: {getattr(action.default, 'value', action.default)})"
    lines = textwrap.wrap(text, _width() - _COLUMN, break_on_hyphens=False) or [""]
    if len(flag) >= _COLUMN - 1:
        lines = [flag, *(" " * _COLUMN + line for line in lines)]
    else:
        lines = [f"{flag:<{_COLUMN}}{lines[0]}", *(" " * _COLUMN + line for line in lines[1:])]
    return "\n".join(lines).rstrip()


def _values(action: argparse.Action) -> str:
    if action.type is string_to_bool or action.nargs == 0:
        return "" if action.default is not True else "false"
    choices = "{" + ",".join(map(str, action.choices)) + "}" if action.choices else ""
    metavar = action.metavar if isinstance(action.metavar, str) else None
    kind = _METAVARS.get(getattr(action.type, "__name__", ""), "VALUE")
    named = metavar or (choices if 0 < len(choices) <= _LONGEST_CHOICES else kind)
    return f"{named} ..." if action.nargs == "+" else f"[{named}]" if action.nargs == "?" else named


def _width() -> int:
    return max(78, min(shutil.get_terminal_size().columns - 2, 110))
