"""The error rates, power and coverage of the decision, by simulation (docs/reports/decision).

    python benchmarks/verdict_calibration.py [--worlds equal,lead --reports 1000 --processes 1 --list]

Each row of the table simulates reports of one world, from scores of 0 and 1 on test rows, and compares what the
decision says with the truth. A line has what was measured, its bound, two standard errors of the simulation, and
whether it is inside the bound with these two standard errors.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any
from unittest.mock import patch

import numpy as np
from scipy.special import ndtri

from tl_toolkit.evaluation.decision import Cell, Entry, Panel, Settings, decide, pseudo_values

BUDGETS = (100.0, 300.0, 1000.0, 3000.0, 6920.0)
SDS = (0.02, 0.02, 0.02, 0.01, 0.007)
SETTINGS = Settings("accuracy", bounds=(0.0, 1.0))
Outcome = dict[str, float]


@lru_cache(maxsize=1)
def sst2_sds() -> np.ndarray:
    """SDs over seeds of the cells of docs/reports/sst2/results_0.1.0.csv with several runs, as parts of 1."""
    return np.array([np.std(values, ddof=1) for values in sst2_runs().values() if len(values) > 1])


@lru_cache(maxsize=1)
def sst2_runs() -> dict[tuple[str, str], list[float]]:
    """The test accuracies of sst2_grid.yaml in version 0.1.0 by entry and number of labels."""
    import csv
    from collections import defaultdict
    from pathlib import Path

    runs: dict[tuple[str, str], list[float]] = defaultdict(list)
    with open(Path(__file__).parents[1] / "docs/reports/sst2/results_0.1.0.csv", newline="") as file:
        for row in csv.DictReader(file):
            if row.get("test.accuracy"):
                runs[row["entry"], row["train_labels"]].append(float(row["test.accuracy"]))
    return runs


# --- scores -----------------------------------------------------------------------------------------------------------

COMMON, ENTRY, CELL = 0.04, 0.0525, 0.065
"""Covariances of two scores of a row: of two entries, of one entry at two budgets, of two runs of a cell."""


@lru_cache(maxsize=8)
def latent_correlation(covariance: float, accuracy: float = 0.8) -> float:
    """The correlation of two normal variables whose dichotomies at `accuracy` have this covariance."""
    from scipy.optimize import brentq
    from scipy.stats import multivariate_normal

    at = float(ndtri(accuracy))

    def excess(correlation: float) -> float:
        both = multivariate_normal([0, 0], [[1, correlation], [correlation, 1]]).cdf([at, at])
        return float(both) - accuracy**2 - covariance

    return float(brentq(excess, 0.0, 0.999))


@dataclass(frozen=True)
class Design:
    """The entries and runs of a synthetic report.

    Args:
        kinds: of the entries.
        truth: (entries, budgets) expected scores.
        sds: (entries, budgets) standard deviations over seeds.
        runs: (entries, budgets); 0 for a cell that is missing.
        rows: test rows.
        validation: validation rows; 0 for none.
        costs: (entries,) seconds of an answer.
        constant: the accuracy of the constant answer; nan for none.
    """

    kinds: tuple[str, ...]
    truth: np.ndarray
    sds: np.ndarray
    runs: np.ndarray
    rows: int
    validation: int = 0
    costs: tuple[float, ...] = ()
    constant: float = np.nan
    budgets: tuple[float, ...] = BUDGETS


def panel(design: Design, rng: np.random.Generator, dataset: str = "synthetic") -> Panel:
    """The scores of one synthetic report."""
    entries, budgets = design.truth.shape
    steps = [latent_correlation(value) for value in (COMMON, ENTRY, CELL)]
    parts = np.sqrt(np.diff([0.0, *steps, 1.0])).astype(np.float32)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, dtype=np.float32)

    rows = design.rows
    row = parts[0] * normal(rows)
    made = []
    for entry in range(entries):
        cells = {}
        of_entry = row + parts[1] * normal(rows)
        for budget in range(budgets):
            runs = int(design.runs[entry, budget])
            if not runs:
                continue
            reached = design.truth[entry, budget] + design.sds[entry, budget] * rng.standard_normal(runs)
            limits = ndtri(np.clip(reached, 0.005, 0.995)).astype(np.float32)
            latent = of_entry + parts[2] * normal(rows) + parts[3] * normal(runs, rows)
            checked = None
            if design.validation:
                noise = np.sqrt((CELL - COMMON) / design.validation) * rng.standard_normal()
                own = np.sqrt(0.095 / design.validation) * rng.standard_normal(runs)
                checked = reached + noise + own
            cells[design.budgets[budget]] = Cell((latent < limits[:, None]).astype(float), checked)
        cost = design.costs[entry] if design.costs else 1.0
        made.append(
            Entry(f"{design.kinds[entry]} {entry}", design.kinds[entry], cells, {own: (cost, 1.0) for own in cells})
        )
    constant = None
    if not np.isnan(design.constant):
        latent = row + np.sqrt(1 - parts[0] ** 2) * normal(rows)
        constant = (latent < ndtri(design.constant)).astype(float)
    return Panel(dataset, made, constant)


def false_claims(found: dict[str, Any]) -> float:
    """Whether anything outside the folded pairs says that two sides differ."""
    leads = any(one["average_lead"]["reading"] in ("ahead", "behind") for one in found["kinds"])
    depends = any(one["trend"]["reading"] != "constant_or_unknown" for one in found["kinds"])
    single = any(
        one["status"] == "ahead" or any(pair["reading"] in ("ahead", "behind") for pair in one["comparisons"])
        for one in found["budgets"]
    )
    several = found.get("datasets", {})
    further = any(one["reading"] in ("ahead", "behind") for one in several.get("differences", []))
    return float(leads or depends or single or further)


def square(kinds: tuple[str, ...], budgets: int, runs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Equal truths of 0.8, the SDs of the budgets, and numbers of runs, (kinds, budgets) each."""
    shape = (len(kinds), budgets)
    sds = SDS if budgets == 5 else (SDS[3],)
    return np.full(shape, 0.8), np.tile(sds, (len(kinds), 1)), np.full(shape, runs)


