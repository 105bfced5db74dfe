"""Calibration of probabilities: are 80 % of the predictions with probability 0.8 right?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..intervals import Spread, spread
from ..predictions import PredictionReader
from ..statistics.cells import Cell, at_largest_budget

BINS = 10


@dataclass(frozen=True)
class ReliabilityBin:
    """Predictions of similar probability: `confidence` is their mean probability, `accuracy` their accuracy.

    `low` and `high` are the lowest and highest probability in the bin; `count` counts predictions over all seeds.
    """

    low: float
    high: float
    confidence: float
    accuracy: float
    count: int


@dataclass(frozen=True)
class Calibration:
    """The calibration of an entry at one budget.

    `bins` have the predictions of all seeds together; all other fields are spreads of one number per run.
    `confidence` minus `accuracy` is the mean overconfidence of the entry.
    """

    entry: str
    budget: float
    seeds: int
    bins: list[ReliabilityBin]
    confidence: Spread
    accuracy: Spread
    error: Spread
    brier: Spread
    log_loss: Spread


def calibration(cell: Cell, reader: PredictionReader) -> Calibration | None:
    """The calibration of an entry's runs at one budget; None without probabilities or single-label classification."""
    if cell.results[0].section("task").get("problem_type") != "single_label_classification":
        return None
    runs = []
    for result in cell.results:
        read, scores = reader.labels(result), reader.scores(result)
        if read is not None and scores is not None and scores.ndim == 2 and scores.shape[1] > read.label.max():
            runs.append((read.label, read.prediction, np.asarray(scores, dtype=np.float64)))
    if not runs:
        return None
    sure = [scores[np.arange(len(label)), prediction] for label, prediction, scores in runs]
    right = [label == prediction for label, prediction, _ in runs]
    return Calibration(
        entry=cell.entry,
        budget=cell.budget,
        seeds=len(runs),
        bins=reliability(np.concatenate(sure), np.concatenate(right)),
        confidence=spread([float(own.mean()) for own in sure]),
        accuracy=spread([float(own.mean()) for own in right]),
        error=spread([calibration_error(reliability(*own)) for own in zip(sure, right, strict=True)]),
        brier=spread([brier(label, scores) for label, _, scores in runs]),
        log_loss=spread([log_loss(label, scores) for label, _, scores in runs]),
    )


def calibrations(cells: Sequence[Cell], reader: PredictionReader) -> list[Calibration]:
    """The calibration of each entry at its largest budget, in the order of `cells`; empty without probabilities."""
    found = [calibration(cell, reader) for cell in at_largest_budget(cells)]
    return [own for own in found if own is not None]


def reliability(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> list[ReliabilityBin]:
    """Bins with about the same number of predictions each, lowest probability first.

    Bins have equal mass, not equal width: a trained network makes most predictions with probabilities near one, so with
    equal widths some bins have only a few predictions and noisy accuracies, and one bin has nearly all of them (Nguyen
    and O'Connor 2015, "Posterior calibration and exploratory analysis for natural language processing models"; Nixon et
    al. 2019, "Measuring calibration in deep learning"). Equal probabilities stay in one bin, so many equal ones reduce
    the number of bins.

    Args:
        confidence: probabilities (predictions,) of the predicted classes.
        right: whether each prediction is right (predictions,).
    """
    inner = np.unique(np.quantile(confidence, np.linspace(0, 1, bins + 1)[1:-1]))
    place = np.searchsorted(inner, confidence)
    found = []
    for own in range(len(inner) + 1):
        inside = place == own
        if inside.any():
            sure = confidence[inside]
            found.append(
                ReliabilityBin(
                    low=float(sure.min()),
                    high=float(sure.max()),
                    confidence=float(sure.mean()),
                    accuracy=float(right[inside].mean()),
                    count=int(inside.sum()),
                )
            )
    return found


def calibration_error(bins: Sequence[ReliabilityBin]) -> float:
    """The mean distance between confidence and accuracy, weighted by the number of predictions per bin.

    Guo et al. (2017), "On Calibration of Modern Neural Networks", equation 3 (expected calibration error, there with
    bins of equal width). It is biased upwards for few rows: a bin of n predictions is off by about 0.4/√n by chance.
    """
    total = sum(own.count for own in bins)
    return sum(own.count / total * abs(own.accuracy - own.confidence) for own in bins)


def brier(label: np.ndarray, scores: np.ndarray) -> float:
    """The squared distance between probabilities and truth, summed over classes, mean over rows: 0 to 2.

    Brier (1950), "Verification of forecasts expressed in terms of probability", equation 2.

    Args:
        label: class ids (rows,).
        scores: probabilities (rows, classes).
    """
    truth = np.zeros_like(scores)
    truth[np.arange(len(label)), label] = 1.0
    return float(np.square(scores - truth).sum(axis=1).mean())


def log_loss(label: np.ndarray, scores: np.ndarray) -> float:
    """The mean negative logarithm of the probability (rows, classes) of the true class (rows,), in nats.

    A probability of 0, to which float32 rounds anything below 1e-45, counts as the smallest normal float32.
    """
    true = scores[np.arange(len(label)), label]
    return float(-np.log(np.maximum(true, np.finfo(np.float32).tiny)).mean())
