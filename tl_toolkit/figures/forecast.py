"""Draw a forecast with its context and the observed values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .palette import BASELINE_DASH, INK, LINE, MUTED, SERIES
from .style import font_families, new_figure, picture_style, save_picture

MOST_VARIABLES = 4
"""Most variables that are drawn, so that the picture stays readable."""


def draw_forecast(
    times: np.ndarray,
    values: np.ndarray,
    forecast: np.ndarray,
    baseline: np.ndarray,
    *,
    names: Sequence[str],
    path: str | Path,
) -> None:
    """Draw a window with a strip per variable, and write it as PNG or SVG, depending on the suffix of `path`.

    Args:
        times: (context + steps,), datetime64 or numbers.
        values: (context + steps, variables), observed values; NaN leaves a gap in the line.
        forecast: (steps, variables), forecast of the model.
        baseline: (steps, variables), seasonal-naive forecast.

    Raises:
        UserError: the suffix is not a supported format, or the folder does not exist.
    """
    shown = names[:MOST_VARIABLES]
    with picture_style():
        figure = new_figure(7.5, 0.6 + (2.6 if len(shown) == 1 else 1.5 * len(shown)), layout="constrained")
        strips = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
        context = len(times) - len(forecast)
        ahead = times[context:]
        for place, (axes, name) in enumerate(zip(strips, shown, strict=True)):
            axes.axvspan(times[max(context - 1, 0)], times[-1], color=LINE, alpha=0.35, linewidth=0)
            axes.plot(times, values[:, place], color=INK, linewidth=1.3, label="observed")
            axes.plot(
                ahead, baseline[:, place], color=MUTED, linewidth=1.3, linestyle=BASELINE_DASH, label="seasonal naive"
            )
            axes.plot(ahead, forecast[:, place], color=SERIES[1], linewidth=2.0, label="forecast")
            axes.set_ylabel(name, fontfamily=font_families(name))
            axes.grid(axis="y", color=LINE, linewidth=0.8)
            axes.set_axisbelow(True)
            axes.spines[["top", "right", "left"]].set_visible(False)
            axes.tick_params(length=0, colors=MUTED)
            axes.margins(x=0)
        figure.legend(
            *strips[0].get_legend_handles_labels(), loc="outside upper left", ncols=3, frameon=False, fontsize=9
        )
        if np.issubdtype(times.dtype, np.datetime64):
            from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

            locator = AutoDateLocator(minticks=3, maxticks=8)
            strips[-1].xaxis.set_major_locator(locator)
            strips[-1].xaxis.set_major_formatter(ConciseDateFormatter(locator))
        save_picture(figure, path)
