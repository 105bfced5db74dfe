"""What always giving the same answer reaches on the test rows: the least that a model has to beat."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np

from ..metrics import scores
from ..metrics.constant import constant_answer
from .cells import Cell
from .contest import Goal
from .evidence import answer_in_words
from .predictions import PredictionReader
from .records import Result
from .row_metrics import ROW_METRICS
from .statistics import Spread, paired_bootstrap, spread

WHAT = {
    "single_label_classification": "the most frequent class",
    "multi_label_classification": "the most frequent label set",
    "regression": "the mean",
}


@dataclass(frozen=True)
class Baseline:
    """Constant answers at one label budget, and what they reach.

    `answers` holds one answer for each seed, learnt from the training labels; or a single one learnt from the test
    labels (`from_test`) where the records do not tell it, which flatters the baseline a little. `what` says in words
    what is answered, `names` are the answers as a reader knows them. `label` are the test labels.
    """

    budget: float
    what: str
    answers: tuple[Any, ...]
    names: list[str]
    from_test: bool
    label: np.ndarray
    test: dict[str, Spread]

    @property
    def line_name(self) -> str:
        """What its line in a picture is called."""
        return self.what.removeprefix("the ")

    def beaten_by(self, cell: Cell, goal: Goal, reader: PredictionReader) -> bool:
        """Whether the cell is better, beyond the noise of the test rows where its predictions are at hand."""
        ahead = (cell.test[goal.metric].mean - self.test[goal.metric].mean) * goal.sign > 0
        known, runs = ROW_METRICS.get(goal.metric), [reader.labels(result) for result in cell.results]
        if known is None or any(run is None or not np.array_equal(run.label, self.label) for run in runs):
            return ahead
        constant = [known.quantities(self.label, filled(answer, self.label)) for answer in self.answers]
        own = [known.quantities(run.label, run.prediction) for run in runs if run is not None]
        # A correlation with a constant counts as 0, as it does in the records.
        interval = paired_bootstrap(constant, own, lambda means: np.nan_to_num(known.value(means)))
        return ahead and (interval is None or interval.excludes_zero())


def baselines(cells: Sequence[Cell], reader: PredictionReader) -> list[Baseline]:
    """The baseline of each budget at which a run's test labels are at hand, smallest budget first.

    `cells` are in the order of their budgets.
    """
    found = []
    for budget, members in groupby(cells, key=lambda cell: cell.budget):
        results = [result for cell in members for result in cell.results]
        first = next((result for result in results if reader.labels(result) is not None), None)
        if first is not None:
            found.append(_baseline(budget, results, first, reader))
    return found


def _baseline(budget: float, results: Sequence[Result], first: Result, reader: PredictionReader) -> Baseline:
    read = reader.labels(first)
    assert read is not None
    learnt = {result.seed: result.section("budget").get("constant_answer") for result in results}
    answers = tuple(answer for answer in learnt.values() if answer is not None)
    from_test = not answers
    if from_test:
        answers = (constant_answer(read.label),)
    kind, names = str(first.section("task").get("problem_type", "single_label_classification")), first.label_names()
    formulas = _formulas(kind, None if names is None else len(names))
    predicted = [filled(answer, read.label) for answer in answers]
    reached = {name: [formula(values, read.label) for values in predicted] for name, formula in formulas.items()}
    different = list(dict.fromkeys(answer_in_words(answer, names) for answer in answers))
    return Baseline(
        budget=budget,
        what=WHAT.get(kind, WHAT["single_label_classification"]),
        answers=answers,
        names=different,
        from_test=from_test,
        label=read.label,
        # Seeds that share their answer have no spread to tell of.
        test={name: spread(values if len(different) > 1 else values[:1]) for name, values in reached.items()},
    )


def filled(answer: Any, label: np.ndarray) -> np.ndarray:
    """`answer` for every row: the shape of `label`, (n,) or (n, labels)."""
    return np.broadcast_to(np.asarray(answer), label.shape)


def _formulas(problem_type: str, classes: int | None) -> dict[str, Callable[[np.ndarray, np.ndarray], float]]:
    if problem_type == "regression":
        return {name: getattr(scores, name) for name in ("pearson", "spearman", "mse", "mae")}
    if problem_type == "multi_label_classification":
        return {name: getattr(scores, name) for name in ("accuracy", "micro_f1", "macro_f1")}
    return {"accuracy": scores.accuracy, "macro_f1": partial(scores.macro_f1, num_classes=classes)}
