"""One configuration language: a YAML file and flags, read through the same types, into the argument dataclasses."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from argparse import ArgumentDefaultsHelpFormatter, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, get_args, get_type_hints

import yaml
from transformers import HfArgumentParser
from transformers.hf_argparser import string_to_bool

from ..errors import UserError, nearest
from .arguments import Arguments, DataArguments, ModelArguments, RunArguments, StrategyArguments

_DATACLASSES = (DataArguments, ModelArguments, StrategyArguments, RunArguments)


_COMMA_SEPARATED = ("label_column", "config_overrides")  # lists in YAML that are one value as a flag


class _HelpFormatter(ArgumentDefaultsHelpFormatter, RawDescriptionHelpFormatter):
    """Shows a recipe's description line by line, and the default of every flag."""


class _Parser(HfArgumentParser):
    """transformers' parser, which reports to the caller instead of leaving the process."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message[0].upper()}{message[1:]}. See --help.")


class _TextLoader(yaml.SafeLoader):
    """YAML whose scalars are text, but for null, true and false as YAML 1.2 spells them, and plain whole numbers."""

    yaml_implicit_resolvers: dict[str, Any] = {}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping whose keys differ, where PyYAML would take the last value of a key and drop the others."""
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for place, (key, _) in enumerate(node.value):
            if key.value in names[:place]:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} stands twice", key.start_mark
                )
        return super().construct_mapping(node, deep)


for _tag, _pattern, _first in (
    ("tag:yaml.org,2002:null", r"~|null|", "~n\0"),
    ("tag:yaml.org,2002:bool", r"true|false", "tf"),
    ("tag:yaml.org,2002:int", r"0|-?[1-9][0-9]*", "-0123456789"),
):
    _TextLoader.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$"), [c if c != "\0" else "" for c in _first])


def make_parser(
    description: str | None, dataclass_types: Iterable[type] = _DATACLASSES, config_help: str = "A YAML file"
) -> HfArgumentParser:
    """The parser of a recipe: a flag for every field of `dataclass_types`, and `--config` for a file of them."""
    parser = _Parser(
        dataclass_types,
        description=description,
        allow_abbrev=False,
        formatter_class=_HelpFormatter,
        usage="%(prog)s [--config FILE.yaml] [--flag value ...]",  # all flags would fill a screen
    )
    parser.add_argument("--config", default=None, help=f"{config_help} with the same keys as the flags; flags win.")
    optional = {
        name for kind in dataclass_types for name, hint in get_type_hints(kind).items() if type(None) in get_args(hint)
    }
    for action in parser._actions:
        if action.dest == "resume_from_checkpoint":  # alone it means: from the last complete checkpoint
            action.nargs, action.const = "?", "true"
        if action.default is None and action.type is string_to_bool:  # a switch that also knows "not said"
            action.nargs, action.const = "?", True
        if action.dest in optional - {"report_to"} and action.type is not None and action.nargs in (None, "?"):
            action.type = _or_none(action.type)  # so that a flag can undo what the YAML file says
    _set_apart_inherited(parser)
    return parser


def _set_apart_inherited(parser: HfArgumentParser) -> None:
    """Show what transformers' TrainingArguments have and the toolkit leaves as it is in a group of its own, last."""
    own = {"output_dir", "seed", *RunArguments.__annotations__}
    inherited = {field.name for field in dataclasses.fields(RunArguments)} - own
    group = parser.add_argument_group("options of transformers' TrainingArguments")
    shown = parser._optionals._group_actions
    group._group_actions += [action for action in shown if action.dest in inherited]
    shown[:] = [action for action in shown if action.dest not in inherited]


def parse_arguments(argv: Sequence[str] | None = None, description: str | None = None) -> Arguments:
    """Arguments of one run from the command line `argv` (by default that of the process).

    Raises:
        UserError: an unknown flag or key, or a value of the wrong type.
    """
    return Arguments(*read_arguments(_DATACLASSES, argv, description))


