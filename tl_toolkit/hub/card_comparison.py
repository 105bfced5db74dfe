"""The comparison that a model comes from: its address and its score table."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..evaluation import formatting as show
from ..evaluation.predictions import PredictionReader
from ..evaluation.results import Result, panels, read_results
from ..evaluation.statistics.cells import goal_of, make_cells
from ..evaluation.statistics.repetitions import repetitions
from ..records.record import read_record
from .destination import HUB_ID

if TYPE_CHECKING:
    from huggingface_hub import HfApi

Record = Mapping[str, Any]

logger = logging.getLogger(__name__)

RESULTS = "results.jsonl"


@dataclass(frozen=True)
class CardComparison:
    """The facts on a comparison in a card.

    Attributes:
        link: its address on the Hub; None if it is not known to be published.
        metric: the heading of the scores.
        budgets: headings of the columns.
        rows: the name of each entry, whether this model is one of its runs, and its score at each budget.
        seeds: the minimum and maximum number of seeds per score; one number if they are equal.
    """

    link: str | None
    metric: str
    budgets: Sequence[str]
    rows: Sequence[tuple[str, bool, Sequence[str]]]
    seeds: Sequence[int]


def find_comparison(folder: Path, name: str | None, api: HfApi | None = None) -> CardComparison | None:
    """The comparison of a run: the named one, or the one with the folder in its `runs/`; None without one.

    Raises:
        UserError: the name is neither the folder of a comparison nor a Hub id, or the records cannot be read.
    """
    own = read_record(folder) or {}
    beside = _around(folder, own)
    if name is None:
        return None if beside is None else _describe(beside / RESULTS, folder, own, None)
    named = Path(name).expanduser()
    if named.is_dir():
        return _describe(named / RESULTS, folder, own, None)
    if not HUB_ID.fullmatch(name) or "/" not in name:
        raise UserError(
            f"--comparison must be the folder of a comparison (with a {RESULTS}) or the Hub id of its published "
            f"dataset repository (user/name), but is {name!r}."
        )
    link = f"https://huggingface.co/datasets/{name}"
    records = beside / RESULTS if beside is not None else None
    if records is None and api is not None:
        try:
            records = Path(api.hf_hub_download(name, RESULTS, repo_type="dataset"))
        except Exception as error:  # noqa: BLE001  not published yet, private, offline, …: the card has only the link
            logger.debug("The records of %s were not read: %s", name, type(error).__name__)
    return CardComparison(link, "", [], [], []) if records is None else _describe(records, folder, own, link)


def _around(folder: Path, own: Record) -> Path | None:
    """The folder of the comparison that contains this run, according to its record; None for a single run."""
    place, parts = folder.resolve(), Path(str(own.get("folder") or f"runs/{folder.name}")).parts
    around = place.parents[min(len(parts), len(place.parents)) - 1]
    return around if place.parts[-len(parts) :] == parts and (around / RESULTS).is_file() else None


def _describe(path: Path, folder: Path, own: Record, link: str | None) -> CardComparison | None:
    """The score table for the dataset of this run, or for the first dataset if no run used it."""
    datasets = list(panels(read_results(path)).values())
    every = [run for runs in datasets for run in runs]
    if own.get("folder"):
        mine = next((run for run in every if run.folder == own["folder"]), None)
    else:
        mine = next((run for run in every if Path(run.folder).name == folder.name), None)
    fingerprint = (own.get("dataset") or {}).get("fingerprint")

    def nearness(runs: list[Result]) -> tuple[bool, bool]:
        return mine in runs, any(run.section("dataset").get("fingerprint") == fingerprint for run in runs)

    runs: list[Result] = max(datasets, key=nearness, default=[])
    cells = make_cells(repetitions(runs, PredictionReader(path.parent)).runs)
    my_entry = mine.entry if mine else own.get("entry") or own.get("name")
    if not cells:
        return None
    goal = goal_of(runs)
    labels = {cell.budget: cell.train_labels for cell in cells}
    budgets = sorted(labels)
    found = {(cell.entry, cell.budget): cell for cell in cells}
    rows = []
    for entry in dict.fromkeys(cell.entry for cell in cells):
        measured = [cell.test.get(goal.metric) if (cell := found.get((entry, own))) else None for own in budgets]
        rows.append((entry, entry == my_entry, [show.spread(value, goal.metric) for value in measured]))
    seeds = sorted({cell.seeds for cell in cells})
    return CardComparison(
        link=link,
        metric=show.metric_heading(goal.metric),
        budgets=[show.budget(budget, labels[budget]) for budget in budgets],
        rows=rows,
        seeds=sorted({seeds[0], seeds[-1]}),
    )
