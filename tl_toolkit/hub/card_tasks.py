"""What the Hub calls the tasks of the toolkit, and the Auto class and head that each of them has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class CardTask(NamedTuple):
    """A task as a card has it.

    Attributes:
        kind: the toolkit's name of it.
        pipeline_tag: the Hub's, as in https://huggingface.co/tasks; None where it has none that fits.
        name: in words.
        does: what a model of it does, as the end of a sentence about it.
        auto_class: the Auto class of transformers.
    """

    kind: str
    pipeline_tag: str | None
    name: str
    does: str
    auto_class: str


_TASKS = (
    CardTask(
        "text-classification", "text-classification", "Text classification", "classifies texts",
        "AutoModelForSequenceClassification",
    ),
    CardTask(
        "regression", "text-classification", "Text regression", "answers a text with a number",
        "AutoModelForSequenceClassification",
    ),
    CardTask(
        "token-classification", "token-classification", "Token classification", "gives every word of a sentence a tag",
        "AutoModelForTokenClassification",
    ),
    CardTask(
        "translation", "translation", "Translation", "rewrites one text as another", "AutoModelForSeq2SeqLM"
    ),
    CardTask("captioning", "image-to-text", "Image captioning", "captions pictures", "AutoModelForImageTextToText"),
    CardTask(
        "forecasting", "time-series-forecasting", "Time series forecasting", "forecasts a series",
        "AutoModelForTimeSeriesPrediction",
    ),
    CardTask(
        "causal-language-modeling", "text-generation", "Text generation", "continues texts", "AutoModelForCausalLM"
    ),
    CardTask("masked-language-modeling", "fill-mask", "Fill-mask", "fills gaps in texts", "AutoModelForMaskedLM"),
)  # fmt: skip
CARD_TASKS = {task.kind: task for task in _TASKS}

_HEADS = {
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForTimeSeriesPrediction": "forecasting",
    "ForConditionalGeneration": "translation",
    "MTModel": "translation",
    "ForCausalLM": "causal-language-modeling",
    "LMHeadModel": "causal-language-modeling",
    "ForMaskedLM": "masked-language-modeling",
}


def card_task(record: Mapping[str, Any], config: Mapping[str, Any]) -> CardTask | None:
    """The task of a run; without a record that of the head in `config.json`; None for a head that is for no task."""
    named = (record.get("task") or {}).get("name")
    if named in CARD_TASKS:
        return CARD_TASKS[named]
    architecture = next(iter(config.get("architectures") or ()), "")
    if "Captioner" in architecture or "VisionEncoderDecoder" in architecture:
        return CARD_TASKS["captioning"]
    kind = next((kind for ending, kind in _HEADS.items() if architecture.endswith(ending)), None)
    if kind == "text-classification" and config.get("problem_type") == "regression":
        kind = "regression"
    return None if kind is None else CARD_TASKS[kind]
