"""The tables of report.md, small enough for a README or a pull request: one row per entry, one column per label budget.

They contain no texts of the dataset. All other numbers are in results.csv.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...evaluation import formatting as show
from ...evaluation.results import Result
from ...evaluation.statistics.baseline import Baseline
from ...evaluation.statistics.cells import Cell, at_largest_budget, budget_names
from .panel import Panel
from .results import kind_of, known_costs, metrics_of, name_of

MOST_METRICS = 6
"""Maximum number of metrics besides the main one."""


def describe_markdown(panel: Panel) -> dict[str, Any]:
    """The tables by name, each with `columns` and `rows` of texts; None or empty if there is no content."""
    return {
        "scores": _scores(panel),
        "intervals": _intervals(panel),
        "metrics": _other_metrics(panel),
        "costs": _costs(panel.cells),
        "tuning": _tuning(panel),
        "signatures": _signatures(panel.results),
    }


def _scores(panel: Panel) -> dict[str, Any] | None:
    """The main metric as mean ± standard deviation; recommended entries are marked."""
    if not panel.cells:
        return None
    budgets, metric = budget_names(panel.cells), panel.goal.metric
    lines: dict[str, dict[float, Cell | Baseline]] = {}
    for own in panel.scored:
        lines.setdefault(name_of(own), {})[own.budget] = own
    kinds = {name_of(own): kind_of(own) for own in panel.cells}
    kinds |= {name_of(least): kind_of(least) for least in reversed(panel.constant)}
    rows = []
    for name, line in lines.items():
        row = [name, kinds[name]]
        for budget in budgets:
            reached = line[budget].test.get(metric) if budget in line else None
            mark = f"{show.SPACE}●" if (name, budget) in panel.recommended else ""
            row.append(f"{show.spread(reached, metric)}{mark}")
        rows.append(row)
    return {"columns": ["Entry", "Kind", *budgets.values()], "rows": rows}


def _intervals(panel: Panel) -> dict[str, Any] | None:
    """The 95 % intervals of the expected scores."""
    if not panel.intervals:
        return None
    budgets, rows = budget_names(panel.cells), []
    for entry in dict.fromkeys(cell.entry for cell in panel.cells):
        bounds = [panel.intervals.get((entry, budget)) for budget in budgets]
        rows.append([entry, *(show.interval(own, panel.goal.metric) for own in bounds)])
    return {"columns": ["Entry", *budgets.values()], "rows": rows}


def _other_metrics(panel: Panel) -> dict[str, Any] | None:
    """The other metrics of each entry at its largest budget."""
    metrics = metrics_of(panel)[1:]
    shown = metrics[:MOST_METRICS]
    if not shown:
        return None
    scored = {name_of(own): own for own in panel.scored}  # in the order of their budgets
    rows = [[name, *(show.spread(own.test.get(metric), metric) for metric in shown)] for name, own in scored.items()]
    return {"columns": ["Entry", *map(show.metric_heading, shown)], "rows": rows, "hidden": len(metrics) - len(shown)}


def _costs(cells: Sequence[Cell]) -> dict[str, Any] | None:
    """The costs of a run of each entry at its largest budget; columns without any value are left out."""
    largest = at_largest_budget(cells)
    known = known_costs(largest)
    if not known:
        return None
    budgets = budget_names(cells)
    rows = [
        [cell.entry, budgets[cell.budget], *(cost.written(cell.costs.get(cost.name)) for cost in known)]
        for cell in largest
    ]
    unit = show.capital(show.unit_of([cells[0].results[0]]))
    return {"columns": ["Entry", unit, *(cost.heading for cost in known)], "rows": rows}


def _tuning(panel: Panel) -> dict[str, Any] | None:
    """The search of each entry: trials, time, search space and chosen values."""
    rows = []
    for entry in panel.entries:
        runs = [result for result in panel.results if result.entry == entry and result.section("tuning")]
        for budget, search in sorted({run.budget: run.section("tuning") for run in runs}.items()):
            failed = f" ({show.count(search['failed'])} failed)" if search.get("failed") else ""
            trials, took = f"{show.count(search.get('trials'))}{failed}", show.plain_seconds(search.get("seconds"))
            told = [trials, took, _pairs(search.get("search")), _pairs(search.get("chosen"))]
            rows.append([entry, show.budget(budget, None), *told])
    untuned = [entry for entry in panel.entries if entry not in {row[0] for row in rows}]
    unit = show.capital(show.unit_of(panel.results))
    columns = ["Entry", unit, "Trials", "Seconds", "Searched", "Chosen on validation rows"]
    return {"columns": columns, "rows": rows, "untuned": show.joined(untuned) if untuned else ""} if rows else None


def _pairs(mapping: Any) -> str:
    if not isinstance(mapping, Mapping) or not mapping:
        return show.MISSING
    return ", ".join(f"{name}: {_short(value)}" for name, value in mapping.items())


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{name} {_short(own)}" for name, own in value.items())
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _signatures(results: Sequence[Result]) -> list[tuple[str, str]]:
    """The sacrebleu signatures of text metrics, which are needed to compare BLEU scores."""
    told = (pair for result in results for pair in result.section("signatures").items())
    return [(show.metric_name(str(name)), str(signature)) for name, signature in dict.fromkeys(told)]
