"""The uncertainty of a cell's test score over its test rows, in addition to the deviation over seeds.

The rows are resampled once for a whole comparison and are the same for every run, so that comparisons of two cells are
paired and cheap.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ..intervals import RESAMPLES, Interval, RowBootstrap, percentile_interval
from ..predictions import PredictionReader
from .scored_rows import ScoredRows, score_rows
from .significance import permutations, swapped_means

if TYPE_CHECKING:
    from .cells import Cell

Name = TypeVar("Name")
LEAST_RESAMPLES = 500
MOST_WORK = 3e10
"""The maximum number of multiplications for the resamples of all runs; above it there are fewer resamples."""


class RowNoise:
    """The test scores of all runs on resampled test rows, and with rows swapped between entries.

    Args:
        reader: reads the predictions.
        metric: the name of the test metric.
    """

    def __init__(self, reader: PredictionReader, metric: str) -> None:
        self.reader, self.metric = reader, metric
        self._rows: dict[str, ScoredRows | None] = {}
        self._drawn: dict[str, np.ndarray] = {}
        self._runs: dict[tuple[str, ...], list[ScoredRows] | None] = {}
        self._mean_drawn: dict[tuple[str, ...], np.ndarray] = {}
        self._means: dict[tuple[str, ...], ScoredRows | None] = {}
        self._swapped: dict[tuple[str, ...], np.ndarray] = {}
        self._pairs = 0

    def prepare(self, cells: Sequence[Cell]) -> RowNoise:
        """Read and resample all runs of `cells` together, which is much faster than one by one."""
        fresh = {result.folder: result for cell in cells for result in cell.results if result.folder not in self._rows}
        self._rows |= {folder: score_rows(result, self.metric, self.reader) for folder, result in fresh.items()}
        for folders in _alike({folder: self._rows[folder] for folder in fresh}):
            runs = [rows for folder in folders if (rows := self._rows[folder]) is not None]
            self._drawn |= dict(zip(folders, _resampled(runs), strict=True))
        return self

    def prepare_swaps(self, cells: Sequence[Cell], pairs: int) -> RowNoise:
        """As `prepare`, also for `swapped`, with enough permutations for families of `pairs` pairs."""
        self.prepare(cells)
        if pairs > self._pairs:  # a larger family needs more permutations
            self._pairs, self._swapped = pairs, {}
        fresh = {_folders(cell): cell for cell in cells if _folders(cell) not in self._swapped}
        for folders in _alike({key: self.mean_rows(cell) for key, cell in fresh.items()}):
            means = [rows for key in folders if (rows := self._means[key]) is not None]
            columns = np.concatenate([rows.quantities for rows in means], axis=1)
            count = permutations(len(columns), columns.shape[1], self._pairs)
            parts = _cut(swapped_means(columns, means[0].clusters, count), means)
            self._swapped |= dict(zip(folders, parts, strict=True))
        return self

    def runs(self, cell: Cell) -> list[ScoredRows] | None:
        """The metric's quantities in the test rows of each run; None unless all runs have the same rows."""
        if (key := _folders(cell)) not in self._runs:
            self.prepare([cell])
            found = [rows for result in cell.results if (rows := self._rows[result.folder]) is not None]
            whole = len(found) == cell.seeds and len({rows.key for rows in found}) == 1
            self._runs[key] = found if whole else None
        return self._runs[key]

    def paired(self, first: Cell, second: Cell) -> bool:
        """Whether all runs of both cells have the same test rows available."""
        a, b = self.runs(first), self.runs(second)
        return a is not None and b is not None and a[0].key == b[0].key

    def resampled(self, cell: Cell) -> np.ndarray | None:
        """The mean score of the cell's runs on each resample (resamples,); None if rows are not available.

        Cells with the same rows share their resamples in the same order, up to the length of the shorter one.
        """
        if self.runs(cell) is None:
            return None
        if (key := _folders(cell)) not in self._mean_drawn:
            self._mean_drawn[key] = np.mean([self._drawn[result.folder] for result in cell.results], axis=0)
        return self._mean_drawn[key]

    def resampled_also(self, name: str, runs: Sequence[ScoredRows]) -> list[np.ndarray]:
        """The scores (resamples,) of predictions that belong to no run, on the resamples of runs with the same rows.

        Args:
            name: the key under which the scores are cached.
        """
        keys = [f"{name}, {number}, {rows.key.hex()}" for number, rows in enumerate(runs)]
        if keys[0] not in self._drawn:
            self._drawn |= dict(zip(keys, _resampled(runs), strict=True))
        return [self._drawn[key] for key in keys]

    def interval(self, cell: Cell) -> Interval | None:
        """The percentile interval over test rows of the cell's mean over its seeds."""
        values = self.resampled(cell)
        return None if values is None else percentile_interval(values)

    def difference(self, first: Cell, second: Cell) -> np.ndarray | None:
        """second − first on the same resampled rows (resamples,); None if the cells do not share their rows."""
        if not self.paired(first, second):
            return None
        a, b = self.resampled(first), self.resampled(second)
        assert a is not None and b is not None
        shorter = min(len(a), len(b))
        return b[:shorter] - a[:shorter]

    def mean_rows(self, cell: Cell) -> ScoredRows | None:
        """The metric's quantities in each test row, averaged over the cell's runs; None if not available."""
        if (key := _folders(cell)) not in self._means:
            runs = self.runs(cell)
            if runs is None or len({rows.quantities.shape for rows in runs}) > 1:
                self._means[key] = None
            else:
                mean = np.mean([rows.quantities for rows in runs], axis=0)
                self._means[key] = ScoredRows(runs[0].key, mean, runs[0].metric, runs[0].clusters)
        return self._means[key]

    def swapped(self, cell: Cell) -> np.ndarray | None:
        """The contribution of random halves of the rows to `mean_rows`, see `significance.swapped_means`."""
        if self.mean_rows(cell) is None:
            return None
        if (key := _folders(cell)) not in self._swapped:
            self.prepare_swaps([cell], 1)
        return self._swapped[key]


