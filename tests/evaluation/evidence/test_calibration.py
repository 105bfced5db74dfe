from __future__ import annotations

import math

import numpy as np
import pytest

from tl_toolkit.evaluation.evidence.calibration import (
    _squared_error,
    brier,
    calibration_error,
    calibrations,
    log_loss,
    reliability,
    root_error,
)
from tl_toolkit.evaluation.predictions import PredictionReader
from tl_toolkit.evaluation.results import read_results
from tl_toolkit.evaluation.statistics.cells import make_cells


@pytest.fixture
def drawn():
    """Labels (709,) and probabilities (709, 5) of an overconfident model."""
    generator = np.random.default_rng(3)
    logits = generator.normal(size=(709, 5)) * 2
    label = (logits + generator.gumbel(size=(709, 5)) * 2).argmax(1)
    scores = np.exp(logits)
    return label, scores / scores.sum(1, keepdims=True)


def test_hand_computed_scores():
    label = np.array([0, 1, 1, 0])
    scores = np.array([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3], [0.6, 0.4]])
    assert brier(label, scores).mean() == pytest.approx((2 * 0.01 + 2 * 0.16 + 2 * 0.49 + 2 * 0.16) / 4)
    assert log_loss(label, scores).mean() == pytest.approx(-math.log(0.9 * 0.6 * 0.3 * 0.6) / 4)
    bins = reliability(np.array([0.9, 0.6, 0.7, 0.6]), np.array([True, True, False, True]), bins=2)
    assert [(b.accuracy, b.count) for b in bins] == [(1.0, 2), (0.5, 2)]
    assert bins[1].confidence == pytest.approx(0.8)
    assert calibration_error(bins) == pytest.approx(0.5 * 0.4 + 0.5 * 0.3)


def test_scores_equal_scikit_learn(drawn):
    from sklearn.calibration import calibration_curve
    from sklearn.metrics import brier_score_loss
    from sklearn.metrics import log_loss as reference_log_loss

    label, scores = drawn
    assert log_loss(label, scores).mean() == pytest.approx(reference_log_loss(label, scores))
    assert brier(label, scores).mean() == pytest.approx(
        brier_score_loss(label, scores, labels=range(5), scale_by_half=False)
    )
    confidence, right = scores.max(1), scores.argmax(1) == label
    accuracy, mean = calibration_curve(right, confidence, n_bins=10, strategy="quantile")
    bins = reliability(confidence, right)
    assert [b.accuracy for b in bins] == pytest.approx(accuracy)
    assert [b.confidence for b in bins] == pytest.approx(mean)
    counts = [b.count for b in bins]
    assert sum(counts) == 709 and max(counts) - min(counts) <= 1


def test_equal_probabilities_stay_together():
    bins = reliability(np.array([0.5] * 50 + [1.0] * 47), np.arange(97) % 2 == 0)
    assert [(b.confidence, b.count) for b in bins] == [(0.5, 50), (1.0, 47)]


def test_a_probability_of_zero_has_a_finite_loss():
    assert 80 < log_loss(np.array([1]), np.array([[1.0, 0.0]]))[0] < 90


def test_entries_are_calibrated_at_their_largest_budgets(tmp_path, comparison):
    comparison(skills={"lstm": (0.3, 0.5), "minilm": (0.5, 0.8)}, budgets=(100, 500), seeds=(2, 3), rows=211)
    cells = make_cells(read_results(tmp_path / "results.jsonl"))
    found = calibrations(cells, PredictionReader(tmp_path))
    assert [(own.entry, own.budget, own.seeds) for own in found] == [("lstm", 500, 3), ("minilm", 500, 3)]
    for own in found:
        assert own.accuracy.mean == pytest.approx(
            next(c for c in cells[2:] if c.entry == own.entry).test["accuracy"].mean
        )
        assert sum(b.count for b in own.bins) == 3 * 211
        # the fixture draws probabilities of 0.3 to 0.99, right or wrong
        assert own.overconfidence.mean == pytest.approx(0.645 - own.accuracy.mean, abs=0.03)
        for each in (own.accuracy, own.overconfidence, own.error, own.brier, own.log_loss):
            assert each.low < each.mean < each.high and each.count == 3
    assert found[1].error.mean > 0.1 and found[0].brier.mean > found[1].brier.mean


