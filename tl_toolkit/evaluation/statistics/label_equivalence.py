"""Label equivalence: the number of labels that *B* needs to match the score of *A*.

This is figure 3 of Howard and Ruder (2018), "Universal Language Model Fine-tuning for Text Classification", ACL, as a
number with an interval. Isotonic regression over the label budgets makes *B*'s learning curve monotone (Barlow,
Bartholomew, Bremner and Brunk 1972, "Statistical Inference under Order Restrictions", section 1.2), because more labels
do not hurt and any decrease is noise. Between two budgets the curve is linear in the logarithm of the labels. Linear
rather than cubic interpolation matches the figure of the learning curves, stays monotone and has an exact inverse.
There is no extrapolation beyond the measured budgets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .. import formatting as show
from ..intervals import CONFIDENCE
from .cells import Cell, Goal
from .uncertainty import RowNoise

DRAWS = 1000
"""The number of draws of both curves for an interval."""


@dataclass(frozen=True)
class Equivalence:
    """The number of training labels that `other` needs to match the score of `entry` with `labels`.

    `needed` and its 95 % interval from `low` to `high` are numbers of labels between `least` and `most`, the smallest
    and largest measured budgets of `other`; 0.0 if it is already better with the smallest, infinite if it is worse with
    the largest. The interval is None if the noise is unknown for both seeds and test rows.

    The interval comes from 1,000 draws of both curves with the noise of the test rows (bootstrap, same rows for both)
    and of the seeds (Student's t with the cell's standard error and degrees of freedom; none for a single run).
    `labels` and `needed` count training labels; `validation_labels` are the additional labels with which each run chose
    its checkpoint.
    """

    entry: str
    budget: float
    labels: float
    other: str
    needed: float
    low: float | None
    high: float | None
    least: float
    most: float
    validation_labels: int | None = None

    @property
    def ratio(self) -> float:
        """The number of labels of `other` per label of `entry`; infinite or 0.0 if `needed` is."""
        return self.needed / self.labels

    def in_words(self, unit: str = "") -> str:
        """`about 800 (95 % 500 to 1,900)`; `>6,920` and `<100` beyond the measured budgets.

        A unit (` labels`) follows the first number.
        """
        about = self._number(self.needed)
        about = (about if about[0] in "<>" else f"about {about}") + unit
        if self.low is None or self.high is None:
            return about
        low, high = self._number(self.low), self._number(self.high)
        return f"{about} (95{show.SPACE}% {low} to {high})" if low != high else f"{about} (95{show.SPACE}% {low})"

    def _number(self, labels: float) -> str:
        if labels == 0:
            return f"<{show.count(self.least)}"
        return f">{show.count(self.most)}" if math.isinf(labels) else show.significant(labels)


def usable(cell: Cell, goal: Goal) -> bool:
    """Whether a cell can be a point of a learning curve."""
    return bool(cell.train_labels) and cell.scored(goal)


@dataclass(frozen=True)
class Curve:
    """A monotone learning curve: `labels` (budgets,) and `scores` (budgets,) times the goal's sign.

    `drawn` (resamples, budgets) are random draws of the curve, None if the noise is unknown.
    """

    name: str
    labels: np.ndarray
    scores: np.ndarray
    drawn: np.ndarray | None


class CurveDraws:
    """Random draws of the scores of cells, with the noise of test rows and seeds; the draws of a cell are cached."""

    def __init__(self, noise: RowNoise, goal: Goal) -> None:
        self.noise, self.goal = noise, goal
        self._drawn: dict[tuple[str, float], np.ndarray | None] = {}

    def draw(self, cell: Cell) -> np.ndarray | None:
        """Scores (resamples,) of a cell times the goal's sign; None if its noise is unknown."""
        if (key := (cell.entry, cell.budget)) not in self._drawn:
            self._drawn[key] = self._draw(cell)
        return self._drawn[key]

    def _draw(self, cell: Cell) -> np.ndarray | None:
        reached, rows = cell.test[self.goal.metric], self.noise.resampled(cell)
        rows = None if rows is None or not np.isfinite(rows).all() else rows[:DRAWS]
        if rows is None and reached.deviation is None:
            return None
        values = np.full(DRAWS if rows is None else len(rows), reached.mean)
        if rows is not None:
            values += rows - rows.mean()
        if reached.deviation is not None:
            generator = np.random.default_rng(_seed(cell))
            error = reached.deviation / math.sqrt(reached.count)
            values += error * generator.standard_t(reached.count - 1, size=len(values))
        return values * self.goal.sign

    def curve(self, name: str, cells: Sequence[Cell]) -> Curve:
        """The learning curve through cells of different budgets."""
        ordered = sorted(cells, key=lambda cell: cell.train_labels or 0)
        weights = np.array([float(cell.seeds) for cell in ordered])
        scores = np.array([cell.test[self.goal.metric].mean * self.goal.sign for cell in ordered])
        drawn = [self.draw(cell) for cell in ordered]
        known = [values for values in drawn if values is not None]
        return Curve(
            name=name,
            labels=np.array([float(cell.train_labels or 0) for cell in ordered]),
            scores=isotonic(scores[None], weights)[0],
            drawn=isotonic(_side_by_side(known), weights) if len(known) == len(ordered) else None,
        )


