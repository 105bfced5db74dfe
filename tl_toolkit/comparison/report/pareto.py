"""Scores against costs: Pareto fronts of the entries, in words and as figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...evaluation import formatting as show
from ...evaluation.statistics.cells import Cell, Goal
from ...figures.palette import MUTED
from .drawing import grid_of_axes, pictures, short
from .learning_curves import line_style
from .panel import Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

IN_A_ROW = 4
"""The number of entries in a row of the figure's key."""


@dataclass(frozen=True)
class Price:
    """A cost to plot scores against: its name in `Cell.costs`, its axis label, and its form in sentences and tables."""

    name: str
    axis: str
    sentence: str
    said: Callable[[float | None], str]
    written: Callable[[float | None], str]


def _parameters(value: float | None) -> str:
    return f"{show.parameters(value)} parameters"


PRICES = (
    Price("train_seconds", "training, s", "training time", show.seconds, show.plain_seconds),
    Price("parameters", "parameters", "number of parameters", _parameters, show.parameters),
    Price("latency_seconds", "one row, ms", "time to predict one row", show.milliseconds, show.plain_milliseconds),
)


@dataclass(frozen=True)
class Front:
    """The cells with a known price, cheapest first, and those among them that are Pareto-optimal (`best`)."""

    price: Price
    cells: tuple[Cell, ...]
    best: tuple[Cell, ...]


def front(scores: Sequence[float], costs: Sequence[float], sign: int = 1) -> list[int]:
    """The positions of the non-dominated points, cheapest first.

    A point is dominated if another point costs no more and scores no worse, and is strictly better in one of the two
    (Pareto 1906; Kung, Luccio and Preparata 1975, "On finding the maxima of a set of vectors", for two dimensions).
    Points that are equal in both are all kept. `sign` is −1 if a lower score is better.
    """
    points = [(cost, -sign * score) for cost, score in zip(costs, scores, strict=True)]
    kept: list[int] = []
    for index in sorted(range(len(points)), key=points.__getitem__):
        if not kept or points[index][1] < points[kept[-1]][1] or points[index] == points[kept[-1]]:
            kept.append(index)
    return kept


def fronts(cells: Sequence[Cell], goal: Goal) -> list[Front]:
    """A front for each price that is known for at least two of the cells, which share one budget."""
    found = []
    for price in PRICES:
        known = [cell for cell in cells if (cell.costs.get(price.name) or 0) > 0 and cell.scored(goal)]
        if len(known) > 1:
            known.sort(key=lambda cell: _cost(cell, price))  # noqa: B023 - called at once
            places = front([cell.test[goal.metric].mean for cell in known], [_cost(c, price) for c in known], goal.sign)
            found.append(Front(price, tuple(known), tuple(known[place] for place in places)))
    return found


def _cost(cell: Cell, price: Price) -> float:
    value = cell.costs[price.name]
    assert value is not None
    return value


def widest_budget(cells: Sequence[Cell]) -> list[Cell]:
    """The cells of the budget with the most finished entries; of equals, the largest budget."""
    entries = Counter(cell.budget for cell in cells)
    chosen = max(entries, key=lambda budget: (entries[budget], budget), default=None)
    return [cell for cell in cells if cell.budget == chosen]


def in_words(found: Front, goal: Goal) -> str:
    """A sentence that lists the entries on the front."""
    members = []
    for cell in found.best:
        score = show.score(cell.test[goal.metric].mean, goal.metric)
        members.append(f"{cell.entry} ({score}, {found.price.said(_cost(cell, found.price))})")
    if len(members) == 1:
        return f"By {found.price.sentence}, {members[0]} is both the cheapest and the best."
    return f"Pareto front by {found.price.sentence}, from the cheapest to the best: {show.joined(members)}."


def describe_fronts(panel: Panel) -> dict[str, Any] | None:
    """The fronts at the budget with the most finished entries: figures, sentences and a table; None without fronts."""
    goal, here = panel.goal, widest_budget(panel.cells)
    found = fronts(here, goal)
    if not found:
        return None
    prices = show.joined([each.price.sentence for each in found])
    what = f"Scatter plots of test scores against {prices}, each with its Pareto front, which is described below."
    drawn = pictures(
        lambda narrow: _draw(found, panel.entries, goal, 1 if narrow else len(found)), panel, "pareto", what
    )
    ranked = sorted(here, key=lambda cell: -cell.test[goal.metric].mean * goal.sign if goal.metric in cell.test else 0)
    return drawn | {
        "budget": here[0].budget_name,
        "sentences": [in_words(each, goal) for each in found],
        "goal": goal,
        "fronts": found,
        "cells": ranked,
    }


