"""Scatter plots and reliability diagrams of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...evaluation.evidence.calibration import Calibration
from ...figures.palette import LINE, MUTED, colour
from .drawing import new_figure, pictures, save, short, style
from .learning_curves import line_style
from .panel import Panel

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure

MOST_DIAGRAMS = 8
"""Maximum number of reliability diagrams; the table has the numbers of all entries."""


def scatter(label: np.ndarray, prediction: np.ndarray, entry: str, position: int, folder: Path, name: str) -> str:
    """Draw predicted against true numbers (n,), write `<name>.svg` and `.png`, and return the SVG for a page."""
    with style():
        figure, axes = new_figure(330, 300, left=48, right=12)
        # Points are small and translucent because they overlap; many of them become one bitmap to keep the page small.
        axes.scatter(
            label, prediction, s=9, color=colour(position), alpha=0.35, linewidths=0, rasterized=len(label) > 500
        )
        ends = [min(label.min(), prediction.min()), max(label.max(), prediction.max())]
        axes.plot(ends, ends, color=MUTED, linewidth=1, linestyle=(0, (2, 2)))
        axes.spines["left"].set_visible(True)
        axes.set_xlabel("label")
        axes.set_ylabel("prediction")
        return save(figure, folder, name, f"Scatter plot of predictions against labels for {entry}.")


def reliability_diagrams(panel: Panel, found: Sequence[Calibration]) -> dict[str, Markup]:
    """Draw accuracy over confidence, one diagram per entry; returns the SVGs for a `wide` and a `narrow` page.

    Below the diagonal an entry is overconfident.
    """
    what = "Reliability diagrams: accuracy over mean probability of the predictions, for each entry."
    transfer = {cell.entry: cell.transfer for cell in panel.cells}

    def draw(narrow: bool) -> Figure:
        columns, width = (2, 300) if narrow else (4, 600)
        return _reliability(found, panel.entries, transfer, min(columns, len(found)), width)

    return pictures(draw, panel, "reliability", what)


def _reliability(
    found: Sequence[Calibration], entries: list[str], transfer: Mapping[str, bool], columns: int, width: float
) -> Figure:
    """Draw all diagrams in one axes, each as a shifted unit square, because many axes would take seconds."""
    rows, wide, tall = -(-len(found) // columns), 1.22, 1.52
    scale = min(width, 230.0 * columns) / (columns * wide + 0.3)  # points of a unit
    figure, axes = new_figure(scale * (columns * wide + 0.3), scale * rows * tall, left=0, right=0)
    axes.set_position((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(-0.36, columns * wide - 0.06)
    axes.set_ylim(-(rows - 1) * tall - 0.34, tall - 0.34)
    for place, own in enumerate(found):
        x, y = (place % columns) * wide, -(place // columns) * tall
        look = line_style(entries.index(own.entry), transfer.get(own.entry, True))
        for part in (0, 0.5, 1):
            edge: dict[str, Any] = {"color": LINE if part else MUTED, "linewidth": 0.8, "zorder": 0.5}
            axes.plot([x, x + 1, np.nan, x + part, x + part], [y + part, y + part, np.nan, y, y + 1], **edge)
            axes.text(x + part, y - 0.05, f"{part:g}", ha="center", va="top", fontsize=8.5, color=MUTED)
            axes.text(x - 0.04, y + part, f"{part:g}", ha="right", va="center", fontsize=8.5, color=MUTED)
        axes.plot([x, x + 1], [y, y + 1], color=MUTED, linewidth=1, linestyle=(0, (2, 2)), zorder=1)
        sure = np.array([each.confidence for each in own.bins])
        right = np.array([each.accuracy for each in own.bins])
        ends = np.array([(each.low, each.high) for each in own.bins]).T
        axes.vlines(x + sure, y + ends[0], y + ends[1], color=look["color"], linewidth=1, alpha=0.35)
        axes.plot(x + sure, y + right, **look | {"markersize": 4.5, "linewidth": 1.4})
        axes.text(x, y + 1.06, short(own.entry, int(scale / 6.2)), fontsize=9, color=look["color"])
        if place >= len(found) - columns:
            axes.text(x + 0.5, y - 0.2, "probability", ha="center", va="top", fontsize=9, color=MUTED)
        if place % columns == 0:
            axes.text(x - 0.22, y + 0.5, "accuracy", rotation=90, ha="right", va="center", fontsize=9, color=MUTED)
    return figure
