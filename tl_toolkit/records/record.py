"""The result record: a JSON file with everything needed to evaluate a run."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..atomic_files import plain
from ..config.fields import differing

if TYPE_CHECKING:
    from ..config.arguments import RunArguments

SCHEMA_VERSION = 1
RESULT_NAME = "result.json"


def read_record(folder: Path) -> dict[str, Any] | None:
    """Return the result record in `folder`, or None if there is none with this schema version."""
    try:
        record = json.loads((folder / RESULT_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and record.get("schema_version") == SCHEMA_VERSION else None


def changed_arguments(arguments: Iterable[Any]) -> dict[str, Any]:
    """Return all arguments that differ from their defaults, as a flat mapping of plain values.

    The values are those that the user set, so that they can be used again; `resolved_arguments` returns the values in
    use. Arguments for storage and logging are left out, because they do not affect results and contain local paths.

    Args:
        arguments: dataclasses of arguments, with `RunArguments` last.
    """
    changed: dict[str, Any] = {}
    *groups, run = arguments
    for group in groups:
        changed |= differing(group)
    changed |= {**run.as_given, "seed": run.seed}
    return {name: plain(value) for name, value in changed.items() if name not in STORAGE}


def resolved_arguments(run: RunArguments) -> dict[str, float]:
    """Return the schedule in use, after `resolve_schedule` has set missing or adjusted values."""
    return {"learning_rate": run.learning_rate, "num_train_epochs": run.num_train_epochs}


STORAGE = frozenset(
    ("output_dir", "overwrite_output_dir", "logging_dir", "resume_from_checkpoint", "save_only_model")
    + ("save_total_limit", "name", "run_name", "project", "disable_tqdm", "log_level", "report_to", "trackio_space_id")
    + ("push_to_hub", "hub_token", "hub_model_id", "hub_private_repo", "hub_strategy", "hub_always_push")
    + ("hub_revision", "debug", "include_num_input_tokens_seen")  # parsing changes the type of the last two
)
"""Arguments for storage and logging, which records leave out."""
