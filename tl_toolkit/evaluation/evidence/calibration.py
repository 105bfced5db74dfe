"""Calibration of probabilities: are 80 % of the predictions with probability 0.8 right? With intervals over rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..intervals import Estimate, mean_over_rows, ratios, spread
from ..predictions import PredictionReader
from ..statistics.cells import Cell, at_largest_budget

BINS = 10
FEWEST = 10
"""The least number of rows of a bin of the calibration error."""


@dataclass(frozen=True)
class ReliabilityBin:
    """Predictions of similar probability: `confidence` is their mean probability, `accuracy` their accuracy.

    `low` and `high` are the ends of the 95 % interval of the accuracy; `count` counts predictions over all seeds.
    """

    confidence: float
    accuracy: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Calibration:
    """The calibration of an entry at one budget.

    `bins` have the predictions of all seeds together; all other fields are means of one number per run. `error` is the
    root mean square calibration error, and `overconfidence` the mean probability minus the accuracy.
    """

    entry: str
    budget: float
    seeds: int
    bins: list[ReliabilityBin]
    accuracy: Estimate
    overconfidence: Estimate
    error: Estimate
    brier: Estimate
    log_loss: Estimate


def calibration(cell: Cell, reader: PredictionReader) -> Calibration | None:
    """The calibration of an entry's runs at one budget; None without probabilities or single-label classification."""
    if cell.results[0].section("task").get("problem_type") != "single_label_classification":
        return None
    runs = []
    for result in cell.results:
        read, scores = reader.labels(result), reader.scores(result)
        if read is not None and scores is not None and scores.ndim == 2 and scores.shape[1] > read.label.max():
            runs.append((read, np.asarray(scores, dtype=np.float64)))
    runs = [run for run in runs if len(run[1]) == len(runs[0][1])]
    if not runs:
        return None
    group = runs[0][0].group
    sure = np.stack([scores[np.arange(len(scores)), read.prediction] for read, scores in runs])
    right = np.stack([read.label == read.prediction for read, _ in runs])
    rows = np.arange(sure.shape[1]) if group is None else group
    at_least_zero = (0.0, np.inf)
    return Calibration(
        entry=cell.entry,
        budget=cell.budget,
        seeds=len(runs),
        bins=reliability(sure.ravel(), right.ravel(), rows=np.tile(rows, len(runs))),
        accuracy=mean_over_rows(right.astype(float), group, (0.0, 1.0)),
        overconfidence=mean_over_rows(sure - right, group),
        error=root_error(sure, right, rows),
        brier=mean_over_rows(np.stack([brier(read.label, own) for read, own in runs]), group, at_least_zero),
        log_loss=mean_over_rows(np.stack([log_loss(read.label, own) for read, own in runs]), group, at_least_zero),
    )


def calibrations(cells: Sequence[Cell], reader: PredictionReader) -> list[Calibration]:
    """The calibration of each entry at its largest budget, in the order of `cells`; empty without probabilities."""
    found = [calibration(cell, reader) for cell in at_largest_budget(cells)]
    return [own for own in found if own is not None]


def reliability(
    confidence: np.ndarray, right: np.ndarray, bins: int = BINS, rows: np.ndarray | None = None
) -> list[ReliabilityBin]:
    """Bins with about the same number of predictions each, lowest probability first.

    Bins have equal mass, not equal width: a trained network makes most predictions with probabilities near one, so with
    equal widths some bins have only a few predictions and noisy accuracies, and one bin has nearly all of them (Nguyen
    and O'Connor 2015, "Posterior calibration and exploratory analysis for natural language processing models"; Nixon et
    al. 2019, "Measuring calibration in deep learning"). Equal probabilities stay in one bin, so many equal ones reduce
    the number of bins.

    Args:
        confidence: probabilities (predictions,) of the predicted classes.
        right: whether each prediction is right (predictions,).
        rows: (predictions,) equal numbers for predictions of one row or cluster; None if all are independent.
    """
    from scipy.sparse import csr_array

    place = _places(confidence, bins)
    unit = np.arange(len(place)) if rows is None else rows

    def summed(values: np.ndarray) -> csr_array:
        return csr_array((values.astype(float), (unit, place)))

    whole = summed(np.ones(len(place)))
    part = csr_array(summed(right), shape=whole.shape)
    found = []
    for own, accuracy in enumerate(ratios([part], [whole])):
        if accuracy is not None:
            sure = confidence[place == own]
            found.append(
                ReliabilityBin(float(sure.mean()), accuracy.mean, accuracy.low, accuracy.high, count=len(sure))
            )
    return found


