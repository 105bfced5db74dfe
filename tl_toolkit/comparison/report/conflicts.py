"""Combine records from several folders into one comparison: find duplicate runs and resolve name conflicts."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from ...evaluation import formatting as show
from ...evaluation.results import Result, Tested, names_by_test_rows, tested_on, with_distinct_names
from ...records.record import key_of


@dataclass(frozen=True)
class Found:
    """A run, the folder that its own folder is relative to, and the folder whose name marks it in a name conflict."""

    result: Result
    origin: Path
    source: Path


Parts = dict[Any, dict[Any, list[Found]]]


def settle(found: Sequence[Found]) -> tuple[list[tuple[Result, Path]], list[str]]:
    """The runs of one comparison, each with the folder that its own folder is relative to, and a list of warnings.

    - A dataset with different names in different folders, such as a local one, gets its name in the first folder.
    - Runs on datasets of the same name but different test rows (another fingerprint, configuration, label column or
      number of test rows) get different dataset names, so they are not compared with each other.
    - An entry that differs between folders is renamed to "name (folder)" in each of them, and gets an id for each. It
      differs if two completed runs have the same budget and seed but different keys, or if no two runs have the same
      arguments. Entries with different ids are never joined, even if their names are shown alike.
    - Duplicates of a run count once: a completed run takes precedence over a failed one, then the newest.
    """
    apart, warnings = _with_distinct_datasets(_with_common_names(found))
    apart, more = _with_distinct_entries(apart)
    once: dict[tuple[Any, ...], Found] = {}
    for run in apart:
        same = (run.result.dataset, run.result.entry_id, run.result.budget, run.result.seed_text)
        if same not in once or _newness(run) > _newness(once[same]):
            once[same] = run
    kept = list(once.values())
    named = with_distinct_names([run.result for run in kept])
    return [(result, run.origin) for result, run in zip(named, kept, strict=True)], [*warnings, *more]


def identity(result: Result) -> str:
    """The key of a run; for a single run without a key, a hash of the same fields of its record."""
    if key := result.record.get("key"):
        return str(key)
    fingerprint, version = result.section("dataset").get("fingerprint"), result.record.get("toolkit_version")
    return key_of([dict(result.section("arguments")), fingerprint, version])


def _newness(run: Found) -> tuple[bool, str]:
    record = run.result.record
    return run.result.completed, str(record.get("finished") or record.get("started") or "")


def _grouped(found: Sequence[Found], group: Callable[[Found], Any], part: Callable[[Found], Any]) -> Parts:
    """The runs by group, and within a group by part, both in order of first appearance."""
    groups: Parts = {}
    for run in found:
        groups.setdefault(group(run), {}).setdefault(part(run), []).append(run)
    return groups


def _with_common_names(found: Sequence[Found]) -> list[Found]:
    """The runs with one dataset name for the same test rows, unless a single folder has two names for them."""
    known = [run for run in found if run.result.section("dataset").get("fingerprint")]
    called: dict[Tested, str] = {}
    for tested, by_source in _grouped(known, lambda run: tested_on(run.result), lambda run: run.source).items():
        names = [{run.result.dataset for run in runs} for runs in by_source.values()]
        if all(len(own) == 1 for own in names):
            called[tested] = min(names[0])
    return [_on_dataset(run, called.get(tested_on(run.result))) for run in found]


def _with_distinct_datasets(found: Sequence[Found]) -> tuple[list[Found], list[str]]:
    """The runs with distinct dataset names where one name stands for different test rows, and warnings."""
    known = [run for run in found if run.result.section("dataset")]
    warnings: list[str] = []
    called: dict[tuple[str, Tested], str] = {}
    for name, different in _grouped(known, lambda run: run.result.dataset, lambda run: tested_on(run.result)).items():
        if len(different) > 1:
            names = names_by_test_rows(name, list(different))
            called |= {(name, tested): own for tested, own in names.items()}
            where = [f"{names[tested]} in {_folders(runs)}" for tested, runs in different.items()]
            warnings.append(
                f"Runs on {name} were tested on different rows or labels: {show.joined(where)}. They are reported "
                "separately and not compared with each other."
            )
    return [_on_dataset(run, called.get((run.result.dataset, tested_on(run.result)))) for run in found], warnings


def _on_dataset(run: Found, dataset: str | None) -> Found:
    if dataset is None:
        return run
    record = {name: value for name, value in run.result.record.items() if name != "dataset_id"}  # follows the name
    return replace(run, result=replace(run.result, record={**record, "grid_dataset": dataset}))


def _with_distinct_entries(found: Sequence[Found]) -> tuple[list[Found], list[str]]:
    """The runs, with the folder added to the names of entries that differ between folders, and warnings."""
    entries = _grouped(found, lambda run: (run.result.dataset, run.result.entry_id), lambda run: run.source)
    labels = _short_names([run.source for run in found])
    warnings, differing = [], set()
    for key, by_source in entries.items():
        if _differs(list(by_source.values())):
            differing.add(key)
            runs = [run for own in by_source.values() for run in own]
            where = f"{runs[0].result.entry} differs between {_folders(runs)}"
            warnings.append(f"{where}: the folder is added to the name of the entry.")
    apart = []
    for run in found:
        result = run.result
        if (result.dataset, result.entry_id) in differing:
            entry = f"{result.entry} ({labels[run.source]})"
            record = {**result.record, "entry": entry, "entry_id": key_of([result.entry_id, str(run.source)])}
            run = replace(run, result=replace(result, entry=entry, record=record))
        apart.append(run)
    return apart, sorted(warnings)


def _differs(sources: Sequence[Sequence[Found]]) -> bool:
    """Whether runs of one name differ between folders; see `settle`."""
    done = [[run.result for run in runs if run.result.completed] for runs in sources]
    for first, second in combinations([own for own in done if own], 2):
        mine, theirs = ({(own.budget, own.seed_text): identity(own) for own in runs} for runs in (first, second))
        if any(mine[cell] != theirs[cell] for cell in mine.keys() & theirs.keys()):
            return True
        if {_shared_arguments(own) for own in first}.isdisjoint(_shared_arguments(own) for own in second):
            return True
    return False


def _shared_arguments(result: Result) -> str:
    """The arguments that all runs of an entry share, as JSON, without those that a search chooses for each budget.

    Only the last part of the path of a stage counts, because each comparison has its own stage folders, and only the
    name of a teacher, because each budget and seed has its own.
    """
    searched = (result.section("tuning").get("search") or {}).keys()
    varying = {"label_budget", "max_train_tokens", "seed", "fold", "dataset_name", "validation_budget", *searched}
    given = {name: value for name, value in result.section("arguments").items() if name not in varying}
    for name in ("model_name_or_path", "tokenizer_name", "vectors"):
        path = Path(str(given.get(name) or ""))
        if path.parent.name == "stages":
            given[name] = path.name
    if teacher := result.section("strategy").get("teacher"):
        given["teacher"] = teacher.get("name")
    return json.dumps(given, sort_keys=True, default=str)


def _short_names(folders: Sequence[Path]) -> dict[Path, str]:
    """A short name for each folder: the fewest last parts of its path that make it unique."""
    labels = {}
    for folder in dict.fromkeys(folders):
        for count in range(1, len(folder.parts) + 1):
            labels[folder] = "/".join(folder.parts[-count:])
            if not any(other.parts[-count:] == folder.parts[-count:] for other in folders if other != folder):
                break
    return labels


def _folders(runs: Sequence[Found]) -> str:
    return show.joined(list(_short_names([run.source for run in runs]).values()))
