"""The result record: a JSON file with everything needed to evaluate a run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..atomic_files import plain, write_json
from ..config.fields import FAMILY_DEFAULTS, differing
from ..config.processes import global_batch
from .schema import problem_of

if TYPE_CHECKING:
    from ..config.arguments import RunArguments

SCHEMA_VERSION = 2
FIRST_VERSION = 1
"""The version without artefacts and checksums: its records are read, but damage to them cannot be found."""
RESULT_NAME = "result.json"


class NoRecord(ValueError):
    """A JSON document that is not a result record."""


def key_of(content: Any) -> str:
    """A hash of `content`, serialised by JSON or `str`, as 16 hex digits."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def read_record(folder: Path) -> dict[str, Any] | None:
    """Return the result record in `folder`, or None if there is none, or only a damaged one."""
    try:
        return parse_record((folder / RESULT_NAME).read_bytes())
    except (OSError, ValueError):
        return None


def damage_of_record(folder: Path) -> str | None:
    """What is wrong with the result record in `folder`; None if it is valid, of another program, or missing."""
    try:
        parse_record((folder / RESULT_NAME).read_bytes())
    except (FileNotFoundError, NoRecord):
        return None
    except (OSError, ValueError) as error:
        return str(error)
    return None


def parse_record(content: bytes) -> dict[str, Any]:
    """Return the record in `content`, in JSON.

    Raises:
        ValueError: it is not JSON, has another schema version, a field of another type, or was changed after it was
            written. The message completes a sentence that begins with the record's place.
    """
    try:
        record = json.loads(content.decode("utf-8"))
    except ValueError as error:
        raise ValueError(f"is not JSON ({error})") from error
    if not isinstance(record, dict) or not (record.get("entry") or record.get("name") or "schema_version" in record):
        raise NoRecord("is not a result record: it must be a mapping with the key 'entry' or 'name'")
    version = record.get("schema_version")
    if version not in (FIRST_VERSION, SCHEMA_VERSION):
        raise ValueError(
            f"has schema_version {version!r}, but this version of the toolkit reads {FIRST_VERSION} and "
            f"{SCHEMA_VERSION}"
        )
    if (problem := problem_of(record)) is not None:
        raise ValueError(f"is not a valid result record: {problem}")
    if version != FIRST_VERSION and record.get("checksum") != _checksum(record):
        raise ValueError("was changed after it was written: its checksum does not match")
    return record


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record in plain values, with the checksum of its content; without one in the first version."""
    content: dict[str, Any] = plain(record)
    if content.get("schema_version") == FIRST_VERSION:
        return content
    return {**content, "checksum": _checksum(content)}


def write_record(folder: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """Write a record to `folder` atomically, and return it as written: in plain values and `sealed`."""
    content = sealed(record)
    write_json(folder / RESULT_NAME, content)
    return content


def _checksum(record: Mapping[str, Any]) -> str:
    content = {name: value for name, value in record.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


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
    # Recorded even if it is the field's default, which differs from that of the family.
    own = FAMILY_DEFAULTS.get(changed.get("model_type"), {})
    changed |= {name: getattr(group, name) for group in groups for name in own if hasattr(group, name)}
    changed |= {**run.as_given, "seed": run.seed}
    return {name: plain(value) for name, value in changed.items() if name not in STORAGE}


def resolved_arguments(run: RunArguments) -> dict[str, float]:
    """Return the schedule in use, after `resolve_schedule` has set missing or adjusted values."""
    names = ["learning_rate", "num_train_epochs", "per_device_train_batch_size", "gradient_accumulation_steps"]
    names += ["warmup_steps", "eval_steps", "early_stopping_patience"]
    return {**{name: getattr(run, name) for name in names}, "global_batch": global_batch(run)}


STORAGE = frozenset(
    ("output_dir", "overwrite_output_dir", "logging_dir", "resume_from_checkpoint", "save_only_model")
    + ("save_total_limit", "name", "run_name", "project", "disable_tqdm", "log_level", "report_to", "trackio_space_id")
    + ("push_to_hub", "hub_token", "hub_model_id", "hub_private_repo", "hub_strategy", "hub_always_push")
    + ("hub_revision", "debug", "include_num_input_tokens_seen")  # parsing changes the type of the last two
)
"""Arguments for storage and logging, which records leave out."""
