"""Estimates of the time of runs from a few steps of each entry on this machine."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...strategies.contrastive import MOST_PAIRS
from ...strategies.recommended import EVALUATIONS
from ...tasks import make_task
from ..planning.grid import Grid
from ..planning.planned_run import PlannedRun

SECONDS = 18.0
"""The time in which all entries of a grid are measured."""
_LEAST, _MOST = 0.5, 3.0  # of one entry


@dataclass(frozen=True)
class Measured:
    """What a few steps of an entry on this machine have shown.

    Attributes:
        start: seconds before the first row is read by the model: reading, tokenizer, model.
        encode, features, evaluate, fit: seconds for each row: of tokenising it, of computing its features, of
            predicting it, and of solving a head on it.
        pair: seconds of tuning on a pair of labelled rows.
        update: seconds of an update of `batch` rows; 0 for an entry that is solved.
        save: seconds of saving the model.
        epochs, updates, max_steps: the length of training; `updates` is the least number of them.
        evaluations: evaluations in training, if their number follows from a rule; None: one in each epoch.
    """

    start: float
    encode: float = 0.0
    features: float = 0.0
    evaluate: float = 0.0
    fit: float = 0.0
    pair: float = 0.0
    update: float = 0.0
    save: float = 0.0
    batch: int = 32
    epochs: float = 0.0
    updates: int = 0
    max_steps: int = 0
    evaluations: int | None = EVALUATIONS

    def seconds(self, rows: Mapping[str, int], labels: int, *, known: bool = False, final: bool = False) -> float:
        """The seconds of a run that trains on `labels` rows, not stopped early.

        Args:
            rows: the number of rows of "train", "validation" and "test".
            known: whether another run has computed the features of the rows.
            final: whether it trains the model to keep, which is not evaluated on test rows.
        """
        validation, test = rows["validation"], 0 if final else rows["test"]
        total = self.start + self.encode * (labels + validation + rows["test"]) + self.save
        total += self.evaluate * (validation + test) + (0.0 if final else min(INFERENCE, 8 * self.evaluate * test))
        if not self.update:
            computed = 0 if known else labels + validation + test
            pairs = min(labels**2, MOST_PAIRS)  # those of many classes; two classes have half as many
            return total + self.features * computed + self.fit * labels + self.pair * pairs
        in_epoch = math.ceil(labels / self.batch)
        updates = self.max_steps or max(self.epochs * in_epoch, self.updates)
        evaluations = math.ceil(updates / in_epoch) if self.evaluations is None else self.evaluations
        return total + self.update * updates + evaluations * (self.evaluate * validation + self.save)


INFERENCE = 2.0  # at most, of measuring latency and throughput: test rows twice alone, and twice in batches

Measure = Callable[[Any, Mapping[str, int], float], Measured]
"""Measures a run from its arguments, the numbers of its rows, and the seconds that it may take."""


class MeasuredEstimates:
    """The estimated seconds of runs, by entry and dataset.

    Args:
        rows: the number of rows of each role, by dataset name, without a budget.
        waiting: a run of each entry to measure, the next one first.
        measure: measures a run, in about as many seconds as it is given.
    """

    def __init__(
        self,
        rows: Mapping[str, Mapping[str, int]],
        waiting: list[PlannedRun],
        measure: Callable[[PlannedRun, float], Measured],
    ) -> None:
        self.rows, self.waiting, self._measure = rows, waiting, measure
        self._found: dict[tuple[str, str], Measured] = {}
        self.problem: Exception | None = None
        """The last error of measuring, if nothing was measured."""

    def measure_next(self, seconds: float = _LEAST) -> None:
        """Measure the next waiting entry; the run of one that fails will report the error."""
        run = self.waiting.pop(0)
        try:
            self._found[run.entry, str(run.dataset)] = self._measure(run, seconds)
        except Exception as error:
            self.problem = error
        self.problem = None if self._found else self.problem

    def seconds(self, run: PlannedRun, *, known: bool = False) -> float | None:
        """The seconds of a run; None if its entry was not measured. `known` as in `Measured.seconds`."""
        place = (run.entry, str(run.dataset))
        if place not in self._found:
            return None
        rows = self.rows[place[1]]
        return self._found[place].seconds(rows, run.label_budget or rows["train"], known=known)

    def final_seconds(self, run: PlannedRun) -> float | None:
        """The seconds of training the entry of `run` on all labels of its dataset, after the run."""
        place = (run.entry, str(run.dataset))
        if place not in self._found:
            return None
        rows = self.rows[place[1]]
        labels = rows["train"] + rows["test"] + (0 if self._found[place].update else rows["validation"])
        return self._found[place].seconds(rows, labels, known=True, final=True)


def count_rows(grid: Grid, output_dir: Path) -> dict[str, dict[str, int]]:
    """The number of rows of "train", "validation" and "test" in each labelled dataset, without budgets."""
    runs = {str(run.dataset): replace(run, label_budget=None) for run in grid.runs if not run.language_model}
    tasks = {name: make_task(run.arguments(output_dir).data) for name, run in runs.items()}
    return {name: {role: len(own) for role, own in task.prepare(0).items()} for name, task in tasks.items()}


def measure_entries(
    runs: Iterable[PlannedRun],
    rows: Mapping[str, Mapping[str, int]],
    output_dir: Path,
    measure: Measure,
    seconds: float = SECONDS,
) -> MeasuredEstimates:
    """Measure a run of each entry on each dataset, in about `seconds`; the cheapest come first.

    Entries that start from a stage, or whose values a search chooses, are not measured; neither are those that fail.

    Args:
        rows: as in `MeasuredEstimates`.
    """
    first: dict[tuple[str, str], PlannedRun] = {}
    for run in runs:
        if str(run.dataset) in rows and not (run.stages or run.search or run.launch.accelerate_config):
            first.setdefault((run.entry, str(run.dataset)), replace(run, label_budget=None))
    waiting = sorted(first.values(), key=_dearness)

    def one(run: PlannedRun, share: float) -> Measured:
        return measure(run.arguments(output_dir), rows[str(run.dataset)], share)

    estimates = MeasuredEstimates(rows, waiting, one)
    began = time.perf_counter()
    while waiting and (left := seconds - (time.perf_counter() - began)) > -seconds / 2:
        estimates.measure_next(min(_MOST, max(_LEAST, left / len(waiting) / 2)))
    return estimates


def _dearness(run: PlannedRun) -> int:
    """The order of entries by their probable cost: counted, from scratch, features, tuned."""
    settings = run.settings
    if settings.get("model_type") == "bag_of_ngrams":
        return 0
    return 1 if settings.get("model_type") else 2 if settings.get("strategy") in ("probe", "frozen") else 3
