"""Reports from records only: of one comparison, or of several comparisons and single runs.

Nothing is trained, and neither datasets nor models are needed. A merged folder contains the records and copies of the
small files that a report needs (test predictions, attention), so it can be moved or published independently.
"""

from __future__ import annotations

import html
import json
import re
import shutil
from collections.abc import Sequence
from itertools import chain, count
from pathlib import Path
from typing import Any, NamedTuple

from ...atomic_files import write_json, write_whole
from ...errors import UserError
from ...evaluation.results import Result, as_result, folder_name, read_store
from ...records.artefacts import keeping
from ...records.output_dir import make_folder
from ...records.record import RESULT_NAME, parse_record, sealed
from ..execution.scheduler import RESULTS_NAME
from ..verdict.decision import asked_in
from .conflicts import Found, settle
from .results import budget_key
from .writing import write_report

MERGED_NAME = "merged.json"


class Recorded(NamedTuple):
    """The runs recorded in a folder, and a sentence on each damaged record."""

    runs: list[Found]
    damaged: list[str]


def report_from_results(
    folders: Sequence[str | Path],
    output_dir: str | Path | None = None,
    title: str | None = None,
    texts: bool = True,
    margin: float | None = None,
    target: float | None = None,
) -> Path:
    """Write a report of the records in `folders`, and return the page's path.

    The report of a single comparison without `output_dir` is written to its own folder, even while its grid runs.
    Otherwise the records are merged into `output_dir` as in `conflicts.settle`, and the report is written there.

    Args:
        folders: folders of comparisons (with results.jsonl), of single runs (with result.json), or parents of such.
        title: the report's title; by default that of the existing report.
        texts: quote texts of the dataset in the report.
        margin: see `decision.decision_in`.
        target: see `decision.decision_in`.

    Raises:
        UserError: a folder without valid records, or an output folder that must not be used.
    """
    given = [Path(folder).resolve() for folder in folders]
    sources = list(dict.fromkeys(own.parent if own.name in (RESULTS_NAME, RESULT_NAME) else own for own in given))
    place = Path(output_dir).resolve() if output_dir is not None else None
    recorded = [find_runs(folder) for folder in sources]
    if len(sources) == 1 and (sources[0] / RESULTS_NAME).exists() and place in (None, sources[0]):
        asked = asked_in(sources[0], margin, target)
        title = title or title_of(sources[0]) or "Comparison"
        return write_report(sources[0], title, texts, notes_of(sources[0]), asked)
    if place is None:
        raise UserError(
            "--output_dir is required if --from_results names several folders or the folder of a single run. Without "
            "it, only the report of one comparison can be rebuilt, in its own folder."
        )
    _check_target(place, sources)
    found = [run for own in recorded for run in own.runs]
    damaged = [problem for own in recorded for problem in own.damaged]
    merge(found, place, title or title_of(place) or "Comparison", damaged)
    asked = asked_in(place, margin, target)
    return write_report(place, title_of(place) or "Comparison", texts, notes_of(place), asked)


def find_runs(folder: Path) -> Recorded:
    """All runs recorded in a folder: of a comparison, a single run, or single runs one level below.

    Raises:
        UserError: there is no valid record.
    """
    if (folder / RESULTS_NAME).exists():
        store = read_store(folder / RESULTS_NAME)
        if store.results:
            damaged = [f"In {folder.name}: {problem} This run is left out." for problem in store.damaged]
            return Recorded([Found(result, folder, folder) for result in store.results], damaged)
        raise UserError(f"{str(folder / RESULTS_NAME)!r} contains no record: it is still empty, or it is damaged.")
    single = [folder] if (folder / RESULT_NAME).exists() else []
    single = single or sorted(path.parent for path in folder.glob(f"*/{RESULT_NAME}"))
    if not single:
        raise UserError(
            f"--from_results {str(folder)!r} contains no records. Name the folder of a comparison (with "
            f"{RESULTS_NAME}), of a run (with {RESULT_NAME}), or a folder that contains folders of runs."
        )
    runs: list[Found] = []
    problems: dict[Path, Exception] = {}
    for own in single:
        try:
            result = as_result(parse_record((own / RESULT_NAME).read_bytes()))
        except (OSError, ValueError) as error:
            problems[own] = error
            continue
        # Its files are next to the record, whatever folder it names.
        runs.append(Found(Result(result.entry, ".", result.record), own, own))
    if not runs:
        own, problem = next(iter(problems.items()))
        raise UserError(f"The record {str(own / RESULT_NAME)!r} {problem}.") from problem
    damaged = [f"The record of the run in {own.name} {why}. This run is left out." for own, why in problems.items()]
    return Recorded(runs, damaged)


