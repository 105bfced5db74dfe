from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from tl_toolkit.evaluation.predictions import PredictionReader
from tl_toolkit.evaluation.results import read_results
from tl_toolkit.evaluation.statistics.cells import Goal, make_cells
from tl_toolkit.evaluation.statistics.label_equivalence import CurveDraws, equivalence, isotonic, labels_at
from tl_toolkit.evaluation.statistics.uncertainty import row_noise

GOAL = Goal("accuracy")


def curve_of(folder, entry, goal=GOAL):
    cells = make_cells(read_results(folder / "results.jsonl"))
    draws = CurveDraws(row_noise(PredictionReader(folder), goal.metric).prepare(cells), goal)
    return draws.curve(entry, [cell for cell in cells if cell.entry == entry]), draws


def equivalent(folder, entry, budget, other, goal=GOAL):
    cells = make_cells(read_results(folder / "results.jsonl"))
    (own,) = [cell for cell in cells if (cell.entry, cell.budget) == (entry, budget)]
    return equivalence(own, *curve_of(folder, other, goal))


def curve(make_record, entry, points, deviation=0.0, seeds=(1,)):
    """Records of an entry at (budget, score) points, with seeds spread evenly around them."""
    middle = (len(seeds) + 1) / 2
    return [
        make_record(entry, budget, seed, score + deviation * (seed - middle))
        for budget, score in points
        for seed in seeds
    ]


def test_isotonic_regression_equals_scikit_learn():
    generator = np.random.default_rng(3)
    scores, weights = generator.normal(size=(23, 7)), generator.integers(1, 6, 7).astype(float)
    expected = [IsotonicRegression().fit_transform(np.arange(7), row, sample_weight=weights) for row in scores]
    assert isotonic(scores, weights) == pytest.approx(np.array(expected), abs=1e-12)


def test_labels_are_interpolated_in_the_logarithm():
    labels = np.array([10.0, 1000.0, 10_000.0])
    scores = np.array([[0.1, 0.5, 0.5]])

    def at(target):
        return float(labels_at(scores, labels, np.array([target]))[0])

    assert at(0.3) == pytest.approx(100)  # half way up, half way in log labels
    assert at(0.5) == pytest.approx(1000)  # the fewest labels of a flat stretch
    assert at(0.1) == 10 and at(0.09) == 0 and at(0.51) == math.inf


def test_label_equivalence_of_an_entry(tmp_path, make_record, write_lines):
    write_lines(
        tmp_path,
        curve(make_record, "lstm", [(10, 0.1), (1000, 0.5)]) + curve(make_record, "minilm", [(10, 0.3), (1000, 0.8)]),
    )
    found = equivalent(tmp_path, "minilm", 10, "lstm")
    assert found.needed == pytest.approx(100) and found.ratio == pytest.approx(10) and found.labels == 10
    assert (found.least, found.most, found.low, found.high) == (10, 1000, None, None)
    assert found.in_words() == "about 100"
    beyond = equivalent(tmp_path, "minilm", 1000, "lstm")
    assert beyond.needed == math.inf and beyond.in_words(" labels") == ">1,000 labels"
    assert equivalent(tmp_path, "lstm", 10, "minilm").in_words() == "<10"


def test_a_falling_curve_is_made_monotone(tmp_path, make_record, write_lines):
    """0.4 and 0.2 at 100 and 1,000 labels become 0.3 at both."""
    lstm = curve(make_record, "lstm", [(10, 0.1), (100, 0.4), (1000, 0.2), (6920, 0.5)])
    write_lines(tmp_path, lstm + curve(make_record, "minilm", [(10, 0.2)]))
    found = equivalent(tmp_path, "minilm", 10, "lstm")
    assert curve_of(tmp_path, "lstm")[0].scores == pytest.approx([0.1, 0.3, 0.3, 0.5])
    assert found.needed == pytest.approx(10**1.5)


def test_lower_metrics_can_be_better(tmp_path, make_record, write_lines):
    def errors(entry, points):
        return [
            make_record(entry, budget, 1, 0.0, metrics={"test": {"mse": error}, "validation": {"mse": error}})
            for budget, error in points
        ]

    write_lines(tmp_path, errors("lstm", [(10, 0.9), (1000, 0.5)]) + errors("minilm", [(10, 0.7), (1000, 0.2)]))
    found = equivalent(tmp_path, "minilm", 10, "lstm", Goal("mse", greater_is_better=False))
    assert found.needed == pytest.approx(100)
    learnt, _ = curve_of(tmp_path, "lstm", Goal("mse", greater_is_better=False))
    assert learnt.labels.tolist() == [10, 1000] and -learnt.scores == pytest.approx([0.9, 0.5])


def test_the_noise_of_the_seeds_has_students_distribution(tmp_path, make_record, write_lines):
    """For one noisy point on an exact curve, the interval is its t interval mapped to labels."""
    lstm = curve(make_record, "lstm", [(10, 0.0), (6920, 1.0)], seeds=(1, 2, 3))
    minilm = curve(make_record, "minilm", [(10, 0.5)], deviation=0.01, seeds=(1, 2, 3))
    write_lines(tmp_path, lstm + minilm)
    found = equivalent(tmp_path, "minilm", 10, "lstm")
    half = 4.303 * 0.01 / math.sqrt(3)  # t of 2 degrees of freedom
    ends = [10 * 692 ** (0.5 + side * half) for side in (-1, 1)]
    assert found.needed == pytest.approx(10 * 692**0.5)
    assert (found.low, found.high) == (pytest.approx(ends[0], rel=0.06), pytest.approx(ends[1], rel=0.06))
    assert found.in_words().startswith("about 260 (95\u00a0% 2")


def test_the_interval_includes_the_noise_of_the_rows(tmp_path, comparison):
    comparison(skills={"lstm": (0.2, 0.5, 0.8), "minilm": (0.4, 0.6, 0.9)}, seeds=(1, 1, 1))
    found = equivalent(tmp_path, "minilm", 100, "lstm")
    assert found.low < found.needed < found.high
    width = math.log(found.high / found.low)
    comparison(skills={"lstm": (0.2, 0.5, 0.8), "minilm": (0.4, 0.6, 0.9)}, seeds=(1, 1, 1), rows=4013)
    assert math.log((again := equivalent(tmp_path, "minilm", 100, "lstm")).high / again.low) < 0.6 * width


def test_an_interval_can_be_open(tmp_path, make_record, write_lines):
    """minilm's score is at the end of lstm's curve: half of the draws do not reach it."""
    lstm = curve(make_record, "lstm", [(100, 0.1), (1000, 0.5)], deviation=0.02, seeds=(1, 2, 3))
    write_lines(tmp_path, lstm + curve(make_record, "minilm", [(100, 0.499)], deviation=0.02, seeds=(1, 2, 3)))
    found = equivalent(tmp_path, "minilm", 100, "lstm")
    assert found.high == math.inf and 100 < found.low < found.needed < 1000
    assert found.in_words().endswith(" to >1,000)")


def test_validation_labels_are_reported(tmp_path, make_record, write_lines):
    records = curve(make_record, "lstm", [(10, 0.1), (1000, 0.5)]) + curve(make_record, "minilm", [(10, 0.3)])
    write_lines(tmp_path, records)
    found = equivalent(tmp_path, "minilm", 10, "lstm")
    assert found.validation_labels == 10
