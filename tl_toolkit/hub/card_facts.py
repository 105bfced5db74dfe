"""The numbers in a model card: results, baselines, scores per class and model size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..evaluation import formatting as show
from ..evaluation.evidence.class_scores import ClassScore, entry_classes
from ..evaluation.predictions import PredictionReader
from ..evaluation.results import as_result
from ..evaluation.statistics.baseline import Baseline, baselines, beats
from ..evaluation.statistics.cells import Cell, Goal, goal_of, make_cells
from ..evaluation.statistics.forms import NAMES
from ..metrics.scores import named_class
from .card_metadata import METRICS

Record = Mapping[str, Any]

_MOST_VARIABLES = 20
_WEAK = 0.5
"""The F1 below which the card lists a class as weak."""

# Names in the card, and the fields of configurations that they stand for.
_SIZES = {
    "Vocabulary": ("vocab_size",),
    "Output vocabulary": ("decoder_vocab_size",),
    "Embeddings": ("embedding_size",),
    "Hidden size": ("hidden_size", "n_embd", "d_model", "dim"),
    "Layers": ("num_hidden_layers", "n_layer", "n_layers"),
    "Encoder layers": ("num_encoder_layers", "encoder_layers"),
    "Decoder layers": ("num_decoder_layers", "decoder_layers"),
    "Attention heads": ("num_attention_heads", "n_head", "n_heads"),
    "Input steps": ("context_length",),
    "Forecast steps": ("prediction_length",),
    "Variables": ("num_input_features",),
    "Image size": ("image_size",),
}
_TOKENS = ("vocab_size", "embedding_size")
_SERIES = ("context_length", "prediction_length", "num_input_features")


class Evaluation:
    """The run evaluated as a comparison with a single entry: baselines and scores per class.

    Attributes:
        class_unit: the unit of the class counts: "test rows", "words" or "entities".
        classes: scores per class, lowest F1 first; empty for tasks without classes, or without predictions.
        weak: the classes with a low F1.
        absent: names of the classes that are not in the test rows.

    Args:
        folder: the folder with the predictions; without them there are no constant baselines and no classes.
    """

    def __init__(self, record: Record, folder: Path) -> None:
        result = as_result({**record, "entry": record.get("entry") or record.get("name") or "run", "folder": "."})
        self.reader = PredictionReader(folder)
        self.goal: Goal = goal_of([result])
        cells = make_cells([result])
        self.cell: Cell | None = cells[0] if cells else None
        self.baselines: list[Baseline] = baselines(cells, self.reader) if cells else []
        found = entry_classes(cells[0], self.reader) if cells else None
        every = found.classes if found is not None else []
        self.class_unit = found.what if found is not None else ""
        self.classes: list[ClassScore] = sorted(
            every, key=lambda own: (own.support == 0, own.f1.mean if own.f1 else -1.0)
        )
        self.weak = [own for own in self.classes if own.support and (own.f1 is None or own.f1.mean < _WEAK)]
        self.absent = [own.name for own in every if not own.support]

    def beaten(self) -> bool | None:
        """Whether the model beats every baseline on the test rows by more than the noise; None without a baseline."""
        if self.cell is None or not self.baselines or self.goal.metric not in self.cell.test:
            return None
        scored = [own for own in self.baselines if self.goal.metric in own.test]
        return all(beats(self.cell.results[0], own, self.goal, self.reader) for own in scored) if scored else None


def result_rows(record: Record, evaluation: Evaluation) -> tuple[list[str], list[list[str]]]:
    """The results table: headings, and a row for each metric, with the main metric first."""
    metrics = record.get("metrics") or {}
    splits = [split for split in ("test", "validation") if metrics.get(split)]
    # Naive forecasts, which are also in records, have their own columns.
    shown = dict.fromkeys(name for split in splits for name in metrics[split])
    names = [name for name in shown if name in METRICS or name.startswith("mae_") or name == "unknown_share"]
    names += [name for name in shown if named_class(name) is not None]
    parts = [name for name in names if name.startswith("mae_")]
    names = [name for name in names if name not in parts[_MOST_VARIABLES:]]
    names.sort(key=lambda name: (name != evaluation.goal.metric, name == "loss"))
    headings = [*(split.capitalize() for split in splits), *(_baseline_heading(own) for own in evaluation.baselines)]
    rows = []
    for name in names:
        values = [_score(metrics[split].get(name), name) for split in splits]
        values += [show.spread(own.test.get(name), name) for own in evaluation.baselines]
        rows.append([_metric_heading(name), *values])
    return headings, rows


def form_rows(exported: Mapping[str, Any]) -> list[list[str]]:
    """A row for each form of an exported model: name, score, agreement with PyTorch, costs, size and memory."""
    rows = exported["rows"] or {}
    metric = rows.get("main_metric")
    found = []
    for form, name in NAMES.items():
        score, same = (rows.get("metrics") or {}).get(form, {}).get(metric), (rows.get("agreement") or {}).get(form)
        cost, size = (exported.get("cost") or {}).get(form) or {}, (exported["bytes"] or {}).get(form)
        if score is not None or cost or form in ("pytorch", exported["quantize"] or "onnx"):
            throughput = cost.get("rows_per_second")
            found.append([
                name, _score(score, str(metric)), "" if same is None else f"{100 * same:.1f}",
                show.milliseconds(cost["latency_seconds"]) if cost else show.MISSING,
                show.count(throughput) if throughput else show.MISSING, show.memory(size),
                show.memory(cost.get("memory_bytes")),
            ])  # fmt: skip
    return found


def as_facts(record: Record) -> dict[str, Any] | None:
    """What `--measure` has recorded, as the facts of an exported model; None if nothing was measured."""
    forms = ((record.get("cost") or {}).get("inference") or {}).get("forms") or {}
    own = {name: one for name, one in forms.items() if "problem" not in one}
    if not own:
        return None
    metric = (record.get("task") or {}).get("main_metric")
    rows = {
        "count": next(iter(own.values())).get("rows"),
        "main_metric": metric,
        "metrics": {name: {metric: one.get("score")} for name, one in own.items()},
        "agreement": {name: one.get("agreement") for name, one in own.items()},
    }
    sizes = {name: one.get("bytes") for name, one in own.items()}
    return {"rows": rows, "bytes": sizes, "cost": own, "quantize": None}


def _metric_heading(name: str) -> str:
    """The row heading of a metric, with its unit."""
    if name == "unknown_share":
        return "Fraction of unknown tokens"
    if named_class(name) is not None:
        return show.metric_heading(name)
    if name not in METRICS:
        return f"Mean absolute error of {name.removeprefix('mae_')}"
    return METRICS[name][1] + (", %" if show.in_per_cent(name) else "")


def _baseline_heading(baseline: Baseline) -> str:
    names = ", ".join(show.shortened(name, 40) for name in baseline.names)
    return names.capitalize() if not baseline.answers else f"Always predicting {names}"


def _score(value: Any, metric: str) -> str:
    return show.plain_score(float(value), metric) if isinstance(value, (int, float)) else show.MISSING


def sizes(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The model's size fields from its configuration, as (name, value)."""
    found: dict[str, str] = {}
    left_out: Sequence[str] = _TOKENS if config.get("num_input_features") else _SERIES
    for name, fields in _SIZES.items():
        for value in (config.get(field) for field in fields if field not in left_out):
            if isinstance(value, (list, tuple)):
                found.setdefault(name, " × ".join(str(part) for part in value))
            elif isinstance(value, int) and not isinstance(value, bool):
                found.setdefault(name, f"{value:,}")
    return list(found.items())
