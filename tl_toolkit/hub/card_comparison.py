"""The comparison that a model comes from: where it is, and its table of scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from .card_arguments import HUB_ID

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from ..comparison.records import Result

RESULTS = "results.jsonl"


@dataclass(frozen=True)
class CardComparison:
    """What a card tells of a comparison.

    Attributes:
        link: where it was published; None where it is not known to be.
        metric: the heading of the scores.
        budgets: headings of the columns.
        rows: for each entry its name, whether it is this model's, and its score at each budget.
        seeds: in words.
    """

    link: str | None
    metric: str
    budgets: Sequence[str]
    rows: Sequence[tuple[str, bool, Sequence[str]]]
    seeds: str


def find_comparison(folder: Path, asked: str | None, api: HfApi | None = None) -> CardComparison | None:
    """The comparison of a run: the one that is named, or the one in whose `runs/` the folder lies; None without one.

    Raises:
        UserError: what is named is neither the folder of a comparison nor a Hub id, or its records cannot be read.
    """
    around = folder.resolve().parent.parent
    beside = around if folder.resolve().parent.name == "runs" and (around / RESULTS).is_file() else None
    if asked is None:
        return None if beside is None else _describe(beside / RESULTS, folder, None)
    named = Path(asked).expanduser()
    if named.is_dir():
        return _describe(named / RESULTS, folder, None)
    if not HUB_ID.fullmatch(asked) or "/" not in asked:
        raise UserError(
            f"--comparison is {asked!r}, where the folder of a comparison (with a {RESULTS}) or the Hub id of the "
            "dataset repository that it was published as is expected: user/name."
        )
    link = f"https://huggingface.co/datasets/{asked}"
    records = beside / RESULTS if beside is not None else _download(asked, api)
    return CardComparison(link, "", [], [], "") if records is None else _describe(records, folder, link)


def _download(repo_id: str, api: HfApi | None) -> Path | None:
    """The records of a published comparison; None where they cannot be had, so that it is linked alone."""
    if api is None:
        return None
    try:
        return Path(api.hf_hub_download(repo_id, RESULTS, repo_type="dataset"))
    except Exception:  # noqa: BLE001  not there yet, private, offline, …
        return None


def _describe(path: Path, folder: Path, link: str | None) -> CardComparison | None:
    from ..comparison import formatting as show
    from ..comparison.cells import make_cells
    from ..comparison.records import panels, read_results
    from ..comparison.report_panel import goal_of
    from ..training.record import read_record

    own = read_record(folder) or {}
    runs = _panel_of(own, folder, panels(read_results(path)))
    cells = make_cells(runs)
    if not cells:
        return None
    goal, mine = goal_of(runs), _entry(own, folder, runs)
    labels = {cell.budget: cell.train_labels for cell in cells}
    budgets = sorted(labels)
    found = {(cell.entry, cell.budget): cell for cell in cells}
    rows = []
    for entry in dict.fromkeys(cell.entry for cell in cells):
        own_cells = [found.get((entry, budget)) for budget in budgets]
        scores = [
            show.MISSING if cell is None else show.spread(cell.test.get(goal.metric), goal.metric) for cell in own_cells
        ]
        rows.append((entry, entry == mine, scores))
    seeds = sorted({cell.seeds for cell in cells})
    return CardComparison(
        link=link,
        metric=show.metric_heading(goal.metric),
        budgets=[show.budget(budget, labels[budget]) for budget in budgets],
        rows=rows,
        seeds=str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}",
    )


def _panel_of(own: Any, folder: Path, groups: dict[str, list[Result]]) -> list[Result]:
    """The runs on the data of this run; those of the first dataset where it is not among them."""
    fingerprint = (own.get("dataset") or {}).get("fingerprint")
    for runs in groups.values():
        if any(Path(run.folder).name == folder.name for run in runs):
            return runs
    alike = [
        runs for runs in groups.values() if any(r.section("dataset").get("fingerprint") == fingerprint for r in runs)
    ]
    return alike[0] if alike else next(iter(groups.values()), [])


def _entry(own: Any, folder: Path, runs: Sequence[Result]) -> str | None:
    """The entry that this run belongs to."""
    told = next((run.entry for run in runs if Path(run.folder).name == folder.name), None)
    return told or own.get("entry") or own.get("name")
