"""How much the mean score of a cell varies: over test rows, over runs, and over folds.

Rows and runs are crossed: y_si = μ + row_i + run_s + residual_si, so that with n rows and S runs

    Var(mean) = σ²_row / n + σ²_run / S + σ²_res / (nS),

estimated by the mean squares of the two-way layout (Searle, Casella and McCulloch 1992, "Variance Components", chapter
4). The means of two cells covary through the rows that both were tested on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import digamma, polygamma


@dataclass(frozen=True)
class Components:
    """The variance of cell means, C cells in all.

    Attributes:
        means: (C,).
        rows: (C, C) covariance that comes from the rows, without residuals; with repeated cross-validation, with them.
        row_freedom: degrees of freedom of `rows`.
        runs: (C,) variance of a mean that comes from its runs, residuals included (moderated).
        run_freedom: (C,) degrees of freedom of `runs`.
        pooled: (C,) whether `runs` is one estimate from all cells, whose error is the same for these cells.
        residual: (C,) the part of `runs` that more rows reduce as well, σ²_res / (nS).
        counts: (C,) runs.
        units: independent rows: rows, clusters or blocks.
        lasting: (C,) the part of `runs` that more runs do not reduce.
    """

    means: np.ndarray
    rows: np.ndarray
    row_freedom: float
    runs: np.ndarray
    run_freedom: np.ndarray
    pooled: np.ndarray
    residual: np.ndarray
    counts: np.ndarray
    units: int
    lasting: np.ndarray | float = 0.0

    @property
    def variance(self) -> np.ndarray:
        """(C,) variances of the means."""
        return np.diag(self.rows) + self.runs


def cluster_scores(scores: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """One pseudo-score per cluster, (..., rows) -> (..., clusters), whose mean is the mean over all rows.

    The linearised ratio mean (Cochran 1977, "Sampling Techniques", equation 9A.3): m + (G/n) (sum_g − size_g · m).
    """
    _, index = np.unique(clusters, return_inverse=True)
    sizes = np.bincount(index)
    starts = np.cumsum(sizes) - sizes
    sums = np.add.reduceat(scores[..., np.argsort(index, kind="stable")], starts, axis=-1)
    mean = scores.mean(axis=-1, keepdims=True)
    return mean + (len(sizes) / len(index)) * (sums - sizes * mean)


def residual_square(scores: np.ndarray) -> float:
    """The residual mean square of scores (runs, rows), runs and rows being crossed; nan for a single run."""
    runs, rows = scores.shape
    if runs < 2 or rows < 2:
        return np.nan
    over_rows, over_runs, mean = scores.mean(axis=0), scores.mean(axis=1), scores.mean()
    total = np.einsum("si,si->", scores, scores)
    rest = total - runs * over_rows @ over_rows - rows * over_runs @ over_runs + runs * rows * mean**2
    return max(float(rest), 0.0) / ((runs - 1) * (rows - 1))


def components(cells: list[np.ndarray], labels: np.ndarray, fit: np.ndarray, fixed: np.ndarray) -> Components | None:
    """The variance components of cells; None if no cell has two runs.

    Args:
        cells: scores (runs, units) of each cell.
        labels: (C,) the budget of each cell, for the prior of the variances over runs.
        fit: (C,) whether the prior is fitted to the cell.
        fixed: (C,) whether the cell has no variance over runs: a constant answer, a method without chance.
    """
    counts = np.array([len(scores) for scores in cells])
    units = cells[0].shape[1]
    averaged = np.stack([scores.mean(axis=0) for scores in cells])  # (C, units)
    means = averaged.mean(axis=1)
    centred = averaged - means[:, None]
    rows = centred @ centred.T / ((units - 1) * units)
    square = np.array([residual_square(scores) for scores in cells])
    over_runs = np.array([scores.mean(axis=1).var(ddof=1) if len(scores) > 1 else np.nan for scores in cells])
    several = counts > 1
    if not (several & fit).any():
        return None
    # A single run: its residual is taken to be the same part of its rows' variance as elsewhere.
    spread = np.diag(rows) * units
    part = np.nansum(np.where(several, square, 0.0)) / max(float(spread[several].sum()), 1e-300)
    square = np.where(several, square, min(part, 1.0) * spread)
    square[fixed] = 0.0
    residual = square / (units * counts)
    moderated, freedom, pooled = moderate(over_runs, np.where(several, counts - 1, 0), np.log2(labels), fit & ~fixed)
    runs = np.where(fixed, 0.0, moderated / counts)
    freedom = np.where(fixed, np.inf, freedom)
    pure = nearest_covariance(rows - np.diag(residual))
    return Components(means, pure, units - 1.0, runs, freedom, pooled, residual, counts, units)


def fold_components(
    cells: list[np.ndarray],
    folds: list[np.ndarray],
    labels: np.ndarray,
    fit: np.ndarray,
    fixed: np.ndarray,
    clusters: np.ndarray | None = None,
) -> Components:
    """The variance of means in repeated cross-validation (Nadeau and Bengio 2003, section 3.4).

    The J = repetitions × folds test scores of a cell are not independent, because training sets overlap: the variance
    of their mean is (1/J + n_test / n_train) times that of a fold's mean. The latter has two parts. The rows' part is
    their variance within a repetition / n_test. Its 1/J becomes the variance of the mean over repetitions, whose rows
    are the same; the cells share these rows, whichever repetitions they have. The part of training sets and seeds is
    what fold means vary more than their rows explain, moderated over cells.

    Args:
        cells: scores (repetitions, rows) of each cell.
        folds: the fold that tested each row, (repetitions, rows) of each cell.
        labels, fit, fixed: as for `components`; the constant answer is fixed.
        clusters: (rows,) ids of rows that belong together and share folds.
    """
    parts = len(np.unique(folds[0][0]))
    overlap = 1 / (parts - 1)
    units = cells if clusters is None else [cluster_scores(scores, clusters) for scores in cells]
    number = units[0].shape[1]
    averaged = np.cov(np.stack([scores.mean(axis=0) for scores in units])).reshape(len(cells), -1)
    single = np.array([scores.var(axis=1, ddof=1).mean() for scores in units])
    within = averaged + np.diag(single - np.diag(averaged))
    excess, freedom, pooled = fold_excess(cells, folds, labels, fit & ~fixed, clusters)
    excess = np.where(fixed, 0.0, excess)
    counts = np.array([len(scores) for scores in cells])
    return Components(
        means=np.array([scores.mean() for scores in cells]),
        rows=(averaged + parts * overlap * within) / number,
        row_freedom=number - 1.0,
        runs=excess * (1 / (parts * counts) + overlap),
        run_freedom=freedom,
        pooled=pooled,
        residual=np.zeros(len(cells)),
        counts=counts,
        units=number,
        lasting=excess * overlap,
    )


def fold_excess(
    cells: list[np.ndarray], folds: list[np.ndarray], labels: np.ndarray, fit: np.ndarray, clusters: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The variance (C,) of fold means beyond that of their rows, at least 0; its degrees of freedom; if it is pooled.

    The mean square of a cell's J fold means x around their mean m, divided by its expectation for rows alone, is a
    ratio that is moderated. Rows alone give Var(x) − Var(m) = (folds × within − averaged) / n, with `within` and
    `averaged` as in `fold_components`. In a cell of `fit`, rows that all cells find hard are not noise: its scores are
    first regressed on the mean scores of the others.
    """
    averaged = np.stack([scores.mean(axis=0) for scores in cells])
    total, number = averaged[fit].sum(axis=0), max(int(fit.sum()) - 1, 1)
    ratio, by_rows, count = np.empty(len(cells)), np.empty(len(cells)), np.empty(len(cells))
    for cell, scores in enumerate(cells):
        if fit[cell]:
            others = (total - averaged[cell]) / number
            others -= others.mean()
            scores = scores - others * (averaged[cell] @ others / max(float(others @ others), 1e-300))
        means = []
        for own, fold in zip(scores, folds[cell], strict=True):
            _, index = np.unique(fold, return_inverse=True)
            means.append((np.bincount(index, own) / np.bincount(index))[index])
        parts = index.max() + 1
        count[cell] = parts * len(scores)
        units = scores if clusters is None else cluster_scores(scores, clusters)
        rows = parts * units.var(axis=1, ddof=1).mean() - units.mean(axis=0).var(ddof=1)
        by_rows[cell] = rows / units.shape[1]
        ratio[cell] = np.var(means) / by_rows[cell] if rows > 1e-12 else 0.0
    moderated, freedom, pooled = moderate(ratio, count - 1, np.log2(labels), fit)
    return np.maximum(moderated - 1, 0) * by_rows * count / (count - 1), freedom, pooled


