"""Simultaneous critical values, against published tables and scipy."""

import numpy as np
import pytest
from scipy.stats import studentized_range, t

from tl_toolkit.evaluation.decision.noise import Family, Noise, quantile
from tl_toolkit.evaluation.decision.variance import Components


def noise_of(rows, runs, run_freedom=np.inf, row_freedom=1e6, means=None, pooled=False):
    size = len(runs)
    return Noise(
        Components(
            means=np.zeros(size) if means is None else np.array(means, dtype=float),
            rows=np.array(rows, dtype=float),
            row_freedom=row_freedom,
            runs=np.array(runs, dtype=float),
            run_freedom=np.full(size, run_freedom),
            pooled=np.full(size, pooled),
            residual=np.zeros(size),
            counts=np.full(size, 3),
            units=1000,
        )
    )


def pairs(size):
    contrasts = [np.eye(size)[a] - np.eye(size)[b] for a in range(size) for b in range(a)]
    return np.array(contrasts)


@pytest.mark.parametrize("groups", [3, 5])
def test_all_pairs_have_tukeys_critical_value(groups):
    family = Family(noise_of(np.eye(groups), np.zeros(groups)), pairs(groups))
    expected = studentized_range.ppf(0.95, groups, np.inf) / np.sqrt(2)
    assert float(quantile(family.worst(), 0.95)) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("treatments, two_sided, one_sided", [(2, 2.21, 1.92), (3, 2.35, 2.06), (5, 2.51, 2.23)])
def test_comparisons_with_a_control_have_dunnetts_critical_values(treatments, two_sided, one_sided):
    """Dunnett (1955, 1964), tables for infinitely many degrees of freedom and 95 %."""
    contrasts = np.concatenate([-np.ones((treatments, 1)), np.eye(treatments)], axis=1)
    family = Family(noise_of(np.eye(treatments + 1), np.zeros(treatments + 1)), contrasts)
    assert float(quantile(family.worst(), 0.95)) == pytest.approx(two_sided, rel=0.02)
    assert float(quantile(family.worst(sided=1), 0.95)) == pytest.approx(one_sided, rel=0.025)


@pytest.mark.parametrize("freedom", [2, 4.4, 20])
def test_one_cell_has_students_interval(freedom):
    noise = noise_of(np.zeros((2, 2)), [0.01, 0.0], run_freedom=freedom)
    family = Family(noise, np.array([[1.0, 0.0]]))
    half = float(family.half_lengths(family.worst(), 0.05)[0])
    assert half == pytest.approx(0.1 * t.ppf(0.975, freedom), rel=0.01)


@pytest.mark.parametrize("groups, freedom", [(3, 6), (4, 12)])
def test_cells_with_a_pooled_variance_have_tukeys_critical_value(groups, freedom):
    family = Family(noise_of(np.zeros((groups, groups)), np.ones(groups), freedom, pooled=True), pairs(groups))
    half = family.half_lengths(family.worst(), 0.05)
    assert half[0] == pytest.approx(studentized_range.ppf(0.95, groups, freedom), rel=0.03)


def test_few_independent_rows_have_students_interval():
    family = Family(noise_of(np.eye(2), np.zeros(2), row_freedom=4), np.array([[1.0, 0.0]]))
    assert float(family.half_lengths(family.worst(), 0.05)[0]) == pytest.approx(t.ppf(0.975, 4), rel=0.03)


def test_shared_rows_cancel_in_a_difference():
    noise = noise_of([[1.0, 0.99], [0.99, 1.0]], np.zeros(2))
    assert Family(noise, np.array([[1.0, -1.0]])).noise.std() == pytest.approx(np.sqrt(0.02), rel=0.03)


def test_adjusted_p_agrees_with_the_interval():
    for shift in np.linspace(1.8, 2.8, 21):
        family = Family(noise_of(np.eye(3), np.zeros(3), means=[0, 0, shift * np.sqrt(2)]), pairs(3))
        worst = family.worst()
        excluded = np.abs(family.estimates) > family.half_lengths(worst, 0.05)
        assert (excluded == (family.adjusted(worst) <= 0.05)).all()


def test_same_input_gives_same_draws():
    first, second = (noise_of(np.eye(3), np.full(3, 0.5), run_freedom=3).draws for _ in range(2))
    assert (first == second).all()


def test_a_difference_without_any_variance_is_not_infinitely_sure():
    family = Family(noise_of(np.zeros((2, 2)), np.zeros(2), means=[0.5, 0.0]), np.array([[1.0, -1.0]]))
    assert family.scales[0] == pytest.approx(0.5 / 1001)