KINDS = ("scratch", "transformer", "ulmfit")


# --- worlds: functions of a random generator that return what happened in one report -------------------------------


def equal(rng: np.random.Generator, kinds: int, budgets: int, runs: int, rows: int, drawn: bool = False) -> Outcome:
    truth, sds, counts = square(KINDS[:kinds], budgets, runs)
    if drawn:
        sds = rng.choice(sst2_sds(), size=truth.shape)
    design = Design(KINDS[:kinds], truth, sds, counts, rows, budgets=BUDGETS[:budgets])
    return {"claim": false_claims(decide([panel(design, rng)], SETTINGS))}


def unequal(rng: np.random.Generator, kinds: int, runs: int) -> Outcome:
    """Equal scores, but the seeds of one kind vary ten times as much as those of another."""
    truth, sds, counts = square(KINDS[:kinds], 5, runs)
    sds = np.array([(0.04, 0.04, 0.03, 0.02, 0.01), (0.003,) * 5, (0.01,) * 5])[:kinds]
    return {"claim": false_claims(decide([panel(Design(KINDS[:kinds], truth, sds, counts, 1821), rng)], SETTINGS))}


def picked(rng: np.random.Generator, validation: int) -> Outcome:
    kinds = ("scratch",) * 8 + ("transformer",)
    truth, sds, runs = square(kinds, 5, 3)
    found = decide([panel(Design(kinds, truth, sds, runs, 1821, validation), rng)], SETTINGS)
    return {"claim": false_claims(found)}


def sst2(rng: np.random.Generator) -> Outcome:
    kinds = ("scratch", "scratch", "word_vectors", "linear", "ulmfit", "transformer", "transformer", "transformer")
    truth, sds, runs = square(kinds, 5, 3)
    sds = rng.choice(sst2_sds(), size=truth.shape)
    runs[5:, 4] = 1
    return {"claim": false_claims(decide([panel(Design(kinds, truth, sds, runs, 1821, 200), rng)], SETTINGS))}


def single(rng: np.random.Generator) -> Outcome:
    kinds = ("scratch", "scratch", "transformer")
    truth, sds, runs = square(kinds, 5, 1)
    truth = truth + rng.normal(size=(3, 1)) * 0.05
    found = decide([panel(Design(kinds, truth, sds, runs, 1821), rng)], SETTINGS)
    decided = any(one["recommended"] or one["status"] != "undecided" for one in found["budgets"])
    ends = any(pair["low"] is not None for one in found["budgets"] for pair in one["comparisons"])
    return {"claim": float(false_claims(found) or decided or ends or found["recommended"] is not None)}


