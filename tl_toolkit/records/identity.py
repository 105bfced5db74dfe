"""The identity of a run: what determines its result, stored with its checkpoints, its model and its record.

A run is only resumed by a run with the same identity, and a trained model is applied to the columns in its identity.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..atomic_files import plain, write_json
from ..data.sources import fingerprint
from ..errors import UserError
from ..loading.names import location_of
from .record import RESULT_NAME, STORAGE, read_record

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedConfig

    from ..config.arguments import ModelArguments

logger = logging.getLogger(__name__)

IDENTITY_NAME = "identity.json"

MAY_DIFFER = STORAGE | {
    # logging
    *("logging_strategy", "logging_steps", "logging_first_step", "logging_nan_inf_filter", "log_level_replica"),
    *("log_on_each_node", "skip_memory_metrics", "include_tokens_per_second"),
    # processes and devices; the global batch is compared instead
    *("per_device_train_batch_size", "gradient_accumulation_steps", "per_device_eval_batch_size", "use_cpu"),
    *("global_batch_size", "fsdp", "fsdp_config", "deepspeed"),
    *("eval_accumulation_steps", "gradient_checkpointing", "gradient_checkpointing_kwargs", "dataloader_num_workers"),
    *("dataloader_pin_memory", "dataloader_persistent_workers", "dataloader_prefetch_factor", "ddp_backend"),
    *("ddp_timeout", "ddp_bucket_cap_mb", "ddp_find_unused_parameters", "ddp_broadcast_buffers"),
    # what happens beside training
    *("skip_test", "find_lr", "find_lr_start", "find_lr_end", "find_lr_steps", "trust_remote_code"),
}
"""The arguments that may differ when a run is resumed. All others are compared, as they are or by their effect."""

_BY_EFFECT = frozenset(
    ("dataset_name", "dataset_revision", "text_column", "text_pair_column", "label_column", "source_column")
    + ("target_column", "image_column", "time_column", "value_columns", "task", "max_length", "seed")
    + ("model_name_or_path", "model_revision", "model_type", "config_overrides", "pooling", "tokenizer_name")
    + ("strategy", "lr_decay", "lora_r", "lora_alpha", "head_learning_rate", "learning_rate")
    + ("num_train_epochs", "max_steps", "min_train_steps")
)
"""Arguments whose effect is a field of the identity, so that a moved file or another spelling is no difference."""

_TITLES = {
    "task": "the task (--task)",
    "data": "the content of the dataset (--dataset_name)",
    "rows.train": "the training rows",
    "rows.validation": "the validation rows",
    "rows.test": "the test rows",
    "labels": "the labels in their order (--label_column)",
    "tokenizer": "the tokenizer (--tokenizer_name)",
    "max_length": "--max_length",
    "model.class": "the model",
    "model.config.pooling": "the pooling (--pooling)",
    "model.start": "the weights that training starts from (--model_name_or_path)",
    "strategy.name": "--strategy",
    "schedule.steps": "the number of updates",
    "schedule.epochs": "the number of epochs (--num_train_epochs)",
    "schedule.global_batch": "the global batch (--per_device_train_batch_size, times accumulation and processes)",
    "schedule.evaluation_lanes": "the evaluation batch (--per_device_eval_batch_size, times processes)",
    "schedule.learning_rates": "the learning rates (--learning_rate)",
    "seed": "--seed",
}
_OF_MACHINE = ("transformers_version", "name_or_path", "tokenizer_file", "auto_map")
_STATE_OF_TOKENIZER = ("truncation", "padding")  # set by its last call
_AS_LABELS = ("id2label", "label2id")


def identity_of(
    record: Mapping[str, Any], *, rows: Mapping[str, Any], processing: Any, max_length: int | None,
    config: PreTrainedConfig, model_arguments: ModelArguments | None, schedule: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """Return the identity of a run, in JSON types and without paths of this machine.

    Args:
        record: the parts of the result record that are known before training.
        rows: `rows_of` or `tokens_of` each split.
        processing: the tokenizer or processor that is saved with the model.
        max_length: the tokens to which texts are truncated; None for no limit.
        model_arguments: name the checkpoint that training starts from; None without one.
        schedule: numbers of updates and epochs, global batch and learning rates; empty if nothing is trained.
    """
    fields = {name: value for name, value in config.to_diff_dict().items() if not name.startswith("_")}
    settings = {
        name: value for name, value in record["arguments"].items() if name not in MAY_DIFFER and name not in _BY_EFFECT
    }
    identity = {
        "task": record["task"]["name"],
        "data": record["dataset"]["fingerprint"],
        "rows": rows,
        "columns": record["dataset"]["columns"],
        "labels": record["task"]["labels"],
        "tokenizer": _hash_of_processing(processing),
        "max_length": max_length,
        "model": {
            "class": record["model"]["class"],
            "config": {name: own for name, own in fields.items() if name not in (*_OF_MACHINE, *_AS_LABELS)},
            "start": _start(model_arguments, config),
        },
        "strategy": record["strategy"],
        "schedule": schedule,
        "seed": record["seed"],
        "settings": settings,
        "versions": {"tl_toolkit": record["toolkit_version"], **record["versions"]},
    }
    return _without_folders(json.loads(json.dumps(plain(identity))))


def rows_of(split: Dataset) -> dict[str, Any]:
    """Return the number of rows of a prepared split and a hash of their content."""
    from datasets import DatasetDict

    return {"count": len(split), "hash": fingerprint(DatasetDict({"rows": split}))}


def tokens_of(ids: Any) -> dict[str, Any]:
    """Return the number of tokens in a numpy array and a hash of them."""
    return {"count": len(ids), "hash": hashlib.blake2b(ids.tobytes(), digest_size=8).hexdigest()}


def write_identity(folder: Path, identity: Mapping[str, Any]) -> None:
    """Write the identity of a run to the folder of a model or checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / IDENTITY_NAME, identity)


