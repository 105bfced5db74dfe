"""The tables of results: entries at their budgets with scores and costs, and the contests between the two kinds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import formatting as show
from .baseline import Baseline
from .cells import Cell
from .contest import Contest, Goal
from .report_entries import kind
from .report_facts import span


def metrics_of(cells: Sequence[Cell], goal: Goal) -> list[str]:
    """The test metrics of all cells, the one that decides first; the loss is on no common scale and left out."""
    known = dict.fromkeys(metric for cell in cells for metric in cell.test if metric != "loss")
    return [metric for metric in known if metric == goal.metric] + [m for m in known if m != goal.metric]


def budget_tables(
    cells: Sequence[Cell], rounds: Sequence[Contest], goal: Goal, constant: Sequence[Baseline]
) -> list[dict[str, Any]]:
    """For each budget a heading and its rows, the baseline among them, best test mean first."""
    metrics = metrics_of(cells, goal)
    picked = {(cell.entry, cell.budget) for contest in rounds for cell in (contest.first, contest.second)}
    tables = []
    for budget in sorted({cell.budget for cell in cells}):
        here = [cell for cell in cells if cell.budget == budget]
        rows: list[tuple[Cell | Baseline, dict[str, Any]]] = [
            (cell, _row(cell, metrics, (cell.entry, cell.budget) in picked)) for cell in here
        ]
        rows += [(least, _baseline_row(least, metrics)) for least in constant if least.budget == budget]
        rows.sort(key=lambda row: -row[0].test[goal.metric].mean * goal.sign if goal.metric in row[0].test else 0.0)
        tables.append(
            {
                "heading": show.capital(f"{show.budget(budget, here[0].train_labels)} training labels"),
                "validation": span([cell.validation_labels for cell in here]),
                "rows": [row for _, row in rows],
            }
        )
    return tables


def _row(cell: Cell, metrics: Sequence[str], picked: bool) -> dict[str, Any]:
    return {
        "entry": cell.entry,
        "kind": kind(cell.strategy),
        "is_baseline": False,
        "picked": picked,
        "scores": [show.spread(cell.test.get(metric), metric) for metric in metrics],
        "seeds": cell.seeds,
        "parameters": show.parameters(cell.costs["parameters"]),
        "trained": show.parameters(cell.costs["trained_parameters"]),
        "pretraining": show.plain_seconds(cell.costs["pretrain_seconds"]),
        "seconds": show.plain_seconds(cell.costs["train_seconds"]),
        "rate": show.count(cell.costs["examples_per_second"]),
        "memory": show.memory(cell.costs["peak_memory_bytes"]),
    }


def _baseline_row(baseline: Baseline, metrics: Sequence[str]) -> dict[str, Any]:
    unknown = ("seeds", "parameters", "trained", "pretraining", "seconds", "rate", "memory")
    return dict.fromkeys(unknown, show.MISSING) | {
        "entry": f"Always {baseline.what}",
        "kind": f"baseline: {show.joined(baseline.names, 'or')}",
        "is_baseline": True,
        "picked": False,
        "scores": [show.spread(baseline.test.get(metric), metric) for metric in metrics],
    }
