"""What comes next in a series: the next values of one or several variables from their past."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..data.series import Series, read_series
from ..data.sources import load_source
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
    """Forecasts of the `prediction_length` values that follow `context_length` known ones, for each variable.

    A row is a window of a series: it is named by the position of its first target. The targets of a window lie in its
    part of the series altogether; what the model sees of a window may reach back into the part before, as it could in
    use. Everything is judged in the units of the data, beside the naive and the seasonal-naive forecast.
    """

    name = "forecasting"
    problem_type = "forecasting"
    auto_class = "AutoModelForTimeSeriesPrediction"
    label_name: ClassVar[str] = "future_values"
    collated_columns: ClassVar[tuple[str, ...]] = ("row",)
    main_metric = "mae"
    greater_is_better = False

    series: Series
    processing: SeriesProcessing
    has_targets: bool = True
    _loss: str = "mse"

    # Rows

    def prepare(self, seed: int) -> DatasetDict:
        """Read, sort and check the series, and part its windows by time: training first, then validation, then test.

        Splits of the dataset are taken as they are, if they follow each other in time. Otherwise the last fifth of the
        series is the test part, and the last `validation_fraction` of the rest the validation part; neither depends on
        the seed. A label budget keeps the last windows of the training part, as if the series had begun later: what is
        before them is not looked at, for the constants of scale neither.
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
            # Training windows have their context in the part, too.
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
        made = self.processing
        self._record = self._describe(
            source,
            {"time": made.time_column, "values": ", ".join(made.names)},
            {role: len(starts) for role, starts in windows.items()},
            {role: role if role in ordered else "train" for role in ROLES},
            context_length=made.context_length,
            prediction_length=made.prediction_length,
            seasonality=made.seasonality,
            step=self.series.step,
            steps=len(self.series.values),
        )
        return DatasetDict({role: self._rows(starts) for role, starts in windows.items()})

    def _columns(self) -> tuple[str | None, list[str] | None]:
        named = self.arguments.value_columns
        return self.arguments.time_column, [name.strip() for name in named.split(",")] if named else None

    def _settle_lengths(self) -> None:
        """Take season and lengths from the arguments, or from the time step of the series."""
        asked = self.arguments
        for flag in ("seasonality", "context_length", "prediction_length"):
            if (value := getattr(asked, flag)) is not None and value < 1:
                raise UserError(f"--{flag} must be 1 time step or more, but is {value}.")
        self.seasonality = asked.seasonality or self.series.seasonality
        season = self.seasonality if self.seasonality > 1 else None
        self.prediction_length = asked.prediction_length or season or _DEFAULT_LENGTH
        self.context_length = asked.context_length or _DEFAULT_CONTEXT_SEASONS * (season or _DEFAULT_LENGTH)

    def _rows(self, starts: np.ndarray) -> Dataset:
        import pyarrow as pa
        from datasets import Dataset

        return Dataset(pa.table({"row": pa.array(starts.astype(np.int64)), "time": pa.array(self._times(starts))}))

    def _times(self, starts: np.ndarray) -> np.ndarray:
        """The time of each position, and of the one behind the last."""
        return np.append(self.series.times, self.series.next_time)[starts]

    # Prediction with a trained model

    def _adopt(self, config: PreTrainedConfig) -> None:
        if self.arguments.prediction_length not in (None, config.prediction_length):
            raise UserError(
                f"--prediction_length is {self.arguments.prediction_length}, but the model forecasts "
                f"{config.prediction_length} time steps: remove it."
            )

    def prepare_for_prediction(self, split: str | None = None) -> Dataset:
        """The windows of one split: every one whose targets are known, and the one that begins behind its end.

        Columns are those the model was trained on, whatever others there are.
        """
        source = load_source(self.arguments)
        rows = source.dataset[self._prediction_split(source, split)]
        made = self.processing
        time, values = self._columns()
        time = time or (made.time_column if made.time_column in rows.column_names else None)
        self.series = read_series([rows], time, values or made.names)
        if len(self.series.names) != len(made.names):
            raise UserError(
                f"The model forecasts {len(made.names)} variables ({', '.join(made.names)}), but --value_columns names "
                f"{len(self.series.names)}."
            )
        steps = len(self.series.values)
        context = self.context_length = self.arguments.context_length or made.context_length
        known = window_starts(self.series.values, min(context, steps), steps, context, made.prediction_length)
        self.has_targets = len(known) > 0
        return self._rows(np.append(known, steps))

    # From rows to model inputs

    def make_processing(self, arguments: ModelArguments, splits: DatasetDict) -> SeriesProcessing:
        """Constants of scale, of the training windows alone, and what else a later forecast has to know."""
        return self.processing

    def load_processing(self, arguments: ModelArguments) -> SeriesProcessing:
        assert arguments.model_name_or_path is not None
        self.processing = SeriesProcessing.from_pretrained(arguments.model_name_or_path, arguments.model_revision)
        self.prediction_length = self.processing.prediction_length
        return self.processing

    def tokenizer(self, processing: Any) -> None:
        """There is none: a series is made of numbers already."""

    def config_arguments(self, processing: SeriesProcessing) -> dict[str, Any]:
        return {
            "num_input_features": len(processing.names),
            "context_length": processing.context_length,
            "prediction_length": processing.prediction_length,
        }

    def adapt(self, model: Any, processing: SeriesProcessing) -> None:
        """Give the model the constants of scale of this training part; it keeps them as buffers.

        Raises:
            UserError: a model that keeps none, or of another number of variables or time steps.
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
        """The windows by their positions: their values are cut out of the series when a batch is made."""
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
        """A window of which nothing was observed."""
        return {**row, "row": WindowCollator.NOWHERE}

    # Answers

    def answers(self, outputs: ModelOutput, labels: Tensor | None) -> Tensor:
        """The forecast, (windows, steps, variables)."""
        return outputs.prediction_outputs

    def metrics(self, answers: Answers, labels: np.ndarray, rows: Dataset | None = None) -> dict[str, float]:
        """Errors over all observed values, and for several variables the mean absolute error of each.

        `loss` is that of the model, in scaled units; everything else is in those of the data. `mae`, `rmse`, `smape`
        and `mase` stand beside those of the naive and the seasonal-naive forecast, which may look at a season before
        the window at least, however short the context of the model is.
        """
        assert rows is not None
        made = self.processing
        forecast, truth = np.asarray(answers, dtype=np.float64), np.asarray(labels, dtype=np.float64)
        naive, seasonal = self._without_a_model(np.asarray(rows["row"]))
        scaled = (forecast - truth) / made.divisor
        result = {"loss": float(np.nanmean(np.abs(scaled) if self._loss == "mae" else np.square(scaled)))}
        scale = np.asarray(made.seasonal_error, dtype=np.float64)
        for prefix, other in {"": forecast, "naive_": naive, "seasonal_naive_": seasonal}.items():
            result[f"{prefix}mae"] = forecasts.mae(other, truth)
            result[f"{prefix}rmse"] = forecasts.mse(other, truth) ** 0.5
            result[f"{prefix}smape"] = forecasts.smape(other, truth)
            if (mase := forecasts.mase(other, truth, scale)) is not None:
                result[f"{prefix}mase"] = mase
        result["mse"] = forecasts.mse(forecast, truth)
        if len(made.names) > 1:
            each = zip(made.names, np.moveaxis(forecast, -1, 0), np.moveaxis(truth, -1, 0), strict=True)
            result |= {f"mae_{name}": forecasts.mae(*own) for name, *own in each if not np.isnan(own[1]).all()}
        return result

    def _without_a_model(self, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The naive and the seasonal-naive forecast of windows."""
        made = self.processing
        seen = max(self.context_length, 2 * made.seasonality)
        past = WindowCollator(self.series.values, seen, made.prediction_length).past(starts)
        observed = ~np.isnan(past)
        naive = np.repeat(forecasts.last_value(past, observed)[:, None], made.prediction_length, axis=1)
        return naive, forecasts.seasonal_naive(past, observed, made.prediction_length, made.seasonality)

    def predictions(self, answers: Answers, split: Dataset) -> pd.DataFrame:
        """A line a window: `row` and `time` of its first target, `label` (None where not observed) and `prediction`.

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
        """What `mase` divides by: for each variable its `seasonal_error`, None where there is none."""
        return {"seasonal_error": list(self.processing.seasonal_error)}

    def draw(self, answers: Answers, split: Dataset, folder: Path) -> None:
        """Leave a picture of one forecast with what came before and what came instead, `forecast.png`."""
        place = len(split) // 2
        start = int(split["row"][place])
        shown = slice(max(start - self.context_length, 0), start + self.prediction_length)
        draw_forecast(
            self.series.times[shown],
            self.series.values[shown],
            np.asarray(answers[place]),
            self._without_a_model(np.asarray([start]))[1][0],
            names=self.processing.names,
            path=folder / "forecast.png",
        )
