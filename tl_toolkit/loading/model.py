"""Create the model of a run, from scratch or from a checkpoint."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.arguments import ModelArguments
from ..config.overrides import parse_overrides
from ..deployment.folder import ENCODER, FACTS, GRAPH, is_exported
from ..errors import UserError, listing, nearest
from ..strategies.recommended import architecture
from .names import loading, location_of
from .pooled_encoder import load_pooled_encoder, pooling_of, with_pooling_field
from .tokenizer import load_tokenizer
from .vocabulary import adapt_vocabulary, is_word_level

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

# Other common names of the toolkit's architectures.
_OTHER_NAMES = {
    "lstm": "rnn with --config_overrides cell_type=lstm",
    "bilstm": "rnn with --config_overrides cell_type=lstm,bidirectional=true",
    "gru": "rnn with --config_overrides cell_type=gru",
    "elman": "rnn with --config_overrides cell_type=rnn_tanh",
    "rnn_tanh": "rnn with --config_overrides cell_type=rnn_tanh",
    "rnn_relu": "rnn with --config_overrides cell_type=rnn_relu",
    "transformer": "self_attention",
    "bag_of_words": "bag_of_ngrams with --config_overrides ngram_range=[1,1]",
    "linear": "bag_of_ngrams",
    "logistic_regression": "bag_of_ngrams",
    "tfidf": "bag_of_ngrams",
}

# Settings that a task may change for any architecture: every configuration of transformers has them.
_HEAD_SETTINGS = ("num_labels", "id2label", "label2id", "problem_type")

_MOST_LAYERS = 4096  # more take minutes to make, and nobody trains them

logger = logging.getLogger(__name__)


def make_model(
    arguments: ModelArguments,
    auto_class_name: str,
    task_config: dict[str, Any],
    tokenizer: PreTrainedTokenizerBase | None,
    default_pooling: str = "auto",
) -> PreTrainedModel:
    """Return the model of a run in float32, with the task's head and the tokenizer's vocabulary.

    Args:
        auto_class_name: name of a class such as "AutoModelForSequenceClassification".
        task_config: settings of the task (labels, problem type, sizes of inputs). A new configuration uses those that
            it has fields for; the configuration of a checkpoint uses only labels and problem type.
        tokenizer: None for a model that reads no tokens.
        default_pooling: how a checkpoint is pooled for classification if neither it nor the user says; "auto" keeps
            its own head.

    Raises:
        UserError: an unknown architecture or checkpoint, weights of another architecture, or a wrong override.
    """
    import transformers

    auto_class = getattr(transformers, auto_class_name)
    if arguments.model_type:
        return _from_scratch(arguments, auto_class, task_config, tokenizer)
    return _from_checkpoint(arguments, auto_class, task_config, tokenizer, default_pooling)


def load_config(arguments: ModelArguments) -> PreTrainedConfig:
    """Return the unmodified configuration of the specified architecture or checkpoint.

    Raises:
        UserError: an unknown architecture or checkpoint.
    """
    from transformers import AutoConfig

    if arguments.model_type:
        return _config_class(arguments.model_type)()
    name = arguments.model_name_or_path
    origin = {"revision": arguments.model_revision, "trust_remote_code": arguments.trust_remote_code}
    return loading(
        lambda: AutoConfig.from_pretrained(location_of(name), **origin),
        f"the checkpoint {name!r} (--model_name_or_path)",
        name,
    )


def longest_input(model: PreTrainedModel) -> int | None:
    """Return the most tokens that the model's positions allow, or None if there is no such limit."""
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            return limit - module.padding_idx - 1  # RoBERTa's positions start after the padding token's id
    return limit


def shortest(*limits: int | None) -> int | None:
    """Return the smallest valid limit; in transformers, huge and negative numbers mean no limit."""
    return min((limit for limit in limits if limit is not None and 0 < limit < 10**9), default=None)


