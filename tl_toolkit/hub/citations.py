"""The papers behind a model: its architecture, its training method and its initial checkpoint."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

_CELLS = {"lstm": "hochreiter1997", "gru": "cho2014", "rnn_tanh": "elman1990", "rnn_relu": "elman1990"}
_ATTENTION = {"bahdanau": "bahdanau2015", "luong": "luong2015"}
_CHARACTERS = {"rnn": "lample2016", "cnn": "ma2016"}
_FAMILIES = {
    "awd_lstm": ["hochreiter1997", "merity2018"],
    "bag_of_ngrams": ["sparckjones1972"],
    "self_attention": ["vaswani2017"],
    "bert": ["devlin2019"],
    "roberta": ["liu2019"],
    "distilbert": ["sanh2019"],
    "gpt2": ["radford2019"],
    "t5": ["raffel2020"],
    "bart": ["lewis2020"],
    "marian": ["junczysdowmunt2018"],
}
"""The papers of architectures without paper-dependent settings, by model type."""
_AROUND = {"pooled_encoder": "encoder_config", "prompted": "language_model_config"}
_STRATEGIES = {"lora": "hu2022", "contrastive": "tunstall2022", "distilled": "hinton2015", "prompt": "zhao2021"}
_ULMFIT = ("discriminative", "gradual_unfreezing")


@cache
def papers() -> dict[str, str]:
    """BibTeX entries of `templates/papers.bib` by key."""
    text = (Path(__file__).parent / "templates" / "papers.bib").read_text(encoding="utf-8")
    entries = [entry.strip() for entry in text.split("\n\n") if entry.strip()]
    return {key[1]: entry for entry in entries if (key := re.match(r"@\w+\{(\w+),", entry))}


def citations(record: Mapping[str, Any], config: Mapping[str, Any], base_model: str | None) -> list[str]:
    """The keys of the papers behind a model, architecture first; unknown architectures have none."""
    strategy, family = (record.get("strategy") or {}).get("name"), config.get("model_type")
    keys, base = _of_architecture(config), (base_model or "").lower()
    if "minilm" in base:
        keys.append("wang2020")
    if base.startswith("sentence-transformers/"):
        keys.append("reimers2019")
    if strategy in _ULMFIT or (strategy == "ensemble" and family == "awd_lstm"):
        keys.append("howard2018")
    if strategy in _STRATEGIES:
        keys.append(_STRATEGIES[strategy])
    return list(dict.fromkeys(keys))


def _of_architecture(config: Mapping[str, Any]) -> list[str]:
    family, cell = str(config.get("model_type")), _CELLS.get(str(config.get("cell_type")), "hochreiter1997")
    attention = [_ATTENTION[name] for name in [str(config.get("attention"))] if name in _ATTENTION]
    if family in _AROUND:
        return _of_architecture(config.get(_AROUND[family]) or {})
    if family == "rnn":
        crf = ["lafferty2001"] if config.get("crf") else []
        characters = [_CHARACTERS[name] for name in [str(config.get("character_encoder"))] if name in _CHARACTERS]
        return [cell, *crf, *characters]
    if family == "rnn_encoder_decoder":
        return [cell, "sutskever2014", *attention]
    if family == "rnn_image_captioner":
        return [cell, *(["xu2015", *attention] if attention else ["vinyals2015"])]
    return list(_FAMILIES.get(family, ()))
