"""What results depend on, as short keys: a result is made again when its key has changed.

A key is made of arguments as they were typed, never of the text they were written in: `1e-3` is 0.001, a default that
is written out is no change, and the order of keys has no meaning. Local files are known by what is in them, so that a
copy of a checkpoint or of a dataset is the same one.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...records.record import RESULT_NAME

_READ = ("model_name_or_path", "tokenizer_name", "vectors")
# How a run is watched, and how fast its rows come: its result is the same. (What records leave out is not here.)
_WITHOUT_EFFECT = frozenset(
    ["logging_steps", "logging_strategy", "logging_first_step", "log_level_replica", "log_on_each_node"]
    + ["dataloader_num_workers", "dataloader_pin_memory", "dataloader_persistent_workers"]
    + ["dataloader_prefetch_factor", "skip_memory_metrics", "include_tokens_per_second"]
)
# What stands beside a model and no model is loaded from.
_BESIDE_MODELS = frozenset([RESULT_NAME, "stage.json", "error.txt", "trainer_state.json", "training_args.bin"])
_KINDS_BESIDE_MODELS = frozenset([".parquet", ".md", ".png", ".svg", ".html"])


def key_of(content: Any) -> str:
    """16 hex digits that stand for `content`, whatever JSON or `str` makes of it."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def what_counts(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Of arguments that differ from their defaults, those that the result depends on, written in one way.

    A local dataset is left out, since its fingerprint stands for it, and local checkpoints and vectors are replaced by
    `state_of` their files. One that is built in keeps its name: its fingerprint is that of all its configurations.
    """
    counts = {name: _plain(value) for name, value in arguments.items() if name not in _WITHOUT_EFFECT}
    if (overrides := counts.get("config_overrides")) is not None:
        from ...config.overrides import override_texts

        counts["config_overrides"] = {name: _number(value) for name, value in override_texts(str(overrides)).items()}
    if _is_local(counts.get("dataset_name")):
        del counts["dataset_name"]
    return counts | {name: state_of(counts[name]) for name in _READ if _is_local(counts.get(name))}


def state_of(source: Any) -> list[list[str]]:
    """Names and hashes of the files that a local source is loaded from; nothing for one on the Hub, or for none."""
    if not _is_local(source):
        return []
    path = Path(str(source)).expanduser()
    files = sorted(file for file in path.iterdir() if _is_loaded(file)) if path.is_dir() else [path]
    return [[file.name if path.is_dir() else "", _hash_of(file)] for file in files]


def _is_local(source: Any) -> bool:
    return source is not None and Path(str(source)).expanduser().exists()


def _is_loaded(file: Path) -> bool:
    beside = file.name in _BESIDE_MODELS or file.suffix in _KINDS_BESIDE_MODELS or file.name.startswith(".")
    return file.is_file() and not beside


def _hash_of(file: Path) -> str:
    state = file.stat()
    return _hash(file, state.st_size, state.st_mtime_ns)


@functools.cache
def _hash(file: Path, size: int, modified: int) -> str:
    """The hash of a file, read once for all runs that start from it; `size` and `modified` tell it from a later one."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()[:32]


def _plain(value: Any) -> Any:
    """A mapping that was written as JSON, as what it says."""
    if isinstance(value, str) and value.startswith("{"):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text.lower() if text.lower() in ("true", "false", "none", "null") else text