def read_identity(folder: Path) -> dict[str, Any] | None:
    """Return the identity in the folder of a model or checkpoint; None if there is no readable one."""
    try:
        identity = json.loads((folder / IDENTITY_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return identity if isinstance(identity, dict) else None


def check_same_run(checkpoint: Path, identity: Mapping[str, Any]) -> bool:
    """Check that a checkpoint belongs to a run with this identity.

    Returns:
        Whether it could be checked: checkpoints of the first version have no identity, which is a warning.

    Raises:
        UserError: names each difference.
    """
    saved = read_identity(checkpoint)
    if saved is None:
        logger.warning(
            "The checkpoint %r was saved by a version that stored no %s. Whether it belongs to a run with the same "
            "data and arguments could not be checked.",
            str(checkpoint), IDENTITY_NAME,
        )  # fmt: skip
        return False
    if found := differences(saved, identity):
        raise UserError(
            f"The checkpoint {str(checkpoint)!r} belongs to another run and cannot be resumed by this one. They differ "
            f"in: {'; '.join(found)}. Resume with the original arguments, data and versions, or leave out "
            "--resume_from_checkpoint and start again with --overwrite_output_dir or another --output_dir."
        )
    return True


def differences(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return each field in which two identities differ, in words, with both values."""
    first, second = dict(_leaves(saved)), dict(_leaves(now))
    found = []
    for name in {**first, **second}:
        was, is_now = first.get(name), second.get(name)
        if was != is_now:
            change = f"was {_shown(was)}, is now {_shown(is_now)}"
            if name.startswith("rows.") and was and is_now and was["count"] == is_now["count"]:
                change = f"{was['count']:,} others"
            elif name.startswith("rows."):
                change = f"was {was['count'] if was else 0:,}, is now {is_now['count'] if is_now else 0:,}"
            found.append(f"{_title(name)}: {change}")
    return found


def identity_of_model(name: str, revision: str | None) -> dict[str, Any]:
    """Return the identity of a trained model; empty for a model that no run of the toolkit trained.

    A model of the first version has none; its record has the columns and the settings that prediction needs.

    Args:
        name: a folder, a built-in name or a Hub id.
        revision: commit, tag or branch on the Hub.
    """
    folder = Path(location_of(name))
    if not folder.is_dir():
        folder = _downloaded(str(folder), revision)
    if (identity := read_identity(folder)) is not None:
        return identity
    record = read_record(folder) or {}
    settings = {name: value for name, value in record.get("arguments", {}).items() if name == "source_prefix"}
    return {"columns": record.get("dataset", {}).get("columns", {}), "settings": settings}


def _downloaded(name: str, revision: str | None) -> Path:
    """The folder with the identity or the record of a model on the Hub, in the cache; an empty path without them."""
    from transformers.utils import cached_file

    for file in (IDENTITY_NAME, RESULT_NAME):
        try:
            return Path(str(cached_file(name, file, revision=revision))).parent
        except OSError:  # the model has no such file, or the Hub cannot be reached
            continue
    return Path()


def _hash_of_processing(processing: Any) -> str:
    """A hash of the files that `processing.save_pretrained` writes, without details of this machine."""
    digest = hashlib.blake2b(digest_size=8)
    with tempfile.TemporaryDirectory() as temporary:
        processing.save_pretrained(temporary)
        for file in sorted(path for path in Path(temporary).rglob("*") if path.is_file()):
            content = file.read_bytes()
            if file.suffix == ".json" and isinstance(settings := json.loads(content), dict):
                kept = {k: v for k, v in settings.items() if k not in (*_OF_MACHINE, *_STATE_OF_TOKENIZER)}
                content = json.dumps(kept, sort_keys=True).encode()
            digest.update(json.dumps([file.relative_to(temporary).as_posix(), len(content)]).encode() + content)
    return digest.hexdigest()


def _start(arguments: ModelArguments | None, config: PreTrainedConfig) -> str | None:
    """A hash of the weights that training starts from, or their commit on the Hub; None for random weights."""
    if arguments is None or arguments.model_name_or_path is None:
        return None
    folder = Path(location_of(arguments.model_name_or_path))
    if not folder.is_dir():
        return getattr(config, "_commit_hash", None) or str(folder)
    digest = hashlib.blake2b(digest_size=8)
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "blake2b").digest())
    return digest.hexdigest()


def _without_folders(value: Any, key: str = "") -> Any:
    """`value` with the last part in place of every path that exists on this machine, except in names from the data."""
    if isinstance(value, dict):
        return {name: own if name in ("columns", "labels") else _without_folders(own) for name, own in value.items()}
    if isinstance(value, list):
        return [_without_folders(item) for item in value]
    if isinstance(value, str) and "/" in value and Path(value).expanduser().exists():
        return Path(value).name
    return value


def _leaves(identity: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The fields of an identity by dotted names; the rows of a split are one field."""
    for key, value in identity.items():
        if isinstance(value, Mapping) and prefix != "rows.":
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _title(name: str) -> str:
    if name in _TITLES:
        return _TITLES[name]
    part, _, rest = name.partition(".")
    own = {
        "settings": f"--{rest}",
        "columns": f"the {rest} column",
        "versions": f"the version of {rest}",
        "strategy": f"--strategy: {rest}",
        "model": f"{rest.removeprefix('config.')} of the model (--config_overrides)",
    }
    return own.get(part, name)


def _shown(value: Any) -> str:
    if value is None:
        return "not set"
    parts = value if isinstance(value, list) else [value]
    text = ", ".join(f"{part:g}" if isinstance(part, float) else str(part) for part in parts)
    return text if len(text) <= 100 else f"{text[:100]}…"
