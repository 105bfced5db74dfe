"""Heads that are solved, against scikit-learn on the same rows."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from scipy.special import expit, softmax
from sklearn.linear_model import LogisticRegression, Ridge

from tl_toolkit.strategies.linear_solver import ABSENT, STRENGTHS, fit_linear

ROWS, FEATURES, CLASSES = 61, 7, 3


@pytest.fixture
def features():
    """Badly conditioned features: far from 0, and of very different sizes."""
    random = np.random.default_rng(5)
    return random.normal(size=(ROWS, FEATURES)) * random.uniform(0.05, 4, FEATURES) + random.normal(size=FEATURES) * 5


@pytest.fixture
def classes(features):
    noise = np.random.default_rng(6).gumbel(size=(ROWS, CLASSES))
    return (features @ np.random.default_rng(7).normal(size=(FEATURES, CLASSES)) / 3 + noise).argmax(1)


def _reference(strength, **settings):
    return LogisticRegression(C=strength, tol=1e-9, max_iter=100_000, **settings)


def _logits(fit, features):
    return features @ fit.weight.T + fit.bias


def test_three_classes_equal_scikit_learn(features, classes):
    fit = fit_linear(features, classes, "single_label_classification", seed=3)
    reference = _reference(fit.regularisation).fit(features, classes)
    np.testing.assert_allclose(softmax(_logits(fit, features), 1), reference.predict_proba(features), atol=1e-4)
    assert fit.scores[fit.regularisation] == min(fit.scores.values()) < np.log(3)


def test_two_classes_have_two_logits(features, classes):
    fit = fit_linear(features, classes > 0, "single_label_classification", seed=3)
    reference = _reference(fit.regularisation).fit(features, classes > 0)
    np.testing.assert_allclose(softmax(_logits(fit, features), 1), reference.predict_proba(features), atol=1e-4)
    np.testing.assert_allclose(fit.weight[0], -fit.weight[1])


def test_class_weights_equal_scikit_learn(features, classes):
    fit = fit_linear(features, classes, "single_label_classification", class_weight="balanced", seed=3)
    reference = _reference(fit.regularisation, class_weight="balanced").fit(features, classes)
    np.testing.assert_allclose(softmax(_logits(fit, features), 1), reference.predict_proba(features), atol=1e-4)


def test_each_label_has_its_own_class_weights(features, classes):
    targets, weights = np.stack([classes > 0, classes == 2], axis=1), [{0: 1, 1: 7}, None]
    fit = fit_linear(features, targets, "multi_label_classification", class_weight=weights, seed=3)
    for label, own in enumerate(weights):
        reference = _reference(fit.regularisation[label], class_weight=own).fit(features, targets[:, label])
        predicted = expit(_logits(fit, features)[:, label])
        np.testing.assert_allclose(predicted, reference.predict_proba(features)[:, 1], atol=1e-4)


def test_each_of_several_labels_is_solved_by_itself(features, classes):
    targets = np.stack([classes > 0, classes == 2, classes > 9, classes < 9], axis=1)
    fit = fit_linear(features, targets, "multi_label_classification", seed=3)
    for label in range(2):
        reference = _reference(fit.regularisation[label]).fit(features, targets[:, label])
        predicted = expit(_logits(fit, features)[:, label])
        np.testing.assert_allclose(predicted, reference.predict_proba(features)[:, 1], atol=1e-4)
    np.testing.assert_allclose(expit(_logits(fit, features)[0, 2:]), [ABSENT, 1 - ABSENT])


def test_regression_equals_ridge(features):
    targets = features @ np.arange(FEATURES) + np.random.default_rng(8).normal(size=ROWS) + 1000
    fit = fit_linear(features, targets, "regression", seed=3)
    reference = Ridge(fit.regularisation).fit(features, targets)
    np.testing.assert_allclose(_logits(fit, features)[:, 0], reference.predict(features), rtol=1e-9)


def test_sparse_features_give_the_same_solution(features, classes):
    few = np.where(features > np.median(features), features, 0)
    dense = fit_linear(few, classes, "single_label_classification", seed=3)
    fit = fit_linear(sparse.csr_matrix(few), classes, "single_label_classification", seed=3)
    reference = _reference(fit.regularisation).fit(few, classes)
    np.testing.assert_allclose(softmax(_logits(fit, few), 1), reference.predict_proba(few), atol=1e-3)
    assert dense.weight.shape == fit.weight.shape


def test_a_class_without_training_rows_is_improbable_on_any_row(features, classes):
    fit = fit_linear(features, 2 * classes, "single_label_classification", outputs=6, seed=3)
    probabilities = softmax(_logits(fit, 50 * features), 1)
    assert probabilities[:, [1, 3, 5]].max() <= ABSENT
    assert not fit.weight[[1, 3, 5]].any()


@pytest.mark.parametrize("present", [[1], [0, 2]])
def test_one_row_of_each_class_is_enough(features, present):
    fit = fit_linear(features[: len(present)], present, "single_label_classification", outputs=3, seed=3)
    assert list(_logits(fit, features[: len(present)]).argmax(1)) == present
    assert fit.scores == {}


def test_a_class_with_one_row_is_trained_in_every_fold(features, classes):
    lonely = classes.copy()
    lonely[0] = 3
    fit = fit_linear(features, lonely, "single_label_classification", seed=3)
    assert fit.scores and fit.weight.any(axis=1).all()


def test_regularisation_follows_the_noise(features, classes):
    random = np.random.default_rng(9).permutation(classes)
    noisy = fit_linear(features, random, "single_label_classification", seed=3)
    clear = fit_linear(features, features[:, 0] > features[:, 0].mean(), "single_label_classification", seed=3)
    assert noisy.regularisation < clear.regularisation
    assert len(noisy.scores) < len(STRENGTHS)  # the path ends where the loss rises


def test_every_call_gives_the_same(features, classes):
    first, second = (fit_linear(features, classes, "single_label_classification", seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.weight, second.weight)
