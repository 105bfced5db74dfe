"""Variance components and their moderation, by hand and against published values."""

import numpy as np
import pytest

from tl_toolkit.evaluation.decision.variance import (
    cluster_scores,
    components,
    fit_prior,
    fold_components,
    moderate,
    residual_square,
    trigamma_inverse,
)

RNG = np.random.default_rng(7)


def test_residual_mean_square_of_a_layout_computed_by_hand():
    # Row means 1, 2, 6; run means 2, 4; mean 3. Residuals are ±1 around an additive layout with effects ∓1 of runs.
    scores = np.array([[0.0 - 1, 1.0 + 1, 5.0 + 0], [2.0 + 1, 3.0 - 1, 7.0 + 0]])
    assert scores.mean(axis=0).tolist() == [1, 2, 6] and scores.mean(axis=1).tolist() == [2, 4]
    assert residual_square(scores) == pytest.approx(4 * 1 / (1 * 2))


def test_no_variance_is_counted_twice():
    # Var(mean) = var(row means) / n + var(run means) / S − MS_res / (nS), if the variances are not moderated.
    scores = RNG.normal(size=(5, 7)) + RNG.normal(size=7) + RNG.normal(size=(5, 1))
    found = components([scores], np.array([100.0]), np.array([True]), np.array([False]))
    rows, runs = scores.mean(axis=0).var(ddof=1) / 7, scores.mean(axis=1).var(ddof=1) / 5
    assert found.variance[0] == pytest.approx(rows + runs - residual_square(scores) / 35)
    assert found.run_freedom[0] == 4


def test_components_recover_the_variances_of_a_simulation():
    rows, runs, rest, n, size = 0.5, 0.3, 0.8, 11, 3
    found = []
    for _ in range(3000):
        scores = (
            np.sqrt(rows) * RNG.normal(size=n)
            + np.sqrt(runs) * RNG.normal(size=(size, 1))
            + np.sqrt(rest) * RNG.normal(size=(size, n))
        )
        averaged = scores.mean(axis=0).var(ddof=1) / n + scores.mean(axis=1).var(ddof=1) / size
        found.append(averaged - residual_square(scores) / (n * size))
    assert np.mean(found) == pytest.approx(rows / n + runs / size + rest / (n * size), rel=0.03)


def test_two_cells_covary_through_their_rows():
    row = RNG.normal(size=13)
    first, second = (row + RNG.normal(size=13) + 0.1 * RNG.normal(size=(3, 13)) for _ in range(2))
    found = components([first, second], np.full(2, 10.0), np.full(2, True), np.full(2, False))
    expected = np.cov(first.mean(axis=0), second.mean(axis=0))[0, 1] / 13
    assert found.rows[0, 1] == pytest.approx(expected)


def test_single_runs_alone_have_no_variance():
    cells = [RNG.normal(size=(1, 5)) for _ in range(3)]
    assert components(cells, np.full(3, 10.0), np.full(3, True), np.full(3, False)) is None


def test_a_single_run_borrows_the_prior():
    cells = [RNG.normal(size=(size, 17)) for size in (3, 3, 3, 1)]
    found = components(cells, np.full(4, 10.0), np.full(4, True), np.full(4, False))
    over_runs = np.array([scores.mean(axis=1).var(ddof=1) for scores in cells[:3]])
    level, freedom = fit_prior(over_runs, np.full(3, 2), np.full(3, 1.0), np.full(1, 1.0))
    assert found.runs[3] == pytest.approx(level[0])
    assert found.run_freedom[3] == pytest.approx(min(freedom, 6))


def test_prior_of_variances_as_limma_fits_it():
    """limma's squeezeVar(c(0.5, 1.3, 7.8), df=3) gives df.prior 2.830777 and var.prior 1.676927."""
    level, freedom = fit_prior(np.array([0.5, 1.3, 7.8]), np.full(3, 3.0), np.full(3, 5.0), np.full(1, 5.0))
    assert freedom == pytest.approx(2.830777, abs=1e-6)
    assert level[0] == pytest.approx(1.676927, abs=1e-6)


def test_moderated_variances_lie_between_their_own_and_the_prior():
    variances, freedom = np.array([0.5, 1.3, 7.8]), np.full(3, 3.0)
    shrunk, both, pooled = moderate(variances, freedom, np.full(3, 5.0), np.full(3, True))
    assert not pooled.any()
    assert shrunk == pytest.approx((2.830777 * 1.676927 + 3 * variances) / 5.830777, abs=1e-5)
    assert both == pytest.approx(np.full(3, 5.830777), abs=1e-5)


def test_equal_variances_are_pooled_with_all_their_freedom():
    shrunk, both, pooled = moderate(np.array([2.0, 2.2, 1.9]), np.full(3, 2.0), np.full(3, 5.0), np.full(3, True))
    assert pooled.all()
    assert shrunk == pytest.approx(np.full(3, np.mean([2.0, 2.2, 1.9])))
    assert both.tolist() == [6, 6, 6]


def test_prior_follows_a_trend_over_budgets():
    place = np.repeat(np.log2([100, 300, 1000, 3000, 9000]), 3)
    truth = np.exp(-0.5 * place)
    level, _ = fit_prior(truth, np.full(15, 2.0), place, place)
    assert level / level[0] == pytest.approx(truth / truth[0])


def test_trigamma_inverse():
    from scipy.special import polygamma

    for value in (1e-3, 0.1, 1.0, np.pi**2 / 6, 50.0):
        assert polygamma(1, trigamma_inverse(value)) == pytest.approx(value, rel=1e-8)
    assert trigamma_inverse(np.pi**2 / 6) == pytest.approx(1.0)


def test_clusters_keep_the_mean_and_have_the_variance_of_their_sums():
    scores, clusters = np.array([[1.0, 3.0, 5.0, 2.0, 4.0, 9.0]]), np.array([7, 7, 3, 3, 5, 5])
    found = cluster_scores(scores, clusters)
    assert found.shape == (1, 3)
    assert found.mean() == pytest.approx(scores.mean())
    assert sorted(found[0]) == pytest.approx([2.0, 3.5, 6.5])  # of equal size: the means of the clusters


def test_clusters_of_unequal_sizes_by_hand():
    # m = 3, G / n = 2/5; sums 3 and 12 of sizes 2 and 3: 3 + 0.4 (3 − 6) and 3 + 0.4 (12 − 9).
    found = cluster_scores(np.array([[1.0, 2.0, 3.0, 4.0, 5.0]]), np.array([0, 0, 1, 1, 1]))
    assert found[0] == pytest.approx([1.8, 4.2])


def test_repeated_cross_validation_as_nadeau_and_bengio():
    # Two repetitions of three folds: J = 6 fold scores, (1/6 + 1/2) of their variance.
    folds = np.array([[0, 0, 1, 1, 2, 2], [0, 1, 2, 0, 1, 2]])
    scores = RNG.normal(size=(2, 6))
    each = [scores[r, folds[r] == f].mean() for r in range(2) for f in range(3)]
    found = fold_components([scores], folds)
    assert found.variance[0] == pytest.approx((1 / 6 + 1 / 2) * np.var(each, ddof=1))
    assert found.row_freedom == 5
    assert found.means[0] == pytest.approx(scores.mean())
