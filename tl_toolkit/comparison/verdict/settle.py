"""`--settle`: the runs that would settle the open comparisons of a decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...evaluation import formatting as show
from ...evaluation.results import panels, read_results
from ...evaluation.scored_panels import labels_of_budgets
from ..planning.grid import Grid
from ..planning.planned_run import PlannedRun
from .decision import decision_in, of_dataset


def with_more_seeds(grid: Grid, seeds: Mapping[str, Sequence[int]]) -> Grid:
    """The grid with more seeds of some of its cells, which are named by the folder of their first run."""
    first: dict[str, PlannedRun] = {run.folder: run for run in grid.runs}
    known = {run.folder for run in grid.runs}
    more = [replace(first[folder], seed=seed) for folder, own in seeds.items() if folder in first for seed in own]
    return replace(grid, runs=[*grid.runs, *(run for run in more if run.folder not in known)])


def settling_seeds(grid: Grid, output_dir: Path, asked: Mapping[str, Any]) -> dict[str, list[int]]:
    """The seeds that the open comparisons need, as for `with_more_seeds`; those added before are among them.

    Args:
        grid: as the user wrote it.
        asked: what was asked for before, from `decision.asked_in`.

    Raises:
        UserError: no run has finished, all cells have a single run, or only more test rows would settle a comparison.
    """
    path = output_dir / "results.jsonl"
    if not path.exists():
        raise UserError(f"--settle adds runs to a comparison, but {str(output_dir)!r} has none yet: leave it out.")
    decision = decision_in(output_dir, asked["margin"], asked["target"])
    if decision["single_runs"]:
        raise UserError("--settle needs the variance between seeds, but every run has one seed: add --seeds 1 2 3.")
    before = {folder: list(own) for folder, own in (asked.get("settle") or {}).items()}
    cells: dict[tuple[Any, ...], list[PlannedRun]] = {}
    for run in with_more_seeds(grid, before).runs:
        cells.setdefault((run.dataset, run.entry, *run.budget.values()), []).append(run)
    places = {run.folder: own for own in cells.values() for run in own}
    found, rows_missing = dict(before), 0
    for dataset, runs in panels(read_results(path)).items():
        labels = labels_of_budgets(runs)
        planned = {(run.entry, labels.get(run.budget)): places[run.folder] for run in runs if run.folder in places}
        own = of_dataset(decision, dataset)
        for one in own["budgets"]:
            for pair in one["comparisons"]:
                needs = pair["to_settle"]
                if pair["reading"] != "undecided" or needs is None:
                    continue
                if needs["seeds"] is None or needs["test_rows"] > own["facts"]["test_rows"]:
                    rows_missing = max(rows_missing, needs["test_rows"] or 0)
                    continue
                for name in (pair["a"], pair["b"]):
                    _add(found, planned.get((name, one["labels"]), []), int(needs["seeds"]))
    if found == before and rows_missing:
        raise UserError(
            f"--settle adds seeds, but no number of seeds would settle what is open: label about "
            f"{show.significant(rows_missing)} test rows, or choose by cost."
        )
    return found


def _add(found: dict[str, list[int]], cell: Sequence[PlannedRun], seeds: int) -> None:
    """Add seeds to a cell until it has as many as are needed."""
    if not cell:
        return
    own = found.setdefault(cell[0].folder, [])
    used = {run.seed for run in cell} | set(own)
    unused = (seed for seed in count(1) if seed not in used)
    own += [next(unused) for _ in range(seeds - len(used))]
    if not own:
        del found[cell[0].folder]