def _folders(cell: Cell) -> tuple[str, ...]:
    return tuple(result.folder for result in cell.results)


def _alike(scored: dict[Name, ScoredRows | None]) -> list[list[Name]]:
    """The names, grouped by equal rows."""
    groups: dict[bytes, list[Name]] = {}
    for name, rows in scored.items():
        if rows is not None:
            groups.setdefault(rows.key, []).append(name)
    return list(groups.values())


def _resampled(runs: Sequence[ScoredRows]) -> list[np.ndarray]:
    """The scores (resamples,) of runs with the same rows, on the same resamples; see `RowBootstrap`.

    NaN for a single row or a single cluster, which give no information on other rows.
    """
    columns = np.concatenate([rows.quantities for rows in runs], axis=1)
    count = int(np.clip(MOST_WORK / (2 * columns.size), LEAST_RESAMPLES, RESAMPLES))
    bootstrap = RowBootstrap(len(columns), runs[0].clusters, count)
    if bootstrap.drawn < 2:
        return [np.full(count, np.nan) for _ in runs]
    means = bootstrap.means(columns)
    return [rows.metric.value(part) for rows, part in zip(runs, _cut(means, runs), strict=True)]


def _cut(columns: np.ndarray, runs: Sequence[ScoredRows]) -> list[np.ndarray]:
    """Split the concatenated columns of all runs into one array per run."""
    return np.split(columns, np.cumsum([rows.quantities.shape[1] for rows in runs])[:-1], axis=1)


def row_noise(reader: PredictionReader, metric: str) -> RowNoise:
    """The resampled rows of `metric`, shared by all users of this reader."""
    known: dict[str, RowNoise] = reader.shared.setdefault("row_noise", {})
    return known.setdefault(metric, RowNoise(reader, metric))


def row_intervals(cells: Sequence[Cell], metric: str, reader: PredictionReader) -> dict[tuple[str, float], Interval]:
    """The interval over test rows of each cell's mean over seeds, by (entry, budget), where available."""
    noise = row_noise(reader, metric).prepare(cells)
    found = {(cell.entry, cell.budget): noise.interval(cell) for cell in cells}
    return {key: interval for key, interval in found.items() if interval is not None}
