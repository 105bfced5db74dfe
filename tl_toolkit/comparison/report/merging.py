"""Reports from records alone: that of one comparison again, or one of several comparisons and single runs.

Nothing is trained, and neither data sets nor models are needed. A merged folder holds the records and, copied, the
small files that a report is made of (test predictions, attention), so that it can be moved or published by itself.
"""

from __future__ import annotations

import html
import json
import re
import shutil
from collections.abc import Sequence
from itertools import chain, count
from pathlib import Path
from typing import Any

from ...atomic_files import write_json, write_whole
from ...errors import UserError
from ...evaluation.results import Result, as_result, folder_name, read_results
from ...records.output_dir import make_folder
from ...records.record import RESULT_NAME
from ..execution.scheduler import RESULTS_NAME
from .conflicts import Found, settle
from .results import budget_key
from .writing import write_report

MERGED_NAME = "merged.json"


def report_from_results(
    folders: Sequence[str | Path], output_dir: str | Path | None = None, title: str | None = None, texts: bool = True
) -> Path:
    """Write the report of what is recorded in `folders`, and return the page's path.

    One comparison without `output_dir` is reported in its own folder, also while its grid runs; otherwise the records
    are merged into `output_dir`, as `conflicts.settle` says, and that is reported.

    Args:
        folders: of comparisons (with results.jsonl), of single runs (with result.json), or folders of the latter.
        title: of the report; by default that of the report that is there.

    Raises:
        UserError: a folder without records, a record that cannot be read, or a place that must not be written to.
    """
    given = [Path(folder).resolve() for folder in folders]
    sources = list(dict.fromkeys(own.parent if own.name in (RESULTS_NAME, RESULT_NAME) else own for own in given))
    target = Path(output_dir).resolve() if output_dir is not None else None
    found = [run for folder in sources for run in find_runs(folder)]
    if len(sources) == 1 and (sources[0] / RESULTS_NAME).exists() and target in (None, sources[0]):
        return write_report(sources[0], title or title_of(sources[0]) or "Comparison", texts, notes_of(sources[0]))
    if target is None:
        raise UserError(
            "--from_results was given several folders, or the folder of a single run: say by --output_dir where their "
            "report goes. Without it, the report of one comparison is written again in its own folder."
        )
    _check_target(target, sources)
    merge(found, target, title or title_of(target) or "Comparison")
    return write_report(target, title_of(target) or "Comparison", texts, notes_of(target))


def find_runs(folder: Path) -> list[Found]:
    """All runs recorded in a folder, and where: a comparison's, a single one, or those one level below.

    Raises:
        UserError: there are none, or one cannot be read.
    """
    if (folder / RESULTS_NAME).exists():
        if results := read_results(folder / RESULTS_NAME):
            return [Found(result, folder, folder) for result in results]
        raise UserError(f"{str(folder / RESULTS_NAME)!r} holds no record: none is written yet, or it has been damaged.")
    single = [folder] if (folder / RESULT_NAME).exists() else []
    single = single or sorted(path.parent for path in folder.glob(f"*/{RESULT_NAME}"))
    if not single:
        raise UserError(
            f"--from_results {str(folder)!r} holds no records; the folder of a comparison (with {RESULTS_NAME}), of a "
            f"run (with {RESULT_NAME}), or one with the folders of runs in it is expected."
        )
    return [Found(_read(own / RESULT_NAME), own, own) for own in single]


def _read(path: Path) -> Result:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"The record {str(path)!r} cannot be read ({error}).") from error
    result = as_result(record, f"The record {str(path)!r}")
    return Result(result.entry, ".", record)  # its files lie beside it, wherever its comparison had put it


def _check_target(target: Path, sources: Sequence[Path]) -> None:
    """Refuse to write over the records of a comparison."""
    if target in sources:
        raise UserError(
            f"--output_dir {str(target)!r} is among the folders of --from_results: its records would be written over. "
            "Name another folder."
        )
    if (target / RESULTS_NAME).exists() and not (target / MERGED_NAME).exists():
        raise UserError(
            f"--output_dir {str(target)!r} holds the records of a comparison, which merging would write over. Name "
            "another folder."
        )


def merge(found: Sequence[Found], target: Path, title: str) -> None:
    """Write the settled records, the files that belong to them, and what there is to be said of it, into `target`."""
    settled, warnings = settle(found)
    make_folder(target)
    several = len({result.dataset for result, _ in settled}) > 1
    taken: set[str] = set()
    lines = []
    for result, origin in settled:
        place = _place(result, several, taken)
        _copy_files(result, origin, target / place)
        lines.append(json.dumps({**result.record, "entry": result.entry, "folder": place}) + "\n")
    write_whole(target / RESULTS_NAME, lambda path: path.write_text("".join(lines), encoding="utf-8"))
    write_json(target / MERGED_NAME, {"title": title, "notes": warnings, "runs": len(lines)})
    for folder in (target / "runs").glob("*"):  # of runs that were merged before and are no longer
        if folder.is_dir() and f"runs/{folder.name}" not in taken:
            shutil.rmtree(folder)


def _place(result: Result, several: bool, taken: set[str]) -> str:
    """A folder of its own for each run, below that of the comparison."""
    parts = [result.dataset] if several else []
    parts += [result.entry, budget_key(result.budget), f"seed{result.seed}"]
    first = f"runs/{folder_name('-'.join(parts))}"
    numbered = (f"{first}-{number}" for number in count(2))
    place = next(place for place in chain([first], numbered) if place not in taken)
    taken.add(place)
    return place


def _copy_files(result: Result, origin: Path, folder: Path) -> None:
    """The test predictions and the attention of a run, where they are there."""
    names = [result.section("predictions").get("test"), result.record.get("attention")]
    for name in filter(None, names):
        path = origin / result.folder / str(name)
        if Path(str(name)).name == name and path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / str(name), lambda copy, path=path: shutil.copyfile(path, copy))  # type: ignore[misc]


def notes_of(folder: Path) -> list[str]:
    """What was to be said when the folder was merged; empty for a comparison that was not."""
    return [str(note) for note in _merged(folder).get("notes") or ()]


def title_of(folder: Path) -> str | None:
    """The title of a folder's comparison: as it was merged, or as the report that is there has it."""
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
