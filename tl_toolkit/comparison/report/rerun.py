"""How to run an entry again: the YAML of what its runs share, and the command with what they do not."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...evaluation.results import Result, folder_name

VARYING = ("label_budget", "max_train_tokens", "seed")


@dataclass(frozen=True)
class Rerun:
    """`configuration` is the text of the YAML file `file`; `command` makes one of the entry's runs again with it."""

    file: str
    configuration: str
    command: str


def rerun(results: Sequence[Result], shown: Result) -> Rerun:
    """What all runs of one entry, `results`, were given goes into the file, the rest of what `shown` was into flags.

    The budget, the seed and the output folder are always flags, because they are what one changes. The command
    is broken into lines that a shell reads as one. Both texts are empty when it is not known what `shown` was given.
    """
    import yaml

    asked = dict(shown.section("arguments"))
    if not asked:
        return Rerun(file="", configuration="", command="")
    given = [result.section("arguments") for result in results if result.section("arguments")]
    shared = {
        name: value
        for name, value in asked.items()
        if name not in VARYING and all(name in other and other[name] == value for other in given)
    }
    flags = {name: value for name, value in asked.items() if name not in shared and value is not None}
    configuration = yaml.safe_dump(shared, sort_keys=False, allow_unicode=True, width=100) if shared else ""
    name = folder_name(shown.entry)
    recipe = "pretrain" if str(shown.section("task").get("name")).endswith("language-modeling") else "finetune"
    lines = [["accelerate", "launch", f"recipes/{recipe}.py"], ["--config", f"{name}.yaml"], *_flags(flags)]
    lines.append(["--output_dir", f"outputs/{name}"])
    return Rerun(f"{name}.yaml", configuration, " \\\n    ".join(map(shlex.join, lines)))


def _flags(arguments: Mapping[str, Any]) -> list[list[str]]:
    flags: list[list[str]] = []
    for name, value in arguments.items():
        if isinstance(value, (list, tuple)):
            values = [str(item) for item in value]
        else:
            values = [json.dumps(value) if isinstance(value, dict) else str(value)]
        flags.append([f"--{name}", *values])
    return flags
