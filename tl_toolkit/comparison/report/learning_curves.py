"""The learning curves of a comparison: test scores over label budgets, one line per entry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...evaluation import formatting as show
from ...evaluation.formatting import unit_of
from ...evaluation.statistics.baseline import Baseline
from ...evaluation.statistics.cells import Cell
from ...figures.palette import BASELINE_DASH, INK, MUTED, SCRATCH_DASH, SURFACE, TRANSFER_DASH, colour, marker
from .drawing import LONGEST_NAME, new_figure, pictures, room, short
from .panel import Panel

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABEL_GAP = 15.0
"""Minimum distance between two line labels, in points."""
MOST_SHIFT = 1.08
"""Maximum horizontal shift of an entry from its number of labels, as a factor."""
BASELINE_STYLE: Any = {"color": MUTED, "linewidth": 1.0, "linestyle": BASELINE_DASH, "zorder": 1.5}


def learning_curves(panel: Panel) -> dict[str, Markup]:
    """Draw test scores over label budgets, one line per entry; returns the SVGs for a `wide` and a `narrow` page.

    With a single budget, each entry is a row with its seeds and their mean. Baselines are thin lines. The narrow
    figure names no lines, so the page needs a key.

    A band is the mean ± one standard deviation over seeds; a bar is the interval of the expected score.
    """
    shown = [cell for cell in panel.cells if cell.scored(panel.goal)]
    draw, what = _rows, "Dot chart of the test score of each entry, with one small dot per seed."
    if len({cell.budget for cell in shown}) > 1:
        draw, what = _curves, "Line chart of the mean test score of each entry over the number of training labels."
    least = [baseline for baseline in panel.constant if panel.goal.metric in baseline.test]
    return pictures(lambda narrow: draw(panel, shown, least, narrow), panel, "learning_curves", what)


def alone_among(known: np.ndarray) -> np.ndarray:
    """A mask (n,) of the elements of `known` (n,) that are true and have no true neighbour."""
    around = np.concatenate([[False], known, [False]])
    return known & ~around[:-2] & ~around[2:]


def _curves(panel: Panel, cells: Sequence[Cell], constant: Sequence[Baseline], narrow: bool) -> Figure:
    goal, entries = panel.goal, panel.entries
    named = [*entries, *(baseline.line_name for baseline in constant)]
    figure, axes = (
        new_figure(300, 290, left=30, right=6) if narrow else new_figure(600, 345, left=34, right=room(named) + 8)
    )
    scale = 100.0 if show.in_per_cent(goal.metric) else 1.0
    budgets = sorted({cell.budget for cell in cells})
    place = {budget: np.median([c.train_labels or 1 for c in cells if c.budget == budget]) for budget in budgets}
    axes.set_xscale("log")
    ends: list[tuple[float, float, str, str]] = []
    for position, entry in enumerate(entries):
        line = [cell for cell in cells if cell.entry == entry]
        if not line:
            continue
        # Entries are shifted slightly, so that their bars do not overlap.
        shift = MOST_SHIFT ** (2 * position / max(1, len(entries) - 1) - 1)
        x = np.array([place[cell.budget] for cell in line]) * shift
        y = np.array([cell.test[goal.metric].mean for cell in line]) * scale
        # The spread of a single run is unknown, so the band has a gap there instead of a width of 0.
        deviation = np.array([cell.test[goal.metric].deviation for cell in line], dtype=float) * scale
        axes.fill_between(x, y - deviation, y + deviation, color=colour(position), alpha=0.13, linewidth=0)
        alone = alone_among(~np.isnan(deviation))
        broad: dict[str, Any] = {"color": colour(position), "linewidth": 9, "alpha": 0.13}
        axes.vlines(x[alone], (y - deviation)[alone], (y + deviation)[alone], **broad)
        known = [(at, panel.intervals.get((cell.entry, cell.budget))) for at, cell in zip(x, line, strict=True)]
        bars = np.array([(at, bounds.low, bounds.high) for at, bounds in known if bounds is not None]).reshape(-1, 3)
        look: dict[str, Any] = {"color": colour(position), "linewidth": 1.1, "alpha": 0.6}
        axes.vlines(bars[:, 0], bars[:, 1] * scale, bars[:, 2] * scale, **look)
        axes.plot(x, y, **line_style(position, line[0].transfer))
        ends.append((float(x[-1]), float(y[-1]), entry, colour(position)))
        if entry in panel.rivals:
            _extrapolate(axes, panel, entry, (x[-1], y[-1]), scale)
    for line_name in dict.fromkeys(baseline.line_name for baseline in constant):
        least = [baseline for baseline in constant if baseline.line_name == line_name]
        x = np.array([place[baseline.budget] for baseline in least])
        y = np.array([baseline.test[goal.metric].mean for baseline in least]) * scale
        axes.plot(x, y, **BASELINE_STYLE)
        ends.append((float(x[-1]), float(y[-1]), line_name, MUTED))
    ticks = [place[budget] for budget in budgets]
    names = [show.budget(b, None if np.isfinite(b) else round(place[b])) for b in budgets]
    axes.set_xticks(ticks, names)
    axes.set_xticks([], minor=True)
    axes.grid(axis="x", visible=False)
    axes.set_xlabel(f"training {unit_of([cell.results[0] for cell in cells])} (logarithmic)")
    axes.set_title(f"Test {show.metric_axis(goal.metric)}")
    axes.margins(x=0.06, y=0.08)
    if not narrow:
        _key(axes, {cell.transfer for cell in cells}, lines=True)
        name_lines(axes, ends)
    return figure


def _extrapolate(axes: Axes, panel: Panel, entry: str, end: tuple[float, float], scale: float) -> None:
    """Continue an entry's line beyond the data, dashed and with a band, by the power law of the decision."""
    own = [one for one in panel.decision["more_labels"] if one["entry"] == entry and one["expected"] is not None]
    drawn = colour(panel.entries.index(entry))
    x = [end[0], *(one["labels"] for one in own)]
    values = [[end[1], *(one[part] * scale for one in own)] for part in ("low", "expected", "high")]
    axes.fill_between(x, values[0], values[2], color=drawn, alpha=0.07, linewidth=0)
    axes.plot(x, values[1], color=drawn, linewidth=1.2, linestyle=(0, (4, 3)), alpha=0.8)


