"""The metadata of a model card: what the Hub reads to list, filter and link a model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .card_tasks import CardTask
from .provenance import Provenance, hub_dataset

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCardData

TAG = "tl-toolkit"

# The identifiers of https://hf.co/metrics where there is one, and what the figure is called.
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


def card_data(
    record: Mapping[str, Any],
    config: Mapping[str, Any],
    task: CardTask | None,
    origin: Provenance,
    *,
    name: str,
    adapter: bool,
) -> ModelCardData:
    """The metadata of a run's model. What is not known is left out, so that nothing is invented.

    Args:
        name: what the results stand under in `model-index`.
        adapter: what is published is the adapter of a LoRA run alone.
    """
    from huggingface_hub import ModelCardData

    results = eval_results(record, task)
    strategy = (record.get("strategy") or {}).get("name")
    model_type = (record.get("model") or {}).get("model_type") or config.get("model_type")
    tags = [TAG, model_type, strategy if strategy in ("lora", "scratch") else None]
    tags += [task.kind if task and task.kind in ("regression", "captioning") else None]
    data = ModelCardData(
        language=_one_or_all(origin.languages),
        license=origin.license,
        library_name="peft" if adapter else "transformers",
        pipeline_tag=task.pipeline_tag if task else None,
        base_model=origin.base_model,
        datasets=list(origin.datasets) or None,
        metrics=_metrics(results),
        tags=[tag for tag in tags if tag],
        model_name=name if results else None,
        eval_results=results or None,
    )
    if origin.base_model is not None:
        data["base_model_relation"] = "adapter" if adapter else "finetune"
    return data


def eval_results(record: Mapping[str, Any], task: CardTask | None) -> list[EvalResult]:
    """The metrics of each evaluated split, the test split first, each with the data that it was measured on."""
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
            if metric not in METRICS or not isinstance(value, (int, float)) or not math.isfinite(value):
                continue
            kind, called = METRICS[metric]
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
    """What the data of a run is called; of a local path the last part alone, since the rest is this machine's."""
    name = str((record.get("dataset") or {}).get("name") or "unknown")
    if hub_dataset(record) or name.startswith("builtin:"):
        return name
    return name.rstrip("/\\").replace("\\", "/").rpartition("/")[2] or "unknown"


def _metrics(results: list[EvalResult]) -> list[str] | None:
    """The kinds of metrics; the loss only where there is nothing else."""
    kinds = list(dict.fromkeys(result.metric_type for result in results))
    return [kind for kind in kinds if kind != "loss"] or kinds or None


def _one_or_all(codes: Any) -> str | list[str] | None:
    return None if not codes else codes[0] if len(codes) == 1 else list(codes)
