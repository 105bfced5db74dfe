"""One configuration language: YAML files, flags and Python arguments are read through the same types."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_type_hints

import yaml
from transformers.hf_argparser import string_to_bool

from ..errors import UserError, nearest
from .arguments import Arguments, DataArguments, ModelArguments, RunArguments, StrategyArguments
from .help import Help, VerbParser
from .shipped import find_config, nearest_config

_DATACLASSES = (DataArguments, ModelArguments, StrategyArguments, RunArguments)
_COMMA_SEPARATED = ("label_column", "config_overrides")  # lists in YAML that are one value as a flag
_REPEATED = ("_ExtendAction", "_AppendAction")  # argparse's actions for flags that may be repeated

Given = Sequence[str] | Mapping[str, Any] | None
"""What a user gave: a command line (None for that of the process), or the same as a mapping of names to values."""


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


def make_parser(help: Help = Help(), kinds: Iterable[type] = _DATACLASSES) -> VerbParser:
    """The parser of a verb: a flag for every field of the dataclasses `kinds`, and `--config` for a file of them."""
    kinds = list(kinds)
    parser = VerbParser(kinds, help)
    optional = {name for kind in kinds for name, hint in get_type_hints(kind).items() if type(None) in get_args(hint)}
    for action in parser._actions:
        if action.dest == "resume_from_checkpoint":  # without a value: from the last complete checkpoint
            action.nargs, action.const = "?", "true"
        if action.default is None and action.type is string_to_bool:  # a switch that may be left open
            action.nargs, action.const = "?", True
        if action.dest in optional - {"report_to"} and action.type is not None and action.nargs in (None, "?"):
            action.type = _or_none(action.type)  # so that a flag can undo a setting of the YAML file
    return parser


def parse_arguments(given: Given = None, help: Help = Help("finetune")) -> Arguments:
    """Arguments of one run.

    Raises:
        UserError: an unknown flag or key, or a value of the wrong type.
    """
    return Arguments(*read_arguments(_DATACLASSES, given, help))


def read_arguments(kinds: Sequence[type], given: Given, help: Help, **defaults: Any) -> list[Any]:
    """An object of each of `kinds` from what was given and from the file that `config` names in it.

    Args:
        defaults: of flags, instead of those of their fields.

    Raises:
        UserError: an unknown flag or key, or a value of the wrong type.
    """
    parser = make_parser(help, kinds)
    parser.set_defaults(**defaults)
    return into_dataclasses(parser, settings_and_flags(parser, given), kinds)


def settings_and_flags(parser: VerbParser, given: Given) -> list[str]:
    """The settings of the file that `--config` names, as flags, followed by `given`, which overrides them."""
    argv = command_line(parser, given)
    known, _ = parser.parse_known_args(argv)
    settings = read_yaml(find_config(known.config)) if known.config else {}
    return as_flags(settings, parser, where=known.config) + argv


def command_line(parser: VerbParser, given: Given) -> list[str]:
    """`given` as flags. The first argument may be the value of the verb's main flag alone."""
    if isinstance(given, Mapping):
        config = [] if given.get("config") is None else [f"--config={given['config']}"]
        asked = {key: value for key, value in given.items() if key != "config"}
        for key in [key for key, value in asked.items() if value is None and parser.get_default(key) is not None]:
            asked[key] = "none"  # in a YAML file null leaves the default, but a caller of Python means None
        return config + as_flags(asked, parser, f"the arguments of {parser.help.verb}()")
    argv, main = list(sys.argv[1:] if given is None else given), parser.help.main_flag
    if main is None or not argv or argv[0].startswith("-"):
        return argv
    if twice := next((text for text in argv[1:] if text.split("=")[0] == f"--{main}"), None):
        raise UserError(f"The first argument {argv[0]!r} stands for --{main}, and {twice} is given too: leave out one.")
    return [f"--{main}={argv[0]}", *argv[1:]]


def arguments_from(settings: Mapping[str, Any], where: str) -> Arguments:
    """Arguments of one run from a mapping such as a grid's entry, checked and typed as flags are.

    `where` names the source of the settings in error messages.
    """
    parser = make_parser()
    return Arguments(*into_dataclasses(parser, as_flags(settings, parser, where), _DATACLASSES))


def known_keys(parser: VerbParser) -> set[str]:
    """The keys a YAML file may have."""
    return {action.dest for action in parser._actions} - {"help", "help_all", "config"}


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file."""
    try:
        # Scalars stay text, so that "no" is no boolean and 1e-3 no string; null is told apart below.
        settings = yaml.load(path.read_text(encoding="utf-8"), _TextLoader)
    except OSError as error:
        shipped = nearest_config(path) if isinstance(error, FileNotFoundError) else ""
        raise UserError(f"The configuration file {str(path)!r} cannot be read: {error.strerror}.{shipped}") from error
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


def as_flags(settings: Mapping[str, Any], parser: VerbParser, where: str | None) -> list[str]:
    """Settings as the flags that say the same, so that PyYAML's own idea of a value's type never counts.

    A value of null leaves the default.
    """
    known = known_keys(parser)
    repeated = {action.dest for action in parser._actions if type(action).__name__ in _REPEATED}
    flags: list[str] = []
    for key, value in settings.items():
        if key not in known:
            raise UserError(f"Unknown key {key!r} in {where}.{nearest(str(key), known)} {parser.where_flags_are}")
        if value is None:
            continue
        if isinstance(value, dict):
            text = _mapping_as_text(value) if key == "config_overrides" else json.dumps(value)
            flags.append(f"--{key}={text}")
        elif isinstance(value, (list, tuple)) and key in _COMMA_SEPARATED:
            flags.append(f"--{key}={','.join(map(_as_text, value))}")
        elif isinstance(value, (list, tuple)) and key in repeated:
            flags += [f"--{key}={_as_text(item)}" for item in value]
        elif isinstance(value, (list, tuple)):
            flags += [f"--{key}", *map(_as_text, value)]
        else:
            flags.append(f"--{key}={_as_text(value)}")
    return flags


def into_dataclasses(parser: VerbParser, flags: list[str], kinds: Sequence[type]) -> list[Any]:
    """`flags` as one object of each of `kinds`.

    Raises:
        UserError: an unknown flag, or a value that a class refuses.
    """
    namespace, unknown = parser.parse_known_args(flags)
    if unknown:
        raise unknown_argument(parser, unknown[0])
    values = vars(namespace)
    try:
        return [kind(**{f.name: values[f.name] for f in dataclasses.fields(kind) if f.init}) for kind in kinds]
    except (ValueError, TypeError, OSError, ImportError) as error:  # what the classes themselves refuse
        raise UserError(f"The arguments cannot be used: {' '.join(str(error).split())}") from error


def unknown_argument(parser: VerbParser, argument: str) -> UserError:
    """The error about an argument that a verb does not have."""
    flag = argument.split("=")[0]
    names = [option for action in parser._actions for option in action.option_strings]
    return UserError(f"Unknown argument {flag!r}.{nearest(flag, names)} {parser.where_flags_are}")


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
