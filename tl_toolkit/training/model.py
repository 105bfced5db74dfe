"""The tokenizer and the model of a run: built from scratch or loaded from a checkpoint."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import UserError, listing, nearest
from .arguments import ModelArguments
from .config_overrides import parse_overrides
from .location import location_of, not_here
from .vocabulary import adapt_vocabulary, check_word_level, is_word_level, relearn_words

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

T = TypeVar("T")

# What the toolkit's architectures are called elsewhere.
_OTHER_NAMES = {
    "lstm": "rnn with --config_overrides cell_type=lstm",
    "bilstm": "rnn with --config_overrides cell_type=lstm,bidirectional=true",
    "gru": "rnn with --config_overrides cell_type=gru",
    "elman": "rnn with --config_overrides cell_type=rnn_tanh",
    "rnn_tanh": "rnn with --config_overrides cell_type=rnn_tanh",
    "rnn_relu": "rnn with --config_overrides cell_type=rnn_relu",
    "transformer": "self_attention",
}

logger = logging.getLogger(__name__)


def make_tokenizer(
    arguments: ModelArguments, training_texts: Callable[[], Iterable[str]], max_length: int | None
) -> PreTrainedTokenizerBase:
    """The checkpoint's tokenizer, another pre-trained one, or one learned from the training texts.

    Raises:
        UserError: a tokenizer that cannot be found, or a new vocabulary for an old model.
    """
    from ..data import tokenizers, vectors

    name = arguments.tokenizer_name or ("word" if arguments.model_type else None)
    if name in tokenizers.KINDS:
        own = _replaceable_words(arguments, name) if arguments.model_name_or_path else None
        if own is not None and arguments.tokenizer_lowercase is None:  # else a tokenizer of other rules is wanted
            return relearn_words(
                own,
                training_texts(),
                vocab_size=arguments.tokenizer_vocab_size,
                min_frequency=arguments.tokenizer_min_frequency,
                max_length=max_length,
            )
        return tokenizers.build_tokenizer(
            name,
            training_texts(),
            more_words=vectors.words_of(arguments.vectors) if arguments.vectors else (),
            vocab_size=arguments.tokenizer_vocab_size,
            min_frequency=arguments.tokenizer_min_frequency,
            lowercase=arguments.tokenizer_lowercase,
            max_length=max_length,
        )
    return load_tokenizer(arguments)


def _replaceable_words(arguments: ModelArguments, kind: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a checkpoint that can be given a new vocabulary of `kind`; `make_model` maps its rows.

    Raises:
        UserError: one of the two is not word-level.
    """
    if kind != "word":
        raise UserError(
            f"--tokenizer_name {kind!r} makes a new vocabulary, which the embeddings of the checkpoint "
            f"{arguments.model_name_or_path!r} do not know. Leave it out to use the checkpoint's own tokenizer."
        )
    own = load_tokenizer(replace(arguments, tokenizer_name=None))
    check_word_level(own, f"the tokenizer of the checkpoint {arguments.model_name_or_path!r}")
    return own


def make_model(
    arguments: ModelArguments,
    auto_class_name: str,
    task_config: dict[str, Any],
    tokenizer: PreTrainedTokenizerBase,
) -> PreTrainedModel:
    """The model of a run in float32, with the task's head and the tokenizer's vocabulary.

    Args:
        auto_class_name: such as "AutoModelForSequenceClassification".
        task_config: what the task sets in the configuration (labels, problem type).

    Raises:
        UserError: an unknown architecture or checkpoint, a checkpoint of another architecture, a wrong override.
    """
    import transformers

    auto_class = getattr(transformers, auto_class_name)
    if arguments.model_type:
        return _from_scratch(arguments, auto_class, task_config, tokenizer)
    return _from_checkpoint(arguments, auto_class, task_config, tokenizer)


def load_config(arguments: ModelArguments) -> PreTrainedConfig:
    """The configuration of the architecture or checkpoint that was named, as it is before a run changes it.

    Raises:
        UserError: an unknown architecture or checkpoint.
    """
    from transformers import AutoConfig

    if arguments.model_type:
        return _config_class(arguments.model_type)()
    name = arguments.model_name_or_path
    origin = {"revision": arguments.model_revision, "trust_remote_code": arguments.trust_remote_code}
    return _load(
        lambda: AutoConfig.from_pretrained(location_of(name), **origin),
        f"the checkpoint {name!r} (--model_name_or_path)",
        name,
    )


def longest_input(model: PreTrainedModel) -> int | None:
    """The most tokens a model with positions can read; None where there is no such limit."""
    limit = getattr(model.config, "max_position_embeddings", None)
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            return limit - module.padding_idx - 1  # RoBERTa counts positions from behind the padding token's id
    return limit


