"""Plot the learning curve of a run: losses and the main metric over the updates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CURVE = "learning_curve.png"

Points = list[tuple[float, float]]


class Curve(NamedTuple):
    """The history of a run, as (update, value) pairs in the order of the updates.

    Attributes:
        training: the training loss, each value a mean over the updates since the previous value.
        validation: the loss on the validation rows.
        metric: the main metric on the validation rows; empty if it is the loss.
        metric_name: its name in records.
    """

    training: Points
    validation: Points
    metric: Points
    metric_name: str


def learning_curve(record: Mapping[str, Any]) -> Curve | None:
    """The curve of a run; None if its history has fewer than two points."""
    history: Sequence[Mapping[str, Any]] = record.get("history") or ()
    main = str((record.get("task") or {}).get("main_metric") or "loss")
    metric = [] if main == "loss" else _points(history, f"eval_{main}")
    curve = Curve(_points(history, "loss"), _points(history, "eval_loss"), metric, main)
    return curve if max(len(curve.training), len(curve.validation)) > 1 else None


def draw_learning_curve(curve: Curve, path: Path) -> None:
    """Write the plot as PNG or SVG, by the suffix of `path`."""
    from matplotlib.ticker import MaxNLocator

    from ..evaluation.formatting import metric_axis
    from ..figures.palette import LINE, MUTED, SERIES
    from ..figures.style import new_figure, picture_style, save_picture

    with picture_style():
        panels = 2 if curve.metric else 1
        figure = new_figure(4.2 * panels, 2.8, layout="constrained")
        axes: list[Axes] = list(figure.subplots(1, panels, squeeze=False)[0])
        _line(axes[0], curve.training, SERIES[0], "training", "solid")
        _line(axes[0], curve.validation, SERIES[1], "validation", (0, (5, 2.5)))
        axes[0].set_title("Loss", loc="left", fontsize=10)
        axes[0].legend(frameon=False, labelcolor="linecolor")
        if curve.metric:
            _line(axes[1], curve.metric, SERIES[1], "validation", (0, (5, 2.5)))
            shown = metric_axis(curve.metric_name).removesuffix(", %")
            axes[1].set_title(f"Validation: {shown}", loc="left", fontsize=10)
        for own in axes:
            own.set_xlabel("updates")
            own.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
            own.grid(color=LINE, linewidth=0.8)
            own.set_axisbelow(True)
            own.spines[["top", "right"]].set_visible(False)
            own.tick_params(length=0, colors=MUTED)
        save_picture(figure, path)


def _line(axes: Axes, points: Points, colour: str, label: str, dashes: Any) -> None:
    if points:
        marker = "o" if len(points) <= 12 else None
        axes.plot(*zip(*points, strict=True), color=colour, label=label, linestyle=dashes, marker=marker, markersize=4)


def _points(history: Sequence[Mapping[str, Any]], name: str) -> Points:
    """(update, value) of each entry that has a finite value of this name."""
    found: dict[float, float] = {}  # a resumed run repeats evaluations: keep the later one
    for entry in history:
        step, value = entry.get("step"), entry.get(name)
        if isinstance(step, (int, float)) and isinstance(value, (int, float)) and math.isfinite(value):
            found[float(step)] = float(value)
    return sorted(found.items())