def _check_target(target: Path, sources: Sequence[Path]) -> None:
    """Refuse to overwrite the records of a comparison."""
    if target in sources:
        raise UserError(
            f"Name another --output_dir: {str(target)!r} is among the folders of --from_results, so its records would "
            "be overwritten."
        )
    if (target / RESULTS_NAME).exists() and not (target / MERGED_NAME).exists():
        raise UserError(
            f"Name another --output_dir: {str(target)!r} contains the records of a comparison, which merging would "
            "overwrite."
        )


def merge(found: Sequence[Found], target: Path, title: str, damaged: Sequence[str] = ()) -> None:
    """Write the settled records, their files, the title and the warnings into `target`.

    Args:
        damaged: sentences on records that are left out.
    """
    settled, warnings = settle(found)
    make_folder(target)
    several = len({result.dataset for result, _ in settled}) > 1
    taken: set[str] = set()
    lines = []
    for result, origin in settled:
        place = _place(result, several, taken)
        record = keeping(result.record, _copy_files(result, origin, target / place))
        ids = {"entry_id": result.entry_id, "dataset_id": result.dataset_id}
        lines.append(json.dumps(sealed({**record, "entry": result.entry, **ids, "folder": place})) + "\n")
    write_whole(target / RESULTS_NAME, lambda path: path.write_text("".join(lines), encoding="utf-8"))
    write_json(target / MERGED_NAME, {"title": title, "notes": [*damaged, *warnings], "runs": len(lines)})
    for folder in (target / "runs").glob("*"):  # left by an earlier merge
        if folder.is_dir() and f"runs/{folder.name}" not in taken:
            shutil.rmtree(folder)


def _place(result: Result, several: bool, taken: set[str]) -> str:
    """A unique folder for the run, relative to that of the comparison; it is added to `taken`."""
    parts = [result.dataset] if several else []
    parts += [result.entry, budget_key(result.budget), f"seed{result.seed}"]
    parts += [] if result.fold is None else [f"fold{result.fold}of{result.folds}"]
    first = f"runs/{folder_name('-'.join(parts))}"
    numbered = (f"{first}-{number}" for number in count(2))
    place = next(place for place in chain([first], numbered) if place not in taken)
    taken.add(place)
    return place


def _copy_files(result: Result, origin: Path, folder: Path) -> list[str]:
    """Copy the test predictions and the attention of a run, if they exist; returns the names of both in its record."""
    names = [str(name) for name in (result.section("predictions").get("test"), result.record.get("attention")) if name]
    for name in names:
        path = origin / result.folder / name
        if Path(name).name == name and path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / name, lambda copy, path=path: shutil.copyfile(path, copy))  # type: ignore[misc]
    return names


def notes_of(folder: Path) -> list[str]:
    """The warnings of the merge that created the folder; empty for other comparisons."""
    return [str(note) for note in _merged(folder).get("notes") or ()]


def title_of(folder: Path) -> str | None:
    """The title of a folder's comparison, from its merge or from the existing report; None if there is none."""
    if title := _merged(folder).get("title"):
        return str(title)
    try:
        head = (folder / "report.html").read_text(encoding="utf-8")[:4000]
    except (OSError, UnicodeDecodeError):
        return None
    named = re.search(r"<title>(.*?)</title>", head, flags=re.DOTALL)
    return html.unescape(named[1]) if named else None


def _merged(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / MERGED_NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}
