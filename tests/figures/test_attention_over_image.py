"""Attention over pictures: colour, panels and invalid input."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tl_toolkit.errors import UserError
from tl_toolkit.figures.attention_over_image import draw_attention_over_image, overlaid


@pytest.fixture
def image() -> Image.Image:
    """33 pixels wide, 22 high, with different greys."""
    return Image.fromarray((np.arange(22 * 33) % 251).astype(np.uint8).reshape(22, 33))


def coloured(pixels: np.ndarray) -> np.ndarray:
    """Distance of each pixel from grey."""
    return pixels.max(axis=-1).astype(int) - pixels.min(axis=-1)


def test_colour_is_where_the_weight_is(image):
    weights = np.zeros((2, 3))
    weights[1, 2] = 0.7  # lower right
    colour = coloured(overlaid(image, weights))
    assert colour.shape == (22, 33)
    assert colour[14:, 27:].min() > 100 and colour[:5].max() == 0 and colour[:, :15].max() == 0
    assert np.unravel_index(colour.argmax(), colour.shape)[0] >= 11
    # Areas without weight are grey, and the scale of the weights has no effect.
    expected = np.round(np.asarray(image, dtype=float) * 0.9)
    assert np.array_equal(overlaid(image, weights)[:5, :, 0], expected[:5])
    assert np.array_equal(overlaid(image, weights), overlaid(image, weights / 7))
    assert coloured(overlaid(image, np.zeros((2, 3)))).max() == 0


def test_one_panel_per_word(image, tmp_path):
    weights = np.zeros((7, 2, 3))
    weights[:, 0, 0] = 1.0
    draw_attention_over_image(image, list("abcdefg"), weights, tmp_path / "attention.png")
    drawn = np.asarray(Image.open(tmp_path / "attention.png").convert("RGB"))
    colour = coloured(drawn) > 100
    rows, columns = drawn.shape[0] // 2, drawn.shape[1] // 6  # eight panels in rows of six and two
    panels = [
        colour[r * rows : (r + 1) * rows, c * columns : (c + 1) * columns].sum() for r in (0, 1) for c in range(6)
    ]
    assert panels[0] == 0  # the picture itself
    assert all(count > 50 for count in panels[1:8]) and not any(panels[8:])
    assert not list(tmp_path.glob(".*"))
    draw_attention_over_image(image, ["seven", "$a$ <b> सात"], weights[:2], tmp_path / "attention.svg")
    svg = (tmp_path / "attention.svg").read_text()
    assert svg.count("<image") == 3


def test_invalid_input_is_refused(image, tmp_path):
    with pytest.raises(UserError, match="attention.txt' must end in '.png', '.svg'"):
        draw_attention_over_image(image, ["a"], np.ones((1, 2, 3)), tmp_path / "attention.txt")
    with pytest.raises(ValueError, match=r"got \(1, 2, 3\) for 2 words"):
        draw_attention_over_image(image, ["a", "b"], np.ones((1, 2, 3)), tmp_path / "a.png")
    with pytest.raises(ValueError, match="at least 0"):
        draw_attention_over_image(image, ["a"], -np.ones((1, 2, 3)), tmp_path / "a.png")
