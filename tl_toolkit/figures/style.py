"""Shared style of figures, selection of fonts that cover a text, and writing of picture files."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..atomic_files import write_whole
from ..errors import UserError, listing
from .palette import INK, LINE, MUTED, SURFACE

if TYPE_CHECKING:
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg")

DEFAULT_FONT = "DejaVu Sans"
"""Comes with matplotlib; covers Latin, Greek, Cyrillic, Arabic and more, but no Indic scripts."""

_OWN_FONTS = Path(__file__).parent / "fonts"

STYLE: Any = {
    "text.parse_math": False,  # tokens and names may contain dollar signs
    "font.size": 10,
    "font.family": [DEFAULT_FONT],
    "svg.fonttype": "path",  # shaped letters, also on machines without the font
    "svg.hashsalt": "tl_toolkit",
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.facecolor": SURFACE,
    "axes.facecolor": SURFACE,
    "savefig.facecolor": SURFACE,
}

PLOT_STYLE: Any = {
    **STYLE,
    "svg.fonttype": "none",
    "axes.edgecolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}
"""Style of curves and diagrams: axes with a grid, and text stored as text."""


def new_figure(width: float, height: float, layout: str | None = None) -> Figure:
    """Create an empty figure without a window; width and height are in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout=layout)  # type: ignore[arg-type]
    FigureCanvasAgg(figure)
    return figure


def colour_bar(
    figure: Figure, drawn: ScalarMappable, place: tuple[float, float, float, float], size: float = 7, **settings: Any
) -> None:
    """The colours of a map and their values, with labels of `size` points; `place` is in shares of the figure."""
    bar = figure.colorbar(drawn, cax=figure.add_axes(place), **settings)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=size, labelcolor=MUTED)
    bar.ax.grid(False)


@contextmanager
def picture_style() -> Iterator[None]:
    """Within this context, use the toolkit's style in matplotlib."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        yield


def font_families(text: str) -> list[str]:
    """Return the fonts to draw `text` with; the first one covers its letters and combining marks, if possible.

    Candidates are matplotlib's default font, then the fonts of this package (Devanagari), then installed fonts.
    matplotlib 3.11 shapes the text, so that conjuncts and vowel signs are joined by the rules of the font.
    """
    missing = frozenset(x for x in text if unicodedata.category(x)[0] not in "CZ") - _letters_of(DEFAULT_FONT)
    if not missing:
        return [DEFAULT_FONT]
    installed = sorted(name for name in _files() if not name.startswith("Last Resort"))  # draws only boxes
    for candidates in (_own_families(), installed):
        covered = {family: len(missing & _letters_of(family)) for family in candidates}
        if any(covered.values()):
            return [max(covered, key=lambda family: covered[family]), DEFAULT_FONT]
    return [DEFAULT_FONT]


@cache
def _own_families() -> list[str]:
    """Register the fonts of this package with matplotlib and return their families."""
    from matplotlib import font_manager

    paths = sorted(_OWN_FONTS.glob("*.ttf"))
    for path in paths:
        font_manager.fontManager.addfont(path)
    return [font_manager.get_font(path).family_name for path in paths]


@cache
def _files() -> dict[str, str]:
    """Return the file of every font family with upright letters of normal weight."""
    from matplotlib import font_manager

    _own_families()  # adds them to the list
    known = font_manager.fontManager.ttflist
    return {font.name: font.fname for font in known if font.weight in (400, "normal") and font.style == "normal"}


@cache
def _letters_of(family: str) -> frozenset[str]:
    from matplotlib import font_manager

    return frozenset(map(chr, font_manager.get_font(_files()[family]).get_charmap()))


def check_picture_path(path: str | Path) -> Path:
    """Return `path`; raise `UserError` if its suffix is not a picture format or its folder does not exist."""
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"The name of the picture {str(path)!r} must end in {listing(FORMATS)}.")
    if not path.parent.is_dir():
        raise UserError(f"The picture {str(path)!r} cannot be written: there is no folder {str(path.parent)!r}.")
    return path


def save_picture(figure: Figure, path: str | Path) -> None:
    """Write a cropped figure as PNG or SVG, depending on the suffix of `path`."""
    path = check_picture_path(path)
    kind = path.suffix.lower().removeprefix(".")
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    options: Any = {"format": kind, "dpi": 120, "bbox_inches": "tight", "pad_inches": 0.1, "metadata": metadata}
    write_whole(path, lambda temporary: figure.savefig(temporary, **options))
