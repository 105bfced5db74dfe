"""Resolve names of checkpoints and tokenizers to locations, and explain loading errors."""

from __future__ import annotations

import functools
import json
import logging
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ..data.files import nearest_sibling
from ..errors import UserError, check_regular

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Suggested architectures that have the head of an Auto class, for an error message.
_HAVE_HEADS = {
    "AutoModelForSequenceClassification": "bert, gpt2 and rnn have",
    "AutoModelForTokenClassification": "bert, rnn and self_attention have",
    "AutoModelForCausalLM": "gpt2, rnn and awd_lstm have",
    "AutoModelForSeq2SeqLM": "marian, bart, t5 and rnn_encoder_decoder have",
    "AutoModelForImageTextToText": "rnn_image_captioner and the vision-language models of transformers have",
    "AutoModelForTimeSeriesPrediction": "rnn has",
}

_NO_SAFETENSORS = re.compile(r"no file named model\.safetensors|cannot be loaded with `safetensors`")


def location_of(name: str | None) -> str:
    """Return the argument of `from_pretrained` for `name`: a folder (built-in or local) or the Hub id itself."""
    assert name is not None  # checked by the callers: there is a checkpoint or a tokenizer
    if name.startswith("builtin:"):
        from .builtin_models import builtin_model_path

        return str(builtin_model_path(name))
    path = Path(name).expanduser()
    check_regular(path, "The folder")
    if path.is_file():
        raise UserError(f"{name!r} is a file: name the folder that contains config.json and the weights.")
    if path.is_dir():
        _check_folder(path, name)
        return str(path)
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise UserError(
            f"The folder {name!r} does not exist.{nearest_sibling(path)} Use a local model folder, a Hub id or "
            "builtin:minilm."
        )
    if path.parent != Path() and path.parent.is_dir() and not _is_offline():
        _warn_not_local(name)
    return name


@functools.cache  # warn once, even if several files are loaded
def _warn_not_local(name: str) -> None:
    """Warn before contacting the Hub, which may take a minute to time out."""
    logger.warning(
        "There is no local folder %r.%s Looking for it on the Hugging Face Hub.", name, nearest_sibling(Path(name))
    )


def _is_offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def not_here(name: str | None, problem: str) -> str:
    """Return a sentence for failed downloads which says that `name` is not a local folder either; may be empty."""
    if name is None or name.startswith("builtin:") or "does not appear to have a file" in problem:
        return ""
    path = Path(name).expanduser()
    if path.exists():
        return ""
    return (
        f" There is no local folder {name!r} either.{nearest_sibling(path)} Local folders and builtin:minilm need no "
        "network."
    )


def _check_folder(path: Path, name: str) -> None:
    if (path / "adapter_model.bin").is_file() and not (path / "adapter_model.safetensors").is_file():
        raise UserError(
            f"The adapter in {name!r} is a pickle (adapter_model.bin), and pickles are never loaded. If you trust it, "
            "convert it to safetensors with save_pretrained of peft."
        )
    config = path / "config.json"
    for file in path.iterdir():
        check_regular(file, "The file")
    try:
        settings = json.loads(config.read_text(encoding="utf-8"))
    except OSError as error:
        if (path / "tokenizer.json").is_file():
            return
        raise UserError(f"The folder {name!r} is not a model folder: it has no readable config.json.") from error
    except ValueError as error:
        raise UserError(f"{str(config)!r} is not valid JSON: {error}.") from error
    if not isinstance(settings, dict) or "model_type" not in settings:
        raise UserError(
            f"The config.json in {name!r} has no model_type, so transformers cannot determine the architecture."
        )


def loading(make: Callable[[], T], what: str, name: str | None = None) -> T:
    """Return `make()`; library errors about its input become a `UserError` of one paragraph.

    Args:
        what: the object that is created or loaded, in words for the message.
        name: the checkpoint or tokenizer that is loaded, as specified by the user; None if there is none.
    """
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    # Otherwise transformers asks the Hub's bot to convert pickles and loads the result, which nobody has reviewed.
    os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")
    about_input = (OSError, ValueError, TypeError, KeyError, ImportError, RuntimeError)
    try:
        return make()
    except (*about_input, StrictDataclassError, SafetensorError) as error:
        if "out of memory" in str(error):
            raise
        if _NO_SAFETENSORS.search(str(error)):
            raise UserError(
                f"Could not load {what}: it has no safetensors weights. Use another revision or model. If you trust "
                "it, convert it with from_pretrained and save_pretrained of transformers and use the new folder. "
                "Pickled weights (.bin, .pt, .h5) are never loaded, because loading a pickle can run any code."
            ) from error
        problem = " ".join(str(error).split())
        if found := re.match(r"Unrecognized configuration class .*?(\w+)'> for this kind of AutoModel: (\w+)", problem):
            some = _HAVE_HEADS.get(found[2], "")
            problem = f"The architecture of {found[1]} has no head for {found[2]}{some and f'; {some} one'}."
        absent = not_here(name, problem) if isinstance(error, OSError) else ""
        raise UserError(f"Could not create or load {what}. {problem[:600]}{absent}") from error
