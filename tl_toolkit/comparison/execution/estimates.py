"""Estimates of the cost of pending runs, from the records of completed runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...strategies.recommended import recommended
from ..planning.planned_run import PlannedRun

SAME, SCALED, UNSCALED, MEASURED, OTHERS, UNKNOWN = "same", "scaled", "unscaled", "measured", "others", "unknown"
BASES = {
    SAME: "the same entry and budget",
    SCALED: "the entry's other budgets, by the number of updates",
    UNSCALED: "the entry's other budgets, unscaled because the number of updates is unknown",
    MEASURED: "a few steps of the entry on this machine",
    OTHERS: "other entries",
    UNKNOWN: "nothing",
}
"""What an estimate is based on, best first."""


@dataclass(frozen=True)
class Estimate:
    """Seconds and bytes on disk of one run, None where unknown; `basis` is one of `BASES`."""

    seconds: float | None
    disk_bytes: float | None
    basis: str


class Estimator:
    """Estimates from the records of completed runs.

    Args:
        made: planned runs with their records.
        train_rows: known number of training rows (for language models, tokens), by dataset name.
    """

    def __init__(self, made: Iterable[tuple[PlannedRun, Mapping[str, Any]]], train_rows: Mapping[str, int]) -> None:
        self.made = [(run, record) for run, record in made if seconds_of(record) is not None]
        self.train_rows = train_rows
        self.measured: Callable[[PlannedRun], float | None] = lambda run: None
        """The seconds of a run by a measurement, which is used where its entry has no records."""

    def estimate(self, run: PlannedRun) -> Estimate:
        """The cost of one run: that of the same cell, else of the entry's nearest budget, else of other entries.

        A cell is an entry at a budget on a dataset. From another budget, the training time is scaled by the number of
        updates if that is known; all other times are used unchanged.
        """
        own = [(other, r) for other, r in self.made if (run.entry, run.dataset) == (other.entry, other.dataset)]
        cell = [record for other, record in own if other.budget == run.budget]
        disk = _mean(map(disk_of, [record for _, record in own or self.made]))
        if cell:
            return Estimate(_mean(map(seconds_of, cell)), disk, SAME)
        if own:
            return self._scaled(run, *min(own, key=lambda pair: self._distance(run, pair[0])), disk)
        if (seconds := self.measured(run)) is not None:
            return Estimate(seconds, disk, MEASURED)
        same_rows = [(other.budget, record) for other, record in self.made if other.dataset == run.dataset]
        peers = [record for budget, record in same_rows if budget == run.budget]
        at_hand = peers or [record for _, record in same_rows or self.made]
        return Estimate(_mean(map(seconds_of, at_hand)), disk, OTHERS if at_hand else UNKNOWN)

    def _scaled(self, run: PlannedRun, other: PlannedRun, record: Mapping[str, Any], disk: float | None) -> Estimate:
        total, cost = seconds_of(record), record["cost"]
        assert total is not None
        updates = self._updates(run, other, record)
        if updates is None or not cost.get("steps"):
            return Estimate(total, disk, UNSCALED)
        parts = cost.get("seconds") or {}
        training = parts.get("train", cost.get("train_seconds") or 0.0) + parts.get("select", 0.0)
        return Estimate(total + training * (updates / cost["steps"] - 1), disk, SCALED)

    def _updates(self, run: PlannedRun, other: PlannedRun, record: Mapping[str, Any]) -> float | None:
        """The number of updates of `run`, estimated from a run of the same entry with another budget."""
        rows, known = self._size(run), self._size(other)
        steps = (record.get("cost") or {}).get("steps")
        if not steps or math.inf in (rows, known):
            return None
        epochs = float(run.asked.get("num_train_epochs", 0) or 0)
        rule = recommended(
            (record.get("strategy") or {}).get("name", "scratch"), (record.get("task") or {}).get("name")
        )
        at_least = float(run.asked.get("min_train_steps") or (0 if epochs else rule.updates))
        # If a least number of updates prolonged the other run, that of its epochs is unknown.
        resolved = record.get("resolved") or run.asked
        batch = float(resolved.get("global_batch") or resolved.get("per_device_train_batch_size", 32))
        if "global_batch" not in resolved:  # a record of an earlier version
            batch *= float(run.asked.get("gradient_accumulation_steps", 1))
            batch *= record["hardware"].get("world_size") or 1
        if epochs and not run.language_model:
            return max(epochs * math.ceil(rows / batch), at_least)
        return None if steps <= at_least else max(steps * rows / known, at_least)

    def _distance(self, run: PlannedRun, other: PlannedRun) -> float:
        """The distance of two budgets on a natural logarithmic scale; "all" of an unknown number is the largest."""
        sizes = (min(self._size(run), 1e15), min(self._size(other), 1e15))
        return abs(math.log(sizes[0] / sizes[1]))

    def _size(self, run: PlannedRun) -> float:
        """Number of training rows or tokens of a run; infinite if all are used and their number is unknown."""
        ((_, number),) = run.budget.items()
        return number if number is not None else self.train_rows.get(str(run.dataset), math.inf)


def train_rows_in(made: Iterable[tuple[PlannedRun, Mapping[str, Any]]], runs: Sequence[PlannedRun]) -> dict[str, int]:
    """The number of training rows or tokens of runs without a budget, by dataset name, from their records."""
    found: dict[str, int] = {}
    for run, record in made:
        dataset = record.get("dataset") or {}
        rows = dataset.get("tokens" if run.language_model else "rows") or {}
        if None in run.budget.values() and rows.get("train"):
            found[str(run.dataset)] = rows["train"]
    return found


def seconds_of(record: Mapping[str, Any]) -> float | None:
    """The total seconds of a run; without a total, training plus evaluation; None for a failed run."""
    cost = record.get("cost") or {}
    if record.get("status") != "completed":
        return None
    total = (cost.get("seconds") or {}).get("total")
    if total is None and cost.get("train_seconds") is not None:
        return float(cost["train_seconds"] + (cost.get("evaluate_seconds") or 0.0))
    return total


def disk_of(record: Mapping[str, Any]) -> float | None:
    """The size of the model folder in bytes; None if it is not recorded."""
    return (record.get("cost") or {}).get("disk_bytes")


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
