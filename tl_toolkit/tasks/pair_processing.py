"""The tokenizers of a pair of texts: one for both or one for each, and the settings that a model needs from them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.beginnings import Beginnings
from ..data.encoding import decode_generated, truncation
from ..data.tokenizers import KINDS
from ..errors import UserError
from ..loading.names import location_of
from ..records.output_dir import TARGET_FOLDER

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from ..config.arguments import ModelArguments

_KIND = "bpe"


@dataclass(frozen=True)
class PairProcessing:
    """The tokenizers of the sources and of the targets, which may be the same object."""

    tokenizer: PreTrainedTokenizerBase
    target_tokenizer: PreTrainedTokenizerBase

    def __post_init__(self) -> None:
        # The collator pads labels on the tokenizer's padding side, and a decoder must begin with its start token.
        self.tokenizer.padding_side = self.target_tokenizer.padding_side = "right"

    @property
    def is_shared(self) -> bool:
        """Whether source and target share one vocabulary."""
        return self.target_tokenizer is self.tokenizer

    def save_pretrained(self, folder: str | Path, **kwargs: Any) -> None:
        """Save the source tokenizer in `folder`, and a separate target tokenizer in a subfolder."""
        self.tokenizer.save_pretrained(folder, **kwargs)
        if not self.is_shared:
            self.target_tokenizer.save_pretrained(Path(folder) / TARGET_FOLDER, **kwargs)

    def encode_targets(self, texts: Sequence[str], max_length: int | None) -> list[list[int]]:
        """Target ids of each text including the end-of-text token, truncated to `max_length`."""
        cut = truncation(self.target_tokenizer, max_length)
        texts = Beginnings(self.target_tokenizer, cut.get("max_length")).of(list(texts))
        return self.target_tokenizer(text_target=texts, **cut)["input_ids"]

    def decode(self, generated: np.ndarray) -> list[str]:
        """Texts of generated ids (rows, time), padded with -100; without special tokens."""
        return decode_generated(self.target_tokenizer, generated)

    def config_arguments(self) -> dict[str, Any]:
        """Vocabulary sizes and special token ids, under the field names of the architectures.

        A decoder starts from the begin token; without one, from the end token (Sutskever et al. 2014) or the padding
        token.
        """
        target = self.target_tokenizer
        starts = (target.bos_token_id, target.eos_token_id, target.pad_token_id)
        sizes = {} if self.is_shared else {"decoder_vocab_size": len(target), "share_encoder_decoder_embeddings": False}
        return {
            **sizes,
            "decoder_start_token_id": next((token for token in starts if token is not None), None),
            "forced_eos_token_id": target.eos_token_id,  # the defaults of BART and Marian are ids of other vocabularies
        }


def make_pair_processing(
    arguments: ModelArguments, sources: Iterable[str], targets: Iterable[str], max_length: int | None
) -> PairProcessing:
    """The checkpoint's tokenizers, another pre-trained one, or new ones trained on the texts.

    A new tokenizer is byte-level BPE unless another type is named. Source and target share its vocabulary if that is
    requested, if the architecture requires it, and for BPE, because both languages use the same pieces for names and
    numbers; words and characters of two languages get separate vocabularies.

    Raises:
        UserError: as `make_tokenizer`; a tokenizer type without an end-of-text token, or for a new model a tokenizer
            that does not end texts; separate vocabularies for an architecture with only one.
    """
    from ..loading.model import load_config
    from ..loading.tokenizer import make_tokenizer

    kind = arguments.tokenizer_name or (_KIND if arguments.model_type else None)
    if kind not in KINDS:
        given = load_pair_processing(arguments)
        if arguments.model_type:
            _check_end(given.target_tokenizer, str(kind))
        return given
    can_part = hasattr(load_config(arguments), "decoder_vocab_size")
    shared = arguments.shared_vocabulary
    if shared is False and not can_part:
        raise UserError(
            f"--shared_vocabulary is false, but the architecture {arguments.model_type!r} has one vocabulary for source"
            " and target: remove it, or use a --model_type with two, such as rnn_encoder_decoder or marian."
        )
    if shared is None:
        shared = kind == "bpe" or not can_part
    settings = replace(arguments, tokenizer_name=kind)
    if shared:
        both = with_end(make_tokenizer(settings, lambda: [*sources, *targets], max_length))
        return PairProcessing(both, both)
    alone = replace(settings, vectors=None)  # --vectors are for the words of the source
    return PairProcessing(
        with_end(make_tokenizer(settings, lambda: sources, max_length)),
        with_end(make_tokenizer(alone, lambda: targets, max_length)),
    )


def _check_end(tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """Check that targets end with an end token: a new model can only learn from it where to stop."""
    end = tokenizer.eos_token_id
    if end is None or tokenizer(text_target="a")["input_ids"][-1:] != [end]:
        raise UserError(
            f"The tokenizer {name!r} (--tokenizer_name) does not end texts with an end-of-text token, so a model would "
            "never learn to stop: use that of an encoder-decoder (marian, bart, t5, your own), or bpe, word, "
            "whitespace or char, which are trained on the training texts."
        )


def load_pair_processing(arguments: ModelArguments) -> PairProcessing:
    """The tokenizers of a checkpoint or of `--tokenizer_name`, including a separate target tokenizer if saved."""
    from transformers import AutoTokenizer

    from ..loading.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(arguments)
    location = location_of(arguments.tokenizer_name or arguments.model_name_or_path)
    if Path(location).is_dir() and not (Path(location) / TARGET_FOLDER).is_dir():
        return PairProcessing(tokenizer, tokenizer)
    try:
        target = AutoTokenizer.from_pretrained(
            location, subfolder=TARGET_FOLDER, revision=arguments.model_revision,
            trust_remote_code=arguments.trust_remote_code,
        )  # fmt: skip
    except (OSError, ValueError):  # a Hub repository with one tokenizer, which only this request can show
        target = tokenizer
    return PairProcessing(tokenizer, target)


def with_end(tokenizer: Any) -> PreTrainedTokenizerBase:
    """Make `tokenizer` end every text with its end-of-text token, in place; `UserError` if it has none."""
    from tokenizers.processors import TemplateProcessing

    if tokenizer.eos_token is None or tokenizer.bos_token is None:
        raise UserError(
            "Generated texts need a begin token and an end token, which this tokenizer (--tokenizer_name) does not "
            "have: use bpe, word, whitespace or char."
        )
    end = tokenizer.eos_token
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"$A {end}", special_tokens=[(end, tokenizer.eos_token_id)]
    )
    return tokenizer
