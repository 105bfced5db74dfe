"""Windows of a series: which there are in each part, their constants of scale, and how they become a batch."""

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
    """The first step of each part and the one behind its last; parts without a split are cut from the end of training.

    Args:
        starts: where the split of each role that has one begins, training first.
        steps: of the whole series.
        validation_fraction: of what is left for training and validation.
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
    """The positions of first targets from `earliest` on whose targets end before `end`.

    Windows are left out that have no observed value to see or none to forecast.
    """
    observed = np.concatenate([[0], np.cumsum((~np.isnan(values)).any(axis=1))])
    starts = np.arange(earliest, end - prediction + 1)
    seen = observed[starts] - observed[np.maximum(starts - context, 0)]
    known = observed[starts + prediction] - observed[starts] if len(starts) else seen
    return starts[(seen > 0) & (known > 0)]


def within_budget(starts: np.ndarray, role: str, arguments: DataArguments) -> np.ndarray:
    """The windows that a budget allows.

    Of training windows the last ones, so that larger budgets contain smaller ones and the values before them stay
    unseen; of the others, which a budget limits only, as many at equal distances.
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
    """What a forecast has to know beside the weights; saved with the model as `series_config.json`.

    Attributes:
        names, time_column: columns of the data.
        context_length, prediction_length, seasonality: in time steps.
        mean, standard_deviation: of each variable in the training windows, which the model has as buffers, too.
        seasonal_error: the scale of `mase`, from the same values; None for a variable that has none.
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
        """The constants of the steps `seen`; `UserError` if nothing was observed of a variable in them."""
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
        """What scaled values are multiples of: the standard deviation, 1 where a variable never changes."""
        return np.asarray([deviation or 1.0 for deviation in self.standard_deviation])

    def save_pretrained(self, folder: str | Path, **kwargs: Any) -> None:
        write_json(Path(folder) / self.FILE, asdict(self))

    @classmethod
    def from_pretrained(cls, name: str, revision: str | None = None) -> Self:
        """Read it from a model folder, or a repository on the Hub."""
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
    """Cuts windows out of a series and makes them a batch.

    Args:
        values: (steps, variables), NaN where nothing was observed.
        context: steps before the first target of a window; there are NaN before the first step of the series.
        prediction: steps from the first target on; there are NaN behind the last step of the series.
        with_targets: whether batches have `future_values`; there are none to compare with in the future alone.
    """

    NOWHERE = -1
    """The position of a window of which nothing was observed."""

    def __init__(self, values: np.ndarray, context: int, prediction: int, with_targets: bool = True) -> None:
        steps, variables = values.shape
        self.context, self.prediction, self.with_targets = context, prediction, with_targets
        nothing = np.full((context + prediction, variables), np.nan)
        self.padded = np.concatenate([nothing[:context], values, nothing[:prediction], nothing])
        self.nowhere = context + steps + prediction  # where the window of nothing but NaN begins

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """`past_values` (with 0 for what is not observed), `past_observed_mask` and `future_values` (with NaN)."""
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
        first = np.where(starts == self.NOWHERE, self.nowhere, starts) + offset  # the padding moves all by `context`
        return self.padded[first[:, None] + np.arange(length)]
