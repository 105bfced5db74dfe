"""Short keys of everything that affects a result: a run is repeated when its key has changed.

A key is computed from parsed arguments, not from their text: `1e-3` equals 0.001, writing out a default changes
nothing, and the order of keys does not matter. Local files are identified by their content, so a copy of a checkpoint
or of a dataset has the same key.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...config.arguments import DataArguments
from ...data.local_files import local_paths
from ...data.sources import load_source
from ...records.identity import IDENTITY_NAME
from ...records.record import RESULT_NAME
from ...records.record import key_of as key_of

_READ = ("model_name_or_path", "tokenizer_name", "vectors", "teacher")
# Logging and data-loading settings, which do not affect results. (Arguments that records leave out are not listed.)
_WITHOUT_EFFECT = frozenset(
    ["logging_steps", "logging_strategy", "logging_first_step", "log_level_replica", "log_on_each_node"]
    + ["dataloader_num_workers", "dataloader_pin_memory", "dataloader_persistent_workers"]
    + ["dataloader_prefetch_factor", "skip_memory_metrics", "include_tokens_per_second"]
)
# Files in a model folder that are not part of the model.
_BESIDE_MODELS = frozenset(
    [RESULT_NAME, IDENTITY_NAME, "stage.json", "error.txt", "trainer_state.json", "training_args.bin"]
)
_KINDS_BESIDE_MODELS = frozenset([".parquet", ".md", ".png", ".svg", ".html"])


def key_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that affect the result, in a canonical form; `arguments` are those that differ from the defaults.

    A local dataset is left out, because its fingerprint identifies it. Local checkpoints and vectors are replaced by
    `state_of` their files, local texts without labels by their fingerprint. A built-in dataset keeps its name: all its
    configurations share a fingerprint.
    """
    counts = {name: _plain(value) for name, value in arguments.items() if name not in _WITHOUT_EFFECT}
    if (overrides := counts.get("config_overrides")) is not None:
        from ...config.overrides import override_texts

        counts["config_overrides"] = {name: _number(value) for name, value in override_texts(str(overrides)).items()}
    if _is_local(counts.get("dataset_name")):
        del counts["dataset_name"]
    if (texts := counts.get("unlabelled_dataset")) is not None and local_paths(texts)[0].exists():
        counts["unlabelled_dataset"] = load_source(DataArguments(dataset_name=texts)).record["fingerprint"]
    return counts | {name: state_of(counts[name]) for name in _READ if _is_local(counts.get(name))}


def state_of(source: Any) -> list[list[str]]:
    """Names and hashes of the files of a local source; empty for None and for a source on the Hub."""
    if not _is_local(source):
        return []
    path = Path(str(source)).expanduser()
    if not path.is_dir():
        return [["", _hash_of(path)]]
    # A sentence-transformers model says in a subfolder how it is pooled.
    files = [*filter(_is_loaded, path.iterdir()), *path.glob("*_Pooling/config.json")]
    return [[file.relative_to(path).as_posix(), _hash_of(file)] for file in sorted(files)]


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
    """The hash of a file, cached for all runs that use it; `size` and `modified` invalidate the cache."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()[:32]


def _plain(value: Any) -> Any:
    """`value`, parsed if it is a mapping in JSON."""
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