def lead(rng: np.random.Generator, leads: tuple[float, ...]) -> Outcome:
    kinds = ("scratch", "transformer")
    truth, sds, runs = square(kinds, 5, 3)
    truth = truth - np.array(leads)[None] / 2 * np.array([[1], [-1]])
    found = decide([panel(Design(kinds, truth, sds, runs, 1821), rng)], SETTINGS)["kinds"][0]
    trend = found["trend"]["reading"]
    wrong = {"shrinks": leads[-1] >= leads[0], "grows": leads[-1] <= leads[0]}.get(trend, False)
    right = {"shrinks": leads[-1] < leads[0], "grows": leads[-1] > leads[0]}.get(trend, False)
    return {
        "trend": float(trend != "constant_or_unknown"),
        "right": float(right),
        "wrong": float(wrong),
        "ahead": float(found["average_lead"]["reading"] == "ahead"),
        "covered": float(found["average_lead"]["low"] <= np.mean(leads) <= found["average_lead"]["high"]),
        "crossing": float(found["crossing"] is not None),
    }


def far_behind(rng: np.random.Generator, runs: int, budgets: int) -> Outcome:
    """One of three entries is 43 points behind; its kind, for which the other one is picked, is level."""
    kinds = ("scratch", "scratch", "transformer")
    truth, sds, counts = square(kinds, budgets, runs)
    truth[0] -= 0.43
    found = decide([panel(Design(kinds, truth, sds, counts, 1821, 1000, budgets=BUDGETS[:budgets]), rng)], SETTINGS)
    every = [one for own in found["budgets"] for one in own["comparisons"]]
    bad = [one["reading"] == "behind" for one in every if one["b"] == "scratch 0"]
    for own in found["budgets"]:  # the rest is a claim if it says more
        own["comparisons"] = [one for one in own["comparisons"] if one["b"] != "scratch 0"]
    return {"found": float(all(bad)), "claim": false_claims(found)}


def pair(rng: np.random.Generator, difference: float) -> Outcome:
    kinds = ("scratch", "word_vectors", "linear", "ulmfit", "transformer", "transformer")
    truth, sds, runs = square(kinds, 5, 3)
    sds = rng.choice(sst2_sds(), size=truth.shape)
    truth[5] += difference
    found = decide([panel(Design(kinds, truth, sds, runs, 1821), rng)], SETTINGS)
    own = [one for one in found["pairs"] if one["a"].endswith("4") and one["b"].endswith("5")]
    return {
        "found": float(np.mean([one["p"] <= 0.05 for one in own])),
        "adjusted": float(np.mean([one["p_adjusted"] <= 0.05 for one in own])),
    }


def equivalence(rng: np.random.Generator, difference: float) -> Outcome:
    kinds = ("scratch", "transformer")
    truth, sds = np.full((2, 1), 0.8), np.full((2, 1), 0.007)
    truth[1] += difference
    found = decide([panel(Design(kinds, truth, sds, np.full((2, 1), 5), 5000), rng)], SETTINGS)
    return {"equivalent": float(found["budgets"][0]["comparisons"][0]["reading"] == "equivalent")}


def recommendation(rng: np.random.Generator, costs: str) -> Outcome:
    kinds = ("scratch", "word_vectors", "linear", "ulmfit", "transformer", "distilled")
    truth = rng.permutation(np.linspace(0.785, 0.815, 6))[:, None]
    price = {"alike": (1.0,) * 6, "different": tuple(2.0**place for place in range(6))}[costs]
    design = Design(kinds, truth, np.full((6, 1), 0.02), np.full((6, 1), 3), 1821, costs=price)
    name = decide([panel(design, rng)], SETTINGS)["budgets"][0]["recommended"]
    lost = float(truth.max() - truth[int(name.split()[1]), 0])
    return {"lost": 100 * lost, "far": float(lost > 0.04)}


def constant(rng: np.random.Generator, below: float, budgets: int) -> Outcome:
    kinds = ("scratch", "transformer")
    truth, sds, runs = square(kinds, budgets, 3)
    found = decide([panel(Design(kinds, truth - below, sds, runs, 1821, constant=0.8), rng)], SETTINGS)
    beats = any(one["beats_constant"] for one in found["budgets"])
    named = any(one["recommended"] is not None for one in found["budgets"]) or found["recommended"] is not None
    return {"beats": float(beats), "recommended": float(named)}


