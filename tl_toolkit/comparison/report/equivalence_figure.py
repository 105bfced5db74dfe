"""Label equivalence as a figure and a table: how many labels training from scratch needs to match transfer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...evaluation import formatting as show
from ...evaluation.statistics.label_equivalence import CurveDraws, Equivalence, equivalence, usable
from ...evaluation.statistics.pairwise import picked_of
from ...evaluation.statistics.uncertainty import row_noise
from ...figures.palette import MUTED, colour
from ..verdict.headline import LONG
from .drawing import new_figure, pictures, room, short
from .learning_curves import LABEL_GAP, line_style, name_lines
from .panel import Panel
from .pareto import plain_log_ticks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_LINES = 6
"""Maximum number of entries with transfer in the figure; the best are drawn."""


def against_scratch(panel: Panel) -> list[Equivalence]:
    """The labels that training from scratch needs to match each cell of the best entries with transfer.

    The learning curve consists of the entries selected on validation rows, as in the verdict. Empty with a single
    budget, because there is no curve.
    """
    goal = panel.goal
    able = [cell for cell in panel.cells if usable(cell, goal)]
    points = picked_of("scratch", able, goal)
    if len(points) < 2:
        return []
    best = {cell.entry: cell.test[goal.metric].mean * goal.sign for cell in able if cell.transfer}
    shown = sorted(best, key=lambda entry: -best[entry])[:MOST_LINES]
    draws = CurveDraws(row_noise(panel.reader, goal.metric).prepare(able), goal)
    curve = draws.curve(LONG["scratch"], points)
    return [equivalence(cell, curve, draws) for cell in able if cell.entry in shown]


def describe_equivalence(panel: Panel) -> dict[str, Any] | None:
    """The figure and the table of `against_scratch`; None if it is empty."""
    found = against_scratch(panel)
    if not found:
        return None
    what = f"Labels that {found[0].other} needs to match each entry with transfer; the table below has the numbers."
    names = list(dict.fromkeys(each.entry for each in found))
    return pictures(lambda narrow: _draw(found, panel.entries, narrow), panel, "label_equivalence", what) | {
        "rows": [(each, _ratio(each)) for name in names for each in found if each.entry == name],
    }


def _ratio(found: Equivalence) -> str:
    if math.isinf(found.needed):
        return f"more than {show.times(found.most / found.labels)}"
    if found.needed == 0:
        return f"less than {show.times(found.least / found.labels)}"
    return show.times(found.ratio)


def _draw(found: Sequence[Equivalence], entries: list[str], narrow: bool) -> Figure:
    names = list(dict.fromkeys(each.entry for each in found))
    if narrow:
        figure, axes = new_figure(300, 270, left=38, right=8)
    else:
        figure, axes = new_figure(600, max(290, 80 + LABEL_GAP * len(names)), left=44, right=room(names) + 8)
    least, most = found[0].least, found[0].most
    ceiling, floor = most * 1.4, least / 1.4
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.axhline(most, color=MUTED, linewidth=1, linestyle=(0, (1, 2)))
    ends = [min(each.labels for each in found), max(each.labels for each in found)]
    axes.plot(ends, ends, color=MUTED, linewidth=1, linestyle=(0, (2, 2)), zorder=1)
    marks = []
    for entry in names:
        line = [each for each in found if each.entry == entry]
        position = entries.index(entry)
        own = colour(position)
        heights = [min(max(each.needed, floor), ceiling) for each in line]
        known = [place for place, each in enumerate(line) if math.isfinite(each.needed)]
        at = [each.labels * 1.03 ** (names.index(entry) - (len(names) - 1) / 2) for each in line]
        for x, each in zip(at, line, strict=True):
            if each.low is not None and each.high is not None:
                bounds = [min(max(bound, floor), ceiling) for bound in (each.low, each.high)]
                axes.plot([x, x], bounds, color=own, linewidth=1.2, alpha=0.6)
        axes.plot(at, heights, **line_style(position, True), markevery=known)
        for x, height, each in zip(at, heights, line, strict=True):
            if math.isinf(each.needed):
                look = {"arrowstyle": "-|>", "color": own, "shrinkA": 0, "shrinkB": 0, "linewidth": 1.6}
                axes.annotate("", (x, height * 1.45), (x, height * 0.97), arrowprops=look)
        marks.append((at[-1], heights[-1], entry, own))
    axes.set_ylim(floor / 1.1, ceiling * 1.7)
    axes.minorticks_off()
    plain_log_ticks(axes.yaxis, show.count)
    labels = sorted({each.labels for each in found})
    axes.set_xticks(labels, [show.count(label) for label in labels])
    axes.grid(axis="x", visible=False)
    axes.set_xlabel("labels with transfer (logarithmic)")
    axes.set_title(f"labels that {short(found[0].other, 24)} needs")
    if not narrow:
        name_lines(axes, marks)
    return figure
