"""The result record: one JSON file that is enough to judge a run by itself."""

from __future__ import annotations

import enum
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.arguments import Arguments, RunArguments, differing

if TYPE_CHECKING:
    from ..config.pretrain_arguments import PretrainArguments
    from ..workflows.ensemble_arguments import EnsembleRequest

SCHEMA_VERSION = 1
RESULT_NAME = "result.json"


def write_json(path: Path, content: Any) -> None:
    """Write `content` to `path` whole or not at all: to a temporary name first, then renamed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(json.dumps(_plain(content), indent=1, allow_nan=False) + "\n", encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_record(folder: Path) -> dict[str, Any] | None:
    """The result record in `folder`; None when there is none, or none of this schema."""
    try:
        record = json.loads((folder / RESULT_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and record.get("schema_version") == SCHEMA_VERSION else None


def changed_arguments(arguments: Arguments | PretrainArguments | EnsembleRequest) -> dict[str, Any]:
    """Every argument that was given another value than its default, as one flat mapping of plain values.

    These are the values as they were asked for, so that they ask for the same again; what a run made of them is told
    by `resolved_arguments`. Where and how a run is stored and watched is left out: it does not change the result, and
    names folders of the machine it ran on.
    """
    changed: dict[str, Any] = {}
    for group in arguments[:-1]:
        changed |= differing(group)
    changed |= {**arguments.run.as_given, "seed": arguments.run.seed}
    return {name: _plain(value) for name, value in changed.items() if name not in _STORAGE}


def resolved_arguments(run: RunArguments) -> dict[str, float]:
    """The schedule in use, once `resolve_schedule` has settled what was left open or had to give way."""
    return {"learning_rate": run.learning_rate, "num_train_epochs": run.num_train_epochs}


_STORAGE = frozenset(
    ("output_dir", "overwrite_output_dir", "logging_dir", "resume_from_checkpoint", "save_only_model")
    + ("save_total_limit", "name", "run_name", "project", "disable_tqdm", "log_level", "report_to", "trackio_space_id")
    + ("push_to_hub", "hub_token", "hub_model_id", "hub_private_repo", "hub_strategy", "hub_always_push")
    + ("hub_revision", "debug", "include_num_input_tokens_seen")  # the last two change their type in parsing
)


def _plain(value: Any) -> Any:
    """`value` as JSON knows it; numbers that are not finite become null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if hasattr(value, "item"):  # numpy and torch scalars
        return _plain(value.item())
    return str(value)
