"""The sortable table of results: scores and costs of every entry at every budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ...evaluation import formatting as show
from ...evaluation.statistics.baseline import Baseline
from ...evaluation.statistics.cells import Cell, budget_names
from .entries import kind
from .panel import Panel


@dataclass(frozen=True)
class Cost:
    """A column of costs: the name in `Cell.costs`, its heading, its group of columns, and its number format."""

    name: str
    heading: str
    group: str
    written: Callable[[float | None], str]
    more_is_better: bool = False


COSTS = (
    Cost("parameters", "Parameters", "Size", show.parameters),
    Cost("trained_parameters", "trained", "Size", show.parameters),
    Cost("disk_bytes", "On disk", "Size", show.memory),
    Cost("pretrain_seconds", "Pre-training, s", "Training", show.plain_seconds),
    Cost("tuning_trials", "Tuning, trials", "Training", show.count),
    Cost("tuning_seconds", "Tuning, s", "Training", show.plain_seconds),
    Cost("train_seconds", "Training, s", "Training", show.plain_seconds),
    Cost("examples_per_second", "Rows/s", "Training", show.count, more_is_better=True),
    Cost("tokens_per_second", "Tokens/s", "Training", show.count, more_is_better=True),
    Cost("peak_memory_bytes", "Peak memory", "Training", show.memory),
    Cost("energy_joules", "Energy, J", "Training", show.count),
    Cost("latency_seconds", "One row, ms", "Inference", show.plain_milliseconds),
    Cost("rows_per_second", "Rows/s, batch 32", "Inference", show.count, more_is_better=True),
)


def results_table(panel: Panel) -> dict[str, Any]:
    """The table of the main metric and all costs: `groups` (name, columns), `columns`, `rows` and `budgets`.

    Rows are sorted by budget, the largest first, and within a budget by score.
    """
    goal, costs = panel.goal, known_costs(panel.cells)
    groups = {"Test score": [_column(show.metric_heading(goal.metric), goal.greater_is_better)]}
    if panel.intervals:
        groups["Test score"].append(_column("95\u00a0% interval", goal.greater_is_better))
    groups["Test score"].append(_column("Seeds", True))
    for cost in costs:
        groups.setdefault(cost.group, []).append(_column(cost.heading, cost.more_is_better))
    columns = [column | {"starts_group": not place} for own in groups.values() for place, column in enumerate(own)]
    rows = [
        _row(own, panel, _results(own, panel, costs)) | {"recommended": (name_of(own), own.budget) in panel.recommended}
        for own in panel.scored
    ]
    return _table(panel, columns, rows) | {"groups": [(name, len(own)) for name, own in groups.items()]}


def known_costs(cells: Sequence[Cell]) -> list[Cost]:
    """The costs that are known for at least one cell."""
    return [cost for cost in COSTS if any(cell.costs.get(cost.name) is not None for cell in cells)]


def metrics_of(panel: Panel) -> list[str]:
    """The test metrics of all cells, the main one first; without the loss, which has no common scale."""
    known = dict.fromkeys(metric for cell in panel.cells for metric in cell.test if metric != "loss")
    return sorted(known, key=lambda metric: metric != panel.goal.metric)


def more_metrics(panel: Panel) -> dict[str, Any] | None:
    """The table of all other test metrics; None if there are none."""
    metrics = metrics_of(panel)[1:]
    if not metrics:
        return None
    rows = [_row(own, panel, [_score(own, metric) for metric in metrics]) for own in panel.scored]
    return _table(panel, [_column(show.metric_heading(metric), True) for metric in metrics], rows)


def budget_key(budget: float) -> str:
    """A budget as text for HTML attributes and folder names."""
    return "all" if math.isinf(budget) else f"{budget:.0f}"


def name_of(own: Cell | Baseline) -> str:
    """The name of an entry or of a baseline in tables."""
    return own.entry if isinstance(own, Cell) else f"Always {own.what}"


def kind_of(own: Cell | Baseline) -> str:
    """The kind of an entry or a baseline, in a few words."""
    if isinstance(own, Cell) and own.kind in ("constant", "linear", "word_vectors"):
        return own.kind.replace("_", " ")
    return kind(own.strategy) if isinstance(own, Cell) else f"baseline: {show.joined(own.names, 'or')}"


def _table(panel: Panel, columns: list[dict[str, Any]], rows: list[dict[str, Any]]) -> dict[str, Any]:
    rows.sort(key=lambda row: (-row["budget_order"], row["rank"]))
    budgets = [(budget_key(budget), name) for budget, name in budget_names(panel.cells).items()]
    return {"groups": [], "columns": columns, "rows": rows, "budgets": budgets, "unit": show.unit_of(panel.results)}


def _column(heading: str, more_is_better: bool) -> dict[str, Any]:
    return {"heading": heading, "first": "descending" if more_is_better else "ascending", "starts_group": False}


def _cell(text: str, value: float | None) -> tuple[str, str]:
    """(text, sort key); the key is empty if the value is unknown."""
    return text, "" if value is None or not math.isfinite(value) else f"{value:.6g}"


def _row(own: Cell | Baseline, panel: Panel, cells: list[tuple[str, str]]) -> dict[str, Any]:
    reached = own.test.get(panel.goal.metric)
    return {
        "entry": name_of(own),
        "kind": kind_of(own),
        "is_baseline": isinstance(own, Baseline),
        "budget": budget_key(own.budget),
        "labels": own.budget_name if isinstance(own, Cell) else show.budget(own.budget, None),
        "labels_order": "1e18" if math.isinf(own.budget) else f"{own.budget:.0f}",
        "budget_order": own.budget,
        "rank": -reached.mean * panel.goal.sign if reached and math.isfinite(reached.mean) else math.inf,
        "cells": cells,
        "recommended": False,
    }


def _results(own: Cell | Baseline, panel: Panel, costs: Sequence[Cost]) -> list[tuple[str, str]]:
    """The cells of a row; a baseline has neither intervals nor costs."""
    metric, cell = panel.goal.metric, own if isinstance(own, Cell) else None
    cells = [_score(own, metric)]
    if panel.intervals:
        bounds = panel.intervals.get((cell.entry, cell.budget)) if cell else None
        cells.append(_cell(show.interval(bounds, metric), bounds.low if bounds else None))
    cells.append(_cell(str(cell.seeds), cell.seeds) if cell else _cell(show.MISSING, None))
    spent = [(cost, cell.costs.get(cost.name) if cell else None) for cost in costs]
    return [*cells, *(_cell(cost.written(value), value) for cost, value in spent)]


def _score(own: Cell | Baseline, metric: str) -> tuple[str, str]:
    reached = own.test.get(metric)
    return _cell(show.spread(reached, metric), reached.mean if reached else None)
