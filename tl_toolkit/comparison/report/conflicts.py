"""What is the same run in several folders, and what is not: how records of different origin become one comparison."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from ...evaluation import formatting as show
from ...evaluation.results import Result
from ..planning.keys import key_of


@dataclass(frozen=True)
class Found:
    """A run, the folder that its own folder is relative to, and the folder that tells it from others of its name."""

    result: Result
    origin: Path
    source: Path


Tested = tuple[str | None, ...]
"""What tells test rows from others."""
Parts = dict[Any, dict[Any, list[Found]]]


def settle(found: Sequence[Found]) -> tuple[list[tuple[Result, Path]], list[str]]:
    """The runs of one comparison, each with the folder that its own is relative to, and what is to be said of it.

    - A dataset that is called differently in different folders, as local ones are, is called as in the first of them.
    - Runs that were tested on different rows of datasets of one name (another fingerprint, configuration, label column
      or number of test rows) are told apart by the name of their dataset: nothing is compared across them.
    - An entry that stands for different things in different folders is kept apart, as "name (folder)": where two of its
      completed runs have the same budget and seed and different keys, or where none have the same arguments.
    - The same run in two folders counts once: a completed one before a failed one, then the newest.
    """
    apart, warnings = _datasets_apart(_datasets_together(found))
    apart, more = _entries_apart(apart)
    once: dict[tuple[Any, ...], Found] = {}
    for run in apart:
        same = (run.result.dataset, run.result.entry, run.result.budget, run.result.seed)
        if same not in once or _newness(run) > _newness(once[same]):
            once[same] = run
    return [(run.result, run.origin) for run in once.values()], [*warnings, *more]


def identity(result: Result) -> str:
    """What the result of a run depends on: its key, or for a run by itself the same made of its record."""
    if key := result.record.get("key"):
        return str(key)
    fingerprint, version = result.section("dataset").get("fingerprint"), result.record.get("toolkit_version")
    return key_of([dict(result.section("arguments")), fingerprint, version])


def _newness(run: Found) -> tuple[bool, str]:
    record = run.result.record
    return run.result.completed, str(record.get("finished") or record.get("started") or "")


def _grouped(found: Sequence[Found], group: Callable[[Found], Any], part: Callable[[Found], Any]) -> Parts:
    """The runs of each group by part, both in the order of first appearance."""
    groups: Parts = {}
    for run in found:
        groups.setdefault(group(run), {}).setdefault(part(run), []).append(run)
    return groups


def _datasets_together(found: Sequence[Found]) -> list[Found]:
    """One name for the same test rows, unless some folder itself has two names for them."""
    known = [run for run in found if run.result.section("dataset").get("fingerprint")]
    called: dict[Tested, str] = {}
    for tested, by_source in _grouped(known, _tested_on, lambda run: run.source).items():
        names = [{run.result.dataset for run in runs} for runs in by_source.values()]
        if all(len(own) == 1 for own in names):
            called[tested] = min(names[0])
    return [_on(run, called.get(_tested_on(run))) for run in found]


def _datasets_apart(found: Sequence[Found]) -> tuple[list[Found], list[str]]:
    """Each run's dataset under a name of its own where one name stands for several."""
    known = [run for run in found if run.result.section("dataset")]
    warnings: list[str] = []
    called: dict[tuple[str, Tested], str] = {}
    for name, different in _grouped(known, lambda run: run.result.dataset, _tested_on).items():
        if len(different) > 1:
            names = _told_apart(name, list(different))
            called |= {(name, tested): own for tested, own in names.items()}
            where = [f"{names[tested]} in {_folders(runs)}" for tested, runs in different.items()]
            warnings.append(
                f"Runs on {name} were tested on different rows or labels: {show.joined(where)}. Each stands by itself, "
                "and nothing is compared across them."
            )
    return [_on(run, called.get((run.result.dataset, _tested_on(run)))) for run in found], warnings


