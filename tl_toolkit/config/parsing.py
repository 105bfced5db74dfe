"""Reads YAML files, flags and Python arguments into the same typed dataclasses."""

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

from ..errors import UserError, check_regular, nearest
from .arguments import Arguments, DataArguments, ModelArguments, RunArguments, StrategyArguments
from .fields import FAMILY_DEFAULTS
from .help import Help, VerbParser
from .shipped import find_config, nearest_config

_DATACLASSES = (DataArguments, ModelArguments, StrategyArguments, RunArguments)
_COMMA_SEPARATED = ("label_column", "config_overrides")  # a list in YAML, one value as a flag
_REPEATED = ("_ExtendAction", "_AppendAction")  # argparse's actions for flags that may be repeated
_MOST_BYTES, _MOST_NODES = 2**20, 100_000  # of a configuration file; larger ones take minutes to read
RENAMED = {
    "evaluation_strategy": "--eval_strategy",
    "warmup_ratio": "--warmup_steps, which below 1 is a fraction of all updates",
    "group_by_length": "--train_sampling_strategy group_by_length",
    "no_cuda": "--use_cpu",
    "use_mps_device": "the default on a machine with MPS",
    "per_gpu_train_batch_size": "--per_device_train_batch_size",
    "per_gpu_eval_batch_size": "--per_device_eval_batch_size",
    "tokenizer": "--tokenizer_name",
    "max_seq_length": "--max_length",
    "fp16_backend": "--fp16, with the backend of PyTorch",
    "half_precision_backend": "--fp16, with the backend of PyTorch",
    "logging_dir": "the environment variable TENSORBOARD_LOGGING_DIR",
    "save_safetensors": "always on",
    "adafactor": "--optim adafactor",
    "push_to_hub_model_id": "--hub_model_id",
    "push_to_hub_token": "the environment variable HF_TOKEN",
}
"""Arguments that transformers or its examples had, and what takes their place."""
_DEEP = re.compile(r"(?:[\[{]\s*){100}")

Given = Sequence[str] | Mapping[str, Any] | None
"""The arguments of a user: a command line (None for that of the process), or a mapping of names to values."""


class _TextLoader(yaml.SafeLoader):
    """YAML with scalars as text, except null, true, false (as in YAML 1.2) and plain integers."""

    yaml_implicit_resolvers: dict[str, Any] = {}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping without repeated keys, of which PyYAML would silently drop all but the last."""
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for place, (key, _) in enumerate(node.value):
            if key.value in names[:place]:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is repeated", key.start_mark
                )
        return super().construct_mapping(node, deep)


for _tag, _pattern, _first in (
    ("tag:yaml.org,2002:null", r"~|null|", "~n\0"),
    ("tag:yaml.org,2002:bool", r"true|false", "tf"),
    ("tag:yaml.org,2002:int", r"0|-?[1-9][0-9]*", "-0123456789"),
    ("tag:yaml.org,2002:merge", r"<<", "<"),
):
    _TextLoader.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$"), [c if c != "\0" else "" for c in _first])


def make_parser(help: Help = Help(), kinds: Iterable[type] = _DATACLASSES) -> VerbParser:
    """The parser of a verb: a flag for each field of the dataclasses `kinds`, and `--config` for a YAML file."""
    kinds = list(kinds)
    parser = VerbParser(kinds, help)
    optional = {name for kind in kinds for name, hint in get_type_hints(kind).items() if type(None) in get_args(hint)}
    for action in parser._actions:
        if action.dest == "resume_from_checkpoint":  # without a value: the last complete checkpoint
            action.nargs, action.const = "?", "true"
        if action.dest == "report_to":  # several trackers
            action.nargs = "+"
        if action.default is None and action.type is string_to_bool:  # a boolean flag that may also be None
            action.nargs, action.const = "?", True
        if action.dest in optional - {"report_to"} and action.type is not None and action.nargs in (None, "?"):
            action.type = _or_none(action.type)  # so that a flag can undo a setting of the YAML file
    return parser


def parse_arguments(given: Given = None, help: Help = Help("finetune")) -> Arguments:
    """The arguments of `finetune`.

    Raises:
        UserError: an unknown flag or key, or a value of the wrong type.
    """
    return Arguments(*read_arguments(_DATACLASSES, given, help))


def read_arguments(kinds: Sequence[type], given: Given, help: Help, **defaults: Any) -> list[Any]:
    """One object of each dataclass in `kinds`, from `given` and from the YAML file that its `config` names.

    Args:
        defaults: defaults of flags that replace those of the fields.

    Raises:
        UserError: an unknown flag or key, or a value of the wrong type.
    """
    parser = make_parser(help, kinds)
    parser.set_defaults(**defaults)
    return into_dataclasses(parser, settings_and_flags(parser, given), kinds)


def settings_and_flags(parser: VerbParser, given: Given) -> list[str]:
    """The settings of the `--config` file as flags, followed by `given`, which overrides them."""
    argv = command_line(parser, given)
    known, _ = parser.parse_known_args(argv)
    settings = read_yaml(find_config(known.config)) if known.config else {}
    return as_flags(settings, parser, where=known.config) + argv


def command_line(parser: VerbParser, given: Given) -> list[str]:
    """`given` as flags. The first argument may be the value of the verb's main flag, without a flag."""
    if isinstance(given, Mapping):
        config = [] if given.get("config") is None else [f"--config={given['config']}"]
        settings = {key: value for key, value in given.items() if key != "config"}
        for key in [key for key, value in settings.items() if value is None and parser.get_default(key) is not None]:
            settings[key] = "none"  # None in Python sets None, whereas null in YAML keeps the default
        return config + as_flags(settings, parser, f"the arguments of {parser.help.verb}()")
    argv, main = list(sys.argv[1:] if given is None else given), parser.help.main_flag
    if main is None or not argv or argv[0].startswith("-"):
        return argv
    if twice := next((text for text in argv[1:] if text.split("=")[0] == f"--{main}"), None):
        raise UserError(f"Leave out {argv[0]!r} or {twice}: the first argument is the value of --{main}.")
    return [f"--{main}={argv[0]}", *argv[1:]]


