"""Learning curves: a power law through the budgets of an entry, extrapolated and inverted, with intervals.

score(n) = c − a (n + n₀)^(−α), a ≥ 0 (Figueroa et al. 2012). The offset n₀ lets a curve start flat, near the constant
answer ("POW4" of Viering and Loog 2021). The curve is fitted to each draw of the noise of the entry's means, so that
its intervals need no normal approximation. A few budgets do not determine α and n₀: log α has a normal prior around
log 0.5, and log (1 + n₀ / least budget) one around 0; each draw perturbs them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

EXPONENTS, OFFSETS = np.geomspace(0.05, 2.0, 12), np.linspace(0.0, 4.0, 5)
"""The grid of α, and of log (1 + n₀ / least budget)."""
USUAL, SPREAD, OFFSET_SPREAD = np.log(0.5), 0.7, 2.0
"""Mean and standard deviation of log α (learning curves of text classifiers, Johnson et al. 2018), and that of the
offset."""
PARAMETERS = 3
BELOW, ABOVE, POINTS = 5.0, 10.0, 4
"""An inverted curve reaches this many doublings below and above the measured budgets, in steps of 1/4."""


@dataclass(frozen=True)
class Curves:
    """Curves of one entry: the first is the estimate, the others are draws.

    Attributes:
        labels: (B,) the measured budgets.
        limit: (D,) c, and `gap` (D,) a, for labels in units of `unit`.
        exponent: (D,) α, and `offset` (D,) n₀.
        rest: (D, B) monotone scores at the budgets minus the power law, as far as they are more than noise (the
            positive-part estimator of James and Stein).
    """

    labels: np.ndarray
    unit: float
    limit: np.ndarray
    gap: np.ndarray
    exponent: np.ndarray
    offset: np.ndarray
    rest: np.ndarray

    def at(self, labels: float) -> np.ndarray:
        """The power law's scores (D,) at a number of labels."""
        return self.limit - self.gap * ((labels + self.offset) / self.unit) ** -self.exponent

    def values(self, logs: np.ndarray) -> np.ndarray:
        """Non-decreasing scores (D, points) at log2 labels: through the monotone scores, the power law beyond them."""
        power = np.exp(-self.exponent[:, None] * np.log((2**logs + self.offset[:, None]) / self.unit))
        known = np.log2(self.labels)
        place = np.clip(np.searchsorted(known, logs, side="right") - 1, 0, max(len(known) - 2, 0))
        if len(known) > 1:
            part = np.clip((logs - known[place]) / (known[place + 1] - known[place]), 0, 1)
            rest = self.rest[:, place] * (1 - part) + self.rest[:, place + 1] * part
        else:
            rest = self.rest[:, [0] * len(logs)]
        return np.maximum.accumulate(self.limit[:, None] - self.gap[:, None] * power + rest, axis=1)

    def labels_for(self, targets: np.ndarray) -> np.ndarray:
        """The least labels (T, D) at which each curve reaches its targets (T, D); infinite if out of reach."""
        first, last = np.log2(self.labels[0]) - BELOW, np.log2(self.labels[-1]) + ABOVE
        logs = np.linspace(first, last, int((last - first) * POINTS) + 1)
        values = self.values(logs)
        found = np.empty(targets.shape)
        index = np.arange(len(values))
        for target, out in zip(targets, found, strict=True):
            above = (values < target[:, None]).sum(axis=1)  # the first point that suffices
            before, after = np.clip(above - 1, 0, None), np.clip(above, None, len(logs) - 1)
            low, high = values[index, before], values[index, after]
            part = np.divide(target - low, high - low, out=np.ones(len(index)), where=high > low)
            out[:] = 2 ** (logs[before] + np.clip(part, 0, 1) * (logs[after] - logs[before]))
            out[above == len(logs)] = np.inf
        return found


