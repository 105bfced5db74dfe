"""Test scores of baselines without a model, which every model should beat.

For classes, label sets, numbers and tags the baseline is a constant prediction; for series it is the naive and the
seasonal-naive forecast, whose scores are in every record. Generated texts and language models have no baseline.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from ...metrics.scores import constant_answer
from ..intervals import Spread, spread
from ..predictions import PredictionReader, answer_in_words
from ..results import Result
from .cells import Cell, Goal
from .scored_rows import (
    FORECASTING,
    GENERATION,
    LANGUAGE,
    TAGGING,
    Rows,
    ScoredRows,
    read_rows,
    row_metrics,
    score_rows,
)

WHAT = {
    "single_label_classification": "the most frequent class",
    "multi_label_classification": "the most frequent label set",
    "regression": "the mean",
}
FORECASTS = {"naive": "the last value", "seasonal_naive": "the value of the season before"}
"""The predictions of the naive forecasts in words, by the prefix of their metric names in a record."""


@dataclass(frozen=True)
class Baseline:
    """A baseline without a model at one label budget, and its scores.

    `answers` has one constant prediction per seed, learned from the training labels; or a single one learned from the
    test labels (`from_test`) if the records lack it, which is slightly optimistic; or none for forecasts, of which only
    the scores are known. `what` describes the prediction, `names` are the predictions in words. `rows` are the test
    rows with their labels, from the run `source`.
    """

    budget: float
    what: str
    answers: tuple[Any, ...]
    names: list[str]
    from_test: bool
    test: dict[str, Spread]
    source: Result
    rows: Rows | None = None

    @property
    def line_name(self) -> str:
        """The name of its line in a figure."""
        return self.what.removeprefix("the ")


def constant_scores(baseline: Baseline, metric: str, rows: ScoredRows) -> np.ndarray | None:
    """The scores of a constant answer in the test rows (rows,), as of `ScoredRows`; None for other test rows.

    The answers of naive forecasts are not stored, so every row has their mean score.
    """
    known, own = row_metrics(baseline.source).get(metric), baseline.rows
    if own is None:
        return np.full(len(rows.quantities), baseline.test[metric].mean)
    if known is None or own.key != rows.key:
        return None
    made = [known.quantities(own.label, _filled(answer, own)) for answer in baseline.answers]
    return np.mean([ScoredRows(own.key, quantities, known).scores for quantities in made], axis=0)


def beats(result: Result, baseline: Baseline, goal: Goal, reader: PredictionReader) -> bool:
    """Whether a run is better than a baseline, by more than the noise of the test rows if predictions are available.

    The score without the baseline's has a one-sided 97.5 % bound above 0, by the deviations of groups of rows.
    """
    metric, rows = goal.metric, score_rows(result, goal.metric, reader)
    least = None if rows is None else constant_scores(baseline, metric, rows)
    if rows is None or least is None:
        return (result.metrics("test")[metric] - baseline.test[metric].mean) * goal.sign > 0
    lead = goal.sign * (rows.scores - least)
    groups = np.arange(len(lead)) if rows.clusters is None else rows.clusters
    deviations = np.bincount(groups, lead - lead.mean())
    return bool(lead.mean() > 1.96 * np.sqrt((deviations**2).sum()) / len(lead))


def baselines(cells: Sequence[Cell], reader: PredictionReader) -> list[Baseline]:
    """The baselines of each budget for which a run's test labels, or the scores of naive forecasts, are available.

    `cells` must be in the order of their budgets; the result is in the same order.
    """
    found: list[Baseline] = []
    for budget, members in groupby(cells, key=lambda cell: cell.budget):
        results = [result for cell in members for result in cell.results]
        if results[0].section("task").get("name") == FORECASTING:
            found += _without_a_model(budget, results)
        elif (constant := _constant(budget, results, reader)) is not None:
            found.append(constant)
    return found


def _without_a_model(budget: float, results: Sequence[Result]) -> list[Baseline]:
    """The naive and seasonal-naive forecasts from the first run that has them; they are equal for all runs."""
    for result in results:
        reached = result.metrics("test")
        made = [
            Baseline(
                budget=budget,
                what=what,
                answers=(),
                names=[f"{prefix.replace('_', '-')} forecast"],
                from_test=False,
                test={
                    name.removeprefix(f"{prefix}_"): spread([value])
                    for name, value in reached.items()
                    if name.startswith(f"{prefix}_")
                },
                source=result,
            )
            for prefix, what in FORECASTS.items()
        ]
        if all(baseline.test for baseline in made):
            return made
    return []


def _constant(budget: float, results: Sequence[Result], reader: PredictionReader) -> Baseline | None:
    """The constant baseline; None if the test labels are not available, or the task has no such baseline."""
    task = results[0].section("task")
    tagging = task.get("name") == TAGGING
    if (
        task.get("name") in LANGUAGE + GENERATION
        or not tagging
        and task.get("problem_type", "single_label_classification") not in WHAT
    ):
        return None
    found = ((result, rows) for result in results if (rows := read_rows(result, reader)) is not None)
    first, rows = next(found, (None, None))
    if first is None or rows is None:
        return None
    names = first.label_names()
    learnt = {result.seed: result.section("budget").get("constant_answer") for result in results}
    answers = tuple(answer for answer in learnt.values() if answer is not None)
    from_test = not answers
    if tagging:  # predictions have tag names, records have tag ids
        answers = tuple(names[answer] for answer in answers if names is not None) or (_most_frequent(rows.label),)
    elif from_test:
        answers = (constant_answer(rows.label),)
    filled = [_filled(answer, rows) for answer in answers]
    reached = {
        name: [float(metric.value(metric.quantities(rows.label, own).mean(axis=0))) for own in filled]
        for name, metric in row_metrics(first).items()
    }
    different = list(dict.fromkeys(answer if tagging else answer_in_words(answer, names) for answer in answers))
    return Baseline(
        budget=budget,
        what="the most frequent tag" if tagging else WHAT[task.get("problem_type", "single_label_classification")],
        answers=answers,
        names=different,
        from_test=from_test,
        # Seeds with the same prediction have no spread.
        test={name: spread(values if len(different) > 1 else values[:1]) for name, values in reached.items()},
        source=first,
        rows=rows,
    )


def _most_frequent(label: Sequence[Sequence[str]]) -> str:
    counts = Counter(tag for sentence in label for tag in sentence)
    return max(sorted(counts), key=lambda tag: counts[tag])


def _filled(answer: Any, rows: Rows) -> Any:
    """`answer` repeated for every row in the shape of the labels: (n,), (n, labels) or a list per sentence."""
    if isinstance(rows.label, np.ndarray):
        return np.broadcast_to(np.asarray(answer), rows.label.shape)
    return [[answer] * len(sentence) for sentence in rows.label]
