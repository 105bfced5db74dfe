"""Heat map of the alignment between two texts, as in Bahdanau et al. (2015), figure 3."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .palette import LINE
from .style import colour_bar, font_families, new_figure, picture_style, save_picture

CELL = 0.27
"""Width and height of a cell in inches, unless the picture would exceed `LARGEST`."""
LARGEST = 22.0
"""Largest width and height of all cells in inches; longer texts have smaller cells and letters."""
LONGEST_LABEL = 24
"""Most characters of a label; longer ones are shortened."""

_DOTTED_CIRCLE = "◌"
_VISIBLE = {" ": "␣", "\n": "↵", "\t": "⇥", "\u200c": "ZWNJ", "\u200d": "ZWJ", "\u00a0": "␣", "": "∅"}


def draw_attention_map(
    source_tokens: Sequence[str], target_tokens: Sequence[str], weights: Any, path: str | Path
) -> None:
    """Draw the attention of each target token over the source: a row per target token, dark for large weights.

    Colours range from 0 to the largest weight; a scale is drawn beside the map.

    Args:
        source_tokens: labels of the columns, from left to right.
        target_tokens: labels of the rows, from top to bottom.
        weights: (target, source), at least 0; an array, a tensor or nested lists.
        path: a `.png` or `.svg` file.

    Raises:
        UserError: the path cannot be written to.
        ValueError: the weights have a wrong shape, are negative or not finite.
    """
    values = np.asarray(weights, dtype=float)
    if values.shape != (len(target_tokens), len(source_tokens)) or not values.size:
        raise ValueError(
            f"the weights must have the shape (target tokens, source tokens) "
            f"{(len(target_tokens), len(source_tokens))} and not be empty, but have the shape {values.shape}"
        )
    if not np.isfinite(values).all() or values.min() < 0:
        raise ValueError("the weights must be finite and at least 0")
    columns, rows = [label(token) for token in source_tokens], [label(token) for token in target_tokens]
    with picture_style():
        save_picture(_figure(columns, rows, values), path)


def label(token: str) -> str:
    """Return the label of a token; invisible characters are replaced by visible ones.

    A token that starts with a combining mark (such as a single vowel sign of Devanagari) is drawn on a dotted circle,
    as in the Unicode charts. Spaces around longer tokens are removed.
    """
    if token in _VISIBLE:
        return _VISIBLE[token]
    shown = " ".join(token.split()) or "␣" * len(token)
    if unicodedata.category(shown[0]).startswith("M"):
        shown = _DOTTED_CIRCLE + shown
    return shown if len(shown) <= LONGEST_LABEL else f"{shown[: LONGEST_LABEL - 1]}…"


def _figure(columns: Sequence[str], rows: Sequence[str], values: np.ndarray) -> Any:
    cell = min(CELL, LARGEST / max(len(columns), len(rows)))
    width, height = cell * len(columns), cell * len(rows)
    figure = new_figure(width, height)  # the labels are outside; cropping keeps them
    axes = figure.add_axes((0, 0, 1, 1))
    # `pcolormesh` draws rectangles in an SVG, which are sharp at any size.
    mesh = axes.pcolormesh(values, cmap="Blues", vmin=0.0, vmax=max(values.max(), 1e-9), edgecolors=LINE, linewidth=0.4)
    axes.invert_yaxis()
    axes.set_aspect("equal")
    axes.tick_params(length=0, pad=4, top=True, labeltop=True, bottom=False, labelbottom=False)
    size = 10.0 * cell / CELL
    axes.set_xticks(np.arange(len(columns)) + 0.5, columns, fontsize=size)
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows, fontsize=size)
    for shown in axes.get_xticklabels():
        shown.set_rotation(90 if _columns_of(shown.get_text()) > 1 else 0)
    for shown in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        shown.set_fontfamily(font_families(shown.get_text()))
    axes.set_ylabel("target", labelpad=8)
    axes.set_xlabel("source", labelpad=8)
    axes.xaxis.set_label_position("top")
    tall = min(height, 2.4)
    colour_bar(figure, mesh, (1 + 0.2 / width, 1 - tall / height, 0.1 / width, tall / height), size=8)
    return figure


def _columns_of(shown: str) -> int:
    """Return the number of letters side by side; combining marks do not count."""
    return sum(not unicodedata.category(letter).startswith("M") for letter in shown.removeprefix(_DOTTED_CIRCLE)) or 1
