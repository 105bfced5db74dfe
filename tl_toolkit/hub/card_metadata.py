"""The metadata of a model card, which the Hub uses to list, filter and link models, and the Hub's task names."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ..evaluation.formatting import capital, metric_name
from ..metrics.scores import named_class
from .provenance import Provenance, hub_dataset

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCardData

TAG = "tl-toolkit"

# The identifier from https://hf.co/metrics, if there is one, and the display name.
METRICS = {
    "accuracy": ("accuracy", "Accuracy"),
    "macro_f1": ("f1", "Macro-F1"),
    "micro_f1": ("f1", "Micro-F1"),
    "f1": ("f1", "Entity F1"),
    "precision": ("precision", "Entity precision"),
    "recall": ("recall", "Entity recall"),
    "pearson": ("pearsonr", "Pearson correlation"),
    "spearman": ("spearmanr", "Spearman correlation"),
    "mse": ("mse", "Mean squared error"),
    "mae": ("mae", "Mean absolute error"),
    "rmse": ("rmse", "Root mean squared error"),
    "smape": ("smape", "sMAPE"),
    "mase": ("mase", "MASE"),
    "bleu": ("sacrebleu", "BLEU"),
    "bleu_lowercase": ("sacrebleu", "BLEU, lower case"),
    "chrf": ("chrf", "chrF"),
    "exact_match": ("exact_match", "Exact matches"),
    "perplexity": ("perplexity", "Perplexity"),
    "bits_per_byte": ("bits_per_byte", "Bits per byte"),
    "loss": ("loss", "Loss"),
}
_AVERAGES = {"macro_f1": "macro", "micro_f1": "micro"}


class CardTask(NamedTuple):
    """A task of the toolkit, as cards describe it.

    Attributes:
        kind: the toolkit's name of the task.
        pipeline_tag: the Hub's name, from https://huggingface.co/tasks; None if none fits.
        name: the display name.
        does: what a model does, as the end of the sentence "A model that …".
        auto_class: the Auto class of transformers.
    """

    kind: str
    pipeline_tag: str | None
    name: str
    does: str
    auto_class: str


_OF_TEXTS = "AutoModelForSequenceClassification"
CARD_TASKS = {
    task.kind: task
    for task in (
        CardTask("text-classification", "text-classification", "Text classification", "classifies texts", _OF_TEXTS),
        CardTask("regression", "text-classification", "Text regression", "predicts a number for a text", _OF_TEXTS),
        CardTask("token-classification", "token-classification", "Token classification",
                 "tags every word of a sentence", "AutoModelForTokenClassification"),
        CardTask("translation", "translation", "Translation", "maps one text to another", "AutoModelForSeq2SeqLM"),
        CardTask("captioning", "image-to-text", "Image captioning", "captions images", "AutoModelForImageTextToText"),
        CardTask("forecasting", "time-series-forecasting", "Time series forecasting", "forecasts a series",
                 "AutoModelForTimeSeriesPrediction"),
        CardTask("causal-language-modeling", "text-generation", "Text generation", "continues texts",
                 "AutoModelForCausalLM"),
        CardTask("masked-language-modeling", "fill-mask", "Fill-mask", "fills masked tokens", "AutoModelForMaskedLM"),
    )
}  # fmt: skip

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
    """The task of a run, or without a record that of the head in `config.json`; None if neither names a known task."""
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


def card_data(
    record: Mapping[str, Any],
    config: Mapping[str, Any],
    task: CardTask | None,
    origin: Provenance,
    *,
    name: str,
    adapter: bool,
) -> ModelCardData:
    """The metadata of a run's model, with its results under `name` in `model-index`; unknown facts are left out."""
    from huggingface_hub import ModelCardData

    results, codes = _eval_results(record, task), list(origin.languages)
    kinds = list(dict.fromkeys(result.metric_type for result in results))
    strategy = (record.get("strategy") or {}).get("name")
    model_type = (record.get("model") or {}).get("model_type") or config.get("model_type")
    tags = [TAG, model_type, strategy if strategy in ("lora", "scratch") else None]
    tags += [task.kind if task and task.kind in ("regression", "captioning") else None]
    data = ModelCardData(
        language=(codes[0] if len(codes) == 1 else codes) or None,
        license=origin.license,
        library_name="peft" if adapter else "transformers",
        pipeline_tag=task.pipeline_tag if task else None,
        base_model=origin.base_model,
        datasets=list(origin.datasets) or None,
        metrics=[kind for kind in kinds if kind != "loss"] or kinds or None,
        tags=[tag for tag in tags if tag],
        model_name=name if results else None,
        eval_results=results or None,
    )
    if origin.base_model is not None:
        data["base_model_relation"] = "adapter" if adapter else "finetune"
    return data


def _eval_results(record: Mapping[str, Any], task: CardTask | None) -> list[EvalResult]:
    """The metrics of each evaluated split with their data, the test split first."""
    from huggingface_hub import EvalResult

    if task is None or task.pipeline_tag is None:
        return []
    dataset, arguments = record.get("dataset") or {}, record.get("arguments") or {}
    main = (record.get("task") or {}).get("main_metric")
    found = []
    for role in ("test", "validation"):
        origin = dataset.get(f"{role}_from") or role
        named = (dataset.get("splits") or {}).get(origin) or [arguments.get(f"{origin}_split_name") or origin]
        split = ",".join(named)
        measured = (record.get("metrics") or {}).get(role) or {}
        for metric, value in sorted(measured.items(), key=lambda pair: (pair[0] != main, pair[0] == "loss")):
            of_class = named_class(metric)
            known = metric in METRICS or of_class is not None
            if not known or not isinstance(value, (int, float)) or not math.isfinite(value):
                continue
            kind, called = METRICS[metric] if of_class is None else (of_class[0], capital(metric_name(metric)))
            found.append(
                EvalResult(
                    task_type=task.pipeline_tag,
                    task_name=task.name,
                    dataset_type=hub_dataset(record) or dataset_name(record),
                    dataset_name=dataset_name(record) + (f" (rows held out of {split})" if origin != role else ""),
                    dataset_config=dataset.get("config"),
                    dataset_split=split,
                    dataset_revision=dataset.get("revision"),
                    metric_type=kind,
                    metric_name=f"{called} ({role})",
                    metric_value=value,
                    metric_args={"average": _AVERAGES[metric]} if metric in _AVERAGES else None,
                )
            )
    return found


def dataset_name(record: Mapping[str, Any]) -> str:
    """The name of a run's dataset; for a local path only the last part, because the rest is private."""
    name = str((record.get("dataset") or {}).get("name") or "unknown")
    if hub_dataset(record) or name.startswith("builtin:"):
        return name
    return name.rstrip("/\\").replace("\\", "/").rpartition("/")[2] or "unknown"