def _tested_on(run: Found) -> Tested:
    dataset = run.result.section("dataset")
    columns = dataset.get("columns") or {}
    target = columns.get("label") or columns.get("target") or columns.get("caption") or columns.get("values")
    parts = (dataset.get("config"), target, dataset.get("fingerprint"), (dataset.get("rows") or {}).get("test"))
    return tuple(None if part is None else str(part) for part in parts)


def _told_apart(name: str, different: Sequence[Tested]) -> Mapping[Tested, str]:
    """The name of a dataset with what tells it from the others: only those parts that differ."""
    said = ("{}", "label {}", "data {}", "{} test rows")
    differing = [place for place in range(len(said)) if len({tested[place] for tested in different}) > 1]
    return {
        tested: f"{name} ({', '.join(said[place].format(tested[place] or 'unknown') for place in differing)})"
        for tested in different
    }


def _on(run: Found, dataset: str | None) -> Found:
    if dataset in (None, run.result.dataset):
        return run
    return replace(run, result=replace(run.result, record={**run.result.record, "grid_dataset": dataset}))


def _entries_apart(found: Sequence[Found]) -> tuple[list[Found], list[str]]:
    """Each run under a name that tells its folder where one name stands for different things."""
    entries = _grouped(found, lambda run: (run.result.dataset, run.result.entry), lambda run: run.source)
    labels = _labels([run.source for run in found])
    clashing = {name for name, by_source in entries.items() if _clash(list(by_source.values()))}
    warnings = []
    for name in sorted(clashing):
        where = _folders([run for runs in entries[name].values() for run in runs])
        warnings.append(f"{name[1]} is not the same in {where}: it is kept apart by the names of the folders.")
    apart = []
    for run in found:
        result = run.result
        if (result.dataset, result.entry) in clashing:
            result = replace(result, entry=f"{result.entry} ({labels[run.source]})")
        apart.append(replace(run, result=result))
    return apart, warnings


def _clash(sources: Sequence[Sequence[Found]]) -> bool:
    """Whether one name stands for different things in different folders."""
    done = [[run.result for run in runs if run.result.completed] for runs in sources]
    for first, second in combinations([own for own in done if own], 2):
        mine, theirs = ({(own.budget, own.seed): identity(own) for own in runs} for runs in (first, second))
        if any(mine[cell] != theirs[cell] for cell in mine.keys() & theirs.keys()):
            return True
        if {_asked(own) for own in first}.isdisjoint(_asked(own) for own in second):
            return True
    return False


def _asked(result: Result) -> str:
    """The arguments that all runs of an entry share; a search chooses others for each budget, which are left out.

    Of local checkpoints, such as the folders of stages, the last part of the path counts: each comparison has its own.
    """
    searched = (result.section("tuning").get("search") or {}).keys()
    varying = {"label_budget", "max_train_tokens", "seed", "dataset_name", "validation_budget", *searched}
    given = {name: value for name, value in result.section("arguments").items() if name not in varying}
    for name in ("model_name_or_path", "tokenizer_name", "vectors"):
        path = Path(str(given.get(name) or ""))
        if path.parent.name == "stages" or path.is_absolute() or path.parts[:1] in (("..",), ("~",)):
            given[name] = path.name
    return json.dumps(given, sort_keys=True, default=str)


def _labels(folders: Sequence[Path]) -> dict[Path, str]:
    """The last part of each folder's path; as many parts as it takes to tell it from the others."""
    labels = {}
    for folder in dict.fromkeys(folders):
        for count in range(1, len(folder.parts) + 1):
            labels[folder] = "/".join(folder.parts[-count:])
            if not any(other.parts[-count:] == folder.parts[-count:] for other in folders if other != folder):
                break
    return labels


def _folders(runs: Sequence[Found]) -> str:
    return show.joined(list(_labels([run.source for run in runs]).values()))
