"""Solve a linear head on fixed features, with its regularisation chosen by cross-validation on the same rows."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

STRENGTHS = tuple(10.0 ** (half / 2) for half in range(-4, 9))
"""The grid of C (of 1 / alpha for ridge), for features whose rows have a mean squared norm of 1."""
FIXED_STRENGTH = 10.0
"""C where rows are too few for cross-validation."""
ABSENT = 1e-6
"""The highest probability of a class that no training row has."""
_FOLDS = 5
_MANY_ROWS = 10_000
"""Above this number of rows, one held-out fifth chooses the regularisation as well as five do."""


@dataclass(frozen=True)
class LinearFit:
    """A solved head: `features @ weight.T + bias` are its logits (or values).

    Attributes:
        weight: float64 (outputs, features).
        bias: float64 (outputs,).
        regularisation: the chosen C of scikit-learn's `LogisticRegression` on the features as they are, one for each
            label if rows have several labels; alpha of `Ridge` for a regression; None where nothing was solved.
        scores: by candidate of `regularisation`, the held-out log loss (or mean squared error) per row; empty if there
            were too few rows to hold some out. One mapping for each label if rows have several.
    """

    weight: np.ndarray
    bias: np.ndarray
    regularisation: Any
    scores: Any


class _Solution(NamedTuple):
    weight: np.ndarray
    bias: np.ndarray
    strength: float | None
    scores: dict[float, float]


def fit_linear(
    features: Any,
    targets: Any,
    problem_type: str,
    *,
    outputs: int | None = None,
    class_weight: Any = None,
    strengths: Sequence[float] = STRENGTHS,
    seed: int = 0,
) -> LinearFit:
    """Return the linear head that fits `targets`, solved on `features` and equal for every call.

    The penalty is that of scikit-learn's `LogisticRegression` (or `Ridge`) on the features as they are. Features are
    centred, if dense, and divided by one number, which changes the conditioning and not the solution, because biases
    have no penalty.

    Args:
        features: (rows, features), a dense array or a scipy sparse matrix.
        targets: (rows,) classes 0, 1, … for `single_label_classification`; (rows, outputs) of 0 and 1 for
            `multi_label_classification`, which solves each label by itself; (rows,) or (rows, outputs) numbers for
            `regression`.
        problem_type: as in a configuration of transformers.
        outputs: number of classes, if the training rows may lack the last ones. A class without training rows has
            weight 0 and a probability of at most `ABSENT` on any row.
        class_weight: as in scikit-learn: None, "balanced", or weights by class; for several labels also a list of
            these, one for each label.
        strengths: the candidates, in ascending order, see `STRENGTHS`.
        seed: divides the rows into folds.

    Raises:
        ValueError: `problem_type` is unknown, or there are no rows.
    """
    targets = np.asarray(targets)
    if not len(targets):
        raise ValueError("A linear head needs at least one row.")
    centre, scale, scaled = _conditioned(features)
    strength: Any
    scores: Any
    if problem_type == "single_label_classification":
        width = int(targets.max()) + 1 if outputs is None else outputs
        weight, bias, strength, scores = _classes(scaled, targets.astype(int), width, class_weight, strengths, seed)
    elif problem_type == "multi_label_classification":
        weights = class_weight if isinstance(class_weight, list) else [class_weight] * targets.shape[1]
        columns = zip(targets.T.astype(int), weights, strict=True)
        several = [_label(scaled, column, weight, strengths, seed) for column, weight in columns]
        weight = np.stack([one.weight for one in several])
        bias = np.array([one.bias for one in several])
        strength, scores = [one.strength for one in several], [one.scores for one in several]
    elif problem_type == "regression":
        weight, bias, strength, scores = _ridge(
            scaled, targets.astype(float).reshape(len(targets), -1), strengths, seed
        )
    else:
        raise ValueError(f"A linear head cannot be solved for the problem type {problem_type!r}.")
    weight = weight / scale
    bias = bias - weight @ centre

    def unscaled(value: float) -> float:
        return value / scale**2 if problem_type != "regression" else scale**2 / value

    return LinearFit(weight, bias, _mapped(unscaled, strength), _mapped(unscaled, scores))


def _mapped(change: Callable[[float], float], value: Any) -> Any:
    """`value` with `change` applied to the strengths in it: numbers, keys of mappings, or lists of both."""
    if isinstance(value, list):
        return [_mapped(change, one) for one in value]
    if isinstance(value, dict):
        return {change(strength): score for strength, score in value.items()}
    return None if value is None else change(value)


def _conditioned(features: Any) -> tuple[np.ndarray, float, Any]:
    """The mean of the features (0 if they are sparse), their scale, and the features centred and scaled."""
    from scipy import sparse

    if sparse.issparse(features):
        centre = np.zeros(features.shape[1])
        scaled = sparse.csr_matrix(features, dtype=float, copy=True)
        squares = float(scaled.multiply(scaled).sum())
    else:
        scaled = np.array(features, dtype=float)
        centre = scaled.mean(axis=0)
        scaled -= centre
        squares = float(np.einsum("ij,ij->", scaled, scaled))
    scale = (squares / scaled.shape[0]) ** 0.5 or 1.0
    scaled /= scale
    return centre, scale, scaled


def _classes(
    features: Any, targets: np.ndarray, outputs: int, class_weight: Any, strengths: Sequence[float], seed: int
) -> _Solution:
    """Multinomial regression. The logits of a row have the mean 0 over the classes that have rows."""
    present = np.unique(targets)
    weight = np.zeros((outputs, features.shape[1]))
    bias = np.full(outputs, np.log(ABSENT))  # the largest of the other logits is 0 or more
    if len(present) == 1:
        bias[present] = 0.0
        return _Solution(weight, bias, None, {})
    model, strength, scores = _logistic(features, targets, class_weight, strengths, seed)
    coefficients, intercepts = model.coef_, model.intercept_
    if len(present) == 2:
        coefficients, intercepts = np.concatenate([-coefficients, coefficients]) / 2, np.r_[-intercepts, intercepts] / 2
    weight[present] = coefficients - coefficients.mean(axis=0)
    bias[present] = intercepts - intercepts.mean()
    return _Solution(weight, bias, strength, scores)


def _label(features: Any, targets: np.ndarray, class_weight: Any, strengths: Sequence[float], seed: int) -> _Solution:
    """Logistic regression for one of several labels, which rows have (1) or lack (0)."""
    if len(np.unique(targets)) == 1:
        constant = np.log(ABSENT / (1 - ABSENT))
        return _Solution(np.zeros(features.shape[1]), -constant if targets[0] else constant, None, {})
    model, strength, scores = _logistic(features, targets, class_weight, strengths, seed)
    return _Solution(model.coef_[0], model.intercept_[0], strength, scores)


def _logistic(
    features: Any, targets: np.ndarray, class_weight: Any, strengths: Sequence[float], seed: int
) -> tuple[Any, float, dict[float, float]]:
    """A fitted `LogisticRegression`, its C, and the held-out log loss of each C that was tried.

    Candidates are tried from strong to weak regularisation, each from the solution before it, until the loss has risen
    twice.
    """
    from scipy import sparse
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss
    from sklearn.utils.class_weight import compute_sample_weight

    weights = np.ones(len(targets)) if class_weight is None else compute_sample_weight(class_weight, targets)
    scores: dict[float, float] = {}
    folds = list(_folds(targets, seed))
    # With many rare features, L-BFGS needs ten times as long as Newton's method, and stops early.
    solver, tolerance = ("newton-cg", 1e-6) if sparse.issparse(features) else ("lbfgs", 1e-4)
    models = [LogisticRegression(solver=solver, tol=tolerance, warm_start=True, max_iter=300) for _ in folds]
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        for strength in strengths if folds else ():
            loss = 0.0
            for model, (train, held) in zip(models, folds, strict=True):
                model.set_params(C=strength).fit(features[train], targets[train], weights[train])
                probabilities = model.predict_proba(features[held])
                loss += log_loss(
                    targets[held], probabilities, labels=model.classes_, sample_weight=weights[held]
                ) / len(folds)
            scores[strength] = loss
            tried = list(scores.values())
            if len(tried) > 2 and min(tried[-2:]) > min(tried):
                break
    strength = min(scores, key=scores.__getitem__) if scores else FIXED_STRENGTH
    model = LogisticRegression(C=strength, solver=solver, tol=1e-8, max_iter=5000).fit(features, targets, weights)
    return model, strength, scores


def _folds(targets: np.ndarray, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Stratified folds (training rows, held-out rows); none if no class has two rows.

    The row of a class that has only one is always a training row.
    """
    from sklearn.model_selection import StratifiedKFold

    _, classes, counts = np.unique(targets, return_inverse=True, return_counts=True)
    rows = np.flatnonzero(counts[classes] > 1)
    if not len(rows):
        return
    alone = np.flatnonzero(counts[classes] == 1)
    splitter = StratifiedKFold(min(_FOLDS, int(counts.max())), shuffle=True, random_state=seed)
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # a class may have fewer rows than folds
        for number, (train, held) in enumerate(splitter.split(rows, targets[rows])):
            if number == 0 or len(targets) <= _MANY_ROWS:
                yield np.r_[rows[train], alone], rows[held]


def _ridge(features: Any, targets: np.ndarray, strengths: Sequence[float], seed: int) -> _Solution:
    """Ridge regression of several outputs with one alpha. The scores are mean squared errors."""
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import KFold, cross_val_score

    means = targets.mean(axis=0)
    centred = targets - means
    if len(targets) < 2 or not centred.any():
        return _Solution(np.zeros((targets.shape[1], features.shape[1])), means, None, {})
    folds = KFold(min(_FOLDS, len(targets)), shuffle=True, random_state=seed)
    scores = {
        strength: -float(
            cross_val_score(Ridge(1 / strength), features, centred, cv=folds, scoring="neg_mean_squared_error").mean()
        )
        for strength in strengths
    }
    strength = min(scores, key=scores.__getitem__)
    model = Ridge(1 / strength, tol=1e-6).fit(features, centred)
    return _Solution(model.coef_.reshape(targets.shape[1], -1), model.intercept_ + means, strength, scores)
