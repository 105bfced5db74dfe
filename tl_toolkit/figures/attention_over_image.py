"""Draw the attention of a captioner over the picture, one panel per word (Xu et al. 2015, figure 2)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .style import font_families, new_figure, picture_style, save_picture

if TYPE_CHECKING:
    from PIL.Image import Image

_COLUMNS = 6
_PANEL = 1.5  # inches
_STRONGEST = 0.8  # opacity of the highest weight
_HUE = np.array([184, 74, 0])  # red, green and blue


def draw_attention_over_image(image: Image, words: Sequence[str], weights: np.ndarray, path: str | Path) -> None:
    """Draw the picture, then for every word a grey copy with the attention of the model in colour.

    The weights of a word are enlarged to the size of the picture (bilinear, because each grid position covers an area
    that overlaps its neighbours') and divided by their maximum, so panels show where the model looks, not how much.

    Args:
        image: the input picture of the model, in any mode of Pillow.
        words: generated words, one panel each.
        weights: (words, grid height, grid width), at least 0.
        path: a `.png` or `.svg` file.

    Raises:
        UserError: the path cannot be written to.
        ValueError: the weights have a wrong shape, are negative or not finite.
    """
    weights = np.asarray(weights, dtype=np.float64)
    if weights.ndim != 3 or len(weights) != len(words) or not words:
        raise ValueError(
            f"weights must be (words, grid height, grid width), got {weights.shape} for {len(words)} words."
        )
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError("weights must be finite and at least 0.")
    panels = [("", np.asarray(image.convert("RGB")))]
    panels += [(word, overlaid(image, own)) for word, own in zip(words, weights, strict=True)]
    columns = min(len(panels), _COLUMNS)
    rows = -(-len(panels) // columns)
    height = _PANEL * min(max(image.height / image.width, 0.25), 4.0) + 0.3  # plus a line for the word
    with picture_style():
        figure = new_figure(_PANEL * columns, height * rows, layout="constrained")
        for place, (word, pixels) in enumerate(panels):
            axes = figure.add_subplot(rows, columns, place + 1)
            axes.imshow(pixels, interpolation="nearest")
            axes.set_title(word, fontsize=10, fontfamily=font_families(word))
            axes.set_axis_off()
        save_picture(figure, path)


def overlaid(image: Image, weights: np.ndarray) -> np.ndarray:
    """Return the grey picture with colour in proportion to `weights` (grid): (height, width, 3), 0 to 255."""
    from PIL import Image as Pillow

    highest = weights.max()
    share = (weights / highest if highest > 0 else weights).astype(np.float32)
    enlarged = Pillow.fromarray(share).resize(image.size, Pillow.Resampling.BILINEAR)
    cover = _STRONGEST * np.asarray(enlarged)[..., None]
    # From black to light grey, so that colour is visible on white areas.
    grey = np.asarray(image.convert("L").convert("RGB"), dtype=np.float64) * 0.9
    return np.round((1 - cover) * grey + cover * _HUE).astype(np.uint8)
