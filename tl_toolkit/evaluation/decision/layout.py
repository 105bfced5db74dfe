"""The cells of a panel in one list: entries, the picked entries of each kind, and the constant answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .blocks import time_blocks
from .inputs import KINDS, Cell, Entry, Panel
from .noise import Noise
from .variance import Components, cluster_scores, components, fold_components

WITHOUT_CHANCE = ("linear", "prompt")
"""Kinds whose runs, if all are the same, would be the same again."""


@dataclass(frozen=True)
class Layout:
    """Where a cell lies among the C cells of `means`, and what is known about their noise.

    `entry` maps (entry name, budget) to a cell, `kind` maps (kind, budget) to the cell of its picked entry. `noise` is
    None if every cell has a single run.
    """

    budgets: list[float]
    entry: dict[tuple[str, float], int]
    kind: dict[tuple[str, float], int]
    constant: int | None
    means: np.ndarray
    labels: np.ndarray
    rows: int
    parts: Components | None
    noise: Noise | None

    def here(self, budget: float) -> list[tuple[str, int]]:
        """(entry name, cell) at a budget."""
        return [(name, cell) for (name, labels), cell in self.entry.items() if labels == budget]


def lay_out(panel: Panel) -> Layout:
    """The cells of a panel with the noise of their means. An entry of kind `constant` is only a constant answer."""
    entries = [entry for entry in panel.entries if entry.kind != "constant"]
    budgets = sorted({labels for entry in entries for labels, cell in entry.cells.items() if _runs(cell)})
    constant = panel.constant
    if constant is None:
        made = [cell.scores for entry in panel.entries if entry.kind == "constant" for cell in entry.cells.values()]
        constant = np.concatenate(made).mean(axis=0) if made else None
    filled = {labels: _with_failures(entries, labels, constant) for labels in budgets}
    cells: list[Cell] = []
    places: list[float] = []
    own: dict[tuple[str, float], int] = {}
    kinds: dict[tuple[str, float], int] = {}
    for labels in budgets:
        for name, cell in filled[labels].items():
            own[name, labels] = len(cells)
            cells.append(cell)
            places.append(labels)
    count = len(cells)
    for kind in KINDS:
        members = [entry.name for entry in entries if entry.kind == kind]
        for labels in budgets:
            present = [name for name in members if name in filled[labels]]
            if len(present) == 1:
                kinds[kind, labels] = own[present[0], labels]
            elif present:
                kinds[kind, labels] = len(cells)
                cells.append(pick(present, labels, filled))
                places.append(labels)
    if constant is not None:
        cells.append(Cell(np.asarray(constant, dtype=float)[None]))
        places.append(budgets[0] if budgets else 1.0)
    scores = [cell.scores for cell in cells]
    means = np.array([own.mean() for own in scores])
    at = np.maximum(np.array(places), 1.0)
    fixed = np.zeros(len(cells), dtype=bool)
    sure = {entry.name for entry in entries if entry.kind in WITHOUT_CHANCE}
    for (name, _), place in own.items():
        fixed[place] = name in sure and len(scores[place]) > 1 and bool((scores[place] == scores[place][0]).all())
    fixed[-1:] |= constant is not None
    parts = _components(panel, cells, at, count, fixed)
    return Layout(
        budgets=budgets,
        entry=own,
        kind=kinds,
        constant=None if constant is None else len(cells) - 1,
        means=means,
        labels=at,
        rows=scores[0].shape[1] if cells else 0,
        parts=parts,
        noise=None if parts is None else Noise(parts),
    )


def _components(
    panel: Panel, cells: list[Cell], labels: np.ndarray, count: int, fixed: np.ndarray
) -> Components | None:
    if not cells:
        return None
    scores, fit = [cell.scores for cell in cells], np.arange(len(cells)) < count
    if panel.folds is not None:
        folds = [panel.folds[_repetitions(cell)] for cell in cells]
        return fold_components(scores, folds, labels, fit, fixed, panel.clusters)
    clusters = panel.clusters
    if clusters is None and panel.ordered:
        clusters = time_blocks(np.stack([own.mean(axis=0) for own in scores]))
    if clusters is not None:
        scores = [cluster_scores(own, clusters) for own in scores]
    return components(scores, labels, fit, fixed)


def _repetitions(cell: Cell) -> list[int]:
    """The place in `Panel.folds` of each run."""
    return list(range(len(cell.scores)) if cell.repetitions is None else cell.repetitions)


def _runs(cell: Cell) -> int:
    return len(cell.scores) + cell.failed


def _with_failures(entries: Sequence[Entry], labels: float, constant: np.ndarray | None) -> dict[str, Cell]:
    """The cells at a budget, with a run for each failure."""
    here = {entry.name: entry.cells[labels] for entry in entries if labels in entry.cells}
    here = {name: cell for name, cell in here.items() if _runs(cell)}
    runs = [run for cell in here.values() for run in cell.scores]
    if constant is None and not runs:
        return {}
    answer = min(runs, key=lambda run: float(run.mean())) if constant is None else constant
    checked = [value for cell in here.values() if cell.validation is not None for value in cell.validation]
    filled = {}
    for name, cell in here.items():
        scores, validation = np.asarray(cell.scores, dtype=float), cell.validation
        if cell.failed:
            scores = np.concatenate([scores, np.tile(answer, (cell.failed, 1))])
            if validation is not None and checked:
                validation = np.concatenate([validation, np.full(cell.failed, min(checked))])
        places = _repetitions(cell) + [0] * cell.failed  # any division suits the constant answer
        filled[name] = Cell(scores, validation, repetitions=places)
    return filled


def pick(names: Sequence[str], labels: float, filled: Mapping[float, Mapping[str, Cell]]) -> Cell:
    """The runs of a kind: run s is that of the entry with the best validation score in the other runs.

    An entry is thus never picked for the luck of the run that is then scored. With a single run at this budget, the
    nearest budget with a validation score decides; without validation scores, run s is the mean over the entries.
    """
    cells = filled[labels]
    runs = max(len(cells[name].scores) for name in names)
    elsewhere = {name: _elsewhere(name, labels, filled) for name in names}
    chosen, places = [], []
    for run in range(runs):
        able = [name for name in names if run < len(cells[name].scores)]
        merits = [_without(cells[name], run) for name in able]
        if any(merit is None for merit in merits):
            merits = [elsewhere[name] for name in able]
        known = [(merit, -place) for place, merit in enumerate(merits) if merit is not None]
        best = able[-max(known)[1]] if len(known) == len(able) else able[0]
        places.append(_repetitions(cells[best])[run])
        if len(known) < len(able):
            chosen.append(np.mean([cells[name].scores[run] for name in able], axis=0))
        else:
            chosen.append(cells[best].scores[run])
    return Cell(np.stack(chosen), repetitions=places)


def _without(cell: Cell, run: int) -> float | None:
    """The mean validation score of all runs but one."""
    validation = _validation(cell)
    if len(validation) < 2:
        return None
    others = np.delete(validation, run)
    return float(others.mean()) if np.isfinite(others).all() else None


def _elsewhere(name: str, labels: float, filled: Mapping[float, Mapping[str, Cell]]) -> float | None:
    """The mean validation score at the nearest other budget."""
    known = [
        (abs(np.log(max(other, 1.0) / max(labels, 1.0))), float(_validation(cells[name]).mean()))
        for other, cells in filled.items()
        if other != labels and name in cells and np.isfinite(_validation(cells[name])).all()
    ]
    return min(known)[1] if known else None


def _validation(cell: Cell) -> np.ndarray:
    """The validation scores (runs,); nan if there are none."""
    return np.array([np.nan]) if cell.validation is None or not len(cell.validation) else cell.validation