def power_law(labels: np.ndarray | float, limit: float, gap: float, exponent: float) -> Any:
    return limit - gap * (np.asarray(labels) / 100) ** -exponent


def equivalent_labels(rng: np.random.Generator, runs: int, one: bool = False) -> Outcome:
    """An entry from scratch and a transferred one; the scratch curve reaches the transferred one's at 300 labels."""
    kinds = ("scratch", "transformer")
    curves = ((0.86, 0.26, 0.35), (0.88, 0.16, 0.35))
    truth = np.array([power_law(np.array(BUDGETS), *own) for own in curves])
    counts = np.full((2, 5), runs)
    if one:
        counts[1] = 1
    found = decide([panel(Design(kinds, truth, np.tile(SDS, (2, 1)), counts, 1821), rng)], SETTINGS)
    covered, within, wide = [], [], []
    for own in found["label_equivalence"]:
        mine, other = (curves[0], curves[1]) if own["entry"].startswith("scratch") else (curves[1], curves[0])
        target = power_law(own["labels"], *mine)
        rest = (other[0] - target) / other[1]
        true = 100 * rest ** (-1 / other[2]) if rest > 0 else np.inf
        low, high = own["low"] or np.inf, own["high"] or np.inf
        covered.append(low <= true <= high)
        if BUDGETS[0] <= true <= BUDGETS[-1]:
            within.append(low <= true <= high)
            wide.append(high / low)
    more = []
    for own in found["more_labels"]:
        true = power_law(own["labels"], *curves[int(own["entry"].split()[1])])
        more.append(own["low"] <= true <= own["high"])
    return {
        "covered": float(np.mean(covered)),
        "within": float(np.mean(within)),
        "ratio": float(np.median(wide)),
        "more": float(np.mean(more)),
    }


def expected_accuracy(rng: np.random.Generator) -> Outcome:
    truth, sds = np.array([[0.99], [0.99]]), np.full((2, 1), 0.002)
    found = decide([panel(Design(("scratch", "transformer"), truth, sds, np.full((2, 1), 3), 100), rng)], SETTINGS)
    own = [one for one in found["budgets"][0]["entries"]]
    return {"covered": float(np.mean([one["low"] <= 0.99 <= one["high"] for one in own]))}


F1_ROWS, F1_CLASSES = 300, 10
F1_PRIOR = np.array([5 / 300] + [(1 - 5 / 300) / 9] * 9)