def fit_curves(labels: np.ndarray, scores: np.ndarray, variance: np.ndarray, highest: float | None) -> Curves:
    """Power laws through scores (D, B) at labels (B,), by weighted least squares.

    Args:
        variance: (B,) of the noise of the scores.
        highest: the greatest possible score, which c does not exceed.
    """
    weights = 1 / np.maximum(variance, 1e-12)
    unit = float(np.exp(np.log(labels).mean()))
    alphas, shifts = (part.ravel() for part in np.meshgrid(np.log(EXPONENTS), OFFSETS, indexing="ij"))
    offsets = (np.exp(shifts) - 1) * labels[0]
    expected, shifted = np.full((len(scores), 1), USUAL), np.zeros((len(scores), 1))
    place = np.arange(1, len(scores))[:, None] * np.array([0.7548776662466927, 0.5698402909980532]) % 1
    expected[1:] += SPREAD * ndtri(place[:, :1])  # a low-discrepancy sequence (Roberts)
    shifted[1:] += OFFSET_SPREAD * ndtri(place[:, 1:])
    basis = ((labels + offsets[:, None]) / unit) ** -np.exp(alphas)[:, None]
    square = _least_squares(basis, scores, weights, highest)[2]
    square += ((alphas - expected) / SPREAD) ** 2 + ((shifts - shifted) / OFFSET_SPREAD) ** 2
    best, index, step = square.argmin(axis=1), np.arange(len(scores)), len(OFFSETS)
    middle = np.clip(best, step, len(alphas) - step - 1)
    before, here, after = (square[index, middle + way] for way in (-step, 0, step))
    bend = np.maximum(before - 2 * here + after, 1e-300)  # α: the least of the parabola through its neighbours
    spacing = alphas[step] - alphas[0]
    exponent = np.exp(alphas[middle] + np.clip((before - after) / (2 * bend), -1, 1) * spacing)
    offset = offsets[best]
    basis = ((labels + offset[:, None, None]) / unit) ** -exponent[:, None, None]
    limit, gap, _ = _least_squares(basis, scores, weights, highest)
    limit, gap = limit[:, 0], gap[:, 0]
    law = limit[:, None] - gap[:, None] * basis[:, 0]
    rest = isotonic(scores, weights) - law
    misfit = float(rest[0] ** 2 @ weights)
    believed = max(0.0, 1 - (len(labels) - PARAMETERS) / misfit) if misfit > 0 and len(labels) > PARAMETERS else 1.0
    return Curves(labels, unit, limit, gap, exponent, offset, believed * rest)


def _least_squares(
    basis: np.ndarray, scores: np.ndarray, weights: np.ndarray, highest: float | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """c ≤ highest and a ≥ 0 of the curves c − a basis, and their weighted squares: (…, A, B) and (D, B) -> (D, A)."""
    w, wf, wff = weights.sum(), basis @ weights, basis**2 @ weights
    wy, wyy = (scores @ weights)[:, None], (scores**2 @ weights)[:, None]
    wfy = scores @ (basis * weights).T if basis.ndim == 2 else ((basis * weights) @ scores[:, :, None])[..., 0]
    gap = np.zeros(wfy.shape)
    if len(weights) > 1:
        gap = np.maximum((wf * wy / w - wfy) / np.maximum(wff - wf**2 / w, 1e-300), 0)
    limit = (wy + gap * wf) / w
    if highest is not None:
        over = limit > highest
        limit = np.where(over, highest, limit)
        gap = np.where(over, np.maximum((highest * wf - wfy) / wff, 0), gap)
    return limit, gap, wyy + limit**2 * w + gap**2 * wff - 2 * limit * wy + 2 * gap * wfy - 2 * limit * gap * wf


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


def interval(values: np.ndarray, level: float) -> tuple[float, float]:
    """The percentile interval of draws, which may be infinite."""
    low, high = np.quantile(values, [level / 2, 1 - level / 2], method="nearest")
    return float(low), float(high)
