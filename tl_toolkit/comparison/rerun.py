"""How to run an entry again: the YAML of what its runs share, and the command with what they do not."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .records import Result

VARYING = ("label_budget", "seed")


@dataclass(frozen=True)
class Rerun:
    """`configuration` is a YAML file's text; `command` runs one of the entry's runs with that file."""

    configuration: str
    command: str


def rerun(results: Sequence[Result]) -> Rerun:
    """What all runs of one entry were given goes into the file, the rest of the first run's arguments into flags.

    The label budget, the seed and the output folder are always flags, because they are what one changes. Both texts
    are empty when no run is given.
    """
    import yaml

    if not results:
        return Rerun(configuration="", command="")
    given = [dict(result.section("arguments")) for result in results]
    first = given[0]
    shared = {
        name: value
        for name, value in first.items()
        if name not in VARYING and all(name in other and other[name] == value for other in given)
    }
    flags = {name: value for name, value in first.items() if name not in shared and value is not None}
    configuration = yaml.safe_dump(shared, sort_keys=False, allow_unicode=True, width=100) if shared else ""
    file = f"{''.join(c if c.isalnum() or c in '-_.' else '_' for c in results[0].entry)}.yaml"
    words = ["accelerate", "launch", "recipes/finetune.py", "--config", file, *_flags(flags)]
    words += ["--output_dir", f"outputs/{file.removesuffix('.yaml')}"]
    return Rerun(configuration=configuration, command=shlex.join(words))


def _flags(arguments: Mapping[str, Any]) -> list[str]:
    words: list[str] = []
    for name, value in arguments.items():
        if isinstance(value, (list, tuple)):
            values = [str(item) for item in value]
        else:
            values = [json.dumps(value) if isinstance(value, dict) else str(value)]
        words += [f"--{name}", *values]
    return words
