"""Repetitions of cross-validation: the runs of all folds as one run, whose test rows are the rows of all folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from ..predictions import PredictionReader
from ..results import Result
from .scored_rows import read_rows, row_metrics


class Repetitions(NamedTuple):
    """The runs that can be compared, and one run for each repetition that lacks folds without a failure.

    A repetition with a failed fold is represented by its failed runs.
    """

    runs: list[Result]
    incomplete: list[Result]


def repetitions(results: Sequence[Result], reader: PredictionReader) -> Repetitions:
    """The runs of folds, joined to repetitions; other runs are returned as they are."""
    groups: dict[Any, list[Result]] = {}
    for run in results:
        alone = () if run.fold is None else (run.dataset_id, run.entry_id, run.budget, run.seed, run.folds)
        groups.setdefault(alone or run.run_id, []).append(run)
    runs: list[Result] = []
    incomplete = []
    for own in groups.values():
        failed = [run for run in own if not run.completed]
        if own[0].fold is None or failed:
            runs += failed or own
        elif len(own) < (own[0].folds or 0):
            incomplete.append(own[0])
        else:
            runs.append(_joined(sorted(own, key=lambda run: run.fold or 0), reader))
    return Repetitions(runs, incomplete)


def _joined(parts: list[Result], reader: PredictionReader) -> Result:
    """The folds of a repetition as one run.

    Its costs and numbers of labels are means over the folds. Its test metrics are those of all rows together (for F1,
    see Forman and Scholz 2010), or means over the folds, weighted by their rows, where predictions are missing.
    """
    records = [part.record for part in parts]
    rows = [(record.get("dataset") or {}).get("rows") or {} for record in records]
    tested = [own.get("test") or 1 for own in rows]
    metrics = {
        split: _means([part.metrics(split) for part in parts], tested if split == "test" else [1] * len(parts))
        for split in ("validation", "test")
    }
    common = set.intersection(*(set(record.get("never_predicted") or ()) for record in records))
    dataset = {**parts[0].section("dataset"), "rows": {**_means(rows, [1] * len(rows)), "test": sum(tested)}}
    record = {**records[0], "metrics": metrics, "dataset": dataset, "never_predicted": sorted(common)}
    for name in ("cost", "budget"):
        record[name] = _means([part.section(name) for part in parts], [1] * len(parts))
    record["budget"]["constant_answer"] = records[0].get("budget", {}).get("constant_answer")
    joined = replace(parts[0], record=record, parts=tuple(parts))
    if (read := read_rows(joined, reader)) is not None:
        for name, metric in row_metrics(joined).items():
            if name in metrics["test"]:
                value = metric.value(metric.quantities(read.label, read.prediction).mean(axis=0))
                metrics["test"][name] = float(value)
    return joined


def _means(values: Sequence[Mapping[str, Any]], weights: Sequence[float]) -> dict[str, Any]:
    """The weighted means of the known numbers in mappings, of whole numbers rounded; other values are the first's."""
    found = dict(values[0])
    for name, first in values[0].items():
        pairs = zip((value.get(name) for value in values), weights, strict=True)
        known = [(own, weight) for own, weight in pairs if own is not None]
        if isinstance(first, Mapping):
            found[name] = _means([own for own, _ in known] or [{}], [weight for _, weight in known] or [1])
        elif isinstance(first, (int, float)) and not isinstance(first, bool):
            mean = sum(own * weight for own, weight in known) / sum(weight for _, weight in known)
            found[name] = round(mean) if all(isinstance(own, int) for own, _ in known) else mean
    return found
