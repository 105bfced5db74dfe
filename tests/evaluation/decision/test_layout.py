"""The picked entry of a kind, failed runs, and methods without chance."""

import numpy as np
import pytest

from tl_toolkit.evaluation.decision import Cell, Entry, Panel
from tl_toolkit.evaluation.decision.layout import lay_out, pick

RNG = np.random.default_rng(3)


def cell(level, runs=3, validation=None, failed=0, rows=11):
    scores = level + 0.1 * RNG.normal(size=(runs, rows))
    return Cell(scores, None if validation is None else np.array(validation, dtype=float), failed)


def test_a_run_is_picked_by_the_validation_of_the_other_runs():
    # For run 0 the others favour b (0.5 against 0.9), for runs 1 and 2 they favour a (2.5 against 0.6).
    a, b = cell(0.5, validation=[5.0, 1.0, 0.0]), cell(0.7, validation=[0.3, 0.9, 0.9])
    found = pick(["a", "b"], 100.0, {100.0: {"a": a, "b": b}}).scores
    assert (found == np.stack([b.scores[0], a.scores[1], a.scores[2]])).all()


def test_a_single_run_is_picked_by_the_nearest_other_budget():
    a, b = cell(0.5, runs=1, validation=[0.1]), cell(0.7, runs=1, validation=[0.9])
    before = {"a": cell(0.5, validation=[0.8, 0.8, 0.8]), "b": cell(0.5, validation=[0.2, 0.2, 0.2])}
    far = {"a": cell(0.5, validation=[0.1, 0.1, 0.1]), "b": cell(0.5, validation=[0.2, 0.2, 0.2])}
    found = pick(["a", "b"], 1000.0, {10.0: far, 300.0: before, 1000.0: {"a": a, "b": b}}).scores
    assert (found == a.scores).all()


def test_without_validation_the_entries_are_averaged():
    a, b = cell(0.5), cell(0.7)
    assert pick(["a", "b"], 1.0, {1.0: {"a": a, "b": b}}).scores == pytest.approx((a.scores + b.scores) / 2)


def test_a_failed_run_counts_as_the_constant_answer():
    entries = [Entry("a", "scratch", {100.0: cell(0.9, runs=2, failed=1)}), Entry("b", "linear", {100.0: cell(0.8)})]
    constant = RNG.normal(size=11)
    layout = lay_out(Panel("d", entries, constant))
    own = entries[0].cells[100.0].scores.mean()
    assert layout.means[layout.entry["a", 100.0]] == pytest.approx((2 * own + constant.mean()) / 3)
    assert layout.parts.counts[layout.entry["a", 100.0]] == 3


def test_without_a_constant_a_failed_run_counts_as_the_worst_run():
    entries = [Entry("a", "scratch", {100.0: cell(0.9, runs=2, failed=1)}), Entry("b", "linear", {100.0: cell(0.1)})]
    layout = lay_out(Panel("d", entries))
    worst = entries[1].cells[100.0].scores.mean(axis=1).min()
    expected = (2 * entries[0].cells[100.0].scores.mean() + worst) / 3
    assert layout.means[layout.entry["a", 100.0]] == pytest.approx(expected)


def test_equal_runs_of_a_linear_model_have_no_variance_over_runs():
    same = Cell(np.tile(RNG.normal(size=11), (3, 1)))
    entries = [Entry("a", "scratch", {100.0: cell(0.9)}), Entry("b", "linear", {100.0: same})]
    layout = lay_out(Panel("d", entries))
    assert layout.parts.runs[layout.entry["b", 100.0]] == 0
    assert layout.parts.runs[layout.entry["a", 100.0]] > 0
    collapsed = [Entry("a", "scratch", {100.0: cell(0.9)}), Entry("b", "scratch", {100.0: same})]
    layout = lay_out(Panel("d", collapsed))
    assert layout.parts.runs[layout.entry["b", 100.0]] > 0


def test_an_entry_of_kind_constant_is_the_constant_answer():
    entries = [Entry("a", "scratch", {100.0: cell(0.9)}), Entry("always", "constant", {100.0: cell(0.5, runs=1)})]
    layout = lay_out(Panel("d", entries))
    assert list(layout.entry) == [("a", 100.0)]
    assert layout.means[layout.constant] == pytest.approx(entries[1].cells[100.0].scores.mean())
