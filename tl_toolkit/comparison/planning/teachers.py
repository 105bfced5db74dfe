"""Entries that learn from another one: each run comes after that of its teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...errors import UserError
from .planned_run import PlannedRun

KEY = "teacher"


def with_teachers(runs: Sequence[PlannedRun], where: str) -> list[PlannedRun]:
    """`runs`, each with its teacher if `teacher` names an entry, and after the teacher's run.

    Raises:
        UserError: the teacher has no run with the same dataset, budget and seed, or learns from this entry itself.
    """
    placed = {_place(run, run.entry): run for run in runs}
    entries = {run.entry for run in runs}
    found: dict[tuple[object, ...], PlannedRun] = {}

    def add(run: PlannedRun, path: tuple[str, ...]) -> PlannedRun:
        own, name = _place(run, run.entry), run.settings.get(KEY)
        if own in found:
            return found[own]
        teacher = None
        if name in entries:
            asked = f"The entry {run.entry!r} of {where} learns from the entry {name!r}"
            if run.entry in path:
                raise UserError(f"{asked}, which learns from it in turn: {' -> '.join([*path, run.entry])}.")
            if run.search is not None:
                raise UserError(f"{asked}, so it cannot have a 'search': the trials would have no teacher.")
            if (taught_by := placed.get(_place(run, str(name)))) is None:
                raise UserError(
                    f"{asked}, which has no run with {run.budget_text} and seed {run.seed}: give both the same seeds."
                )
            teacher = add(taught_by, (*path, run.entry))
        found[own] = replace(run, teacher=teacher)
        return found[own]

    for run in runs:
        add(run, ())
    return list(found.values())


def _place(run: PlannedRun, entry: str) -> tuple[object, ...]:
    return (run.dataset, entry, *run.budget.values(), run.seed)
