"""What a view consists of."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Picture(NamedTuple):
    """A figure of a view.

    Attributes:
        name: of its files.
        title: its heading in the page.
        description: what it shows, for readers who do not see it.
        draw: draws it for a wide page, or with True for a narrow one.
        write: writes it to a .png or .svg file instead, one drawing for all pages.
    """

    name: str
    title: str
    description: str
    draw: Callable[[bool], Figure] | None = None
    write: Callable[[Path], None] | None = None


@dataclass(frozen=True)
class View:
    """One view.

    Attributes:
        name: as in `--views`.
        title: its heading.
        how: how the numbers were computed, for the page.
        sentences: two sentences with its numbers.
        numbers: tables by the name of their parquet file.
        tables: (caption, columns, rows, number of columns with words) of tables for the page.
        attended: (heading, tokens, weights) of texts that the page shades by weight.
        signed: weights below 0 have a colour and a line of their own.
    """

    name: str
    title: str
    how: str
    sentences: Sequence[str]
    numbers: dict[str, pd.DataFrame]
    pictures: Sequence[Picture] = ()
    tables: Sequence[tuple[str, list[str], list[list[Any]], int]] = ()
    attended: Sequence[tuple[str, list[str], list[float]]] = field(default=())
    signed: bool = False


def page_width(narrow: bool) -> float:
    """The width of a figure in points."""
    return 330.0 if narrow else 620.0


def layer_name(layer: Any, *marks: str) -> str:
    """A layer with those of `marks` that are not the rule: that it reads backward, or is the cell of an LSTM."""
    return ", ".join([str(layer), *(mark for mark in marks if mark in ("backward", "cell"))])


def log_scale(axes: Axes, least: float, most: float) -> None:
    """A logarithmic vertical axis over whole powers of ten, with plain numbers, as texts are not parsed as formulas."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_yscale("log")
    low, high = math.floor(math.log10(least)), math.ceil(math.log10(most))
    axes.set_ylim(10.0**low, 10.0 ** max(high, low + 1))
    axes.yaxis.set_major_locator(LogLocator(numticks=7))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def legend(figure: Figure, axes: Axes, columns: int) -> None:
    """The names of the lines of `axes` below all axes, in `columns`; the figure grows by their rows."""
    handles, names = axes.get_legend_handles_labels()
    rows = -(-len(names) // columns)
    width, old = figure.get_size_inches()
    new = old + rows * 0.21
    figure.set_size_inches(width, new)
    for each in figure.axes:
        place = each.get_position()
        each.set_position((place.x0, (place.y0 * old + rows * 0.21) / new, place.width, place.height * old / new))
    figure.legend(
        handles, names, loc="lower left", bbox_to_anchor=(axes.get_position().x0 - 0.02, 0), ncols=columns,
        frameon=False, fontsize=9, handlelength=2.6, columnspacing=1.4, labelspacing=0.35, borderaxespad=0.2,
    )  # fmt: skip
