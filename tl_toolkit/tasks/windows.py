"""Windows of a series: the windows of each part, scaling constants, and the collator."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..atomic_files import write_json
from ..errors import UserError
from ..metrics.forecasts import seasonal_error
from .split_roles import ROLES

if TYPE_CHECKING:
    from ..config.arguments import DataArguments
    from ..data.series import Series

_TEST_FRACTION = 0.2


def cut_by_time(starts: Mapping[str, int], steps: int, validation_fraction: float) -> dict[str, tuple[int, int]]:
    """The half-open range of steps of each part; parts without a split are cut from the end of the training split.

    Args:
        starts: the first step of each role that has a split, training first.
        steps: number of steps of the whole series.
        validation_fraction: the fraction of the training split, without the test part, that becomes validation.
    """
    begins = list(starts.values())
    bounds = dict(zip(starts, zip(begins, [*begins[1:], steps], strict=True), strict=True))
    for role, fraction in (("test", _TEST_FRACTION), ("validation", validation_fraction)):
        if role not in bounds:
            begin, end = bounds["train"]
            cut = end - round(fraction * (end - begin))
            bounds["train"], bounds[role] = (begin, cut), (cut, end)
    return {role: bounds[role] for role in ROLES}


def window_starts(values: np.ndarray, earliest: int, end: int, context: int, prediction: int) -> np.ndarray:
    """The positions of first targets, from `earliest`, of all windows whose targets end before `end`.

    Windows without an observed value in the context or in the targets are left out.
    """
    observed = np.concatenate([[0], np.cumsum((~np.isnan(values)).any(axis=1))])
    starts = np.arange(earliest, end - prediction + 1)
    seen = observed[starts] - observed[np.maximum(starts - context, 0)]
    known = observed[starts + prediction] - observed[starts] if len(starts) else seen
    return starts[(seen > 0) & (known > 0)]


def within_budget(starts: np.ndarray, role: str, arguments: DataArguments) -> np.ndarray:
    """The windows that a budget allows.

    For training, the last windows, so that larger budgets contain smaller ones and earlier values stay unused. For
    validation and test, at most that many windows at equal distances.
    """
    flag = {"train": "label_budget", "validation": "validation_budget", "test": "test_budget"}[role]
    budget = getattr(arguments, flag)
    if budget is None:
        return starts
    if budget < 1 or (role == "train" and budget > len(starts)):
        raise UserError(
            f"--{flag} is {budget:,}, but the {role} part has {len(starts):,} windows: set it from 1 to "
            f"{len(starts):,}, or remove it to use all windows."
        )
    if role == "train":
        return starts[-budget:]
    places = np.unique(np.linspace(0, len(starts) - 1, min(budget, len(starts))).round().astype(np.int64))
    return starts[places]


@dataclass(frozen=True)
class SeriesProcessing:
    """The settings that a forecast needs in addition to the weights; saved with the model as `series_config.json`.

    Attributes:
        names, time_column: columns of the data.
        context_length, prediction_length, seasonality: in time steps.
        mean, standard_deviation: of each variable in the training windows; the model also stores them as buffers.
        seasonal_error: the scale of `mase` of each variable, from the same values; None if it is not defined.
    """

    names: tuple[str, ...]
    time_column: str | None
    context_length: int
    prediction_length: int
    seasonality: int
    mean: tuple[float, ...]
    standard_deviation: tuple[float, ...]
    seasonal_error: tuple[float | None, ...]

    FILE = "series_config.json"

    @classmethod
    def of(cls, series: Series, seen: slice, *, seasonality: int, **lengths: int) -> Self:
        """The constants of the steps `seen`; `UserError` if a variable has no observed values in them."""
        values = series.values[seen]
        if (empty := np.isnan(values).all(axis=0)).any():
            raise UserError(
                f"The column {series.names[int(empty.argmax())]!r} has no values in the training windows, so there is "
                "nothing to learn: leave it out of --value_columns."
            )
        errors = seasonal_error(values, seasonality)
        return cls(
            names=series.names,
            time_column=series.time_column,
            **lengths,
            seasonality=seasonality,
            mean=tuple(np.nanmean(values, axis=0).tolist()),
            standard_deviation=tuple(np.nanstd(values, axis=0).tolist()),
            seasonal_error=tuple(float(error) if np.isfinite(error) else None for error in errors),
        )

    @property
    def divisor(self) -> np.ndarray:
        """The divisor of scaled values: the standard deviation, or 1 for a constant variable."""
        return np.asarray([deviation or 1.0 for deviation in self.standard_deviation])

    def save_pretrained(self, folder: str | Path, **kwargs: Any) -> None:
        write_json(Path(folder) / self.FILE, asdict(self))

    @classmethod
    def from_pretrained(cls, name: str, revision: str | None = None) -> Self:
        """Load the settings from a model folder or a Hub repository."""
        from transformers.utils import cached_file

        try:
            path = cached_file(name, cls.FILE, revision=revision)
            fields: dict[str, Any] = json.loads(Path(str(path)).read_text(encoding="utf-8"))
            fields |= {key: tuple(value) for key, value in fields.items() if isinstance(value, list)}
            return cls(**fields)
        except (OSError, ValueError, TypeError) as error:
            raise UserError(
                f"The model {name!r} has no readable {cls.FILE}, which `tl-toolkit finetune` saves with the weights of "
                "a forecasting model: the column names and lengths are unknown."
            ) from error


class WindowCollator:
    """Cuts windows out of a series and builds batches from them.

    Args:
        values: (steps, variables), NaN if not observed.
        context: number of steps before the first target; steps before the series are NaN.
        prediction: number of target steps; steps after the series are NaN.
        with_targets: whether batches have `future_values`; False if no targets are known.
    """

    NOWHERE = -1
    """The position of a window without observed values."""

    def __init__(self, values: np.ndarray, context: int, prediction: int, with_targets: bool = True) -> None:
        steps, variables = values.shape
        self.context, self.prediction, self.with_targets = context, prediction, with_targets
        nothing = np.full((context + prediction, variables), np.nan)
        self.padded = np.concatenate([nothing[:context], values, nothing[:prediction], nothing])
        self.nowhere = context + steps + prediction  # the start of a window of NaN only

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """`past_values` (0 if not observed), `past_observed_mask` and `future_values` (NaN if not observed)."""
        import torch

        starts = np.asarray([row["row"] for row in rows], dtype=np.int64)
        past = torch.from_numpy(self.past(starts)).float()
        batch = {"past_values": past.nan_to_num(nan=0.0), "past_observed_mask": ~past.isnan()}
        if self.with_targets:
            batch["future_values"] = torch.from_numpy(self.targets(starts)).float()
        return batch

    def past(self, starts: np.ndarray) -> np.ndarray:
        """The values before each position: (windows, context, variables)."""
        return self._cut(starts, 0, self.context)

    def targets(self, starts: np.ndarray) -> np.ndarray:
        """The values from each position on: (windows, prediction, variables)."""
        return self._cut(starts, self.context, self.prediction)

    def _cut(self, starts: np.ndarray, offset: int, length: int) -> np.ndarray:
        first = np.where(starts == self.NOWHERE, self.nowhere, starts) + offset  # padding shifts all by `context`
        return self.padded[first[:, None] + np.arange(length)]
