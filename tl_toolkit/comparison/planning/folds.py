"""What a comparison takes from its data: cross-validation as the default where there are few rows and no test split,
and the entries of a ladder that fit the rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ...tasks import make_task
from .grid import Grid
from .ladder import fitting
from .planned_run import in_folds

FOLDS = 5
FEW_ROWS = 1000
"""With fewer labelled rows and no test split, cross-validation is the default."""


def with_default_folds(grid: Grid, output_dir: Path) -> tuple[Grid, dict[str | None, int]]:
    """The grid with folds where it names none and the rows are few, and the number of rows of these datasets.

    The entries of a ladder that cannot learn from the rows are left out.
    Seeds that are not named are halved, because every row is tested: 3 seeds become 2 repetitions.

    Raises:
        UserError: as `Task.prepare`.
    """
    if grid.is_ladder:
        grid = replace(grid, runs=fitting(grid.runs, output_dir))
    found = {}
    for name in grid.open_folds:
        data = next(run for run in grid.runs if run.dataset == name).arguments(output_dir).data
        task = make_task(data)
        rows = None if task.generates or data.test_budget is not None else task.rows_to_divide()
        if rows is not None and FOLDS <= rows < FEW_ROWS:
            found[name] = rows
    runs = [run for run in grid.runs if run.dataset not in found or run.seed in _seeds(grid, run.dataset)]
    return replace(grid, runs=in_folds(runs, dict.fromkeys(found, FOLDS))), found


def _seeds(grid: Grid, name: str | None) -> list[int]:
    seeds = list(dict.fromkeys(run.seed for run in grid.runs if run.dataset == name))
    return seeds if grid.open_folds[name] else seeds[: (len(seeds) + 1) // 2]
