"""The smaller pictures of a report."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .drawing import new_figure, save, style
from .palette import MUTED, colour


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