def test_runs_without_probabilities_have_no_calibration(tmp_path, make_record, write_lines, write_parquet):
    records = [make_record(name, 100, 1, 0.5) for name in ("lstm", "gru", "cnn")]
    records[1]["task"]["problem_type"] = "regression"
    write_lines(tmp_path, records)
    write_parquet(
        tmp_path / records[0]["folder"], {"row": [0, 1], "text": ["a", "b"], "label": [0, 1], "prediction": [0, 0]}
    )
    columns = {"row": [0, 1], "text": ["a", "b"], "label": [0.5, 1.0], "prediction": [0.2, 0.3]}
    write_parquet(tmp_path / records[1]["folder"], columns)
    assert calibrations(make_cells(read_results(tmp_path / "results.jsonl")), PredictionReader(tmp_path)) == []


def test_intervals_of_bins_are_wilsons_and_widen_with_clusters():
    from scipy.stats import binomtest

    right, confidence = np.arange(400) % 5 > 0, np.full(400, 0.8)
    (alone,) = reliability(confidence, right)
    reference = binomtest(320, 400).proportion_ci(method="wilson")
    assert (alone.low, alone.high) == pytest.approx((reference.low, reference.high), abs=0.001)
    (twice,) = reliability(np.tile(confidence, 2), np.tile(right, 2), rows=np.tile(np.arange(400), 2))
    assert (twice.low, twice.high) == pytest.approx((alone.low, alone.high), abs=0.001)  # two equal runs tell no more
    (grouped,) = reliability(confidence, np.sort(right), rows=np.arange(400) // 10)
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)


def test_the_error_of_one_bin_by_hand():
    sure, right = np.full(17, 0.9), np.arange(17) < 11
    found = root_error(sure[None], right[None], np.arange(17))
    distance = 11 / 17 - 0.9
    variance = (11 / 17) * (6 / 17) / 16  # Kumar et al.: accuracy (1 - accuracy) / (n - 1)
    assert found.mean == pytest.approx(math.sqrt(distance**2 - variance))
    theta = found.mean**2
    for end in (found.low**2, found.high**2):
        assert abs(theta - end) == pytest.approx(1.96 * math.sqrt(2 * variance**2 + 4 * variance * end))


@pytest.mark.parametrize("rows", [300, 2000])
@pytest.mark.parametrize("over", [0.0, 0.05, 0.15])
@pytest.mark.parametrize("size", [1, 4])
def test_the_error_has_no_bias_and_its_interval_the_truth(rows, over, size):
    """The truth is that of ten bins of all rows; the share of right predictions is `over` below the probability."""
    generator = np.random.default_rng(11)

    def draw(number):
        sure = 0.5 + 0.5 * generator.beta(2, 1, size=-(-number // size)).repeat(size)[:number]
        chance = sure - over * np.sin(np.pi * (2 * sure - 1))
        return sure, chance

    sure, chance = draw(400_000)
    bins = np.array_split(np.argsort(sure), 10)
    truth = math.sqrt(np.mean([(sure[own] - chance[own]).mean() ** 2 for own in bins]))
    found, squares = [], []
    for _ in range(250):
        sure, chance = draw(rows)
        luck = generator.random(-(-rows // size)).repeat(size)[:rows]  # a cluster is right or wrong as one
        right = np.stack([luck < chance, luck < chance])
        found.append(root_error(np.stack([sure, sure]), right, np.arange(rows) // size))
        squares.append(_squared_error(sure, right[0], np.arange(rows) // size, 10)[0])
    assert np.mean([own.low <= truth <= own.high for own in found]) > 0.92
    assert abs(np.mean(squares) - truth**2) < 3 * np.std(squares) / 250**0.5
