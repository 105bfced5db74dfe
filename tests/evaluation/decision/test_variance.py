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


def of_folds(cells, folds, clusters=None, fit=None):
    size = len(cells)
    fit = np.full(size, True) if fit is None else np.array(fit)
    return fold_components(cells, folds, np.full(size, 99.0), fit, ~fit, clusters)


def test_cross_validation_by_hand():
    # Three folds of 7 rows: all right, all wrong, all wrong. Rows vary by s² = 7/30, and so a fold mean by s²/7 = 1/30.
    # Fold means vary by 1/3: the excess is 3/10. The variance of the mean is (1/3 + 7/14) of both.
    scores, fold = np.repeat([[1.0, 0.0, 0.0]], 7, axis=1), np.repeat([[5, 2, 3]], 7, axis=1)
    found = of_folds([scores], [fold])
    assert found.means[0] == pytest.approx(1 / 3) and found.row_freedom == 20
    assert found.rows[0, 0] == pytest.approx((1 / 3 + 1 / 2) * (7 / 30) / 7)
    assert found.runs[0] == pytest.approx((1 / 3 + 1 / 2) * 3 / 10)
    assert found.run_freedom[0] == 2 and found.lasting[0] == pytest.approx(1 / 2 * 3 / 10)


def test_rows_that_vary_more_than_folds_leave_no_excess():
    scores, fold = np.array([[1.0, 2.0, 3.0] * 7]), np.repeat([[1, 2, 3]], 7, axis=1)
    assert of_folds([scores], [fold]).runs[0] == 0


def test_repetitions_reduce_residuals_and_not_rows():
    """Two cells share 21 rows; the second one has only the first of two repetitions."""
    row, residual = RNG.normal(size=(3, 21)), RNG.normal(size=(3, 21))
    folds = np.stack([np.arange(21) % 3, np.arange(21) // 7])
    both = row[0] + residual[:2]
    found = of_folds([both, row[1:2] + residual[2:]], [folds, folds[:1]])
    averaged = np.cov(both.mean(axis=0), row[1] + residual[2])
    assert found.rows[0, 0] == pytest.approx((averaged[0, 0] + 3 / 2 * both.var(axis=1, ddof=1).mean()) / 21)
    assert found.rows[0, 1] == pytest.approx((1 + 3 / 2) * averaged[0, 1] / 21)
    assert found.rows[1, 1] == pytest.approx((1 + 3 / 2) * averaged[1, 1] / 21)
    assert found.counts.tolist() == [2, 1] and np.linalg.eigvalsh(found.rows)[0] > 0


def test_rows_in_clusters_vary_as_their_clusters():
    """Each of 21 rows seven times: nothing is known that the 21 rows do not say."""
    scores, fold = RNG.normal(size=(2, 21)), np.stack([np.arange(21) % 3, np.arange(21) // 7])
    alone = of_folds([scores], [fold])
    found = of_folds([np.repeat(scores, 7, axis=1)], [np.repeat(fold, 7, axis=1)], np.repeat(np.arange(21), 7))
    assert found.variance == pytest.approx(alone.variance) and found.row_freedom == 20


@pytest.mark.parametrize(("repetitions", "sd"), [(1, 0.0), (1, 0.4), (3, 0.4)])
def test_folds_vary_by_their_rows_and_seeds(repetitions, sd):
    """300 rows of variance 1, of which the entries share 0.6; with a model's seed, a fold varies by sd² more."""
    rng, excess, estimated, means = np.random.default_rng(8), [], [], []
    for _ in range(200):
        folds = np.stack([rng.permutation(300) % 5 for _ in range(repetitions)])
        row = np.sqrt(0.6) * rng.normal(size=300)
        seed = sd * rng.normal(size=(2, repetitions, 5))
        of_fold = np.stack([np.take_along_axis(own, folds, axis=1) for own in seed])
        found = of_folds([*(row + np.sqrt(0.4) * rng.normal(size=(2, repetitions, 300)) + of_fold)], [folds] * 2)
        excess.append(found.lasting.mean() * 4)
        estimated.append(found.variance.mean())
        means.append(found.means)
    if sd:
        assert 0.9 * sd**2 < np.mean(excess) < 1.3 * sd**2  # the seeds of the other cell enter by the regression
    else:
        assert np.mean(excess) < 0.25 / 60
        assert np.mean(estimated) < 3 * np.var(means)
    assert np.mean(estimated) > 1.1 * np.var(means)