def load_trained(
    arguments: ModelArguments, auto_class_name: str, tokenizer: PreTrainedTokenizerBase | None
) -> PreTrainedModel:
    """Return a trained model with its head, in float32, with the padding token of `tokenizer`.

    The model of a folder that `export` has written is an `OnnxModel`.

    Raises:
        UserError: the model cannot be found, or its head is not trained.
    """
    import torch
    import transformers

    name = arguments.model_name_or_path
    if arguments.pooling != "auto":
        raise UserError(f"Leave out --pooling {arguments.pooling}: the trained model {name!r} pools as it was trained.")
    if (graph := exported_graph(arguments)) is not None:
        return _exported(graph, arguments)
    auto_class = getattr(transformers, auto_class_name)
    model, report = loading(
        lambda: auto_class.from_pretrained(
            location_of(name),
            revision=arguments.model_revision,
            trust_remote_code=arguments.trust_remote_code,
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
        ),
        f"the model {name!r} (--model_name_or_path)",
        name,
    )
    if report["missing_keys"]:
        raise UserError(
            f"The checkpoint {name!r} has no trained weights for the head of {type(model).__name__}, so predictions "
            f"would be random: {listing(report['missing_keys'])} are missing. Fine-tune it first."
        )
    _check_vocabulary(model, tokenizer, arguments.tokenizer_name or str(name))
    if tokenizer is not None and model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    return model


def exported_graph(arguments: ModelArguments) -> Path | None:
    """The `model.onnx` of a folder that `export` has written, or of a repository with one, downloaded; else None."""
    location = location_of(arguments.model_name_or_path)
    if Path(location).is_dir():
        return Path(location) / GRAPH if is_exported(Path(location)) else None
    from transformers.utils import cached_file

    quiet: Any = {
        "revision": arguments.model_revision,
        "_raise_exceptions_for_missing_entries": False,
        "_raise_exceptions_for_connection_errors": False,
    }
    if cached_file(location, FACTS, **quiet) is None:
        return None
    files = [cached_file(location, name, **quiet) for name in (ENCODER, GRAPH)]
    return Path(files[-1]) if files[-1] else None


def _exported(graph: Path, arguments: ModelArguments) -> Any:
    from transformers import GenerationConfig

    from ..deployment.writers import load_graphs

    try:
        how = GenerationConfig.from_pretrained(
            location_of(arguments.model_name_or_path), revision=arguments.model_revision
        )
    except OSError:  # models that do not write have none
        how = None
    return load_graphs(graph, load_config(arguments), how)


def _from_scratch(
    arguments: ModelArguments, auto_class: Any, task_config: dict[str, Any], tokenizer: PreTrainedTokenizerBase | None
) -> PreTrainedModel:
    model_type = arguments.model_type
    assert model_type is not None  # checked by the caller
    config_class = _config_class(model_type)
    overrides = parse_overrides(arguments.config_overrides, config_class)
    pretrained = _vectors(arguments, tokenizer)
    vocabulary = {} if tokenizer is None else {"vocab_size": len(tokenizer), **_special_ids(tokenizer)}
    known = {*config_class.__dataclass_fields__, *config_class.attribute_map, *_HEAD_SETTINGS}
    if config_class.is_encoder_decoder:
        known.add("decoder_start_token_id")  # T5 and others need it but have no field for it
    chosen = architecture(model_type, auto_class.__name__, tokenizer.name_or_path if tokenizer is not None else None)
    settings = {name: value for name, value in {**chosen, **vocabulary, **task_config}.items() if name in known}
    if pretrained is not None and "embedding_size" in config_class.__dataclass_fields__:
        settings["embedding_size"] = pretrained.shape[1]
    config = loading(lambda: config_class(**{**settings, **overrides}), f"a configuration of {model_type!r}")
    if config.is_encoder_decoder and auto_class.__name__ == "AutoModelForSequenceClassification":
        raise UserError(
            f"--model_type {model_type!r} is an encoder-decoder, which is not suitable for classification. Choose an "
            "encoder (bert, rnn, self_attention) or a decoder (gpt2)."
        )
    if any(type(value) is int and value > _MOST_LAYERS for value in overrides.values()):
        _check_size(auto_class, config)
    model = loading(lambda: auto_class.from_config(config), f"a {model_type!r} model with {auto_class.__name__}")
    if pretrained is not None:
        _set_embeddings(model, pretrained, arguments.vectors)
    return model