def _rows(panel: Panel, cells: Sequence[Cell], constant: Sequence[Baseline], narrow: bool) -> Figure:
    goal, entries = panel.goal, panel.entries
    scale = 100.0 if show.in_per_cent(goal.metric) else 1.0
    ordered = sorted(cells, key=lambda cell: cell.test[goal.metric].mean * goal.sign)
    most = 16 if narrow else LONGEST_NAME
    width, height = 300 if narrow else 600, 78 + 28 * max(1, len(ordered))
    figure, axes = new_figure(width, height, left=room(entries, most), right=16)
    for baseline in constant:
        axes.axvline(baseline.test[goal.metric].mean * scale, **BASELINE_STYLE)
    for row, cell in enumerate(ordered):
        position = entries.index(cell.entry)
        reached = cell.test[goal.metric]
        seeds = np.array(cell.values(goal.metric)) * scale
        axes.scatter(seeds, np.full(len(seeds), row), s=14, color=colour(position), alpha=0.45, linewidths=0)
        deviation = (reached.deviation or 0.0) * scale
        axes.errorbar(
            reached.mean * scale, row, xerr=deviation, fmt="none", ecolor=colour(position), elinewidth=5, alpha=0.25
        )
        if between := panel.intervals.get((cell.entry, cell.budget)):
            axes.plot([between.low * scale, between.high * scale], [row, row], color=colour(position), linewidth=1.2)
        axes.plot([reached.mean * scale], [row], **line_style(position, cell.transfer))
    axes.set_yticks(range(len(ordered)), [short(cell.entry, most) for cell in ordered], color=INK)
    axes.set_ylim(-0.7, len(ordered) - 0.3)
    axes.grid(axis="y", visible=False)
    if not narrow:
        _key(axes, {cell.transfer for cell in ordered}, lines=False)
    axes.set_xlabel(f"test {show.metric_axis(goal.metric)}")
    return figure


def line_style(position: int, transfer: bool) -> dict[str, Any]:
    """The line style of an entry: solid with filled markers for transfer, dashed with hollow ones from scratch."""
    own = colour(position)
    return {
        "color": own,
        "linestyle": TRANSFER_DASH if transfer else SCRATCH_DASH,
        "linewidth": 2.2 if transfer else 1.6,
        "marker": marker(position),
        "markersize": 7,
        "markeredgewidth": 1.6,
        "markeredgecolor": own,
        "markerfacecolor": own if transfer else SURFACE,
    }


def _key(axes: Axes, kinds: set[bool], lines: bool) -> None:
    """Add a key of transfer and from scratch above the axes, if there are both."""
    from matplotlib.lines import Line2D

    if len(kinds) < 2:
        return
    handles = []
    for transfer, name in ((True, "transfer"), (False, "from scratch")):
        style = line_style(0, transfer) | {"color": MUTED, "markeredgecolor": MUTED, "markersize": 5}
        style |= {"markerfacecolor": MUTED if transfer else SURFACE} | ({} if lines else {"linestyle": "none"})
        handles.append(Line2D([], [], label=name, **style))
    axes.legend(
        handles=handles,
        loc="lower right",
        bbox_to_anchor=(1.0, 0.985),
        borderaxespad=0.0,
        ncols=2,
        frameon=False,
        fontsize=9,
        labelcolor=MUTED,
        handlelength=3.2 if lines else 1.0,
        columnspacing=1.2,
    )


def name_lines(axes: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Write each line's name to the right of its end (x, y, name, colour), with a thin leader line.

    Names that would overlap are moved apart.
    """
    axes.autoscale_view()  # the scales must be final before coordinates are converted to points
    points = 72 / axes.figure.dpi
    ordered = sorted(ends, key=lambda end: end[1])
    wanted = np.array([axes.transData.transform(end[:2])[1] * points for end in ordered])
    right = axes.get_window_extent().x1 * points
    heights = spaced(wanted, LABEL_GAP, low=8.0, high=axes.figure.bbox.height * points - 8.0)
    for (x, y, name, own), height in zip(ordered, heights, strict=True):
        axes.annotate(
            short(name),
            xy=(x, y),
            xytext=(right + 12, height),
            textcoords="figure points",
            va="center",
            color=own,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": own, "alpha": 0.35, "linewidth": 0.8, "shrinkB": 6},
        )


def spaced(wanted: np.ndarray, gap: float, low: float = -np.inf, high: float = np.inf) -> np.ndarray:
    """Heights (n,) at least `gap` apart with the least squared distance to the ascending `wanted` (n,).

    With p the heights and w the wanted ones, p_i − i·gap must not decrease: it is the isotonic regression of
    w_i − i·gap (Barlow et al. 1972), clipped to the bounds. All heights are between `low` and `high` if they fit.
    """
    from scipy.optimize import isotonic_regression

    steps = gap * np.arange(len(wanted))
    apart = isotonic_regression(wanted - steps).x if len(wanted) else wanted
    return np.clip(apart, low, max(low, high - steps[-1])) + steps
