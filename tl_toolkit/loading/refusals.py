"""Loading of models and tokenizers, with what the libraries raise about their input said in one paragraph."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import TypeVar

from ..errors import UserError
from .names import not_here

T = TypeVar("T")

# Architectures that have the head of an Auto class, for somebody who has chosen one that has not.
_HAVE_HEADS = {
    "AutoModelForSequenceClassification": "bert, gpt2 and rnn have",
    "AutoModelForTokenClassification": "bert, rnn and self_attention have",
    "AutoModelForCausalLM": "gpt2, rnn and awd_lstm have",
    "AutoModelForSeq2SeqLM": "marian, bart, t5 and rnn_encoder_decoder have",
    "AutoModelForImageTextToText": "rnn_image_captioner and the vision-language models of transformers have",
    "AutoModelForTimeSeriesPrediction": "rnn has",
}

_NO_SAFETENSORS = re.compile(r"no file named model\.safetensors|cannot be loaded with `safetensors`")


def loading(make: Callable[[], T], what: str, name: str | None = None) -> T:
    """`make()`, with what the libraries raise about its input turned into one paragraph.

    Args:
        name: the checkpoint or tokenizer that is loaded, as it was given, if one is.
    """
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    # The Hub's bot would be asked to convert pickles, and its proposal loaded, which nobody has looked at.
    os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")
    about_input = (OSError, ValueError, TypeError, KeyError, ImportError, RuntimeError)
    try:
        return make()
    except (*about_input, StrictDataclassError, SafetensorError) as error:
        if "out of memory" in str(error):
            raise
        if _NO_SAFETENSORS.search(str(error)):
            raise UserError(
                f"Could not load {what}: it has no weights in safetensors. Pickled ones (.bin, .pt, .h5) are never "
                "loaded, since loading a pickle can run anything. Take another revision or model; or convert it where "
                "you trust it, by from_pretrained and save_pretrained of transformers, and give the folder that this "
                "leaves."
            ) from error
        problem = " ".join(str(error).split())
        if found := re.match(r"Unrecognized configuration class .*?(\w+)'> for this kind of AutoModel: (\w+)", problem):
            some = _HAVE_HEADS.get(found[2], "")
            problem = f"An architecture of {found[1]} has no head for {found[2]}{some and f', as {some} one'}."
        absent = not_here(name, problem) if isinstance(error, OSError) else ""
        raise UserError(f"Could not make or load {what}. {problem[:600]}{absent}") from error
