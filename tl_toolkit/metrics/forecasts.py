"""Metrics of forecasts, and baseline forecasts without a model.

Arrays are (windows, steps, variables) in the units of the data. NaN in the truth means not observed and is ignored.
"""

from __future__ import annotations

import numpy as np


def last_value(past: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Return the last observed value of each variable, 0 if there is none: (windows, variables).

    Repeating it for every step is the naive forecast, which is optimal for a random walk.

    Args:
        past, observed: values and mask, both (windows, context, variables).
    """
    context = past.shape[1]
    position = (np.arange(context)[:, None] * observed).max(axis=1, keepdims=True)
    found = np.take_along_axis(past, position, axis=1)[:, 0]
    return np.where(observed.any(axis=1), found, 0.0)


def seasonal_naive(past: np.ndarray, observed: np.ndarray, steps: int, seasonality: int) -> np.ndarray:
    """Return for each step the latest observed value at the same position of an earlier season.

    If the context has no such value, the naive forecast (`last_value`) is used, for example if the context is shorter
    than a season or if the seasonality is 1. Returns (windows, steps, variables).
    """
    windows, context, variables = past.shape
    forecast = np.repeat(last_value(past, observed)[:, None], steps, axis=1)
    settled = np.zeros((windows, steps, variables), dtype=bool)
    for season in range(1, (context + steps) // seasonality + 1):
        source = context + np.arange(steps) - season * seasonality
        inside = np.flatnonzero((source >= 0) & (source < context))
        usable = observed[:, source[inside]] & ~settled[:, inside]
        forecast[:, inside] = np.where(usable, past[:, source[inside]], forecast[:, inside])
        settled[:, inside] |= usable
    return forecast


def seasonal_error(values: np.ndarray, seasonality: int) -> np.ndarray:
    """Return the mean absolute change over a season of (steps, variables), the scale of `mase`: (variables,).

    It is NaN if no two values are a season apart, and 0 if changes are only rounding errors.
    """
    changes = np.abs(values[seasonality:] - values[:-seasonality])
    counts = (~np.isnan(changes)).sum(axis=0)
    error = np.divide(np.nansum(changes, axis=0), counts, out=np.full(values.shape[1], np.nan), where=counts > 0)
    largest = np.abs(np.nan_to_num(values)).max(axis=0)
    return np.where(error <= 1e-12 * largest, 0.0, error)


def mae(forecast: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean absolute error."""
    return float(np.nanmean(np.abs(forecast - truth)))


def mse(forecast: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean squared error."""
    return float(np.nanmean(np.square(forecast - truth)))


def smape(forecast: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean of 2 |y - f| / (|y| + |f|), from 0 to 2; terms are 0 if both are 0 (Makridakis 1993)."""
    total = np.abs(truth) + np.abs(forecast)
    error = np.divide(2 * np.abs(forecast - truth), total, out=np.zeros_like(total), where=total != 0)
    return float(np.nanmean(error + 0 * truth))


def mase(forecast: np.ndarray, truth: np.ndarray, scale: np.ndarray) -> float | None:
    """Return the mean absolute scaled error (Hyndman and Koehler 2006).

    Errors are divided by each variable's `seasonal_error` in the training data, so that variables with different units
    can be averaged; 1 is the error of the seasonal-naive forecast on the training data. Constant variables have no such
    scale and are left out; the result is None if all variables are constant.
    """
    usable = np.isfinite(scale) & (scale > 0)
    scaled = np.abs(forecast - truth)[..., usable] / scale[usable]
    return float(np.nanmean(scaled)) if (~np.isnan(scaled)).any() else None