def arguments_from(settings: Mapping[str, Any], where: str) -> Arguments:
    """The arguments of one run from a mapping, such as an entry of a grid, with the checks and types of flags.

    `where` names the source of the settings in errors.
    """
    parser = make_parser()
    return Arguments(*into_dataclasses(parser, as_flags(settings, parser, where), _DATACLASSES))


def known_keys(parser: VerbParser) -> set[str]:
    """The keys allowed in a YAML file."""
    return {action.dest for action in parser._actions} - {"help", "help_all", "config"}


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file."""
    check_regular(path, "The configuration file")
    try:
        if path.is_file() and path.stat().st_size > _MOST_BYTES:
            raise UserError(f"The configuration file {str(path)!r} is larger than {_MOST_BYTES:,} bytes.")
        text = path.read_text(encoding="utf-8")
        if _DEEP.search(text):  # PyYAML would need seconds to find out
            raise RecursionError
        loader = _TextLoader(text)
        node = loader.get_single_node()
        if node is not None and _size(node) > _MOST_NODES:
            raise UserError(f"The configuration file {str(path)!r} has more than {_MOST_NODES:,} values. Use fewer.")
        # Scalars stay text: PyYAML would read "no" as a boolean. The flags' types convert them.
        settings = None if node is None else loader.construct_document(node)
    except RecursionError as error:
        raise UserError(f"The configuration file {str(path)!r} is nested too deeply. Use a flatter one.") from error
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
            f"The configuration file {str(path)!r} contains a {type(settings).__name__}; it must be a mapping of keys, "
            "such as 'model_type: rnn'."
        )
    return settings


def _size(node: yaml.Node, known: dict[int, int] | None = None) -> int:
    """The number of values below a node, those of an anchor counted at each of its aliases.

    Raises:
        yaml.YAMLError: an anchor contains itself.
    """
    known = {} if known is None else known
    if (size := known.get(id(node))) is not None:
        if size == 0:
            raise yaml.constructor.ConstructorError(None, None, "an anchor contains itself", node.start_mark)
        return size
    known[id(node)] = 0  # being counted
    parts = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else (
        node.value if isinstance(node, yaml.SequenceNode) else [])  # fmt: skip
    known[id(node)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(node)]


def as_flags(settings: Mapping[str, Any], parser: VerbParser, where: str | None) -> list[str]:
    """Settings as flags, so that the types of the flags count instead of those of PyYAML. None keeps the default.

    `where` names the source of the settings in the error for an unknown key.
    """
    known = known_keys(parser)
    repeated = {action.dest for action in parser._actions if type(action).__name__ in _REPEATED}
    flags: list[str] = []
    for key, value in settings.items():
        if key not in known and (today := RENAMED.get(str(key))) is not None:
            raise UserError(f"The key {key!r} of older versions of transformers, in {where}, is now {today}.")
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
    """One object of each dataclass in `kinds` from `flags`.

    Raises:
        UserError: an unknown flag, or a value that a dataclass refuses.
    """
    namespace, unknown = parser.parse_known_args(flags)
    if defaults := FAMILY_DEFAULTS.get(getattr(namespace, "model_type", None)):
        parser.set_defaults(**defaults)
        namespace, unknown = parser.parse_known_args(flags)
    if unknown:
        raise unknown_argument(parser, unknown[0])
    values = vars(namespace)
    if values.get("output_dir") == "":
        raise UserError("--output_dir is empty: name a folder.")
    try:
        return [kind(**{f.name: values[f.name] for f in dataclasses.fields(kind) if f.init}) for kind in kinds]
    except (ValueError, TypeError, OSError, ImportError) as error:  # raised by the dataclasses themselves
        raise UserError(f"The arguments cannot be used: {' '.join(str(error).split())}") from error


def unknown_argument(parser: VerbParser, argument: str) -> UserError:
    """The error for an argument that the verb does not have."""
    flag = argument.split("=")[0]
    if (today := RENAMED.get(flag.lstrip("-"))) is not None:
        return UserError(f"The argument {flag!r} of older versions of transformers is now {today}.")
    names = [option for action in parser._actions for option in action.option_strings]
    return UserError(f"Unknown argument {flag!r}.{nearest(flag, names)} {parser.where_flags_are}")


def _or_none(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        return None if text.lower() in ("none", "null") else kind(text)

    parse.__name__ = getattr(kind, "__name__", str(kind))  # for argparse's errors
    return parse


def _mapping_as_text(mapping: Mapping[str, Any]) -> str:
    return ",".join(f"{key}={_as_text(value)}" for key, value in mapping.items())


def _as_text(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ",".join(map(_as_text, value)) + "]"
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