def _check_size(auto_class: Any, config: PreTrainedConfig) -> None:
    """Raise `UserError` for a number of layers, or sizes, that this machine cannot hold, before the model is made."""
    import psutil
    import torch

    for name, value in vars(config).items():
        if "layers" in name and isinstance(value, int) and value > _MOST_LAYERS:
            raise UserError(f"{name} in --config_overrides must be at most {_MOST_LAYERS:,}, but is {value:,}.")
    with torch.device("meta"):
        model = loading(lambda: auto_class.from_config(config), f"a {config.model_type!r} model")
    needed, memory = sum(weight.nbytes for weight in model.parameters()), psutil.virtual_memory().total
    if needed > memory:
        raise UserError(
            f"The weights of this model have {needed / 1e9:,.1f} GB, but this machine has {memory / 1e9:,.1f} GB of "
            "memory. Use smaller sizes in --config_overrides."
        )


def _config_class(model_type: str) -> Any:
    from transformers import CONFIG_MAPPING

    if model_type == "pooled_encoder":
        raise UserError(
            "--model_type pooled_encoder is made from a pre-trained encoder: use --model_name_or_path with --pooling."
        )
    if model_type not in CONFIG_MAPPING:
        if known := _OTHER_NAMES.get(model_type.lower().replace("-", "_")):
            raise UserError(f"There is no --model_type {model_type!r}: use --model_type {known}.")
        raise UserError(
            f"Unknown --model_type {model_type!r}.{nearest(model_type, CONFIG_MAPPING)} Use one of the toolkit's model "
            "types (rnn, awd_lstm, self_attention, bag_of_ngrams, rnn_encoder_decoder, rnn_image_captioner) or one of "
            "transformers, such as bert, gpt2 or distilbert."
        )
    return CONFIG_MAPPING[model_type]


def _from_checkpoint(
    arguments: ModelArguments,
    auto_class: Any,
    task_config: dict[str, Any],
    tokenizer: PreTrainedTokenizerBase | None,
    default_pooling: str,
) -> PreTrainedModel:
    import torch

    name = arguments.model_name_or_path
    assert name is not None
    if arguments.vectors:
        raise UserError("--vectors only applies to a model from scratch (--model_type): a checkpoint has embeddings.")
    loaded_as = {
        "revision": arguments.model_revision,
        "trust_remote_code": arguments.trust_remote_code,
        "dtype": torch.float32,  # half-precision checkpoints are trained with float32 master weights
        "use_safetensors": True,
    }
    config = load_config(arguments)
    if config.model_type == "bag_of_ngrams":
        raise UserError(
            f"The checkpoint {name!r} (--model_name_or_path) is a bag of n-grams, which is solved for its own training "
            "rows and cannot be trained further. Use --model_type bag_of_ngrams to fit a new one."
        )
    head = {name: value for name, value in task_config.items() if name in _HEAD_SETTINGS}
    own = _own_words(arguments, tokenizer)  # None if the embeddings stay unchanged
    if tokenizer is not None:
        config.pad_token_id = (tokenizer if own is None else own).pad_token_id
    classifies = auto_class.__name__ == "AutoModelForSequenceClassification"
    pooling = pooling_of(arguments, config, default_pooling) if classifies else None
    if pooling is not None:
        model, report = load_pooled_encoder(arguments, config, pooling, head, **loaded_as)
    else:
        changed = with_pooling_field(arguments, config, default_pooling if classifies else "auto")
        for key, value in {**head, **parse_overrides(changed.config_overrides, type(config))}.items():
            setattr(config, key, value)
        model, report = loading(
            lambda: auto_class.from_pretrained(
                location_of(name),
                config=config,
                ignore_mismatched_sizes=True,  # allows a head for other labels; _check_loaded refuses the rest
                output_loading_info=True,
                **loaded_as,
            ),
            f"the checkpoint {name!r} (--model_name_or_path)",
            name,
        )
    _check_loaded(model, report, name)
    if own is not None and tokenizer is not None:
        _check_vocabulary(model, own, name)
        known = adapt_vocabulary(model, own, tokenizer)
        logger.info("Of %d tokens, %d are in the vocabulary of %r.", len(tokenizer), known, name)
    _check_vocabulary(model, tokenizer, arguments.tokenizer_name or name)
    return model


