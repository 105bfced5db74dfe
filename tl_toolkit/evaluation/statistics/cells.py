"""Cells of a grid: the runs of one entry at one label budget, which differ only in their seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...records.kind import Kind, kind_of
from .. import formatting as show
from ..intervals import Spread, spread
from ..results import Result, table

if TYPE_CHECKING:
    import pandas as pd

COSTS = (
    ("parameters", "trained_parameters", "disk_bytes", "pretrain_seconds", "tuning_trials", "tuning_seconds")
    + ("train_seconds", "examples_per_second", "tokens_per_second", "peak_memory_bytes", "energy_joules")
    + ("latency_seconds", "rows_per_second")
)


@dataclass(frozen=True)
class Goal:
    """The main metric and its direction."""

    metric: str
    greater_is_better: bool = True

    @property
    def sign(self) -> int:
        """+1 if greater is better, otherwise −1."""
        return 1 if self.greater_is_better else -1


def goal_of(results: Sequence[Result]) -> Goal:
    """The main metric of the runs' task; accuracy if no record has one."""
    tasks = (result.section("task") for result in results)
    task = next((task for task in tasks if task.get("main_metric")), {"main_metric": "accuracy"})
    return Goal(str(task["main_metric"]), bool(task.get("greater_is_better", True)))


@dataclass(frozen=True)
class Cell:
    """Completed runs of one entry at one budget, with their scores and mean costs.

    `test` and `validation` map metric names to their spread over seeds; `costs` maps the names in `COSTS` to means,
    None if unknown. Labels are counted per run; `train_labels` is the rounded mean over seeds, and counts training
    tokens for language models.
    """

    entry: str
    budget: float
    transfer: bool
    strategy: str
    results: tuple[Result, ...]
    train_labels: int | None
    validation_labels: int | None
    test: dict[str, Spread]
    validation: dict[str, Spread]
    costs: dict[str, float | None]

    @property
    def kind(self) -> Kind:
        """Where the entry's knowledge comes from."""
        return kind_of(self.results[0].record)

    @property
    def budget_name(self) -> str:
        """The label budget in words: `500`, or `all 6,920`."""
        return show.budget(self.budget, self.train_labels)

    @property
    def seeds(self) -> int:
        """The number of runs."""
        return len(self.results)

    def scored(self, goal: Goal) -> bool:
        """Whether the cell has a finite test metric."""
        return goal.metric in self.test and math.isfinite(self.test[goal.metric].mean)

    def values(self, metric: str) -> list[float]:
        """The test metric of every run."""
        return [float(result.metrics("test").get(metric, np.nan)) for result in self.results]


def make_cells(results: Sequence[Result]) -> list[Cell]:
    """The cells with at least one completed run, by budget and then in the order of first appearance."""
    runs = table(results)
    if runs.empty or not runs["completed"].any():
        return []
    runs = runs[runs["completed"]]
    numbers = {name: runs[name].to_numpy(dtype=float) for name in (*COSTS, "train_labels", "validation_labels")}
    tokens = runs["train_tokens"].to_numpy(dtype=float)
    numbers["train_labels"] = np.where(tokens > 0, tokens, numbers["train_labels"])
    splits = {split: _scores(runs, f"{split}.") for split in ("test", "validation")}
    cells = []
    for (entry, budget), places in runs.groupby(["entry", "budget"], sort=False).indices.items():
        own = tuple(results[index] for index in runs.index[places])
        means = {name: _mean(values[places]) for name, values in numbers.items()}
        cells.append(
            Cell(
                entry=str(entry),
                budget=float(budget),
                transfer=own[0].transfer,
                strategy=own[0].strategy,
                results=own,
                train_labels=_rounded(means["train_labels"]),
                validation_labels=_rounded(means["validation_labels"]),
                test=_spreads(splits["test"], places),
                validation=_spreads(splits["validation"], places),
                costs={name: means[name] for name in COSTS},
            )
        )
    order = {name: position for position, name in enumerate(dict.fromkeys(result.entry for result in results))}
    return sorted(cells, key=lambda cell: (cell.budget, order[cell.entry]))


def at_largest_budget(cells: Sequence[Cell]) -> list[Cell]:
    """Each entry's cell at its largest budget; `cells` must be in the order of their budgets."""
    return list({cell.entry: cell for cell in cells}.values())


def budget_names(cells: Sequence[Cell]) -> dict[float, str]:
    """The name of each budget, smallest first."""
    return dict(sorted({cell.budget: cell.budget_name for cell in cells}.items()))


def _scores(runs: pd.DataFrame, prefix: str) -> dict[str, np.ndarray]:
    """The values (runs,) of each metric of a split, by metric name."""
    return {name.removeprefix(prefix): runs[name].to_numpy(float) for name in runs.columns if name.startswith(prefix)}


def _spreads(scores: dict[str, np.ndarray], places: np.ndarray) -> dict[str, Spread]:
    own = {name: values[places] for name, values in scores.items()}
    return {name: spread(values) for name, values in own.items() if not np.isnan(values).all()}


def _mean(values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else None


def _rounded(value: float | None) -> int | None:
    return None if value is None else round(value)
