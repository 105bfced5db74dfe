"""Forecasting: the next values of one or several variables of a series from their past."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..data.series import Series, read_series
from ..data.sources import Source, load_source
from ..errors import UserError
from ..figures.forecast import draw_forecast
from ..metrics import forecasts
from .base import Answers, Task, check_rows
from .split_roles import ROLES, named_splits
from .windows import SeriesProcessing, WindowCollator, cut_by_time, window_starts, within_budget

if TYPE_CHECKING:
    import pandas as pd
    from datasets import Dataset, DatasetDict
    from torch import Tensor
    from transformers import PreTrainedConfig
    from transformers.utils import ModelOutput

    from ..config.arguments import ModelArguments

_DEFAULT_CONTEXT_SEASONS = 4
_DEFAULT_LENGTH = 24


class Forecasting(Task):
    """Forecasts of the `prediction_length` values that follow `context_length` known values, for each variable.

    A row is a window of a series, identified by the position of its first target. All targets of a window lie in its
    part of the series; its context may reach back into the previous part, as in real use. Metrics are in the units of
    the data, next to those of the naive and the seasonal-naive forecast.
    """

    name = "forecasting"
    problem_type = "forecasting"
    auto_class = "AutoModelForTimeSeriesPrediction"
    label_name: ClassVar[str] = "future_values"
    collated_columns: ClassVar[tuple[str, ...]] = ("row",)
    default_metric = "mae"
    metric_names = ("mae", "mse", "rmse", "smape", "mase")

    series: Series
    processing: SeriesProcessing
    has_targets: bool = True
    _loss: str = "mse"

    # Rows

    def prepare(self, seed: int) -> DatasetDict:
        """Read, sort and check the series, and split its windows by time: training first, then validation, then test.

        Splits of the dataset are used as they are; they must follow each other in time. A missing test part is the last
        fifth of the training split, a missing validation part the last `validation_fraction` of the rest; neither
        depends on the seed. A label budget keeps the last windows of the training part, as if the series had started
        later: earlier values are not used, not even for the scaling constants.
        """
        from datasets import DatasetDict

        source = load_source(self.arguments)
        splits = named_splits(list(source.dataset), self.arguments)
        if "test" not in splits and "validation" in splits and not self.arguments.validation_split_name:
            splits["test"] = splits.pop("validation")
        ordered = {role: splits[role] for role in ROLES if role in splits}
        self.series = read_series([source.dataset[name] for name in ordered.values()], *self._columns())
        self._settle_lengths()
        parts = cut_by_time(
            dict(zip(ordered, self.series.starts, strict=True)),
            len(self.series.values),
            self.arguments.validation_fraction,
        )
        windows = {}
        for role in ROLES:
            begin, end = parts[role]
            # The context of training windows must also lie in their part.
            earliest = begin + self.context_length if role == "train" else max(begin, self.context_length)
            starts = window_starts(self.series.values, earliest, end, self.context_length, self.prediction_length)
            if len(starts) == 0:
                seen = f"{self.context_length} past steps (--context_length) and " if role == "train" else ""
                raise UserError(
                    f"The {role} part of the series has {end - begin} time steps, too few for a window of {seen}"
                    f"{self.prediction_length} steps to forecast (--prediction_length). Reduce these lengths, or use a "
                    "longer series."
                )
            windows[role] = within_budget(starts, role, self.arguments)
        first, last = windows["train"][0] - self.context_length, windows["train"][-1] + self.prediction_length
        self.processing = SeriesProcessing.of(
            self.series,
            slice(first, last),
            context_length=self.context_length,
            prediction_length=self.prediction_length,
            seasonality=self.seasonality,
        )
        processing = self.processing
        self._record = self._describe(
            source,
            {"time": processing.time_column, "values": ", ".join(processing.names)},
            {role: len(starts) for role, starts in windows.items()},
            {role: role if role in ordered else "train" for role in ROLES},
            context_length=processing.context_length,
            prediction_length=processing.prediction_length,
            seasonality=processing.seasonality,
            step=self.series.step,
            steps=len(self.series.values),
        )
        return DatasetDict({role: self._rows(starts) for role, starts in windows.items()})

    def _columns(self) -> tuple[str | None, list[str] | None]:
        named = self.arguments.value_columns
        return self.arguments.time_column, [name.strip() for name in named.split(",")] if named else None

    def _settle_lengths(self) -> None:
        """Set the seasonality and lengths from the arguments, or from the time step of the series."""
        arguments = self.arguments
        for flag in ("seasonality", "context_length", "prediction_length"):
            if (value := getattr(arguments, flag)) is not None and value < 1:
                raise UserError(f"--{flag} must be 1 time step or more, but is {value}.")
        self.seasonality = arguments.seasonality or self.series.seasonality
        season = self.seasonality if self.seasonality > 1 else None
        self.prediction_length = arguments.prediction_length or season or _DEFAULT_LENGTH
        self.context_length = arguments.context_length or _DEFAULT_CONTEXT_SEASONS * (season or _DEFAULT_LENGTH)

    def _rows(self, starts: np.ndarray) -> Dataset:
        import pyarrow as pa
        from datasets import Dataset

        return Dataset(pa.table({"row": pa.array(starts.astype(np.int64)), "time": pa.array(self._times(starts))}))

    def _times(self, starts: np.ndarray) -> np.ndarray:
        """The times of positions; the position after the last step is allowed."""
        return np.append(self.series.times, self.series.next_time)[starts]

    # Prediction with a trained model

    def _adopt(self, config: PreTrainedConfig) -> None:
        if self.arguments.prediction_length not in (None, config.prediction_length):
            raise UserError(
                f"--prediction_length is {self.arguments.prediction_length}, but the model forecasts "
                f"{config.prediction_length} time steps: remove it."
            )

    def prepare_for_prediction(self, split: str | None = None, source: Source | None = None) -> Dataset:
        """The windows of one split: all windows with known targets, and the window that starts after its end.

        Uses the columns that the model was trained on and ignores others.
        """
        source = source or load_source(self.arguments)
        rows = source.dataset[self.prediction_split(source, split)]
        processing = self.processing
        time, values = self._columns()
        time = time or (processing.time_column if processing.time_column in rows.column_names else None)
        self.series = read_series([rows], time, values or processing.names)
        if len(self.series.names) != len(processing.names):
            raise UserError(
                f"The model forecasts {len(processing.names)} variables ({', '.join(processing.names)}), but "
                f"--value_columns names {len(self.series.names)}."
            )
        steps = len(self.series.values)
        context = self.context_length = self.arguments.context_length or processing.context_length
        known = window_starts(self.series.values, min(context, steps), steps, context, processing.prediction_length)
        self.has_targets = len(known) > 0
        return self._rows(np.append(known, steps))

    # From rows to model inputs

    def make_processing(self, arguments: ModelArguments, splits: DatasetDict) -> SeriesProcessing:
        """Scaling constants of the training windows, and the other settings that later forecasts need."""
        return self.processing

    def load_processing(self, arguments: ModelArguments) -> SeriesProcessing:
        assert arguments.model_name_or_path is not None
        self.processing = SeriesProcessing.from_pretrained(arguments.model_name_or_path, arguments.model_revision)
        self.prediction_length = self.processing.prediction_length
        return self.processing

    def tokenizer(self, processing: Any) -> None:
        """None: a series consists of numbers."""

    def config_arguments(self, processing: SeriesProcessing) -> dict[str, Any]:
        return {
            "num_input_features": len(processing.names),
            "context_length": processing.context_length,
            "prediction_length": processing.prediction_length,
        }

    def adapt(self, model: Any, processing: SeriesProcessing) -> None:
        """Set the model's scaling constants, which it stores as buffers, to those of this training part.

        Raises:
            UserError: the model stores no scaling constants, or has another number of variables or time steps.
        """
        if not hasattr(model, "set_scaling"):
            raise UserError(
                f"--task forecasting needs a model that stores scaling constants, such as --model_type rnn; "
                f"{type(model).__name__} does not."
            )
        variables, steps = model.config.num_input_features, model.config.prediction_length
        if (variables, steps) != (len(processing.names), processing.prediction_length):
            raise UserError(
                f"The model forecasts {steps} time steps of {variables} variables, but {processing.prediction_length} "
                f"steps of {len(processing.names)} ({', '.join(processing.names)}) are requested: name {variables} "
                f"columns with --value_columns, and set --prediction_length {steps}."
            )
        model.set_scaling(processing.mean, processing.standard_deviation)

    def encode(self, dataset: DatasetDict, processing: Any, max_length: int | None) -> DatasetDict:
        """The windows by position; the collator cuts their values out of the series."""
        from datasets import DatasetDict

        return DatasetDict(
            {
                name: rows.select_columns(["row"]).add_column("length", np.full(len(rows), self.context_length))
                for name, rows in dataset.items()
            }
        )

    def collator(self, processing: SeriesProcessing, model: Any) -> Callable[[list[dict[str, Any]]], dict[str, Any]]:
        self._loss = getattr(model.config, "forecast_loss", "mse")
        lengths = (self.context_length, processing.prediction_length)
        return WindowCollator(self.series.values, *lengths, with_targets=self.has_targets)

    def counted(self, batch: dict[str, Any]) -> Tensor:
        """Every observed future value is a target."""
        return batch[self.label_name].isnan().long() * -100

    def blank(self, row: dict[str, Any]) -> dict[str, Any]:
        """A window without observed values."""
        return {**row, "row": WindowCollator.NOWHERE}

    # Predictions

    def answers(self, outputs: ModelOutput, labels: Tensor | None) -> Tensor:
        """The forecast, (windows, steps, variables)."""
        return outputs.prediction_outputs

    def metrics(self, answers: Answers, labels: np.ndarray, rows: Dataset | None = None) -> dict[str, float]:
        """Errors over all observed values, and with several variables the mean absolute error of each.

        `loss` is the model's, in scaled units; all other metrics are in the units of the data. `mae`, `rmse`, `smape`
        and `mase` are also computed for the naive and the seasonal-naive forecast, which can use at least one season
        before the window even if the model's context is shorter.
        """
        assert rows is not None
        processing = self.processing
        forecast, truth = np.asarray(answers, dtype=np.float64), np.asarray(labels, dtype=np.float64)
        naive, seasonal = self._baselines(np.asarray(rows["row"]))
        scaled = (forecast - truth) / processing.divisor
        result = {"loss": float(np.nanmean(np.abs(scaled) if self._loss == "mae" else np.square(scaled)))}
        scale = np.asarray(processing.seasonal_error, dtype=np.float64)
        for prefix, other in {"": forecast, "naive_": naive, "seasonal_naive_": seasonal}.items():
            result[f"{prefix}mae"] = forecasts.mae(other, truth)
            result[f"{prefix}rmse"] = forecasts.mse(other, truth) ** 0.5
            result[f"{prefix}smape"] = forecasts.smape(other, truth)
            if (mase := forecasts.mase(other, truth, scale)) is not None:
                result[f"{prefix}mase"] = mase
        result["mse"] = forecasts.mse(forecast, truth)
        if len(processing.names) > 1:
            each = zip(processing.names, np.moveaxis(forecast, -1, 0), np.moveaxis(truth, -1, 0), strict=True)
            result |= {f"mae_{name}": forecasts.mae(*own) for name, *own in each if not np.isnan(own[1]).all()}
        return result

    def _baselines(self, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The naive and the seasonal-naive forecast of windows."""
        processing = self.processing
        seen = max(self.context_length, 2 * processing.seasonality)
        past = WindowCollator(self.series.values, seen, processing.prediction_length).past(starts)
        observed = ~np.isnan(past)
        naive = np.repeat(forecasts.last_value(past, observed)[:, None], processing.prediction_length, axis=1)
        return naive, forecasts.seasonal_naive(past, observed, processing.prediction_length, processing.seasonality)

    def predictions(self, answers: Answers, split: Dataset) -> pd.DataFrame:
        """One line per window: `row` and `time` of its first target, `label` (None if not observed) and `prediction`.

        The last two are lists over time steps; with several variables, lists of lists, in the order of the columns.
        """
        import pandas as pd

        forecast = np.asarray(answers, dtype=np.float64)
        check_rows(len(forecast), len(split))
        starts = np.asarray(split["row"], dtype=np.int64)
        truth = WindowCollator(self.series.values, self.context_length, self.prediction_length).targets(starts)
        if forecast.shape[2] == 1:
            forecast, truth = forecast[..., 0], truth[..., 0]
        columns = {"row": starts, "time": self._times(starts)}
        labels = np.where(np.isnan(truth), np.array(None), truth).tolist()
        return pd.DataFrame({**columns, "label": labels, "prediction": forecast.tolist()})

    def details(self, answers: Answers, split: Dataset) -> dict[str, Any]:
        """The divisor of `mase`: the `seasonal_error` of each variable, None if it is not defined."""
        return {"seasonal_error": list(self.processing.seasonal_error)}

    def draw(self, answers: Answers, split: Dataset, folder: Path) -> None:
        """Draw one forecast with its context and the true values, `forecast.png`."""
        place = len(split) // 2
        start = int(split["row"][place])
        shown = slice(max(start - self.context_length, 0), start + self.prediction_length)
        draw_forecast(
            self.series.times[shown],
            self.series.values[shown],
            np.asarray(answers[place]),
            self._baselines(np.asarray([start]))[1][0],
            names=self.processing.names,
            path=folder / "forecast.png",
        )
