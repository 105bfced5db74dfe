"""Heat maps: cells, letters and invalid input."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from tl_toolkit.errors import UserError
from tl_toolkit.figures import attention_map, style
from tl_toolkit.figures.attention_map import draw_attention_map, label

HINDI = ["शिक्षा", "मंत्रालय", "ने", "ज्ञान", "स्त्री", "हिन्दी", "।"]
ENGLISH = ["the", "ministry", "knows", "a", "woman", "."]


def weights(rows: int, columns: int) -> np.ndarray:
    return np.random.default_rng(5).dirichlet(np.ones(columns), rows)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (ENGLISH, HINDI),
        (list("शुक्रवार, १५"), list("$2-\n")),
        (["größe", "Ελλάδα", "мир"], ["ñ"]),
        (["a"] * 67, ["b"] * 61),
    ],
    ids=["words", "letters", "scripts", "long"],
)
@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_every_letter_is_drawn(source: list[str], target: list[str], suffix: str, tmp_path: Path) -> None:
    """matplotlib warns about each letter without a glyph."""
    path = tmp_path / f"map{suffix}"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_attention_map(source, target, weights(len(target), len(source)), path)
    start = path.read_bytes()[:200]
    assert start.startswith(b"\x89PNG") if suffix == ".png" else b"<svg" in start + path.read_bytes()[:600]
    assert list(tmp_path.iterdir()) == [path]


def test_the_picture_is_the_same_each_time(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg", "c.png", "d.png"):
        draw_attention_map(ENGLISH, HINDI, torch.tensor(weights(7, 6)), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "c.png").read_bytes() == (tmp_path / "d.png").read_bytes()


def test_rows_run_downwards_and_columns_to_the_right() -> None:
    """The darkest cell of the picture has the weight."""
    values = np.full((5, 7), 0.01)
    values[1, 5] = 0.9
    figure = attention_map._figure(list("abcdefg"), list("ABCDE"), values)
    axes = figure.axes[0]
    figure.canvas.draw()
    place = axes.transData.transform((5.5, 1.5))
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3].mean(-1)
    row, column = pixels.shape[0] - 1 - int(place[1]), int(place[0])
    assert pixels[row, column] < 90 < pixels.mean()
    wide = attention_map._figure(["a", "कि", "<eos>"], ["b"], np.ones((1, 3)))
    assert [text.get_rotation() for text in wide.axes[0].get_xticklabels()] == [0, 0, 90]  # only words are rotated
    upper, left = [text.get_text() for text in axes.get_yticklabels()], axes.get_xticklabels()
    assert upper == list("ABCDE") and axes.yaxis_inverted() and left[5].get_text() == "f"


def test_devanagari_is_shaped() -> None:
    """The letters of a conjunct are joined, so they are narrower than side by side."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    def width(text: str) -> float:
        figure = Figure()
        canvas = FigureCanvasAgg(figure)
        drawn = figure.text(0, 0, text, fontsize=40, fontfamily=style.font_families(text))
        return drawn.get_window_extent(canvas.get_renderer()).width

    assert width("क्ष") < 0.8 * (width("क") + width("ष"))  # one glyph
    assert width("स्त्री") < 0.8 * (width("स") + width("त") + width("री"))
    assert width("कि") > 1.2 * width("क")  # the vowel sign takes space before the letter


def test_fonts_cover_the_letters() -> None:
    assert style.font_families("größe $") == ["DejaVu Sans"]
    assert style.font_families("ज्ञ, 1") == ["Noto Sans Devanagari", "DejaVu Sans"]
    assert style.font_families("\U000f0000") == ["DejaVu Sans"]  # in no font


def test_the_font_comes_with_its_licence() -> None:
    folder = Path(style.__file__).parent / "fonts"
    assert "SIL OPEN FONT LICENSE" in (folder / "OFL.txt").read_text(encoding="utf-8")
    assert sum(file.stat().st_size for file in folder.iterdir()) < 300_000


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        ("Haus", "Haus"), (" Haus", "Haus"), (" ", "␣"), ("  ", "␣␣"), ("\n", "↵"), ("", "∅"), ("ि", "◌ि"),
        ("ाम", "◌ाम"), ("कि", "कि"), ("\u200d", "ZWJ"), ("\u0301", "◌\u0301"), ("x" * 25, "x" * 23 + "…"),
    ],
)  # fmt: skip
def test_labels(token: str, shown: str) -> None:
    assert label(token) == shown


def test_combining_marks_do_not_count_as_letters() -> None:
    assert [attention_map._columns_of(shown) for shown in ("a", "कि", "◌ि", "ab", "क्ष")] == [1, 1, 1, 2, 2]


def test_invalid_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must have the shape .* \(7, 6\) .* but have the shape \(6, 7\)"):
        draw_attention_map(ENGLISH, HINDI, weights(6, 7), tmp_path / "map.png")
    with pytest.raises(ValueError, match="finite and at least 0"):
        draw_attention_map(ENGLISH, HINDI, -weights(7, 6), tmp_path / "map.png")
    with pytest.raises(UserError, match=r"map.gif' must end in '.png', '.svg'"):
        draw_attention_map(ENGLISH, HINDI, weights(7, 6), tmp_path / "map.gif")
    with pytest.raises(UserError, match="no folder"):
        draw_attention_map(ENGLISH, HINDI, weights(7, 6), tmp_path / "none" / "map.png")
    assert not list(tmp_path.iterdir())
