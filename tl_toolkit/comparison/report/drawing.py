"""Drawing of the figures of a report: style, files, and SVGs for the page.

Each figure is used in three ways: as a PNG and an SVG file for other documents, and as an SVG in the page, whose
colours follow the light or dark scheme of the page.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ...atomic_files import write_text, write_whole
from ...evaluation.formatting import visible
from ...figures.palette import MUTED, PROPERTIES
from ...figures.style import PLOT_STYLE
from .panel import Panel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from markupsafe import Markup
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLES = {
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titlecolor": MUTED,
    "axes.spines.left": False,
}
"""The title of a figure names the score, so its vertical axis has no line."""
LONGEST_NAME = 28
"""Maximum number of characters of a name; longer names are shortened."""


@contextmanager
def style() -> Iterator[None]:
    """A context in which matplotlib uses the style of reports."""
    import matplotlib

    with matplotlib.rc_context(PLOT_STYLE | TITLES):
        yield


def new_figure(width: float, height: float, left: float, right: float) -> tuple[Figure, Axes]:
    """A figure and its axes; sizes and the margins left and right of the axes are in points."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 72, height / 72))
    # Fixed margins instead of a layout engine: line names are placed in points and must stay next to their axes.
    figure.subplots_adjust(left=left / width, right=1 - right / width, bottom=42 / height, top=1 - 28 / height)
    return figure, figure.add_subplot()


def grid_of_axes(
    width: float, count: int, columns: int, height: float, below: float = 0.0
) -> tuple[Figure, list[Axes]]:
    """A figure and `count` axes in rows of `columns`, each row `height` high, with room `below`; sizes in points.

    The positions are fixed, because a layout engine would draw the figure several times.
    """
    from matplotlib.figure import Figure

    rows, left, gap, head, foot, margin = -(-count // columns), 34.0, 18.0, 24.0, 44.0, 8.0
    tall = rows * height + margin + below
    figure = Figure(figsize=(width / 72, tall / 72))
    wide = (width - left - margin - gap * (columns - 1)) / columns
    axes = []
    for position in range(count):
        row, column = divmod(position, columns)
        bottom = tall - (row + 1) * height + foot
        place = ((left + column * (wide + gap)) / width, bottom / tall, wide / width, (height - head - foot) / tall)
        axes.append(figure.add_axes(place))
    return figure, axes


def room(names: Sequence[str], most: int = LONGEST_NAME) -> float:
    """The width of the longest name in points, after names are shortened to `most` characters."""
    return 14 + 6.3 * max((len(short(name, most)) for name in names), default=0)


def short(name: str, most: int = LONGEST_NAME) -> str:
    """A name on one line, without characters that XML does not allow, shortened to `most` characters."""
    name = visible(" ".join(name.split()))
    return name if len(name) <= most else f"{name[: most - 1]}…"


def pictures(draw: Callable[[bool], Figure], panel: Panel, name: str, description: str) -> dict[str, Markup]:
    """The figures of `draw(narrow)` of a panel; see `drawn_twice`."""
    return drawn_twice(draw, panel.folder / "figures", f"{panel.prefix}{name}", description)


def drawn_twice(draw: Callable[[bool], Figure], folder: Path, name: str, description: str) -> dict[str, Markup]:
    """The figures of `draw(narrow)` as SVGs for a `wide` and a `narrow` page; the wide one is also saved to files."""
    from markupsafe import Markup

    with style():
        wide = save(draw(False), folder, name, description)
        return {"wide": Markup(wide), "narrow": Markup(page_svg(to_svg(draw(True)), f"{name}-narrow", description))}


def save(figure: Figure, folder: Path, name: str, description: str) -> str:
    """Write `<name>.svg` and `<name>.png` into `folder`, and return the SVG for a page."""
    folder.mkdir(parents=True, exist_ok=True)
    svg = to_svg(figure)
    write_text(folder / f"{name}.svg", svg)
    write_whole(folder / f"{name}.png", lambda path: figure.savefig(path, format="png", dpi=160))
    return page_svg(svg, name, description)


def to_svg(figure: Figure) -> str:
    """The SVG of a figure as written by matplotlib, without metadata, so that it is reproducible."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
    return drawn.getvalue().decode("utf-8")


def page_svg(svg: str, name: str, description: str) -> str:
    """A matplotlib SVG adapted to a page: no prologue, unique ids, colours as custom properties, and a description."""
    from markupsafe import escape

    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<(metadata|style).*?</\1>", "", svg, flags=re.DOTALL)  # a style element would affect the whole page
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'(url\(|href=")#', rf"\1#{name}-", svg)
    for light, custom in PROPERTIES.items():
        svg = svg.replace(light, f"var(--{custom}, {light})")
    svg = svg.replace("'DejaVu Sans'", "inherit")
    head = f'<svg class="chart" role="img" aria-label="{escape(description)}"'
    width = float(re.search(r'viewBox="0 0 ([\d.]+)', svg)[1])  # type: ignore[index]
    svg = re.sub(r"^<svg", f'{head} style="--natural: {width:.0f}px"', svg)
    for size in ("width", "height"):
        svg = re.sub(rf'(<svg[^>]*?) {size}="[^"]*"', r"\1", svg, count=1)
    return svg
