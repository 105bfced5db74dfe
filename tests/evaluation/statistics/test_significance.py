from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from tl_toolkit.evaluation.statistics.row_metrics import ROW_METRICS
from tl_toolkit.evaluation.statistics.significance import holm, mcnemar, permutations, randomisation, swapped_means


@pytest.mark.parametrize(("lost", "won"), [(0, 0), (0, 5), (3, 7), (11, 13), (1, 23)])
def test_few_discordant_rows_have_the_exact_test(lost, won):
    p, name = mcnemar(lost, won)
    expected = stats.binomtest(lost, lost + won, 0.5).pvalue if lost + won else 1.0
    assert p == pytest.approx(expected) and name == "McNemar, exact"


def test_many_discordant_rows_have_the_corrected_statistic():
    """Approval ratings of Agresti (2013), table 11.1, with 150 and 86 discordant answers: z² is 17.36 without
    correction, and 63² / 236 with the correction of Edwards."""
    p, name = mcnemar(150, 86)
    assert pytest.approx(17.36, abs=0.005) == (150 - 86) ** 2 / 236
    assert p == pytest.approx(stats.chi2.sf(63**2 / 236, 1), rel=1e-9) and name == "McNemar, χ²"
    assert p == pytest.approx(stats.binomtest(86, 236).pvalue, rel=0.25)
    assert mcnemar(86, 150)[0] == p and mcnemar(17, 17)[0] == 1.0


def p_of(first, second, metric, clusters=None, count=4999):
    parts = [swapped_means(values, clusters, count) for values in (first, second)]
    return randomisation((first.mean(axis=0), second.mean(axis=0)), (parts[0], parts[1]), metric.value)


def test_randomisation_of_a_mean_equals_scipy():
    """With several seeds, the fraction of right runs is swapped between the entries row by row."""
    generator = np.random.default_rng(3)
    first = generator.binomial(3, 0.55, 101) / 3
    second = np.clip(first + generator.choice([-1 / 3, 0, 1 / 3], 101, p=[0.1, 0.7, 0.2]), 0, 1)
    expected = stats.permutation_test(
        (first, second),
        lambda a, b, axis: b.mean(axis=axis) - a.mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=19_999,
        rng=np.random.default_rng(1),
    ).pvalue
    found = p_of(first[:, None], second[:, None], ROW_METRICS["accuracy"])
    assert 0.005 < expected < 0.5
    assert found == pytest.approx(expected, abs=4 * (expected / 4999) ** 0.5)


def test_randomisation_matches_the_exact_p_value():
    """Of the 2⁴ ways to swap four rows, 2 (all or none) differ as much as the observed 4 of 4 rows: p = 1/8."""
    found = p_of(np.zeros((4, 1)), np.ones((4, 1)), ROW_METRICS["accuracy"], count=20_000)
    assert found == pytest.approx(1 / 8, abs=0.01)


def test_randomisation_of_an_f1_swaps_rows():
    """By the definition of Yeh (2000): swap the predictions of a random half of the rows and rescore both."""
    generator = np.random.default_rng(5)
    label = generator.integers(3, size=79)
    first, second = (
        np.where(generator.random(79) < part, label, generator.integers(3, size=79)) for part in (0.5, 0.62)
    )
    metric = ROW_METRICS["macro_f1"]
    found = p_of(metric.quantities(label, first), metric.quantities(label, second), metric)

    def f1(prediction):
        return float(metric.value(metric.quantities(label, prediction).mean(axis=0)))

    observed, reached = abs(f1(second) - f1(first)), 0
    for _ in range(999):
        half = generator.random(79) < 0.5
        swapped = np.where(half, second, first), np.where(half, first, second)
        reached += abs(f1(swapped[1]) - f1(swapped[0])) >= observed - 1e-12
    expected = (reached + 1) / 1000
    assert 0.01 < expected < 0.6 and found == pytest.approx(expected, abs=0.05)


def test_rows_of_a_cluster_are_swapped_together():
    """Four clusters of seven equal rows give no smaller p-value than four rows."""
    clusters = np.repeat(np.arange(4), 7)
    alone = p_of(np.zeros((28, 1)), np.ones((28, 1)), ROW_METRICS["accuracy"])
    together = p_of(np.zeros((28, 1)), np.ones((28, 1)), ROW_METRICS["accuracy"], clusters)
    assert alone < 0.001 and together == pytest.approx(1 / 8, abs=0.03)


def test_equal_entries_have_a_p_value_of_one():
    values = np.random.default_rng(0).random((53, 1))
    assert p_of(values, values, ROW_METRICS["accuracy"]) == 1.0


def test_swapping_in_blocks_gives_the_same_means(monkeypatch):
    values = np.random.default_rng(0).random((53, 2))
    whole = swapped_means(values, None, 4001)
    monkeypatch.setattr("tl_toolkit.evaluation.statistics.significance.BLOCK", 53 * 8)
    assert np.allclose(swapped_means(values, None, 4001), whole)
    assert whole.mean(axis=0) == pytest.approx(values.mean(axis=0) / 2, abs=0.003)


def test_large_families_have_enough_permutations_and_large_inputs_fewer():
    assert permutations(500, 10, 3) == 9_999
    assert permutations(500, 40, 780) * 0.05 / 780 > 3  # Holm's smallest threshold is reachable
    assert permutations(5_000, 3_000, 3) == 1_999


def test_holm_by_hand():
    """0.005 · 4, 0.01 · 3, then 0.03 · 2, and 0.04 is raised to the previous value."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == [] and holm([0.7]) == [0.7] and holm([0.6, 0.9]) == [1.0, 1.0]


def test_holm_is_the_closed_test_of_bonferroni():
    """Holm (1979), section 3: a hypothesis is rejected if Bonferroni rejects every subset that contains it."""
    values = np.random.default_rng(7).random(6) ** 3
    subsets = [subset for size in range(1, 7) for subset in combinations(range(6), size)]
    closed = [
        max(min(1.0, len(subset) * min(values[other] for other in subset)) for subset in subsets if index in subset)
        for index in range(6)
    ]
    assert holm(values) == pytest.approx(closed)
