"""Side-by-side evidence on the entries' predictions: disagreements, classes, calibration and attention."""

from __future__ import annotations

from typing import Any

from ...evaluation import formatting as show
from ...evaluation.evidence.attention import AttendedRow, attentions
from ...evaluation.evidence.calibration import calibrations
from ...evaluation.evidence.class_scores import ClassScore
from ...evaluation.evidence.disagreement import DisputedRow, disagreement
from .figures import MOST_DIAGRAMS, reliability_diagrams
from .panel import Panel

MOST_CLASSES = 30
"""Maximum number of shown classes; those with the most test rows are shown."""

MOST_LISTED = 3
"""Number of tokens of a row whose weights are listed."""

TASKS_WITH_TEXTS = ("translation", "captioning", "token-classification")
"""Tasks whose labels and predictions contain words of the dataset."""


def describe_classes(panel: Panel) -> dict[str, Any] | None:
    """F1 by class and entry, each entry at its largest budget; None if the task has no classes."""
    found = list(panel.classes.values())
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
        "rows": [(name, support[name], [own.get(name) for own in scores]) for name in names],
    }


def class_table(panel: Panel, entry: str) -> list[ClassScore]:
    """The classes of an entry, for its own section; empty if the task has none."""
    classes = panel.classes[entry].classes if entry in panel.classes else []
    kept = sorted(classes, key=lambda own: -own.support)[:MOST_CLASSES]
    return [own for own in classes if own in kept]


def describe_calibration(panel: Panel) -> dict[str, Any] | None:
    """Reliability diagrams and their numbers; None if no entry has probabilities."""
    found = calibrations(panel.cells, panel.reader)
    if not found:
        return None
    called = {(cell.entry, cell.budget): cell.budget_name for cell in panel.cells}
    shown = sorted(found, key=lambda own: -own.accuracy.mean)[:MOST_DIAGRAMS]
    shown = [own for own in found if own in shown]
    return reliability_diagrams(panel, shown) | {
        "drawn": len(shown),
        "hidden": len(found) - len(shown),
        "rows": [(own, called[own.entry, own.budget]) for own in found],
    }


def describe_disagreement(panel: Panel) -> dict[str, Any] | None:
    """Rows on which entries disagree, agreement of pairs, and rows that one entry alone gets right; None with one."""
    found, texts = disagreement(panel.cells, panel.reader, panel.rivals), panel.texts
    if found is None:
        return None
    task = panel.cells[0].results[0].section("task")
    told = texts or task.get("name") not in TASKS_WITH_TEXTS
    return vars(found) | {
        "budget": next(cell.budget_name for cell in panel.cells if cell.budget == found.budget),
        "rows": [_describe_row(row, texts, told) for row in found.rows],
    }


def _describe_row(row: DisputedRow, texts: bool, told: bool) -> dict[str, Any]:
    """A row with its predictions; entries with the same prediction are grouped, correct predictions come first."""
    groups: dict[tuple[str, bool | None], list[str]] = {}
    for own in row.answers:
        sure = own.measure if own.probability is None else f"{own.probability:.2f}"
        groups.setdefault((own.answer, own.right), []).append(f"{own.entry} ({sure})" if sure else own.entry)
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
    """The attention weights of models, row by row; None if no run recorded any."""
    found = attentions(panel.cells, panel.folder)
    if not found:
        return None
    rows: dict[int, list[tuple[str, AttendedRow, list[tuple[str, float]]]]] = {}
    for own in found:
        for row in own.rows:
            weights = zip(row.tokens, row.weights, strict=True)
            most = sorted(weights, key=lambda token: -token[1])[:MOST_LISTED]
            rows.setdefault(row.row, []).append((own.entry, row, most))
    return {"what": [(own.entry, own.what) for own in found], "rows": rows}
