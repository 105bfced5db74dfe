"""Publish the adapter of a LoRA run in the format of peft, without its base model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..records.checkpoints import is_whole_safetensors
from ..records.record import read_record
from .arguments import CardArguments
from .contents import CONFIG, PROCESSING, Contents, as_json, check_model_folder, finished, matching, model_file
from .destination import HubFile
from .provenance import provenance

ADAPTER = "adapter"
_FILES = ("adapter_config.json", "adapter_model.safetensors")


def has_adapter(folder: Path) -> bool:
    """Whether `folder` is the folder of a LoRA run."""
    return (folder / ADAPTER / _FILES[0]).is_file()


def is_for_everybody(folder: Path) -> bool:
    """Whether the base model of the adapter in `folder` is known to be on the Hub."""
    try:
        return has_adapter(folder) and bool(base_of(folder, None))
    except UserError:
        return False


def adapter_contents(folder: Path, base_model: str, revision: str | None, include: Sequence[str] = ()) -> Contents:
    """The adapter of a LoRA run with its tokenizer, but without the merged weights.

    The model's config.json is not published, because transformers treats a repository with one as a complete model.

    Args:
        base_model: the Hub id of the model that was adapted.
        revision: its commit, if known.

    Raises:
        UserError: the adapter is damaged.
    """
    config = check_model_folder(folder)
    weights = folder / ADAPTER / _FILES[1]
    if not weights.is_file() or not is_whole_safetensors(weights):
        raise UserError(f"The adapter {str(weights)!r} is missing or damaged. Run the training again.")
    settings: dict[str, Any] = json.loads((folder / ADAPTER / _FILES[0]).read_text(encoding="utf-8"))
    # auto_mapping names the Python module of the adapted class, which exists only where the toolkit is installed; peft
    # needs it only for AutoPeftModel.
    settings |= {"base_model_name_or_path": base_model, "revision": revision, "auto_mapping": None}
    files = [HubFile(_FILES[0], as_json(settings), f"for {base_model}"), HubFile(_FILES[1], weights)]
    kept = [path for path in matching(folder, PROCESSING) if path.name not in (CONFIG, "generation_config.json")]
    files += [model_file(path, folder, config) for path in kept]
    return finished(folder, files, include)


def base_of(folder: Path, base_model: str | None) -> tuple[str, str | None]:
    """The Hub id of the adapter's base model, and its commit if known.

    `base_model` is the id that the user specified, if any. UserError if the model is not known to be on the Hub.
    """
    record = read_record(folder) or {}
    base = (record.get("model") or {}).get("model_name_or_path")
    if (record.get("model") or {}).get("model_type") == "pooled_encoder":
        raise UserError(
            f"The adapter in {str(folder)!r} belongs to an encoder with pooling that was made from {str(base)!r}, and "
            "is useless without it. Publish both as one model with --merge."
        )
    origin = provenance(record, CardArguments(base_model=base_model))
    # A base that was itself trained from a model on the Hub is a different model.
    if origin.base_model is not None and (base_model or not origin.stages):
        return origin.base_model, origin.base_revision
    raise UserError(
        f"The adapter in {str(folder)!r} belongs to {str(base)!r}, which seems to be only on this machine, and an "
        "adapter is useless without its model. Publish that model first and name it with --base_model user/name, or "
        "publish both as one model with --merge."
    )
