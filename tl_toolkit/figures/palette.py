"""Colours, markers and dashes of figures, and the CSS custom properties that replace the colours in a page.

A page has a light and a dark scheme, a picture file only a light one. So figures are drawn in the light colours, and in
a page each colour is replaced by `var(--name, colour)`, which the style sheet sets for both schemes.
"""

from __future__ import annotations

from collections.abc import Sequence

INK, MUTED, LINE, SURFACE = "#1c2430", "#5a6575", "#dfe3e8", "#fffffe"

# Eight hues with different lightness that readers with common colour deficiencies can distinguish (after Okabe and Ito,
# "Color Universal Design"), darkened to a contrast of 4.5:1 on white because they also colour text.
SERIES = ("#0b62a4", "#b84a00", "#0a7358", "#a02c7d", "#7a5c00", "#4a3fa3", "#56616e", "#b3123c")
DARK_SERIES = ("#6db3f2", "#ff9d5c", "#4fcf9f", "#f08cd0", "#d9b94a", "#aaa5fa", "#a9b4bf", "#ff8095")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
"""One fewer than the hues, so that hue and marker together distinguish 56 entries."""

GLYPHS = ("●○", "■□", "▲△", "◆◇", "▼▽", "✚+", "✖×")
"""The markers as characters, filled and hollow."""

TRANSFER_DASH = "solid"
SCRATCH_DASH = (0, (5, 2.5))
BASELINE_DASH = (0, (1, 2))

PROPERTIES = {
    INK: "ink",
    MUTED: "muted",
    LINE: "line",
    SURFACE: "surface",
    **{colour: f"series-{number}" for number, colour in enumerate(SERIES)},
}


def colour(position: int) -> str:
    """Return the colour of the entry at this position of the grid."""
    return SERIES[position % len(SERIES)]


def marker(position: int) -> str:
    """Return the marker of the entry at this position of the grid."""
    return MARKERS[position % len(MARKERS)]


def key(entries: Sequence[tuple[str, bool]]) -> list[tuple[str, str, str]]:
    """Return (name, glyph, custom property of the colour) for each (name, uses transfer), in grid order."""
    return [
        (name, GLYPHS[position % len(GLYPHS)][0 if transfer else 1], PROPERTIES[colour(position)])
        for position, (name, transfer) in enumerate(entries)
    ]
