"""Create the tokenizer of a run: learned from its training texts, or pre-trained."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..config.arguments import ModelArguments
from ..errors import UserError
from ..shared_work import shared
from .names import loading, location_of
from .vocabulary import check_word_level, relearn_words

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def make_tokenizer(
    arguments: ModelArguments, training_texts: Callable[[], Iterable[str]], max_length: int | None
) -> PreTrainedTokenizerBase:
    """Return the checkpoint's tokenizer, another pre-trained one, or one learned from the training texts.

    Raises:
        UserError: the tokenizer cannot be found, or the checkpoint does not support a new vocabulary.
    """
    from ..data import tokenizers, vectors
    from ..data.beginnings import pieces_to_learn_from

    name = arguments.tokenizer_name or ("word" if arguments.model_type else None)
    if name in tokenizers.KINDS:
        texts = pieces_to_learn_from(training_texts(), truncated=max_length is not None)
        own = _replaceable_words(arguments, name) if arguments.model_name_or_path else None
        if own is not None and arguments.tokenizer_lowercase is None:  # else other rules are required
            return relearn_words(
                own,
                texts,
                vocab_size=arguments.tokenizer_vocab_size,
                min_frequency=arguments.tokenizer_min_frequency,
                max_length=max_length,
            )
        rules: dict[str, Any] = {
            "vocab_size": arguments.tokenizer_vocab_size,
            "min_frequency": arguments.tokenizer_min_frequency,
            "lowercase": arguments.tokenizer_lowercase,
            "max_length": max_length,
        }
        if arguments.vectors:
            return tokenizers.build_tokenizer(name, texts, more_words=vectors.words_of(arguments.vectors), **rules)
        learned = shared(
            "vocabulary",
            lambda: (name, *rules.values(), _hash(training_texts())),
            lambda: tokenizers.build_tokenizer(name, texts, **rules),
            lambda tokenizer: 100 * len(tokenizer),
        )
        return copy.deepcopy(learned)  # a run changes its limit and its padding
    return load_tokenizer(arguments)


def _hash(texts: Iterable[str]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for text in texts:
        digest.update(f"{len(text)} {text}".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _replaceable_words(arguments: ModelArguments, kind: str) -> PreTrainedTokenizerBase:
    """Return the checkpoint's tokenizer if its vocabulary can be replaced; `make_model` maps the embeddings.

    Raises:
        UserError: `kind` or the tokenizer of the checkpoint is not word-level.
    """
    if kind != "word":
        raise UserError(
            f"--tokenizer_name {kind!r} learns a new vocabulary, which does not match the embeddings of the checkpoint "
            f"{arguments.model_name_or_path!r}. Leave it out to use the checkpoint's own tokenizer."
        )
    own = load_tokenizer(replace(arguments, tokenizer_name=None))
    check_word_level(own, f"the tokenizer of the checkpoint {arguments.model_name_or_path!r}")
    return own


def load_tokenizer(arguments: ModelArguments) -> PreTrainedTokenizerBase:
    """Return the specified pre-trained tokenizer, or that of the checkpoint.

    A tokenizer without a padding token (GPT-2's) pads with its end-of-text token; attention masks and the model's
    `pad_token_id` distinguish the two meanings.

    Raises:
        UserError: it cannot be found, is not a tokenizer, or has no token to pad with.
    """
    from transformers import AutoTokenizer

    name = arguments.tokenizer_name or arguments.model_name_or_path
    revision = None if arguments.tokenizer_name else arguments.model_revision
    own = "--tokenizer_name; word, char and bpe are learned from the training split"
    tokenizer = loading(
        lambda: AutoTokenizer.from_pretrained(
            location_of(name), revision=revision, trust_remote_code=arguments.trust_remote_code
        ),
        f"the tokenizer {name!r} ({own if arguments.tokenizer_name else '--model_name_or_path'})",
        name,
    )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    if tokenizer.pad_token is None:
        raise UserError(f"The tokenizer {name!r} has no padding, end-of-text or unknown token: use another tokenizer.")
    return tokenizer
