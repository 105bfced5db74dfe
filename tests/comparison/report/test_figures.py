from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from tl_toolkit.comparison.report.drawing import write_whole
from tl_toolkit.comparison.report.figures import scatter
from tl_toolkit.comparison.report.learning_curves import alone_among, learning_curves, spaced
from tl_toolkit.comparison.report.panel import Panel
from tl_toolkit.evaluation.results import read_results
from tl_toolkit.figures.palette import DARK_SERIES, MARKERS, PROPERTIES, SERIES, SURFACE, key


def draw(folder):
    drawn = learning_curves(Panel(read_results(folder / "results.jsonl"), folder))
    return drawn["wide"], drawn["narrow"]


def texts(svg):
    return [element.text for element in ET.fromstring(svg).iter() if element.tag.endswith("text")]


def test_all_lines_are_named_and_the_budgets_are_the_ticks(tmp_path, comparison):
    comparison(rows=101, predictions=False)
    svg, _ = draw(tmp_path)
    said = texts(svg)
    assert {"elman", "lstm", "bilstm-attention", "minilm", "minilm-frozen"} <= set(said)
    assert {"100", "500", "2,000", "transfer", "from scratch"} <= set(said)
    for suffix, magic in (("png", b"\x89PNG"), ("svg", b"<?xml")):
        assert (tmp_path / "figures" / f"learning_curves.{suffix}").read_bytes().startswith(magic)
    assert not list((tmp_path / "figures").glob(".*"))


def test_the_page_svg_follows_the_scheme_and_is_self_contained(tmp_path, comparison):
    comparison(rows=101, predictions=False)
    svg, narrow = draw(tmp_path)
    bare = re.sub(r"var\(--[\w-]+, #\w{6}\)", "", svg)
    assert not re.search(r"(fill|stroke|stop-color): ?#", bare)  # the page can change every colour
    assert "<style" not in svg and "<?xml" not in svg and "http" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", svg)
    assert all(name.startswith("learning_curves-") for name in re.findall(r'\bid="([^"]+)"', svg))
    references = re.findall(r'(?:url\(|href=")#([^")]+)', svg)
    assert references and set(references) <= set(re.findall(r'\bid="([^"]+)"', svg))
    assert 'role="img" aria-label="Line chart' in svg
    ids = [re.findall(r'\bid="([^"]+)"', drawn) for drawn in (svg, narrow)]
    assert ids[1] and not set(ids[0]) & set(ids[1])  # both are in one page


def width(svg):
    return float(ET.fromstring(svg).get("viewBox").split()[2])


def test_the_narrow_figure_fits_a_phone_and_has_no_names(tmp_path, comparison):
    comparison(rows=101)
    wide, narrow = draw(tmp_path)
    assert width(narrow) == 300 and width(wide) == 600
    assert {"100", "500", "2,000"} <= set(texts(narrow)) and "lstm" not in texts(narrow)


def test_the_baseline_is_a_separate_line(tmp_path, comparison):
    comparison(rows=101, predictions=False)
    without = [drawn.count("stroke-dasharray: 1,2") for drawn in draw(tmp_path)]
    comparison(rows=101)
    svg, narrow = draw(tmp_path)
    assert without == [0, 0] and svg.count("stroke-dasharray: 1,2") == narrow.count("stroke-dasharray: 1,2") == 1
    assert "most frequent class" in texts(svg)
    comparison(skills={"lstm": (0.3,), "minilm": (0.5,)}, budgets=(None,), rows=101)
    assert all(drawn.count("stroke-dasharray: 1,2") == 1 for drawn in draw(tmp_path))


def test_isolated_spreads_between_single_runs():
    known = np.array([True, False, True, True, False, False, True])
    assert alone_among(known).tolist() == [True, False, False, False, False, False, True]
    assert alone_among(np.array([True])).tolist() == [True]


def test_one_budget_is_drawn_as_rows(tmp_path, comparison):
    comparison(skills={"lstm": (0.3,), "minilm": (0.5,)}, budgets=(None,), rows=101, predictions=False)
    svg, _ = draw(tmp_path)
    assert {"lstm", "minilm"} <= set(texts(svg)) and "Dot chart" in svg


def test_special_characters_in_names_stay_text(tmp_path, make_record, write_lines):
    names = ["<script>alert(1)</script>", "a $\\frac{1$ & b", "_hidden"]
    write_lines(tmp_path, [make_record(name, budget, 1, 0.3) for name in names for budget in (100, None)])
    svg, _ = draw(tmp_path)
    assert set(names) <= set(texts(svg)) and "<script" not in svg


def test_figures_are_reproducible(tmp_path, comparison):
    comparison(rows=101, predictions=False)
    assert draw(tmp_path) == draw(tmp_path)


def test_the_scatter_plot_has_a_description(tmp_path):
    values = np.arange(23.0)
    svg = scatter(values, values[::-1], "lstm", 0, tmp_path, "scatter_0_lstm")
    assert ET.fromstring(svg).get("aria-label") == "Scatter plot of predictions against labels for lstm."
    assert (tmp_path / "scatter_0_lstm.png").exists()


def test_spaced_moves_labels_apart_as_little_as_possible():
    assert spaced(np.array([0.0, 50.0, 100.0]), 10).tolist() == [0, 50, 100]
    assert spaced(np.array([0.0, 0.0, 0.0]), 10).tolist() == pytest.approx([-10, 0, 10])
    heights = spaced(np.sort(np.random.default_rng(0).uniform(0, 60, 11)), 7)
    assert np.diff(heights).min() == pytest.approx(7)
    held = spaced(np.array([58.0, 59.0, 60.0]), 7, low=0, high=61)
    assert held.tolist() == pytest.approx([47, 54, 61])


def contrast(first, second):
    def luminance(colour):
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def test_colours_of_text_have_contrast_in_both_schemes():
    """WCAG 2.2 success criterion 1.4.3: at least 4.5 to 1."""
    assert min(contrast(colour, SURFACE) for colour in SERIES) >= 4.5
    assert min(contrast(colour, "#171c24") for colour in DARK_SERIES) >= 4.5
    assert len(DARK_SERIES) == len(SERIES) and len(set(PROPERTIES.values())) == len(PROPERTIES)


def test_combinations_of_colour_and_marker_repeat_late():
    looks = {(SERIES[i % len(SERIES)], MARKERS[i % len(MARKERS)]) for i in range(56)}
    assert len(looks) == 56
    assert key([("a", True), ("b", False)]) == [("a", "●", "series-0"), ("b", "□", "series-1")]


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "report.md"
    path.write_text("old")

    def half(temporary):
        temporary.write_text("ne")
        raise OSError("no space left")

    with pytest.raises(OSError):
        write_whole(path, half)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
