"""The kind of an entry: where its knowledge comes from before it sees the labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

Kind = Literal["constant", "linear", "word_vectors", "scratch", "ulmfit", "transformer", "distilled", "prompt"]
KINDS: tuple[Kind, ...] = get_args(Kind)

OWN_FAMILIES = ("awd_lstm", "rnn", "rnn_encoder_decoder", "rnn_image_captioner", "self_attention")
"""Families without pre-trained checkpoints of others: their knowledge comes from own pre-training."""


def kind_of(record: Mapping[str, Any]) -> Kind:
    """The kind of the run in a result record.

    `constant`: predicts the same for every row; `linear`: no network; `word_vectors`: static vectors under a network;
    `scratch`: a network with random weights; `ulmfit`: own pre-training on text; `transformer`: a checkpoint that was
    pre-trained elsewhere; `distilled` and `prompt`: the strategies of these names. Records of the first version have no
    `kind`, so it is derived.
    """
    if (kind := record.get("kind")) in KINDS:
        return kind
    model, arguments = (record.get(section) or {} for section in ("model", "arguments"))
    strategy = (record.get("strategy") or {}).get("name", "scratch")
    if strategy in ("distilled", "prompt"):
        return strategy
    if model.get("model_type") == "bag_of_ngrams":
        overrides = arguments.get("config_overrides") or ""
        return "constant" if "max_ngrams=0" in str(overrides).replace(" ", "") else "linear"
    if arguments.get("vectors"):
        return "word_vectors"
    if strategy == "scratch":
        return "scratch"
    return "ulmfit" if record.get("stages") or model.get("model_type") in OWN_FAMILIES else "transformer"
