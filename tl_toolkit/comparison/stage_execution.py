"""Making the stages of a comparison: each once, before the runs that start from it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..training.checkpoints import checkpoints
from ..training.record import RESULT_NAME, SCHEMA_VERSION, read_record, write_json
from .housekeeping import failed, forget
from .stages import Stage

_KEY_NAME = "stage.json"  # written before a stage begins, so that a killed one is known by its key, too


def stage_keys(stages: Mapping[str, Stage], output_dir: Path) -> dict[str, str]:
    """The key of each stage; `stages` hold those that a stage starts from before it.

    Raises:
        UserError: the dataset of a stage cannot be read.
    """
    from ..data.sources import load_source

    keys: dict[str, str] = {}
    for name, stage in stages.items():
        fingerprint = load_source(stage.arguments(output_dir).data).record["fingerprint"]
        keys[name] = stage.key(fingerprint, [keys[source] for source in stage.sources])
    return keys


def run_stages(
    stages: Iterable[Stage], keys: Mapping[str, str], output_dir: Path, retry_failed: bool, say: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """Make those of `stages`, in the given order, that are not there with their key already.

    A stage that was killed goes on from its last complete checkpoint if its key is what it was. One that fails is
    recorded with its error, and so is not tried again without `retry_failed`; those that start from it are left out.

    Returns:
        The record of each stage that was made, now or before, or has failed.

    Raises:
        UserError: there is something else in the folder of a stage.
    """
    records: dict[str, dict[str, Any]] = {}
    for stage in stages:
        if any(source not in records or records[source]["status"] == "failed" for source in stage.sources):
            continue
        folder, key = output_dir / stage.folder, keys[stage.name]
        record = _made_before(folder, key, retry_failed)
        if record is None:
            say(f"stage {stage.name}: pre-training")
            began = time.perf_counter()
            record = _make(stage, key, output_dir)
            forget()
            _report(stage, record, f"{time.perf_counter() - began:.1f} s", say)
        else:
            _report(stage, record, "(made before)", say)
        records[stage.name] = record
    return records


def check_stages(names: Iterable[str], records: Mapping[str, Mapping[str, Any]]) -> None:
    """See that a run has all of its stages, `names`, each behind those it starts from.

    Raises:
        UserError: one of them has failed.
    """
    for name in names:
        if records[name]["status"] == "failed":
            raise UserError(f"The stage {name!r}, which this run needs, failed: {records[name]['error']}")


def describe_stages(
    names: Iterable[str], keys: Mapping[str, str], records: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """What a run's record says of its stages: name, key, and the seconds of pre-training where they are known."""
    seconds = {name: (record.get("cost") or {}).get("train_seconds") for name, record in records.items()}
    return [{"name": name, "key": keys[name], "train_seconds": seconds.get(name)} for name in names]


def _made_before(folder: Path, key: str, retry_failed: bool) -> dict[str, Any] | None:
    record = read_record(folder) if _key_in(folder) == key else None
    if record is None:
        return None
    if record["status"] == "failed":
        return None if retry_failed else record
    return record if any(folder.glob("*.safetensors")) else None


def _make(stage: Stage, key: str, output_dir: Path) -> dict[str, Any]:
    from ..training.pretrain import pretrain

    folder = output_dir / stage.folder
    _make_room(stage, folder, key)
    write_json(folder / _KEY_NAME, {"name": stage.name, "key": key})
    try:
        record = pretrain(stage.arguments(output_dir))
    except Exception as error:  # what needs this stage fails with it, and the rest goes on
        left = read_record(folder) or {"schema_version": SCHEMA_VERSION, "name": stage.name, "metrics": {}}
        record = failed(left, folder, error)
        write_json(folder / RESULT_NAME, record)
    else:
        for checkpoint in checkpoints(folder):
            shutil.rmtree(checkpoint)
    return record


def _make_room(stage: Stage, folder: Path, key: str) -> None:
    """An empty folder for the stage, or the one in which it was stopped."""
    there = _key_in(folder)
    if there is None and folder.exists() and any(folder.iterdir()):
        raise UserError(
            f"The folder {str(folder)!r} is where the stage {stage.name!r} goes, but holds something else. Move it "
            "away, or choose another --output_dir."
        )
    if there not in (None, key):  # another stage's checkpoints must never be continued: away with them at a stroke
        old = folder.with_name(f".{folder.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        os.replace(folder, old)
        shutil.rmtree(old)
    folder.mkdir(parents=True, exist_ok=True)


def _key_in(folder: Path) -> str | None:
    try:
        return str(json.loads((folder / _KEY_NAME).read_text(encoding="utf-8"))["key"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _report(stage: Stage, record: Mapping[str, Any], rest: str, say: Callable[[str], None]) -> None:
    outcome = "FAILED" if record["status"] == "failed" else "done"
    with contextlib.suppress(KeyError, TypeError):
        outcome = f"perplexity {record['metrics']['validation']['perplexity']:.2f}"
    say(f"stage {stage.name}: {outcome}   {rest}")
    if record["status"] == "failed":
        say(f"        {record['error'][:300]}")
