"""What is told of the entries' answers side by side: disagreements, classes, calibration and attention."""

from __future__ import annotations

from typing import Any

from ...evaluation import formatting as show
from ...evaluation.evidence.attention import AttendedRow, attentions
from ...evaluation.evidence.calibration import Calibration, calibrations
from ...evaluation.evidence.class_scores import ClassScore, classes_by_entry, entry_classes
from ...evaluation.evidence.disagreement import DisputedRow, disagreement
from ...evaluation.predictions import PredictionReader
from ...evaluation.statistics.cells import Cell
from .figures import MOST_DIAGRAMS, reliability_diagrams
from .panel import Panel

MOST_CLASSES = 30
"""Of more classes, those with the most test rows are shown."""

MOST_SAID = 3
"""Tokens of a row that are told in words."""

ANSWERS_ARE_TEXTS = ("translation", "captioning", "token-classification")
"""Tasks whose labels and answers hold words of the dataset."""


def describe_classes(panel: Panel) -> dict[str, Any] | None:
    """F1 by class and entry, each entry at its largest budget; None where the task has no classes."""
    found = classes_by_entry(panel.cells, panel.reader)
    if not found:
        return None
    support = {own.name: own.support for entry in reversed(found) for own in entry.classes}
    order = {own.name: None for entry in found for own in entry.classes}
    kept = sorted(order, key=lambda name: -support[name])[:MOST_CLASSES]
    names = [name for name in order if name in kept]
    scores = [{own.name: own for own in entry.classes} for entry in found]
    called = {(cell.entry, cell.budget): cell.budget_name for cell in panel.cells}
    return {
        "entries": [entry.entry for entry in found],
        "what": found[0].what,
        "budgets": show.joined(list(dict.fromkeys(called[own.entry, own.budget] for own in found))),
        "hidden": len(order) - len(names),
        "rows": [
            {"name": name, "support": show.count(support[name]), "scores": [_f1(own.get(name)) for own in scores]}
            for name in names
        ],
    }


def _f1(score: ClassScore | None) -> dict[str, Any]:
    if score is None:
        return {"text": show.MISSING, "heat": 0, "said": "unknown"}
    parts = (("precision", score.precision), ("recall", score.recall))
    said = ", ".join(f"{name} {show.per_cent(value)}" for name, value in parts)
    return {"text": show.per_cent(score.f1), "heat": round(score.f1.mean, 2) if score.f1 else 0, "said": said}


def class_table(cell: Cell, reader: PredictionReader) -> list[dict[str, str]]:
    """Precision, recall and F1 of each class of one cell, for the entry's own section; empty without classes."""
    found = entry_classes(cell, reader)
    kept = sorted(found.classes, key=lambda own: -own.support)[:MOST_CLASSES] if found else []
    return [
        {
            "name": own.name,
            "support": show.count(own.support),
            **{part: show.per_cent(getattr(own, part)) for part in ("precision", "recall", "f1")},
        }
        for own in (found.classes if found else [])
        if own in kept
    ]


def describe_calibration(panel: Panel) -> dict[str, Any] | None:
    """Reliability diagrams and their numbers; None where no entry has probabilities."""
    found = calibrations(panel.cells, panel.reader)
    if not found:
        return None
    called = {(cell.entry, cell.budget): cell.budget_name for cell in panel.cells}
    shown = sorted(found, key=lambda own: -own.accuracy.mean)[:MOST_DIAGRAMS]
    shown = [own for own in found if own in shown]
    return reliability_diagrams(panel, shown) | {
        "drawn": len(shown),
        "hidden": len(found) - len(shown),
        "rows": [_calibration_row(own, called[own.entry, own.budget]) for own in found],
    }


def _calibration_row(own: Calibration, budget: str) -> dict[str, str]:
    gap = own.confidence.mean - own.accuracy.mean
    return {
        "entry": own.entry,
        "budget": budget,
        "confidence": f"{100 * own.confidence.mean:.1f}",
        "accuracy": f"{100 * own.accuracy.mean:.1f}",
        "gap": show.signed_gap(gap, "accuracy"),
        "error": show.spread(own.error, "accuracy"),
        "brier": show.spread(own.brier, "brier"),
        "log_loss": show.spread(own.log_loss, "log_loss"),
    }


def describe_disagreement(panel: Panel) -> dict[str, Any] | None:
    """Rows on which entries disagree, how often two of them agree, and who alone is right; None with one entry."""
    found, texts = disagreement(panel.cells, panel.reader, panel.picked), panel.texts
    if found is None:
        return None
    task = panel.cells[0].results[0].section("task")
    told = texts or task.get("name") not in ANSWERS_ARE_TEXTS
    return vars(found) | {
        "budget": next(cell.budget_name for cell in panel.cells if cell.budget == found.budget),
        "agreement": [[_agreement(value) for value in row] for row in found.agreement],
        "alone": [show.count(number) for number in found.alone],
        "left_out": show.joined(found.left_out) if found.left_out else "",
        "rows": [_disputed(row, texts, told) for row in found.rows],
    }


def _agreement(value: float | None) -> tuple[str, float]:
    return (show.MISSING, 0.0) if value is None else (f"{100 * value:.0f}", round(max(0.0, value), 2))


def _disputed(row: DisputedRow, texts: bool, told: bool) -> dict[str, Any]:
    """The row with its answers, entries that say the same together, the right ones first."""
    groups: dict[tuple[str, bool | None], list[str]] = {}
    for own in row.answers:
        sure = (
            f" ({own.probability:.2f})" if own.probability is not None else f" ({own.measure})" if own.measure else ""
        )
        groups.setdefault((own.answer, own.right), []).append(f"{own.entry}{sure}")
    ordered = sorted(groups.items(), key=lambda group: (not group[0][1], -len(group[1])))
    return {
        "row": row.row,
        "text": show.shortened(row.text, show.MOST_TEXT) if texts else "",
        "text_pair": show.shortened(row.text_pair, show.MOST_TEXT) if texts and row.text_pair else "",
        "label": row.label if told else "",
        "answers": [
            {"answer": answer if told else "", "right": right, "entries": ", ".join(entries)}
            for (answer, right), entries in ordered
        ],
    }


def describe_attention(panel: Panel) -> dict[str, Any] | None:
    """What models with attention look at, row by row; None where no run left any."""
    found = attentions(panel.cells, panel.folder)
    if not found:
        return None
    rows = dict.fromkeys(row.row for own in found for row in own.rows)
    return {
        "what": [(own.entry, own.what) for own in found],
        "rows": [
            {
                "row": number,
                "entries": [(own.entry, _attended(row)) for own in found for row in own.rows if row.row == number],
            }
            for number in rows
        ],
    }


def _attended(row: AttendedRow) -> dict[str, Any]:
    most = sorted(range(len(row.tokens)), key=lambda place: -row.weights[place])[:MOST_SAID]
    return {
        "tokens": [
            (token, f"{weight:.3f}", strength)
            for token, weight, strength in zip(row.tokens, row.weights, row.strength, strict=True)
        ],
        "most": [(row.tokens[place], f"{row.weights[place]:.2f}") for place in most],
        "cut": row.cut,
    }
