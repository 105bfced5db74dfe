"""Budgets are stratified, nested and exact; held-out rows are stratified, and training keeps every class."""

from __future__ import annotations

import numpy as np
import pytest

from tl_toolkit.data.splits import find_split, hold_out, label_budget, strata
from tl_toolkit.errors import UserError


def single(rows=1009, seed=3):
    return np.random.default_rng(seed).choice(5, size=rows, p=[0.6, 0.25, 0.1, 0.04, 0.01])


def multi(rows=503):
    return (np.random.default_rng(5).random((rows, 7)) < [0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01]).astype(np.int8)


def numbers(rows=757):
    return np.random.default_rng(7).gamma(2.0, size=rows)


@pytest.mark.parametrize("labels", [single(), multi(), numbers()], ids=["single", "multi", "regression"])
def test_budgets_are_nested_exact_and_depend_on_the_seed(labels):
    previous: set[int] = set()
    for budget in (1, 2, 11, 53, 101, 400, len(labels)):
        chosen = label_budget(labels, budget, seed=1)
        assert len(set(chosen.tolist())) == budget and (np.diff(chosen) > 0).all()
        assert previous <= set(chosen.tolist())
        previous = set(chosen.tolist())
    assert np.array_equal(label_budget(labels, 53, seed=1), label_budget(labels, 53, seed=1))
    assert not np.array_equal(label_budget(labels, 53, seed=1), label_budget(labels, 53, seed=2))


@pytest.mark.parametrize("budget", [5, 13, 100, 503])
def test_single_label_budgets_are_in_proportion_with_every_class(budget):
    labels = single()
    counts = np.bincount(labels[label_budget(labels, budget, seed=0)], minlength=5)
    assert (counts >= 1).all()
    # Up to rounding and the guaranteed rows of rare classes.
    assert np.abs(counts - budget * np.bincount(labels) / len(labels)).max() <= 2.01


def test_a_budget_smaller_than_the_classes_takes_the_largest():
    assert sorted(single()[label_budget(single(), 2, seed=0)]) == [0, 1]


def test_multi_label_budget_holds_every_label():
    labels = multi()
    chosen = labels[label_budget(labels, 53, seed=0)]
    assert (chosen.sum(axis=0) >= 1).all()
    assert np.abs(chosen.mean(axis=0) - labels.mean(axis=0)).max() < 0.08


def test_regression_budget_follows_the_distribution():
    labels = numbers()
    chosen = labels[label_budget(labels, 100, seed=0)]
    assert np.abs(np.quantile(chosen, [0.25, 0.5, 0.75]) - np.quantile(labels, [0.25, 0.5, 0.75])).max() < 0.2
    assert set(np.bincount(strata(labels)[label_budget(labels, 100, seed=0)])) <= {9, 10, 11}


def test_strata():
    assert strata(np.array([7, 3, 7])).tolist() == [1, 0, 1]
    # the rarest label of each row; rows without labels form their own stratum
    assert strata(np.array([[1, 0], [1, 1], [1, 0], [0, 0]])).tolist() == [0, 1, 0, 2]
    assert len(set(strata(np.full(11, 2.5)).tolist())) == 1


@pytest.mark.parametrize("budget", [0, -1, 1010])
def test_budgets_out_of_bounds(budget):
    with pytest.raises(UserError, match=rf"budget of {budget:,} .* has 1,009 .* from 1 to 1,009"):
        label_budget(single(), budget, seed=0)


@pytest.mark.parametrize("labels", [single(), multi(), numbers()], ids=["single", "multi", "regression"])
@pytest.mark.parametrize("fraction", [0.1, 0.31])
def test_held_out_rows(labels, fraction):
    kept, held = hold_out(labels, fraction, seed=1)
    assert np.array_equal(np.sort(np.concatenate([kept, held])), np.arange(len(labels)))
    assert len(held) == round(fraction * len(labels))
    groups = strata(labels)
    assert (
        np.abs(np.bincount(groups[held], minlength=groups.max() + 1) - fraction * np.bincount(groups)) <= 1.01
    ).all()
    assert not np.array_equal(held, hold_out(labels, fraction, seed=2)[1])
    assert np.array_equal(held, hold_out(labels, fraction, seed=1)[1])


def test_a_class_with_one_row_stays_in_training():
    labels = np.array([0] * 10 + [1] + [2] * 2)
    for seed in range(20):
        kept, _ = hold_out(labels, 0.7, seed)
        assert set(labels[kept]) == {0, 1, 2}


def test_held_out_bounds():
    assert [len(part) for part in hold_out(np.array([0, 1]), 0.1, 0)] == [1, 1]
    for fraction in (0.0, 1.0, -0.5):
        with pytest.raises(UserError, match="between 0 and 1"):
            hold_out(single(), fraction, 0)
    with pytest.raises(UserError, match="1 row"):
        hold_out(np.array([0]), 0.1, 0)


def test_split_names():
    assert find_split(["train", "dev", "test"], "validation") == "dev"
    assert find_split(["Train", "Valid"], "train") == "Train"
    assert find_split(["train", "validation_matched"], "validation") is None
    assert find_split(["train", "validation_matched"], "validation", "validation_matched") == "validation_matched"
    with pytest.raises(UserError, match="no split 'tset' .--test_split_name.*Did you mean 'test'"):
        find_split(["train", "test"], "test", "tset")