def _draw(found: Sequence[Front], entries: Sequence[str], goal: Goal, columns: int) -> Figure:
    from matplotlib.lines import Line2D

    width = 300 if columns == 1 else 600
    named = [entry for entry in entries if any(cell.entry == entry for each in found for cell in each.cells)]
    below = 0.0 if columns == 1 else 15.0 * -(-len(named) // IN_A_ROW)  # the narrow page has a key
    figure, all_axes = grid_of_axes(width, len(found), columns, 235, below)
    for axes, each in zip(all_axes, found, strict=True):
        _points(axes, each, entries, goal)
    low = min(axes.get_ylim()[0] for axes in all_axes)
    high = max(axes.get_ylim()[1] for axes in all_axes)
    for position, axes in enumerate(all_axes):
        axes.set_ylim(low, high)
        if position % columns:
            axes.tick_params(labelleft=False)
    _make_room_for_ticks(all_axes, width)
    if below:
        transfer = {cell.entry: cell.transfer for each in found for cell in each.cells}
        looks = [line_style(entries.index(entry), transfer[entry]) for entry in named]
        handles = [
            Line2D([], [], label=short(entry, 24), **look | {"linestyle": "none", "markersize": 5})
            for entry, look in zip(named, looks, strict=True)
        ]
        key: dict[str, Any] = {"frameon": False, "fontsize": 9, "handletextpad": 0.2, "columnspacing": 1.2}
        key["labelcolor"] = [look["color"] for look in looks]
        figure.legend(handles=handles, loc="lower left", bbox_to_anchor=(0.03, 0), ncols=IN_A_ROW, **key)
    all_axes[0].set_title(f"Test {show.metric_axis(goal.metric)}")
    return figure


def _make_room_for_ticks(all_axes: Sequence[Axes], width: float) -> None:
    """Move all axes to the right if the tick labels need it: scores that differ little have long numbers."""
    left = 34.0
    ticks = all_axes[0].get_yticks().tolist()
    needed = 8.0 + 6.4 * max(len(text) for text in all_axes[0].yaxis.get_major_formatter().format_ticks(ticks))
    if needed > left:
        part = (width - needed) / (width - left)
        for axes in all_axes:
            x, y, wide, tall = axes.get_position().bounds
            axes.set_position(((needed + (x * width - left) * part) / width, y, wide * part, tall))


def _points(axes: Axes, found: Front, entries: Sequence[str], goal: Goal) -> None:
    scale = 100.0 if show.in_per_cent(goal.metric) else 1.0
    unit = 1000.0 if found.price.name == "latency_seconds" else 1.0
    at = {cell.entry: (_cost(cell, found.price) * unit, cell.test[goal.metric].mean * scale) for cell in found.cells}
    axes.set_xscale("log")
    steps = np.array([at[cell.entry] for cell in found.best])
    axes.step(steps[:, 0], steps[:, 1], where="post", color=MUTED, linewidth=1.0, alpha=0.8, zorder=1.5)
    for cell in found.cells:
        position = entries.index(cell.entry)
        look: dict[str, Any] = line_style(position, cell.transfer) | {"linestyle": "none", "markersize": 6.5}
        axes.plot(*at[cell.entry], alpha=1.0 if cell in found.best else 0.45, **look)
    axes.margins(x=0.14, y=0.12)
    axes.set_xlabel(f"{found.price.axis} (logarithmic)")
    axes.minorticks_off()
    plain_log_ticks(axes.xaxis)


def plain_log_ticks(axis: Axis, written: Callable[[float], str] = show.parameters) -> None:
    """Set the ticks of a logarithmic axis to at most 5 round numbers (1, 2 or 5 times a power of 10), written short."""
    low, high = sorted(axis.get_view_interval())
    exponents = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        ticks = [step * 10.0**power for power in exponents for step in steps if low <= step * 10.0**power <= high]
        if len(ticks) <= 5:
            break
    ticks = ticks[:: max(1, -(-len(ticks) // 5))]
    if len(ticks) < 2:  # the range is too small for round numbers
        ticks = [low * (high / low) ** part for part in (0.15, 0.85)]
    axis.set_ticks(ticks, [written(tick) if tick >= 1 else f"{tick:.2g}" for tick in ticks])
