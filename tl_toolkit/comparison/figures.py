"""The smaller pictures of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .calibration import Calibration
from .drawing import grid_of_axes, new_figure, page_svg, save, short, style, to_svg
from .learning_curves import line_style
from .palette import MUTED, colour

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_DIAGRAMS = 8
"""Entries whose reliability is drawn; the numbers of all stand in the table."""


def scatter(label: np.ndarray, prediction: np.ndarray, entry: str, position: int, folder: Path, name: str) -> str:
    """Draws predicted against true numbers (n,), and returns the SVG for a page. Writes `<name>.svg` and `.png`."""
    with style():
        figure, axes = new_figure(330, 300, left=48, right=12)
        # Many points overlap: they are small and translucent, and one bitmap keeps a page of many rows small.
        axes.scatter(
            label, prediction, s=9, color=colour(position), alpha=0.35, linewidths=0, rasterized=len(label) > 500
        )
        ends = [min(label.min(), prediction.min()), max(label.max(), prediction.max())]
        axes.plot(ends, ends, color=MUTED, linewidth=1, linestyle=(0, (2, 2)))
        axes.set_xlabel("label")
        axes.set_ylabel("prediction")
        return save(figure, folder, name, f"Scatter plot of predictions against labels for {entry}.")


def reliability_diagrams(
    found: Sequence[Calibration],
    entries: Sequence[str],
    transfer: Mapping[str, bool],
    folder: Path,
    prefix: str = "",
) -> tuple[str, str]:
    """Draws accuracy over certainty, a diagram an entry, and returns the SVGs for a wide and for a narrow page.

    `entries` fixes colours and markers by position, `transfer` their filling. Below the diagonal an entry is surer than
    it is right. Writes reliability.svg and .png into `folder`, their names and ids behind `prefix`.
    """
    name = f"{prefix}reliability"
    what = "Reliability diagrams: the share of right answers over their mean probability, for each entry."
    with style():
        wide = _reliability(found, entries, transfer, columns=min(4, len(found)), width=600)
        narrow = _reliability(found, entries, transfer, columns=min(2, len(found)), width=300)
        return save(wide, folder, name, what), page_svg(to_svg(narrow), f"{name}-narrow", what)


def _reliability(
    found: Sequence[Calibration], entries: Sequence[str], transfer: Mapping[str, bool], columns: int, width: float
) -> Figure:
    width = min(width, 230.0 * columns)
    cell = width / columns
    figure, all_axes = grid_of_axes(width, len(found), columns, cell + 36, left=42, gap=24)
    for axes, own in zip(all_axes, found, strict=True):
        look = line_style(list(entries).index(own.entry), transfer.get(own.entry, True)) | {
            "markersize": 4.5,
            "linewidth": 1.4,
        }
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (2, 2)), zorder=1)
        sure = [each.confidence for each in own.bins]
        right = [each.accuracy for each in own.bins]
        axes.vlines(sure, sure, right, color=look["color"], linewidth=1, alpha=0.35)
        axes.plot(sure, right, **look)
        axes.set_xlim(0, 1.02)
        axes.set_ylim(0, 1.02)
        axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
        axes.set_title(short(own.entry, int(cell / 6.6)), loc="left", fontsize=9, color=look["color"])
    for axes in all_axes[-columns:]:
        axes.set_xlabel("probability", fontsize=9)
    for axes in all_axes[::columns]:
        axes.set_ylabel("share right", fontsize=9)
    return figure
