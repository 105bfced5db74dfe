"""Blocks of neighbouring rows of a series, because the errors of neighbouring forecasts depend on each other."""

from __future__ import annotations

import numpy as np

LEAST_BLOCKS = 5
LENGTHS = 2.0
"""Block length, in integrated autocorrelation times."""


def time_blocks(scores: np.ndarray) -> np.ndarray:
    """Block ids (rows,) for rows in the order of time, from scores (series, rows).

    A block has twice as many rows as the longest integrated autocorrelation time τ of a series, but there are at least
    five blocks. τ = 1 + 2 Σ ρ_k is summed up to the first lag M ≥ 5 τ (Sokal 1997, "Monte Carlo methods in statistical
    mechanics", section 3). Means of such blocks are nearly independent ("batch means").
    """
    rows = scores.shape[1]
    longest = max((correlation_time(series) for series in scores), default=1.0)
    length = 1 if longest < 1.5 else int(np.ceil(LENGTHS * longest))
    count = max(min(LEAST_BLOCKS, rows), rows // length)
    return np.arange(rows) * count // rows


def correlation_time(series: np.ndarray, window: float = 5.0) -> float:
    """The integrated autocorrelation time of a series (rows,), at least 1."""
    rows = len(series)
    centred = series - series.mean()
    variance = float(centred @ centred)
    if rows < 4 or variance <= 0:
        return 1.0
    spectrum = np.abs(np.fft.rfft(centred, 2 * rows)) ** 2
    correlations = np.fft.irfft(spectrum)[: rows // 2] / variance
    times = 2 * np.cumsum(correlations) - 1
    enough = np.flatnonzero(np.arange(len(times)) >= window * times)
    return max(1.0, float(times[enough[0]] if len(enough) else times.max()))
