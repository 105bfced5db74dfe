"""The data and environment of a report: dataset, versions, hardware, and failed runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...data.look import brief
from ...evaluation import formatting as show
from ...evaluation.names import short_name
from ...evaluation.results import Result
from ...evaluation.statistics.cells import Cell, budget_names

MOST_ERROR = 600
"""Maximum number of characters of a shown error."""

FAILURES = ("error", "not_finite", "out_of_memory", "killed")
"""The types of failures that a report names."""


def summary(
    results: Sequence[Result], cells: Sequence[Cell], entries: Sequence[str], failed: Sequence[Result]
) -> list[tuple[str, str]]:
    """The comparison in six short facts."""
    datasets = [result.section("dataset") for result in results]  # empty for runs that failed before reading it
    names = list(dict.fromkeys(short_name(str(dataset["name"])) for dataset in datasets if "name" in dataset))
    tested = [_tested(dataset) for dataset in datasets]
    seeds = sorted({cell.seeds for cell in cells}, reverse=True)
    finished = show.count(len(results) - len(failed))
    return [
        ("Dataset", show.joined(names) if names else show.MISSING),
        ("Entries", str(len(entries))),
        (f"Training {show.unit_of(results)}", show.joined(list(budget_names(cells).values()) or [show.MISSING])),
        ("Seeds", f"{seeds[-1]} to {seeds[0]}" if len(seeds) > 1 else str(seeds[0]) if seeds else show.MISSING),
        ("Test rows", show.span(tested)),
        ("Runs", f"{finished} finished" + (f", {len(failed)} failed" if failed else "")),
    ]


def facts(results: Sequence[Result]) -> list[tuple[str, str]]:
    """The dataset as (name, value) pairs; numbers of rows that differ between runs are given as a range.

    What a look at the data found is that of the run with the most labels.
    """
    datasets = [result.section("dataset") for result in results if result.section("dataset")]
    if not datasets:
        return []
    first, labels = datasets[0], next((r.label_names() for r in results if r.label_names()), None)
    told = [("Name", ", ".join(dict.fromkeys(short_name(str(own["name"])) for own in datasets if own.get("name"))))]
    told += [(key.capitalize(), _values(datasets, key)) for key in ("config", "revision", "fingerprint")]
    columns = {role: column for role, column in (first.get("columns") or {}).items() if column}
    told.append(("Columns", ", ".join(f"{role.replace('_', ' ')}: {column}" for role, column in columns.items())))
    if labels:
        told.append((f"Labels ({len(labels)})", ", ".join(labels)))
    for split in ("train", "validation", "test"):
        counts = [_tested(own) if split == "test" else (own.get("rows") or {}).get(split) for own in datasets]
        source, folds = first.get(f"{split}_from"), (first.get("folds") or {}).get("folds")
        cut = f"{folds} folds of" if split == "test" and folds else "cut from"
        shown = show.span(counts) + (f" ({cut} {source})" if source not in (None, split) else "")
        told.append((f"Rows, {split}", shown))
    with_look = [result for result in results if result.section("dataset").get("data_look")]
    if with_look:
        most = max(with_look, key=lambda result: result.section("budget").get("train_labels") or 0)
        told += brief(most.section("dataset")["data_look"])
    versions = first.get("versions") or {}
    told.append(("Built from", ", ".join(f"{name} {version}" for name, version in versions.items())))
    return [(name, value) for name, value in told if value]


def _tested(dataset: Mapping[str, Any]) -> int | None:
    """The number of test rows; with cross-validation those of all folds."""
    return (dataset.get("folds") or {}).get("rows") or (dataset.get("rows") or {}).get("test")


def distinct(sections: Iterable[Any]) -> list[tuple[str, str]]:
    """Each key with its value, or with all its values if the runs differ."""
    known = [section for section in sections if section]
    keys = dict.fromkeys(key for section in known for key in section)
    pairs = [(key.replace("_", " "), _values(known, key)) for key in keys]
    return [(key, value) for key, value in pairs if value]


def failures(failed: Sequence[Result]) -> list[dict[str, str]]:
    """The failed runs; runs of one entry and budget with the same failure share a row with their seeds."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for result in failed:
        known = bool(result.section("budget"))
        budget = show.budget(result.budget, None) if known else show.MISSING
        error = str(result.record.get("error") or "The run left no test metrics.")
        failure = str(result.record.get("failure"))
        kind = failure.replace("_", " ") if failure in FAILURES else show.MISSING
        group = groups.setdefault((result.entry, budget, kind, show.shortened(error, MOST_ERROR)), [])
        group.append(show.MISSING if result.seed is None else result.seed_text)
    return [
        {"entry": entry, "budget": budget, "kind": kind, "error": error, "seed": ", ".join(dict.fromkeys(seeds))}
        for (entry, budget, kind, error), seeds in groups.items()
    ]


def _values(sections: Iterable[Any], key: str) -> str:
    return ", ".join(dict.fromkeys(str(section[key]) for section in sections if section.get(key) is not None))
