"""Power laws, their inverse and their intervals."""

import numpy as np
import pytest

from tl_toolkit.evaluation.decision.curves import fit_curves, isotonic

LABELS = np.array([100.0, 300.0, 1000.0, 3000.0, 7000.0])


def law(labels, limit=0.9, gap=0.3, exponent=0.4):
    return limit - gap * (np.asarray(labels) / 100) ** -exponent


def test_an_exact_power_law_is_found_and_extrapolated():
    curves = fit_curves(LABELS, np.tile(law(LABELS), (5, 1)), np.full(5, 1e-8), 1.0)
    assert curves.at(28000.0)[0] == pytest.approx(law(28000), abs=0.003)
    assert curves.labels_for(np.full((1, 5), law(1700)))[0, 0] == pytest.approx(1700, rel=0.03)
    assert curves.labels_for(np.full((1, 5), law(14000)))[0, 0] == pytest.approx(14000, rel=0.1)


def test_a_target_above_the_limit_needs_infinitely_many_labels():
    curves = fit_curves(LABELS, np.tile(law(LABELS), (5, 1)), np.full(5, 1e-8), 1.0)
    assert np.isinf(curves.labels_for(np.full((1, 5), 0.95))).all()


def test_the_limit_stays_below_the_greatest_score():
    rising = np.array([[0.80, 0.86, 0.92, 0.97, 0.995]])
    assert fit_curves(LABELS, rising, np.full(5, 1e-4), 1.0).at(1e12)[0] <= 1.0


def test_a_falling_curve_is_made_flat():
    falling = np.array([[0.9, 0.8, 0.7, 0.6, 0.5]])
    curves = fit_curves(LABELS, falling, np.full(5, 1e-4), 1.0)
    assert (np.diff(curves.values(np.log2(LABELS))) >= 0).all()
    assert [curves.at(100.0)[0], curves.at(28000.0)[0]] == pytest.approx([0.7, 0.7])


def test_a_curve_that_starts_flat_is_extrapolated():
    late = 0.95 - 0.45 * ((LABELS + 1500) / 1600) ** -0.7
    curves = fit_curves(LABELS, late[None], np.full(5, 1e-5), 1.0)
    assert curves.at(14000.0)[0] == pytest.approx(0.95 - 0.45 * (15500 / 1600) ** -0.7, abs=0.02)


def test_a_clear_misfit_of_the_power_law_is_followed():
    step = np.array([[0.6, 0.6, 0.6, 0.9, 0.9]])
    values = fit_curves(LABELS, step, np.full(5, 1e-6), 1.0).values(np.log2(LABELS))[0]
    assert values == pytest.approx(step[0], abs=0.002)


def test_isotonic_means_by_hand():
    # 3 before 1 with weights 1 and 3: their mean is 1.5.
    found = isotonic(np.array([[0.0, 3.0, 1.0, 4.0]]), np.array([1.0, 1.0, 3.0, 1.0]))
    assert found[0] == pytest.approx([0.0, 1.5, 1.5, 4.0])
