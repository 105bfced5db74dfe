"""A model in words: what family it is of, how large it is, and how knowledge came into it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_CELLS = {"lstm": "LSTM", "gru": "GRU", "rnn_tanh": "Elman network", "rnn_relu": "Elman network with ReLU"}
_ATTENTION = {"bahdanau": "additive attention (Bahdanau)", "luong": "multiplicative attention (Luong)"}

# Fields of configurations that say how large a model is, as a reader would call them.
_SIZES = {
    "vocab_size": "Vocabulary",
    "decoder_vocab_size": "Vocabulary of what is written",
    "embedding_size": "Embeddings",
    "hidden_size": "Hidden size",
    "n_embd": "Hidden size",
    "d_model": "Hidden size",
    "dim": "Hidden size",
    "num_hidden_layers": "Layers",
    "n_layer": "Layers",
    "n_layers": "Layers",
    "num_encoder_layers": "Encoder layers",
    "encoder_layers": "Encoder layers",
    "num_decoder_layers": "Decoder layers",
    "decoder_layers": "Decoder layers",
    "num_attention_heads": "Attention heads",
    "n_head": "Attention heads",
    "n_heads": "Attention heads",
    "context_length": "Steps it sees",
    "prediction_length": "Steps it forecasts",
    "num_input_features": "Variables",
    "image_size": "Picture size",
}
_TOKENS = ("vocab_size", "embedding_size")
_SERIES = ("context_length", "prediction_length", "num_input_features")


def family(config: Mapping[str, Any]) -> str:
    """What kind of network it is, as in "a bidirectional LSTM"."""
    kind, cell = str(config.get("model_type")), _CELLS.get(str(config.get("cell_type")), "recurrent network")
    if kind == "rnn":
        direction = "bidirectional " if config.get("bidirectional") else ""
        backward = " that reads from the end" if config.get("direction") == "backward" else ""
        crf = " with a conditional random field" if config.get("crf") else ""
        return f"{_article(direction or cell)} {direction}{cell}{crf}{backward}"
    if kind == "awd_lstm":
        which = {"backward": " that reads from the end", "both": " of two directions"}
        return f"an AWD-LSTM{which.get(str(config.get('direction')), '')}"
    if kind == "self_attention":
        return "a network of self-attention"
    attention = _ATTENTION.get(str(config.get("attention")), "no attention")
    if kind == "rnn_encoder_decoder":
        return f"a recurrent encoder and decoder ({cell}) with {attention}"
    if kind == "rnn_image_captioner":
        return f"an image encoder and a recurrent decoder ({cell}) with {attention}"
    return f"a transformer ({kind})" if kind != "None" else "a model"


def sizes(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What its configuration says of its size, as (name, value)."""
    found: dict[str, str] = {}
    is_series = bool(config.get("num_input_features"))
    for field, name in _SIZES.items():
        value = config.get(field)
        if value is None or isinstance(value, bool) or name in found:
            continue
        if field in (_TOKENS if is_series else _SERIES):
            continue
        if isinstance(value, (list, tuple)):
            found[name] = " × ".join(str(part) for part in value)
        elif isinstance(value, int):
            found[name] = f"{value:,}"
    return list(found.items())


def strategy(record: Mapping[str, Any], start: str | None) -> str:
    """How it was trained, as in "trained from scratch".

    Args:
        start: what it started from, in words; None where nothing is known of it.
    """
    told = record.get("strategy") or {}
    name, behind = told.get("name"), f"from {start}" if start else "from a pre-trained model"
    ways = {
        "scratch": "trained from scratch",
        "full": f"fine-tuned {behind}, all weights at one learning rate",
        "discriminative": f"fine-tuned {behind}, with a lower learning rate for each lower layer",
        "gradual_unfreezing": f"fine-tuned {behind}, unfreezing one group of layers after another",
        "frozen": f"trained as a head on frozen weights {behind}",
        "lora": f"fine-tuned {behind} with low-rank adapters (LoRA, rank {told.get('r')}, alpha {told.get('alpha')})",
        "ensemble": "made of a classifier for each direction, whose answers are averaged, trained",
    }
    return ways.get(str(name), "trained")


def _article(word: str) -> str:
    return "an" if word[:1] in "AEIOL" else "a"
