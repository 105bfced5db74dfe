"""Check the records and files that a report reads, and that a published report says the same as the local one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import UserError, listing
from ...evaluation import formatting as show
from ...evaluation.results import Result, Store
from ...records.artefacts import damages

MOST_NAMED = 5
"""Maximum number of damaged runs that a report names; the others are counted."""


def doubts_about(store: Store, folder: Path) -> list[str]:
    """A sentence on each damaged record, on the runs with damaged files, and on records without checksums."""
    said = [f"{problem} This run is left out. Run the comparison again to restore it." for problem in store.damaged]
    damaged = [(run, found) for run in store.results if (found := _damages_of(run, folder))]
    for run, found in damaged[:MOST_NAMED]:
        files = "; ".join(f"{name} {damage}" for name, damage in found.items())
        said.append(
            f"Files of {run_name(run)} are missing or damaged and are not used: {files}. Run the comparison again to "
            "repeat this run."
        )
    if len(damaged) > MOST_NAMED:
        said.append(f"Files of {show.count(len(damaged) - MOST_NAMED)} other runs are missing or damaged, too.")
    if unverified := sum(not run.verified for run in store.results):
        runs = "1 record is" if unverified == 1 else f"{show.count(unverified)} records are"
        said.append(f"{runs} unverified: an earlier version wrote them without checksums, so damage cannot be found.")
    return said


def run_name(run: Result) -> str:
    """A run in a few words: `lstm, 100 labels, seed 1`."""
    return f"{run.entry}, {show.budget(run.budget, None)} {show.unit_of([run])}, seed {run.seed_text}"


def _damages_of(run: Result, folder: Path) -> Mapping[str, str]:
    """The damages to the files of a run; models, which a report does not read, are checked by their size."""
    read = {*run.section("predictions").values(), run.record.get("attention")}
    return damages(folder / run.folder, run.record, hashed=read)


def statements(results: Sequence[Result]) -> dict[str, Any]:
    """What the records of a comparison say, by id: the names of its entries, and the scores of its runs."""
    return {
        "entries": {run.entry_id: run.entry for run in results},
        "runs": {run.run_id: [run.completed, run.metrics("test"), run.metrics("validation")] for run in results},
    }


def verdicts(decision: Mapping[str, Any]) -> dict[int, Any]:
    """The decision card of each dataset, by its position."""
    return {place: facts["card"] for place, facts in enumerate(decision["panels"])}


def prove_equal(local: Mapping[str, Any], public: Mapping[str, Any]) -> None:
    """Check that a published report makes the same statements as the local one.

    Raises:
        UserError: an entry, a run or a verdict differs; the message names it.
    """
    for kind, theirs in public.items():
        own = local[kind]
        differing = [key for key in {**own, **theirs} if key not in own or key not in theirs or own[key] != theirs[key]]
        if differing:
            names = [str(local["entries"].get(key, key)) for key in differing]
            raise UserError(
                f"Nothing was sent, because the published report would differ from the local one in {len(names)} of "
                f"its {kind}: {listing(names)}. Report this as a bug of tl_toolkit."
            )