def shortest(*limits: int | None) -> int | None:
    """The smallest limit that is one: transformers has huge numbers and negatives where there is none."""
    return min((limit for limit in limits if limit is not None and 0 < limit < 10**9), default=None)


def load_tokenizer(arguments: ModelArguments) -> PreTrainedTokenizerBase:
    """The pre-trained tokenizer that was named, or that of the checkpoint.

    One without a padding token (GPT-2's) pads with its end-of-text token; attention masks, and the `pad_token_id` that
    the model is given, keep the two meanings apart.

    Raises:
        UserError: it cannot be found, is no tokenizer, or has nothing to pad with.
    """
    from transformers import AutoTokenizer

    name = arguments.tokenizer_name or arguments.model_name_or_path
    revision = None if arguments.tokenizer_name else arguments.model_revision
    own = "--tokenizer_name; word, char and bpe are made from the training split"
    tokenizer = _load(
        lambda: AutoTokenizer.from_pretrained(
            location_of(name), revision=revision, trust_remote_code=arguments.trust_remote_code
        ),
        f"the tokenizer {name!r} ({own if arguments.tokenizer_name else '--model_name_or_path'})",
        name,
    )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    if tokenizer.pad_token is None:
        raise UserError(f"The tokenizer {name!r} has no padding, end-of-text or unknown token to pad with.")
    return tokenizer


def load_trained(
    arguments: ModelArguments, auto_class_name: str, tokenizer: PreTrainedTokenizerBase
) -> PreTrainedModel:
    """A trained model with its head, in float32, that knows what `tokenizer` pads with.

    Raises:
        UserError: it cannot be found, or its head was never trained.
    """
    import torch
    import transformers

    name = arguments.model_name_or_path
    auto_class = getattr(transformers, auto_class_name)
    model, report = _load(
        lambda: auto_class.from_pretrained(
            location_of(name),
            revision=arguments.model_revision,
            trust_remote_code=arguments.trust_remote_code,
            dtype=torch.float32,
            output_loading_info=True,
        ),
        f"the model {name!r} (--model_name_or_path)",
        name,
    )
    if report["missing_keys"]:
        raise UserError(
            f"The checkpoint {name!r} has no trained weights for the head of {type(model).__name__}, so its answers "
            f"would be random: {listing(report['missing_keys'])} are missing. Train it first."
        )
    _check_vocabulary(model, tokenizer, arguments.tokenizer_name or str(name))
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    return model


def _from_scratch(
    arguments: ModelArguments, auto_class: Any, task_config: dict[str, Any], tokenizer: PreTrainedTokenizerBase
) -> PreTrainedModel:
    model_type = arguments.model_type
    assert model_type is not None  # the caller looked
    config_class = _config_class(model_type)
    overrides = parse_overrides(arguments.config_overrides, config_class)
    pretrained = _vectors(arguments, tokenizer)
    settings = {"vocab_size": len(tokenizer), **_special_ids(tokenizer, config_class), **task_config}
    if pretrained is not None and "embedding_size" in config_class.__dataclass_fields__:
        settings["embedding_size"] = pretrained.shape[1]
    config = _load(lambda: config_class(**{**settings, **overrides}), f"a configuration of {model_type!r}")
    if config.is_encoder_decoder:
        raise UserError(
            f"--model_type {model_type!r} is an encoder-decoder, which would read a label from a decoder that has "
            "nothing to decode. Choose an encoder (bert, rnn, self_attention) or a decoder (gpt2)."
        )
    model = _load(lambda: auto_class.from_config(config), f"a {model_type!r} model with {auto_class.__name__}")
    if pretrained is not None:
        _set_embeddings(model, pretrained, arguments.vectors)
    return model


def _config_class(model_type: str) -> Any:
    from transformers import CONFIG_MAPPING

    if model_type not in CONFIG_MAPPING:
        if known := _OTHER_NAMES.get(model_type.lower().replace("-", "_")):
            raise UserError(f"There is no --model_type {model_type!r}: say --model_type {known}.")
        raise UserError(
            f"Unknown --model_type {model_type!r}.{nearest(model_type, CONFIG_MAPPING)} The toolkit's own are rnn, "
            "awd_lstm and self_attention; the others are the model types of transformers, such as bert, gpt2 or "
            "distilbert."
        )
    return CONFIG_MAPPING[model_type]