def equivalence(cell: Cell, curve: Curve, draws: CurveDraws) -> Equivalence:
    """The number of labels that a curve needs to match the score of a cell."""
    sign, metric = draws.goal.sign, draws.goal.metric
    target, drawn = cell.test[metric].mean, draws.draw(cell)
    low = high = None
    if drawn is not None and curve.drawn is not None:
        count = min(len(drawn), len(curve.drawn))
        values = labels_at(curve.drawn[:count], curve.labels, drawn[:count])
        # "nearest", because interpolation between a finite and an infinite number of labels is impossible.
        ends = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
        low, high = (float(end) for end in np.quantile(values, ends, method="nearest"))
    return Equivalence(
        entry=cell.entry,
        budget=cell.budget,
        labels=float(cell.train_labels or 0),
        other=curve.name,
        needed=float(labels_at(curve.scores[None], curve.labels, np.array([target * sign]))[0]),
        low=low,
        high=high,
        least=float(curve.labels[0]),
        most=float(curve.labels[-1]),
        validation_labels=cell.validation_labels,
    )


def isotonic(scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The non-decreasing curves with the least weighted squared distance: (draws, budgets) -> (draws, budgets).

    Uses the max–min formula: the maximum over starts i ≤ k of the minimum over ends j ≥ k of the mean from i to j
    (Barlow et al. 1972, equation 1.9; Robertson, Wright and Dykstra 1988, theorem 1.4.4).
    """
    budgets = len(weights)
    total = np.concatenate([np.zeros((len(scores), 1)), np.cumsum(scores * weights, axis=1)], axis=1)
    weight = np.concatenate([[0.0], np.cumsum(weights)])
    fitted = np.full(scores.shape, -np.inf)
    for start in range(budgets):
        ends = np.arange(start + 1, budgets + 1)
        means = (total[:, ends] - total[:, [start]]) / (weight[ends] - weight[start])
        smallest = np.minimum.accumulate(means[:, ::-1], axis=1)[:, ::-1]  # over ends j ≥ k, for k ≥ start
        fitted[:, start:] = np.maximum(fitted[:, start:], smallest)
    return fitted


def labels_at(scores: np.ndarray, labels: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The fewest labels at which non-decreasing curves reach their targets.

    Linear in the logarithm of the labels between two budgets. 0 if a curve is above its target at its first budget,
    infinite if it stays below the target.

    Args:
        scores: (draws, budgets).
        labels: (budgets,), increasing.
        target: (draws,).
    """
    above = (scores >= target[:, None]).argmax(axis=1)  # the first sufficient budget
    there = scores[:, -1] >= target
    before = np.maximum(above - 1, 0)
    draw = np.arange(len(scores))
    low, high = scores[draw, before], scores[draw, above]
    part = np.divide(target - low, high - low, out=np.ones(len(draw)), where=high > low)
    found = np.exp(np.log(labels[before]) + part * (np.log(labels[above]) - np.log(labels[before])))
    found = np.where(above == 0, np.where(scores[:, 0] > target, 0.0, labels[0]), found)
    return np.where(there, found, np.inf)


def _side_by_side(columns: Sequence[np.ndarray]) -> np.ndarray:
    shortest = min(map(len, columns))
    return np.stack([column[:shortest] for column in columns], axis=1)


def _seed(cell: Cell) -> list[int]:
    """A random seed per cell, because the seed noise of different cells is independent."""
    return [*cell.entry.encode(), int(min(cell.budget, 2**62))]
