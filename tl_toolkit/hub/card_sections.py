"""What the sections of a model card say, from the result record and the predictions beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..evaluation import formatting as show
from ..evaluation.evidence.class_scores import EntryClasses, entry_classes
from ..evaluation.predictions import PredictionReader
from ..evaluation.results import as_result
from ..evaluation.statistics.baseline import Baseline, baselines
from ..evaluation.statistics.cells import Cell, Goal, goal_of, make_cells
from .card_metadata import METRICS, dataset_name
from .cleaning import clean_record

Record = Mapping[str, Any]

_MOST_CLASSES, _MOST_VARIABLES = 30, 20
_UNITS = {
    "forecasting": "windows",
    "translation": "pairs of texts",
    "captioning": "pictures",
    "token-classification": "sentences",
}


class Evaluation:
    """The run as a comparison of one entry, whose ways of judging are used: its baselines and its classes.

    Args:
        record: the result record.
        folder: where its predictions lie; without them there is neither a constant answer nor classes.
    """

    def __init__(self, record: Record, folder: Path) -> None:
        result = as_result({**record, "entry": record.get("entry") or record.get("name") or "run", "folder": "."}, "it")
        self.reader = PredictionReader(folder)
        self.goal: Goal = goal_of([result])
        cells = make_cells([result])
        self.cell: Cell | None = cells[0] if cells else None
        self.baselines: list[Baseline] = baselines(cells, self.reader) if cells else []

    @property
    def classes(self) -> EntryClasses | None:
        """How each class is told; None for tasks without classes, or without predictions."""
        return None if self.cell is None else entry_classes(self.cell, self.reader)

    def beaten(self) -> bool | None:
        """Whether the model is better than every baseline on the test rows, beyond their noise; None without one."""
        if self.cell is None or not self.baselines or self.goal.metric not in self.cell.test:
            return None
        told = [own for own in self.baselines if self.goal.metric in own.test]
        return all(own.beaten_by(self.cell, self.goal, self.reader) for own in told) if told else None


def result_rows(record: Record, evaluation: Evaluation) -> tuple[list[str], list[list[str]]]:
    """The table of results: its headings, and a row for each metric, the one that selects first."""
    metrics = record.get("metrics") or {}
    splits = [split for split in ("test", "validation") if metrics.get(split)]
    names = list(dict.fromkeys(name for split in splits for name in metrics[split] if _is_metric(name)))
    parts = [name for name in names if name.startswith("mae_")]
    names = [name for name in names if name not in parts[_MOST_VARIABLES:]]
    main = evaluation.goal.metric
    names.sort(key=lambda name: (name != main, name == "loss"))
    headings = [*(split.capitalize() for split in splits), *(_baseline_heading(own) for own in evaluation.baselines)]
    rows = []
    for name in names:
        values = [_score(metrics[split].get(name), name) for split in splits]
        values += [show.spread(own.test.get(name), name) for own in evaluation.baselines]
        rows.append([_metric_heading(name), *values])
    return headings, rows


def _is_metric(name: str) -> bool:
    """Whether a number is one of the model; the forecasts without a model have columns of their own."""
    return (name in METRICS or name.startswith("mae_") or name == "unknown_share") and not name.startswith(
        ("naive_", "seasonal_naive_")
    )


def _metric_heading(name: str) -> str:
    """A metric as the heading of a row, with its unit."""
    if name == "unknown_share":
        return "Unknown tokens, part of all"
    if name not in METRICS:
        return f"Mean absolute error of {name.removeprefix('mae_')}"
    return METRICS[name][1] + (", %" if name in show.PERCENT_METRICS else "")


def _baseline_heading(baseline: Baseline) -> str:
    names = ", ".join(show.shortened(name, 40) for name in baseline.names)
    return names.capitalize() if not baseline.answers else f"Always answering {names}"


def _score(value: Any, metric: str) -> str:
    return show.MISSING if not isinstance(value, (int, float)) else show.plain_score(float(value), metric)


def training_facts(record: Record) -> list[tuple[str, str]]:
    """How the model was trained, in numbers."""
    budget, cost, dataset = (record.get(name) or {} for name in ("budget", "cost", "dataset"))
    resolved, arguments = record.get("resolved") or {}, record.get("arguments") or {}
    rows, tokens = dataset.get("rows") or {}, dataset.get("tokens") or {}
    learned, unit = bool(cost.get("steps")), label_unit(record)
    rate = resolved.get("learning_rate") or arguments.get("learning_rate")
    facts = [
        ("Data", dataset_name(record) + (f", configuration {dataset['config']}" if dataset.get("config") else "")),
        ("Revision of the data", str(dataset.get("revision") or "")),
        ("Fingerprint of the data", str(dataset.get("fingerprint") or "")),
        ("Columns", ", ".join(f"{role.replace('_', ' ')}: {name}" for role, name in _columns(dataset))),
        (f"Training {unit}", _count(budget.get("train_labels"))),
        (f"Validation {unit}, which chose the checkpoint", _count(budget.get("validation_labels"))),
        ("Training texts", _texts(rows, tokens, "train")),
        ("Validation texts, which chose the checkpoint", _texts(rows, tokens, "validation")),
        ("Test rows", _texts(rows, tokens, "test") or _count(rows.get("test"))),
        ("Seed", str(record.get("seed", ""))),
        ("Epochs", f"{cost['epochs']:.3g}" if learned and cost.get("epochs") else ""),
        ("Updates", _count(cost.get("steps")) if learned else ""),
        ("Learning rate", f"{rate:g}" if learned and isinstance(rate, (int, float)) else ""),
        ("Search for settings before it", _search(record.get("tuning") or {})),
        ("Training time", _known(show.seconds, cost.get("train_seconds")) + _speed(cost)),
    ]
    return [(name, value) for name, value in facts if value]


def _search(tuning: Record) -> str:
    """The trials that chose settings of the run; empty without any."""
    if not tuning.get("trials"):
        return ""
    failed = f", of which {tuning['failed']} failed" if tuning.get("failed") else ""
    took = f" in {show.seconds(tuning['seconds'])}" if tuning.get("seconds") else ""
    return f"{tuning['trials']} trials{failed}, judged on the validation rows{took}"


def label_unit(record: Record) -> str:
    """What one label of the task is, in the plural."""
    return _UNITS.get(str((record.get("task") or {}).get("name")), "labels")


def _columns(dataset: Record) -> list[tuple[str, str]]:
    return [(role, str(name)) for role, name in (dataset.get("columns") or {}).items() if name]


def _texts(rows: Record, tokens: Record, split: str) -> str:
    """Texts and tokens of a language model's split; empty for other tasks."""
    return (
        f"{show.count(rows[split])} ({show.count(tokens[split])} tokens)" if split in tokens and split in rows else ""
    )