def _places(confidence: np.ndarray, bins: int) -> np.ndarray:
    """The bin (predictions,) of each prediction."""
    inner = np.unique(np.quantile(confidence, np.linspace(0, 1, bins + 1)[1:-1]))
    return np.searchsorted(inner, confidence)


def root_error(confidence: np.ndarray, right: np.ndarray, rows: np.ndarray) -> Estimate:
    """The root mean square calibration error over equal-mass bins, without the bias of few rows, with an interval.

    Kumar, Liang and Ma (2019), "Verified uncertainty calibration", section 4: Σ w (d² − s²), with a bin's part w of the
    rows, its accuracy minus confidence d, and the variance s² of d. Its own variance is 2 Σ w² s⁴ + 4 Σ w² s² δ², with
    the true δ; the interval has all θ = Σ w δ² that are within 1.96 of their standard errors, the second term being
    proportional to θ. That of the mean over runs is that of equal runs, since runs have the same rows.

    Args:
        confidence: probabilities (runs, rows) of the predicted classes.
        right: whether predictions are right (runs, rows).
        rows: (rows,) equal numbers for rows of a cluster.
    """
    bins = max(1, min(BINS, len(np.unique(rows)) // FEWEST))
    estimates, fixed, growing = np.array(
        [_squared_error(*own, rows, bins) for own in zip(confidence, right, strict=True)]
    ).T
    value, spare, slope = estimates.mean(), _Z**2 * fixed.mean(), _Z**2 * growing.mean()
    centre = value + slope / 2
    half = np.sqrt(max(centre**2 - value**2 + spare, 0.0))
    mean = spread(np.sqrt(np.maximum(estimates, 0)).tolist())
    ends = (float(np.sqrt(max(end, 0.0))) for end in (centre - half, centre + half))
    return Estimate(float(np.sqrt(max(value, 0.0))), mean.deviation, mean.count, *ends)


_Z = 1.96


def _squared_error(
    confidence: np.ndarray, right: np.ndarray, rows: np.ndarray, bins: int
) -> tuple[float, float, float]:
    """Kumar's estimate for one run, 2 Σ w² s⁴, and 4 Σ w² s² d² / Σ w d²."""
    place, off = _places(confidence, bins), right - confidence
    weight = np.bincount(place) / len(place)
    place, weight = np.unique(place, return_inverse=True)[1], weight[weight > 0]
    count = np.bincount(place)
    distance = np.bincount(place, off) / count
    code = place * (int(rows.max()) + 1) + rows
    units, index = np.unique(code, return_inverse=True)
    sums = np.bincount(index, (off - distance[place]) / count[place])
    of_bin = units // (int(rows.max()) + 1)
    number = np.bincount(of_bin)
    variance = np.bincount(of_bin, sums**2) * number / np.maximum(number - 1, 1)
    square = float(weight @ distance**2)
    growing = 4 * float(weight**2 * variance @ distance**2) / square if square > 0 else 0.0
    return square - float(weight @ variance), 2 * float(weight**2 @ variance**2), growing


def calibration_error(bins: Sequence[ReliabilityBin]) -> float:
    """The mean distance between confidence and accuracy, weighted by the number of predictions per bin.

    Guo et al. (2017), "On Calibration of Modern Neural Networks", equation 3 (expected calibration error, there with
    bins of equal width). It is biased upwards for few rows: a bin of n predictions is off by about 0.4/√n by chance.
    """
    total = sum(own.count for own in bins)
    return sum(own.count / total * abs(own.accuracy - own.confidence) for own in bins)


def brier(label: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The squared distance (rows,) between probabilities and truth, summed over classes: 0 to 2.

    Brier (1950), "Verification of forecasts expressed in terms of probability", equation 2.

    Args:
        label: class ids (rows,).
        scores: probabilities (rows, classes).
    """
    truth = np.zeros_like(scores)
    truth[np.arange(len(label)), label] = 1.0
    return np.square(scores - truth).sum(axis=1)


def log_loss(label: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The negative logarithm (rows,) of the probability (rows, classes) of the true class (rows,), in nats.

    A probability of 0, to which float32 rounds anything below 1e-45, counts as the smallest normal float32.
    """
    true = scores[np.arange(len(label)), label]
    return -np.log(np.maximum(true, np.finfo(np.float32).tiny))