def _own_words(arguments: ModelArguments, tokenizer: PreTrainedTokenizerBase | None) -> PreTrainedTokenizerBase | None:
    """Return the checkpoint's own tokenizer if both are word-level and differ, so words can be mapped; else None."""
    if tokenizer is None or not arguments.tokenizer_name or not is_word_level(tokenizer):
        return None
    try:
        own = load_tokenizer(replace(arguments, tokenizer_name=None))
    except UserError:  # the checkpoint has no tokenizer, so the specified one is assumed to be its own
        return None
    return own if is_word_level(own) and own.get_vocab() != tokenizer.get_vocab() else None


def _check_vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None, name: str) -> None:
    if tokenizer is None or model.get_input_embeddings() is None:
        return
    known = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > known:
        raise UserError(
            f"The tokenizer {name!r} has {len(tokenizer):,} tokens, but the embeddings of {type(model).__name__} have "
            f"only {known:,} rows: it belongs to another model. Leave out --tokenizer_name to use the checkpoint's own."
        )


def _check_loaded(model: PreTrainedModel, report: dict[str, Any], name: str) -> None:
    """Raise `UserError` if the checkpoint's weights do not match the body of `model`."""
    from ..strategies.layer_groups import head_parameters

    head = head_parameters(model)
    body = {n for n, _ in model.named_parameters()} - head
    mismatched = {entry[0] for entry in report["mismatched_keys"]}
    absent = body & (set(report["missing_keys"]) | mismatched)
    if absent:
        example = sorted(absent)[0]
        raise UserError(
            f"The weights of the checkpoint {name!r} do not match its configuration ({type(model).__name__}): "
            f"{len(absent)} of {len(body)} weights of the body are missing or have another shape, for example "
            f"{example!r}. Check that the weights are of this architecture and that the configuration is unchanged."
        )


def _special_ids(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    return {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}


def _vectors(arguments: ModelArguments, tokenizer: PreTrainedTokenizerBase | None) -> Any:
    if not arguments.vectors:
        return None
    if tokenizer is None:
        raise UserError(f"--vectors {arguments.vectors!r} needs a task that reads text: leave it out.")
    from ..data.vectors import load_vectors

    return load_vectors(arguments.vectors, tokenizer)[0]


def _set_embeddings(model: PreTrainedModel, vectors: Any, source: str | None) -> None:
    import torch

    embeddings = model.get_input_embeddings()
    if embeddings is None:
        raise UserError(f"{type(model).__name__} has no embeddings for --vectors {source}: leave it out.")
    weight = embeddings.weight
    if tuple(weight.shape) != vectors.shape:
        raise UserError(
            f"The vectors in {source!r} have {vectors.shape[1]} dimensions, but the model's embeddings have "
            f"{weight.shape[1]}. Set the embedding size to {vectors.shape[1]}, or leave it out."
        )
    with torch.no_grad():
        weight.copy_(torch.from_numpy(vectors))