def _from_checkpoint(
    arguments: ModelArguments, auto_class: Any, task_config: dict[str, Any], tokenizer: PreTrainedTokenizerBase
) -> PreTrainedModel:
    import torch

    name = arguments.model_name_or_path
    assert name is not None
    if arguments.vectors:
        raise UserError("--vectors initialises a model from scratch (--model_type); a checkpoint brings its own.")
    location = location_of(name)
    origin = {"revision": arguments.model_revision, "trust_remote_code": arguments.trust_remote_code}
    what = f"the checkpoint {name!r} (--model_name_or_path)"
    config = load_config(arguments)
    for key, value in {**task_config, **parse_overrides(arguments.config_overrides, type(config))}.items():
        setattr(config, key, value)
    own = _own_words(arguments, tokenizer)  # None where the embeddings are used as they are
    config.pad_token_id = (tokenizer if own is None else own).pad_token_id
    model, report = _load(
        lambda: auto_class.from_pretrained(
            location,
            config=config,
            dtype=torch.float32,  # half-precision checkpoints are trained from float32 master weights
            ignore_mismatched_sizes=True,  # a head for other labels; anything else is refused below
            output_loading_info=True,
            **origin,
        ),
        what,
        name,
    )
    _check_loaded(model, report, name)
    if own is not None:
        _check_vocabulary(model, own, name)
        known = adapt_vocabulary(model, own, tokenizer)
        logger.info("Of %d tokens, %d are words that %r knows.", len(tokenizer), known, name)
    _check_vocabulary(model, tokenizer, arguments.tokenizer_name or name)
    return model


def _own_words(arguments: ModelArguments, tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase | None:
    """The checkpoint's own tokenizer, where `tokenizer` has other words and both are word-level: they can be mapped."""
    if not arguments.tokenizer_name or not is_word_level(tokenizer):
        return None
    try:
        own = load_tokenizer(replace(arguments, tokenizer_name=None))
    except UserError:  # the checkpoint has none, and the one that was named is taken for its own
        return None
    return own if is_word_level(own) and own.get_vocab() != tokenizer.get_vocab() else None


def _check_vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    known = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > known:
        raise UserError(
            f"The tokenizer {name!r} has {len(tokenizer):,} tokens, but the embeddings of {type(model).__name__} only "
            f"{known:,}: it is the tokenizer of another model. Leave out --tokenizer_name to use the checkpoint's own."
        )


def _check_loaded(model: PreTrainedModel, report: dict[str, Any], name: str) -> None:
    """Refuse a checkpoint whose weights are not those of the body it is loaded into."""
    from ..strategies.layer_groups import head_parameters

    head = head_parameters(model)
    body = {n for n, _ in model.named_parameters()} - head
    mismatched = {entry[0] for entry in report["mismatched_keys"]}
    absent = body & (set(report["missing_keys"]) | mismatched)
    if absent:
        example = sorted(absent)[0]
        raise UserError(
            f"The checkpoint {name!r} does not fit the architecture of its configuration, {type(model).__name__}: "
            f"{len(absent)} of {len(body)} weights of the body are missing or have another shape, {example!r} among "
            "them. They are weights of another architecture, or the configuration was changed."
        )


def _load(make: Callable[[], T], what: str, name: str | None = None) -> T:
    """`make()`, with what the libraries raise about its input turned into one paragraph.

    Args:
        name: the checkpoint or tokenizer that is loaded, as it was given, if one is.
    """
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    about_input = (OSError, ValueError, TypeError, KeyError, ImportError, RuntimeError)
    try:
        return make()
    except (*about_input, StrictDataclassError, SafetensorError) as error:
        if "out of memory" in str(error):
            raise
        problem = " ".join(str(error).split())
        if found := re.match(r"Unrecognized configuration class .*?(\w+)'> for this kind of AutoModel: (\w+)", problem):
            problem = f"An architecture of {found[1]} has no head for {found[2]}, as bert, gpt2 and rnn have one."
        absent = not_here(name, problem) if isinstance(error, OSError) else ""
        raise UserError(f"Could not make or load {what}. {problem[:600]}{absent}") from error


def _special_ids(tokenizer: PreTrainedTokenizerBase, config_class: type[PreTrainedConfig]) -> dict[str, Any]:
    names = ("pad_token_id", "bos_token_id", "eos_token_id")
    return {name: getattr(tokenizer, name) for name in names if name in config_class.__dataclass_fields__}


def _vectors(arguments: ModelArguments, tokenizer: PreTrainedTokenizerBase) -> Any:
    if not arguments.vectors:
        return None
    from ..data.vectors import load_vectors

    return load_vectors(arguments.vectors, tokenizer)[0]


def _set_embeddings(model: PreTrainedModel, vectors: Any, source: str | None) -> None:
    import torch

    weight = model.get_input_embeddings().weight
    if tuple(weight.shape) != vectors.shape:
        raise UserError(
            f"The vectors in {source!r} have {vectors.shape[1]} dimensions, but the model's embeddings have "
            f"{weight.shape[1]}. Leave the size to the vectors, or set it to {vectors.shape[1]}."
        )
    with torch.no_grad():
        weight.copy_(torch.from_numpy(vectors))