def f1_runs(rng: np.random.Generator, runs: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """True classes (rows,) and predicted ones (runs, rows); about 75 % are right, depending on the row."""
    true = rng.choice(F1_CLASSES, size=rows, p=F1_PRIOR)
    easy = 1.2 * rng.standard_normal(rows) + 1.1
    reached = 0.05 * rng.standard_normal(runs)
    right = easy + reached[:, None] + rng.standard_normal((runs, rows)) > 0
    other = rng.choice(F1_CLASSES, size=(runs, rows), p=F1_PRIOR)
    return true, np.where(right, true, other)


def macro_f1(means: np.ndarray) -> np.ndarray:
    """Macro-F1 of mean hits, predicted and true classes, (..., 3 · classes)."""
    hit, predicted, actual = np.split(means, 3, axis=-1)
    total = predicted + actual
    return np.divide(2 * hit, total, out=np.zeros(total.shape), where=total > 0).mean(axis=-1)


def f1_counts(true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """(rows, 3 · classes): hits, predicted, true."""
    classes = np.arange(F1_CLASSES)
    actual, own = true[:, None] == classes, predicted[:, None] == classes
    return np.concatenate([actual & own, own, actual], axis=1).astype(float)


@lru_cache(maxsize=1)
def f1_truth() -> float:
    """The expected macro-F1 of a run on new rows, as many as in the report."""
    rng = np.random.default_rng(0)
    values = []
    for _ in range(4000):
        true, predicted = f1_runs(rng, 1, F1_ROWS)
        values.append(float(macro_f1(f1_counts(true, predicted[0]).mean(axis=0))))
    return float(np.mean(values))


def expected_f1(rng: np.random.Generator) -> Outcome:
    truth = f1_truth()
    entries = []
    for kind in ("scratch", "transformer"):
        true, predicted = f1_runs(rng, 3, F1_ROWS)
        scores = np.stack([pseudo_values(f1_counts(true, own), macro_f1) for own in predicted])
        entries.append(Entry(kind, kind, {100.0: Cell(scores)}))
    found = decide([Panel("synthetic", entries)], Settings("macro_f1", bounds=(0.0, 1.0)))
    own = found["budgets"][0]["entries"]
    return {"covered": float(np.mean([one["low"] <= truth <= one["high"] for one in own]))}


def autoregressive(rng: np.random.Generator, series: int, rows: int, coefficient: float = 0.95) -> np.ndarray:
    from scipy.signal import lfilter

    noise = np.sqrt(1 - coefficient**2) * rng.standard_normal((series, rows))
    noise[:, 0] = rng.standard_normal(series)
    return lfilter([1.0], [1.0, -coefficient], noise, axis=1)


def expected_forecast(rng: np.random.Generator, windows: int) -> Outcome:
    """Errors of forecasts: shared by all entries, of the entry and of the run, all with AR(1) coefficient 0.95."""
    common = autoregressive(rng, 1, windows)[0]
    entries = []
    for kind in ("scratch", "transformer"):
        own = autoregressive(rng, 1, windows)[0]
        run = autoregressive(rng, 3, windows)
        errors = 1.0 + 0.2 * common + 0.15 * own + 0.1 * run + 0.01 * rng.standard_normal((3, 1))
        entries.append(Entry(kind, kind, {100.0: Cell(-errors)}))
    found = decide([Panel("synthetic", entries, ordered=True)], Settings("mae", greater_is_better=False))
    own_budget = found["budgets"][0]
    return {
        "covered": float(np.mean([one["low"] <= 1.0 <= one["high"] for one in own_budget["entries"]])),
        "claim": false_claims(found),
    }


def cross_validation(
    rng: np.random.Generator,
    repetitions: tuple[int, ...],
    budgets: int = 1,
    accuracy: float = 0.8,
    training: float = 0.015,
    seeds: float = 0.02,
) -> Outcome:
    """300 rows, five folds. A training set's effect is a sum over its rows, so overlapping ones share it.

    Args:
        repetitions: of each entry; an entry with fewer has the last ones.
        training, seeds: standard deviations over training sets and over seeds.
    """
    rows, parts, most = 300, 5, max(repetitions)
    size = accuracy * (1 - accuracy) / 0.16
    steps = [latent_correlation(value * size, accuracy) for value in (COMMON, ENTRY, CELL)]
    weights = np.sqrt(np.diff([0.0, *steps, 1.0]))
    common = weights[0] * rng.standard_normal(rows)
    folds = np.stack([rng.permutation(rows) % parts for _ in range(most)])
    entries = []
    for kind, count in zip(KINDS, repetitions, strict=False):
        of_entry = common + weights[1] * rng.standard_normal(rows)
        cells = {}
        for labels in BUDGETS[:budgets]:
            of_cell = of_entry + weights[2] * rng.standard_normal(rows)
            worth = rng.standard_normal(rows)
            scores = np.empty((most, rows))
            for repetition in range(most):
                for fold in range(parts):
                    test = folds[repetition] == fold
                    trained = worth[~test].sum() / np.sqrt((~test).sum())
                    reached = accuracy + training * trained + seeds * rng.standard_normal()
                    noise = weights[3] * rng.standard_normal(int(test.sum()))
                    scores[repetition, test] = of_cell[test] + noise < ndtri(np.clip(reached, 0.01, 0.99))
            own = range(most - count, most)
            cells[labels] = Cell(scores[own], repetitions=own)
        entries.append(Entry(kind, kind, cells))
    found = decide([Panel("synthetic", entries, folds=folds)], SETTINGS)
    expected = [one for own in found["budgets"] for one in own["entries"]]
    spread = np.hypot(training, seeds) * ndtri((np.arange(999) + 0.5) / 999)
    truth = np.clip(accuracy + spread, 0.01, 0.99).mean()
    return {
        "claim": false_claims(found),
        "covered": float(np.mean([one["low"] <= truth <= one["high"] for one in expected])),
        "width": float(np.mean([one["high"] - one["low"] for one in expected])),
    }


def several_datasets(rng: np.random.Generator, datasets: int, between: float = 0.0) -> Outcome:
    kinds = ("scratch", "ulmfit", "transformer")
    panels = []
    for place in range(datasets):
        truth, sds, runs = square(kinds, 1, 3)
        truth = truth + between * rng.standard_normal(truth.shape)
        panels.append(panel(Design(kinds, truth, sds, runs, 1000, budgets=BUDGETS[3:4]), rng, f"set {place}"))
    found = decide(panels, SETTINGS)
    over = found["datasets"]
    friedman = over["ranks"] is not None and over["ranks"]["p"] <= 0.05
    return {
        "claim": false_claims(found),
        "mean": float(any(one["reading"] == "behind" for one in over["differences"])),
        "friedman": float(friedman),
    }


def held_out() -> str:
    """How often the largest budget of results_0.1.0.csv lies in the interval that the smaller ones predict."""
    from tl_toolkit.evaluation.decision.curves import fit_curves, interval

    generator, rows, inside, missed = np.random.default_rng(0), 1821, [], []
    typical = float(np.median(sst2_sds()))
    for entry in sorted({name for name, _ in sst2_runs()}):
        cells = {float(labels): values for (name, labels), values in sst2_runs().items() if name == entry}
        labels = np.array(sorted(cells))
        if len(labels) < 4:
            continue
        means = np.array([np.mean(cells[own]) for own in labels])
        seeds = np.array([max(float(np.std(cells[own])), typical) ** 2 / len(cells[own]) for own in labels])
        variance = means * (1 - means) / rows + seeds
        noise = np.sqrt(variance) * generator.standard_normal((2000, len(labels)))
        noise[0] = 0
        curves = fit_curves(labels[:-1], (means + noise)[:, :-1], variance[:-1], 1.0)
        low, high = interval((curves.at(float(labels[-1])) + noise[:, -1])[1:], 0.05)
        inside.append(low <= means[-1] <= high)
        missed.append(curves.at(float(labels[-1]))[0] - means[-1])
    error = 100 * float(np.mean(np.abs(missed)))
    covered = f"{sum(inside)} of {len(inside)} in the 95 % interval"
    return f"without the largest budget: {covered}, mean error {error:.1f} points"


def seconds() -> str:
    """The processor time of a report of eight entries, five budgets, three seeds and 1,821 rows; the median of 20."""
    kinds = ("scratch", "scratch", "word_vectors", "linear", "ulmfit", "transformer", "transformer", "distilled")
    truth, sds, runs = square(kinds, 5, 3)
    own = panel(Design(kinds, truth, sds, runs, 1821, 200, constant=0.5), np.random.default_rng(0))
    spent = []
    for _ in range(20):
        began = time.process_time()
        decide([own], SETTINGS)
        spent.append(time.process_time() - began)
    return f"{1000 * np.median(spent):.0f} ms a report"


# --- the table --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A world, and the bounds of its outcomes: (outcome, "<=" or ">=", bound)."""

    group: str
    name: str
    world: Callable[[np.random.Generator], Outcome]
    bounds: tuple[tuple[str, str, float], ...]
    scale: dict[str, str] = field(default_factory=dict)


def _named(repetitions: tuple[int, ...]) -> str:
    return f"{', '.join(map(str, dict.fromkeys(repetitions)))} × 5-fold cross-validation"


def table() -> Iterator[Row]:
    """The rows, the most important first."""
    claim = (("claim", "<=", 0.05),)
    for kinds in (2, 3):
        for budgets in (1, 5):
            for runs in (2, 3, 5):
                for rows in (200, 1821, 5000):
                    name = f"all equal: {kinds} kinds, {budgets} budgets, {runs} seeds, {rows} rows"
                    yield Row("equal", name, partial(equal, kinds=kinds, budgets=budgets, runs=runs, rows=rows), claim)
    for runs in (2, 3, 5):
        world = partial(equal, kinds=2, budgets=5, runs=runs, rows=1821, drawn=True)
        yield Row("equal-drawn", f"all equal, SDs of SST-2: 2 kinds, 5 budgets, {runs} seeds, 1821 rows", world, claim)
    for kinds in (2, 3):
        name = f"all equal, SDs of 4 to 1, 0.3 (and 1) points: {kinds} kinds, 3 seeds"
        yield Row("unequal", name, partial(unequal, kinds=kinds, runs=3), claim)
    for rows in (200, 1000):
        name = f"all equal: 8 from scratch against 1, picked on {rows} rows"
        yield Row("picked", name, partial(picked, validation=rows), (("claim", "<=", 0.06),))
    yield Row("sst2", "all equal: the SST-2 design, single runs at the top", sst2, claim)
    yield Row("single", "single runs alone: any claim", single, (("claim", "<=", 0.0),))
    for points in (2, 3, 5, 10):
        world = partial(lead, leads=(points / 100,) * 5)
        bounds: tuple[tuple[str, str, float], ...] = (("trend", "<=", 0.06), ("covered", ">=", 0.95))
        if points == 2:
            bounds += (("ahead", ">=", 0.65),)
        yield Row("lead", f"a lead of {points} points at all budgets", world, bounds)
    falls = partial(lead, leads=(0.08, 0.06, 0.04, 0.02, 0.0))
    yield Row("trend", "a lead that falls from 8 to 0 points", falls, (("right", ">=", 0.9), ("wrong", "<=", 0.01)))
    crosses = partial(lead, leads=(0.06, 0.03, 0.0, -0.03, -0.06))
    yield Row("trend", "a lead that crosses, 6 to −6 points", crosses, (("crossing", ">=", 0.95),))
    for runs, budgets in ((2, 5), (3, 5), (3, 1)):
        name = f"one entry of a kind that is level, 43 points behind: {budgets} budgets, {runs} seeds"
        found = (("found", ">=", 0.9 if runs > 2 else 0.7), ("claim", "<=", 0.05))
        yield Row("behind", name, partial(far_behind, runs=runs, budgets=budgets), found)
    for points, sense, bound in ((0, "<=", 0.06), (5, ">=", 0.85), (2, ">=", 0.25)):
        name = f"one pair, {points} points apart, before adjustment"
        yield Row("pair", name, partial(pair, difference=points / 100), (("found", sense, bound),))
    for apart, sense, bound in ((0.3, ">=", 0.7), (2.0, "<=", 0.05)):
        world = partial(equivalence, difference=apart / 100)
        yield Row("equivalence", f"one pair, {apart} points apart", world, (("equivalent", sense, bound),))
    for costs in ("alike", "different"):
        name = f"recommendation of six, costs {costs}: points lost"
        world = partial(recommendation, costs=costs)
        yield Row("recommendation", name, world, (("lost", "<=", 0.8), ("far", "<=", 0.03)))
    for budgets in (1, 5):
        name = f"equal to the constant answer, {budgets} budgets"
        yield Row("constant", name, partial(constant, below=0.0, budgets=budgets), (("beats", "<=", 0.05),))
    below = partial(constant, below=0.03, budgets=5)
    yield Row("constant", "both below the constant answer", below, (("recommended", "<=", 0.0),))
    for runs in (2, 3, 5):
        covers: tuple[tuple[str, str, float], ...] = (("covered", ">=", 0.9), ("covered", "<=", 0.98))
        if runs == 3:
            covers += (("ratio", "median<=", 5.0),)
        covers += (("within", ">=", 0.9), ("more", ">=", 0.9))
        world = partial(equivalent_labels, runs=runs)
        yield Row("labels", f"label equivalence, {runs} seeds", world, covers)
    world = partial(equivalent_labels, runs=3, one=True)
    yield Row("labels", "label equivalence, 1 run beside 3", world, (("covered", ">=", 0.9), ("covered", "<=", 0.98)))
    yield Row("expected", "accuracy of 0.99, 100 rows", expected_accuracy, (("covered", ">=", 0.92),))
    yield Row("expected", "macro-F1 of ten classes, 300 rows", expected_f1, (("covered", ">=", 0.9),))
    for windows, bound in ((400, 0.85), (1500, 0.9)):
        world = partial(expected_forecast, windows=windows)
        yield Row("expected", f"forecasts with AR 0.95, {windows} windows", world, (("covered", ">=", bound),))
    for counts, budgets in ((2, 1), (3, 3)):
        for repetitions in (*((count,) * counts for count in (1, 2, 3, 5, 10)), (3, 2, 1)[:counts], (3, 1, 1)[:counts]):
            name = f"all equal, {_named(repetitions)} of 300 rows, {counts} kinds, {budgets} budgets"
            world = partial(cross_validation, repetitions=repetitions, budgets=budgets)
            yield Row("folds", name, world, claim)
    for repetitions in ((1, 1), (2, 2), (3, 3), (3, 1)):
        for accuracy in (0.7, 0.75, 0.8, 0.95):
            for sd in (0.007, 0.02):
                name = f"{_named(repetitions)}, accuracy {accuracy}, SD of training sets {100 * sd:g} points"
                world = partial(cross_validation, repetitions=repetitions, accuracy=accuracy, training=sd, seeds=0.01)
                yield Row("folds-expected", name, world, (("covered", ">=", 0.93), ("width", "<=", 0.2)))
    for datasets in (2, 3, 6):
        world = partial(several_datasets, datasets=datasets)
        several: tuple[tuple[str, str, float], ...] = (("claim", "<=", 0.05), ("mean", "<=", 0.05))
        yield Row("datasets", f"all equal on {datasets} datasets", world, (*several, ("friedman", "<=", 0.05)))
    world = partial(several_datasets, datasets=3, between=0.03)
    yield Row("datasets", "equal on average over 3 datasets, SD 3 points", world, (("mean", "<=", 0.05),))


def simulate(row: Row, reports: int, seed: int, part: int = 0, parts: int = 1) -> dict[str, list[float]]:
    """The outcomes of the reports `part`, `part + parts`, …; report i is the same however the work is divided.

    Learning curves take half of the time and no part in claims: only the worlds about them have them.
    """
    outcomes: dict[str, list[float]] = {}
    without: AbstractContextManager[Any] = patch(f"{decide.__module__}.all_curves", lambda *_: {})
    with nullcontext() if row.group == "labels" else without:
        for report in range(part, reports, parts):
            rng = np.random.default_rng([seed, report, *row.name.encode()])
            for name, value in row.world(rng).items():
                outcomes.setdefault(name, []).append(value)
    return outcomes


def lines(row: Row, outcomes: dict[str, list[float]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """One line per bound."""
    for outcome, sense, bound in row.bounds:
        values = np.array(outcomes[outcome])
        measured = float(np.median(values) if sense.startswith("median") else values.mean())
        error = 0.0 if sense.startswith("median") else 2 * float(values.std()) / np.sqrt(len(values))
        inside = measured <= bound + error if sense.endswith("<=") else measured >= bound - error
        text = f"{row.name:<76} {outcome:<12} {measured:7.3f} {sense[-2:]} {bound:<6g} ± {error:.3f}"
        record = {"row": row.name, "outcome": outcome, "measured": measured, "sense": sense, "bound": bound}
        yield f"{text}  {'inside' if inside else 'MISSED'}", record | {"two_errors": error, "inside": bool(inside)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", default="", help="groups of rows, separated by commas; all by default")
    parser.add_argument("--reports", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--held-out", action="store_true", help="check extrapolations on the curves of version 0.1.0, and stop"
    )
    parser.add_argument("--seconds", action="store_true", help="print the time of a report, and stop")
    parser.add_argument("--list", action="store_true", help="print the rows and stop")
    parser.add_argument("--json", help="also write the lines to this file, one record each")
    arguments = parser.parse_args()
    if arguments.held_out or arguments.seconds:
        print(held_out() if arguments.held_out else seconds())
        return
    wanted = {name for name in arguments.worlds.split(",") if name}
    rows = [row for row in table() if not wanted or row.group in wanted]
    if unknown := wanted - {row.group for row in rows}:
        sys.exit(f"There are no worlds {', '.join(sorted(unknown))}: {', '.join(sorted({r.group for r in table()}))}.")
    if arguments.list:
        print("\n".join(f"{row.group:<16} {row.name}" for row in rows))
        return
    records: list[dict[str, Any]] = []
    with ProcessPoolExecutor(arguments.processes) as pool:
        for row in rows:
            began = time.perf_counter()
            if arguments.processes > 1:
                parts = arguments.processes
                work = [
                    pool.submit(simulate, row, arguments.reports, arguments.seed, part, parts) for part in range(parts)
                ]
                done = [job.result() for job in work]
                outcomes = {name: [value for own in done for value in own[name]] for name in done[0]}
            else:
                outcomes = simulate(row, arguments.reports, arguments.seed)
            for text, record in lines(row, outcomes):
                print(text, f"{time.perf_counter() - began:5.0f} s", flush=True)
                records.append(record)
            if arguments.json:
                with open(arguments.json, "w") as file:
                    file.writelines(json.dumps(own) + "\n" for own in records)


if __name__ == "__main__":
    main()