def read_arguments(
    kinds: Sequence[type], argv: Sequence[str] | None, description: str | None, **defaults: Any
) -> list[Any]:
    """An object of each of `kinds` from a command line and the file that `--config` names there.

    Args:
        defaults: of flags, instead of those of their fields.

    Raises:
        UserError: an unknown flag or key, or a value of the wrong type.
    """
    parser = make_parser(description, kinds)
    parser.set_defaults(**defaults)
    return into_dataclasses(parser, settings_and_flags(parser, argv), kinds)


def settings_and_flags(parser: HfArgumentParser, argv: Sequence[str] | None) -> list[str]:
    """The settings of the file that `--config` names in `argv`, as flags, and behind them `argv`, which wins."""
    argv = list(sys.argv[1:] if argv is None else argv)
    known, _ = parser.parse_known_args(argv)
    settings = read_yaml(Path(known.config)) if known.config else {}
    return as_flags(settings, parser, where=known.config) + argv


def arguments_from(settings: Mapping[str, Any], where: str) -> Arguments:
    """Arguments of one run from a mapping such as a grid's entry, checked and typed as flags are.

    `where` names the source of the settings in error messages.
    """
    parser = make_parser(None)
    return Arguments(*into_dataclasses(parser, as_flags(settings, parser, where), _DATACLASSES))


def known_keys(parser: HfArgumentParser) -> set[str]:
    """The keys a YAML file may have."""
    return {action.dest for action in parser._actions} - {"help", "config"}


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file."""
    try:
        # Scalars stay text, so that "no" is no boolean and 1e-3 no string; null is told apart below.
        settings = yaml.load(path.read_text(encoding="utf-8"), _TextLoader)
    except OSError as error:
        raise UserError(f"The configuration file {str(path)!r} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        problem = " ".join(str(error).split())
        raise UserError(f"The configuration file {str(path)!r} is not valid YAML: {problem}.") from error
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise UserError(
            f"The configuration file {str(path)!r} holds a {type(settings).__name__}; it must be a mapping of keys, "
            "such as 'model_type: rnn'."
        )
    return settings


def as_flags(settings: Mapping[str, Any], parser: HfArgumentParser, where: str | None) -> list[str]:
    """Settings as the flags that say the same, so that PyYAML's own idea of a value's type never counts.

    A value of null leaves the default.
    """
    known = known_keys(parser)
    flags: list[str] = []
    for key, value in settings.items():
        if key not in known:
            raise UserError(f"Unknown key {key!r} in {where}.{nearest(str(key), known)} See --help for all keys.")
        if value is None:
            continue
        if isinstance(value, dict):
            text = _mapping_as_text(value) if key == "config_overrides" else json.dumps(value)
            flags.append(f"--{key}={text}")
        elif isinstance(value, list) and key in _COMMA_SEPARATED:
            flags.append(f"--{key}={','.join(map(_as_text, value))}")
        elif isinstance(value, list):
            flags += [f"--{key}", *map(_as_text, value)]
        else:
            flags.append(f"--{key}={_as_text(value)}")
    return flags


def into_dataclasses(parser: HfArgumentParser, flags: list[str], kinds: Sequence[type]) -> list[Any]:
    """`flags` as one object of each of `kinds`.

    Raises:
        UserError: an unknown flag, or a value that a class refuses.
    """
    namespace, unknown = parser.parse_known_args(flags)
    if unknown:
        flag = unknown[0].split("=")[0]
        names = [option for action in parser._actions for option in action.option_strings]
        raise UserError(f"Unknown argument {flag!r}.{nearest(flag, names)} See --help for all of them.")
    values = vars(namespace)
    try:
        return [kind(**{f.name: values[f.name] for f in dataclasses.fields(kind) if f.init}) for kind in kinds]
    except (ValueError, TypeError, OSError, ImportError) as error:  # what the classes themselves refuse
        raise UserError(f"The arguments cannot be used: {' '.join(str(error).split())}") from error


def _or_none(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        return None if text.lower() in ("none", "null") else kind(text)

    parse.__name__ = getattr(kind, "__name__", str(kind))  # argparse names it in its error
    return parse


def _mapping_as_text(mapping: Mapping[str, Any]) -> str:
    return ",".join(f"{key}={_as_text(value)}" for key, value in mapping.items())


def _as_text(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ",".join(map(_as_text, value)) + "]"
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