def nearest_covariance(matrix: np.ndarray) -> np.ndarray:
    """The matrix with negative eigenvalues set to 0."""
    values, vectors = np.linalg.eigh(matrix)
    return matrix if values[0] >= 0 else (vectors * np.maximum(values, 0)) @ vectors.T


def moderate(
    variances: np.ndarray, freedom: np.ndarray, place: np.ndarray, fit: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sample variances, shrunk towards a prior that is fitted to all of them, their degrees of freedom, and which have
    those of all variances pooled.

    Empirical Bayes with a trend (Smyth 2004, sections 4 and 6.2): s̃² = (d₀ s₀² + d s²) / (d₀ + d), with d₀ + d degrees
    of freedom, at most those of all variances pooled. A variance with d = 0 is that of the prior. The trend of log s₀²
    is a polynomial in `place`, of degree at most two, and lower with few places or variances.

    Args:
        variances: (C,) sample variances; nan where freedom is 0.
        freedom: (C,) their degrees of freedom d.
        place: (C,) the covariate.
        fit: (C,) whether the prior is fitted to the variance.
    """
    used = fit & (freedom > 0) & (np.nan_to_num(variances) > 0)
    if not used.any():
        return np.where(freedom > 0, variances, 0.0), np.maximum(freedom, 1.0), np.full(len(freedom), False)
    level, prior_freedom = fit_prior(variances[used], freedom[used], place[used], place)
    own = np.where(freedom > 0, variances, 0.0)
    both = prior_freedom + freedom
    shrunk = level if np.isinf(prior_freedom) else (prior_freedom * level + freedom * own) / both
    most = freedom[used].sum()
    return shrunk, np.minimum(both, most), both > most


def fit_prior(
    variances: np.ndarray, freedom: np.ndarray, place: np.ndarray, at: np.ndarray
) -> tuple[np.ndarray, float]:
    """The scaled F prior of positive variances: s₀² at the places `at`, and d₀ (infinite: no spread beyond chance).

    Moments of log s² (Smyth 2004, section 6.2), with degrees of freedom d, known up to the trend:
    E log s² = log s₀² + ψ(d/2) − log(d/2) − ψ(d₀/2) + log(d₀/2), Var log s² = ψ′(d/2) + ψ′(d₀/2).
    """
    offset = np.maximum(variances, 1e-5 * np.median(variances))
    logs = np.log(offset) - digamma(freedom / 2) + np.log(freedom / 2)
    degree = min(2, len(np.unique(place)) - 1, max(0, len(logs) // 3 - 1))
    centre, width = place.mean(), max(float(np.ptp(place)), 1e-9)
    design = np.vander((place - centre) / width, degree + 1)
    wanted = np.vander((np.clip(at, place.min(), place.max()) - centre) / width, degree + 1)
    inverse = np.linalg.pinv(design.T @ design)
    fitted, expected = design @ (inverse @ (design.T @ logs)), wanted @ (inverse @ (design.T @ logs))
    left = len(logs) - degree - 1
    excess = -1.0
    if left > 0:
        excess = float(((logs - fitted) ** 2).sum() / left - polygamma(1, freedom / 2).mean())
    if excess <= 0:  # no more spread than chance: one variance along the trend, estimated by its ratio to the trend
        ratio = float((freedom * offset / np.exp(fitted)).sum() / freedom.sum())
        return ratio * np.exp(expected), np.inf
    prior_freedom = 2 * trigamma_inverse(excess)
    level = np.exp(expected + digamma(prior_freedom / 2) - np.log(prior_freedom / 2))
    return level, prior_freedom


def trigamma_inverse(value: float) -> float:
    """The y with trigamma(y) = value > 0, by Newton's method on 1 / trigamma (Smyth 2004, appendix)."""
    if value > 1e7:
        return float(1 / np.sqrt(value))
    if value < 1e-6:
        return 1 / value
    y = 0.5 + 1 / value
    for _ in range(50):
        step = float(polygamma(1, y)) * (1 - float(polygamma(1, y)) / value) / float(polygamma(2, y))
        y += step
        if -step / y < 1e-10:
            break
    return float(y)
