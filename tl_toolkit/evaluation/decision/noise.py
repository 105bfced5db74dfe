"""The joint noise of all cell means, as draws; every interval of a report is a quantile of the same draws.

A mean differs from the truth by the noise of the rows, normal (Student with few rows) and correlated between cells, and
by the noise of its own runs, Student with the moderated variance and its degrees of freedom. The noise of a contrast is
the sum (the Behrens–Fisher distribution and its generalisations; simultaneous quantiles as in Hothorn, Bretz and
Westfall 2008). The draws are a Latin hypercube with a fixed seed, so that the same records give the same report.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.special import chdtri, ndtri, stdtrit

from .variance import Components

DRAWS = 4096


@lru_cache(maxsize=8)
def _places(columns: int, stream: int) -> np.ndarray:
    """Random permutations (DRAWS, columns) of 0 … DRAWS − 1."""
    generator = np.random.default_rng([stream, 20260])
    return generator.permuted(np.tile(np.arange(DRAWS)[:, None], columns), axis=0)


@lru_cache(maxsize=2)
def _middles() -> np.ndarray:
    return (np.arange(DRAWS) + 0.5) / DRAWS


@lru_cache(maxsize=64)
def _student(freedom: float) -> np.ndarray:
    """Quantiles (DRAWS,) of Student's t, which is normal without a limit."""
    half = ndtri(_middles()[DRAWS // 2 :]) if np.isinf(freedom) else stdtrit(freedom, _middles()[DRAWS // 2 :])
    return np.concatenate([-half[::-1], half])


class Noise:
    """Draws of the noise of cell means; `draws` (DRAWS, C)."""

    def __init__(self, parts: Components) -> None:
        self.parts = parts
        size = len(parts.means)
        values, vectors = np.linalg.eigh(parts.rows)
        root = vectors * np.sqrt(np.maximum(values, 0))
        draws = _student(np.inf)[_places(size, 1)] @ root.T
        if parts.row_freedom < 200:
            chance = chdtri(parts.row_freedom, _middles()) / parts.row_freedom
            draws /= np.sqrt(chance)[_places(1, 2)]
        freedom = np.where(parts.run_freedom > 200, np.inf, np.round(parts.run_freedom, 1))
        places = _places(size, 3)
        for value, pooled in {*zip(freedom.tolist(), parts.pooled.tolist(), strict=True)}:
            own = np.flatnonzero((freedom == value) & (parts.pooled == pooled) & (parts.runs > 0))
            alone = np.inf if pooled else max(value, 0.5)
            noise = _student(alone)[places[:, own]] * np.sqrt(parts.runs[own])
            if pooled and np.isfinite(value):  # one estimate of their variance: one error of it in each draw
                noise /= np.sqrt(chdtri(value, _middles()) / value)[_places(1, 4)]
            draws[:, own] += noise
        self.draws = draws
        # Tails beyond those of the normal distribution, as a factor of the variance, to weigh contrasts alike.
        limit = np.where(np.isinf(freedom), 1e9, np.maximum(freedom, 0.5))
        self._tails = (stdtrit(limit, 0.975) / ndtri(0.975)) ** 2
        self._row_tails = (stdtrit(parts.row_freedom, 0.975) / ndtri(0.975)) ** 2

    def scale(self, contrasts: np.ndarray) -> np.ndarray:
        """About the half-length of 95 % intervals / 1.96, of contrasts (K, C) -> (K,)."""
        rows = ((contrasts @ self.parts.rows) * contrasts).sum(axis=1) * self._row_tails
        return np.sqrt(np.maximum(rows, 0) + contrasts**2 @ (self.parts.runs * self._tails))


class Family:
    """Contrasts (K, C) of cell means with one error rate (max-t)."""

    def __init__(self, noise: Noise, contrasts: np.ndarray) -> None:
        self.estimates = contrasts @ noise.parts.means
        # If nothing varies, one more row that shows no difference would: its variance is the least that is believed.
        least = np.abs(self.estimates) / (noise.parts.units + 1)
        self.scales = np.maximum(np.maximum(noise.scale(contrasts), least), 1e-12)
        self.noise = noise.draws @ contrasts.T  # (DRAWS, K)

    def worst(self, sided: int = 2) -> np.ndarray:
        """The largest standardised noise of each draw; one-sided with `sided=1`."""
        standard = self.noise / self.scales
        if sided == 2:
            np.abs(standard, out=standard)
        return standard.max(axis=1) if standard.shape[1] else np.zeros(len(standard))

    def half_lengths(self, worst: np.ndarray, level: float) -> np.ndarray:
        """Half-lengths (K,) of simultaneous intervals with error rate `level`."""
        return quantile(worst, 1 - level) * self.scales

    def adjusted(self, worst: np.ndarray) -> np.ndarray:
        """Adjusted p-values (K,) of the estimates, two-sided if `worst` is."""
        ordered = np.sort(worst)
        above = len(ordered) - np.searchsorted(ordered, np.abs(self.estimates) / self.scales, side="left")
        return np.where(self.estimates == 0, 1.0, (above + 1) / (len(ordered) + 1))


def quantile(values: np.ndarray, part: float) -> np.ndarray:
    """The quantile over draws (DRAWS, …) -> (…)."""
    place = min(int(np.ceil(part * (len(values) + 1))) - 1, len(values) - 1)
    return np.partition(values, place, axis=0)[place]
