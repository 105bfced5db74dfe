from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from tl_toolkit.evaluation.statistics.pairwise import cohens_dz, cohens_h, hedges_g, odds_ratio


def test_cohens_h_equals_the_published_table():
    """Cohen (1988), table 6.2.2: φ is 1.571 for 0.50 and 1.875 for 0.65, so h is 0.304."""
    assert cohens_h(0.50, 0.65).value == pytest.approx(1.875 - 1.571, abs=0.001)
    assert cohens_h(0.65, 0.50).value == -cohens_h(0.50, 0.65).value
    assert cohens_h(0.0, 1.0).value == pytest.approx(math.pi)


def test_odds_of_discordant_rows():
    assert odds_ratio(86, 150).value == pytest.approx(1.744, abs=0.001)
    assert odds_ratio(0, 3).value == math.inf and odds_ratio(0, 0).value == 1


def test_hedges_g_is_corrected_for_few_runs():
    """Hedges' factor is approximately 1 − 3 / (4ν − 1); the t of the pooled test gives Cohen's d."""
    generator = np.random.default_rng(3)
    first, second = generator.normal(0.5, 0.1, 5), generator.normal(0.7, 0.1, 3)
    found = hedges_g(first, second)
    cohens_d = stats.ttest_ind(second, first).statistic * math.sqrt(1 / 5 + 1 / 3)
    assert found is not None
    assert found.value == pytest.approx(cohens_d * (1 - 3 / (4 * 6 - 1)), rel=0.002)


def test_hedges_g_of_two_runs_each():
    """With ν = 2 the factor is Γ(1) / Γ(1/2) = 1 / √π, and the pooled variance 0.02."""
    found = hedges_g([0.4, 0.6], [0.9, 1.1])
    assert found is not None
    assert found.value == pytest.approx(0.5 / math.sqrt(0.02) / math.sqrt(math.pi))
    assert hedges_g([0.4], [0.9, 1.1]) is None and hedges_g([0.4, 0.4], [0.9, 0.9]) is None


def test_cohens_dz_is_the_paired_t_divided_by_the_root_of_the_rows():
    generator = np.random.default_rng(5)
    first = generator.normal(1, 0.3, 101)
    second = first + generator.normal(0.1, 0.2, 101)
    found = cohens_dz(first, second)
    assert found is not None
    assert found.value == pytest.approx(stats.ttest_rel(second, first).statistic / math.sqrt(101))
    assert cohens_dz(first, first) is None and cohens_dz(first, first + 1) is None
