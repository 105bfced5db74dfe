"""How forecasts are judged, and the forecasts that need no model, which every one is judged beside.

Arrays are (windows, steps, variables) in the units of the data; NaN in the truth is what was not observed and counts
nowhere.
"""

from __future__ import annotations

import numpy as np


def last_value(past: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """The last observed value of each variable, 0 where none is: (windows, context, variables) -> (windows, variables).

    Forecasting it for every step is the naive forecast, the best there is of a random walk.
    """
    context = past.shape[1]
    position = (np.arange(context)[:, None] * observed).max(axis=1, keepdims=True)
    found = np.take_along_axis(past, position, axis=1)[:, 0]
    return np.where(observed.any(axis=1), found, 0.0)


def seasonal_naive(past: np.ndarray, observed: np.ndarray, steps: int, seasonality: int) -> np.ndarray:
    """What was observed at the same place of the season before, as far back as the context goes.

    Where the context holds no such value it is the naive forecast (`last_value`): everywhere with a context shorter
    than a season, and with a seasonality of 1. Returns (windows, steps, variables).
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
    """The mean absolute change over a season within (steps, variables), the scale of `mase`: (variables,).

    NaN where no two values are a season apart, 0 where they differ by no more than rounding.
    """
    changes = np.abs(values[seasonality:] - values[:-seasonality])
    counts = (~np.isnan(changes)).sum(axis=0)
    error = np.divide(np.nansum(changes, axis=0), counts, out=np.full(values.shape[1], np.nan), where=counts > 0)
    largest = np.abs(np.nan_to_num(values)).max(axis=0)
    return np.where(error <= 1e-12 * largest, 0.0, error)


def mae(forecast: np.ndarray, truth: np.ndarray) -> float:
    """The mean absolute error."""
    return float(np.nanmean(np.abs(forecast - truth)))


def mse(forecast: np.ndarray, truth: np.ndarray) -> float:
    """The mean squared error."""
    return float(np.nanmean(np.square(forecast - truth)))


def smape(forecast: np.ndarray, truth: np.ndarray) -> float:
    """The mean of 2 |y - f| / (|y| + |f|), from 0 to 2, 0 where both are 0 (Makridakis 1993)."""
    total = np.abs(truth) + np.abs(forecast)
    error = np.divide(2 * np.abs(forecast - truth), total, out=np.zeros_like(total), where=total != 0)
    return float(np.nanmean(error + 0 * truth))


def mase(forecast: np.ndarray, truth: np.ndarray, scale: np.ndarray) -> float | None:
    """The mean absolute scaled error of Hyndman and Koehler 2006.

    Errors are divided by each variable's `seasonal_error` in the training part, so that variables of any unit can be
    averaged, and 1 is what the seasonal-naive forecast of one season reached there. Variables without such a scale,
    which are constant, are left out; None where all are.
    """
    usable = np.isfinite(scale) & (scale > 0)
    scaled = np.abs(forecast - truth)[..., usable] / scale[usable]
    return float(np.nanmean(scaled)) if (~np.isnan(scaled)).any() else None