def _speed(cost: Record) -> str:
    rate = cost.get("examples_per_second")
    return f" ({show.count(rate)} rows a second)" if rate and cost.get("train_seconds") else ""


def surroundings(record: Record) -> list[tuple[str, str]]:
    """Hardware and versions."""
    hardware, versions = record.get("hardware") or {}, record.get("versions") or {}
    device = " ".join(str(hardware[key]) for key in ("device", "device_name") if hardware.get(key))
    world = hardware.get("world_size")
    facts = [
        ("Hardware", device + (f", {world} processes" if world and world > 1 else "")),
        ("Threads", str(hardware.get("threads") or "")),
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
        ("Toolkit", f"tl_toolkit {record['toolkit_version']}" if record.get("toolkit_version") else ""),
        ("Finished", str(record.get("finished") or "")),
    ]
    return [(name, value) for name, value in facts if value]


def cost_facts(record: Record, weights_bytes: int | None) -> list[tuple[str, str]]:
    """What the model costs to keep and to use."""
    cost = record.get("cost") or {}
    parameters, inference = cost.get("parameters") or {}, cost.get("inference") or {}
    device = f"{inference.get('device')}, {_threads(inference.get('threads'))}" if inference else ""
    joules = sum((cost.get("energy_joules") or {}).values())
    facts = [
        ("Parameters", _count(parameters.get("total"))),
        ("of them trained", _count(parameters.get("trained"))),
        ("Weights on disk", _bytes(weights_bytes)),
        (f"One row ({device})", _latency(inference)),
        (f"Batches of {inference.get('batch_size')} ({device})", _rate(inference.get("rows_per_second"))),
        ("Peak memory in training", _known(show.memory, cost.get("peak_memory_bytes"))),
        ("Energy of the training", f"{show.count(joules)} J" if joules else ""),
    ]
    return [(name, value) for name, value in facts if value]


def _threads(number: Any) -> str:
    return "1 thread" if number == 1 else f"{number} threads"


def _bytes(value: int | None) -> str:
    """Bytes; small models in kB, which `show.memory` would round away."""
    if value is None:
        return ""
    return show.memory(value) if value >= 1e6 else f"{value / 1e3:.0f}{show.SPACE}kB"


def _latency(inference: Record) -> str:
    if not inference.get("latency_seconds"):
        return ""
    slow = inference.get("latency_seconds_p95")
    return f"{show.milliseconds(inference['latency_seconds'])} (median)" + (
        f", {show.milliseconds(slow)} (95th percentile)" if slow else ""
    )


def _rate(value: float | None) -> str:
    return f"{show.count(value)} rows a second" if value and math.isfinite(value) else ""


def settings(record: Record) -> str:
    """Every argument that had another value than its default, as YAML, without folders of this machine."""
    import yaml

    arguments = clean_record(dict(record.get("arguments") or {}))
    return yaml.safe_dump(arguments, sort_keys=False, allow_unicode=True).strip() if arguments else ""


def class_rows(evaluation: Evaluation) -> tuple[str, list[dict[str, str]], int]:
    """What is counted ("test rows", "words", "entities"), the worst told classes first, and how many more there are."""
    found = evaluation.classes
    if found is None:
        return "", [], 0
    ranked = sorted(found.classes, key=lambda own: (own.support == 0, own.f1.mean if own.f1 else -1.0))
    rows = [
        {
            "name": own.name,
            "support": show.count(own.support),
            "precision": show.spread(own.precision, "precision"),
            "recall": show.spread(own.recall, "recall"),
            "f1": show.spread(own.f1, "f1"),
        }
        for own in ranked[:_MOST_CLASSES]
    ]
    return found.what, rows, max(0, len(ranked) - _MOST_CLASSES)


def _count(value: Any) -> str:
    return show.count(value) if isinstance(value, (int, float)) and value > 0 else ""


def _known(write: Any, value: Any) -> str:
    return write(value) if isinstance(value, (int, float)) else ""


def labels(record: Record) -> Sequence[str] | None:
    """Names of classes, where the task has some."""
    found = (record.get("task") or {}).get("labels")
    return None if not found else [str(name) for name in found]
