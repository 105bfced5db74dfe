"""Forecasting: windows and splits without leaks, baselines by hand, and complete runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from tl_toolkit.config.arguments import DataArguments, ModelArguments
from tl_toolkit.errors import UserError
from tl_toolkit.metrics import forecasts
from tl_toolkit.models import RnnForTimeSeriesPrediction
from tl_toolkit.tasks.forecasting import Forecasting
from tl_toolkit.tasks.windows import SeriesProcessing, WindowCollator, cut_by_time, window_starts

STEPS, CONTEXT, HORIZON = 211, 14, 5
LENGTHS = {"context_length": CONTEXT, "prediction_length": HORIZON}


def frame(steps: int = STEPS, seed: int = 0) -> pd.DataFrame:
    """Daily values of two variables with a weekly season."""
    rng = np.random.default_rng(seed)
    day = np.arange(steps)
    load = 50 + 10 * np.sin(2 * np.pi * day / 7) + rng.normal(size=steps)
    wind = 1000 + 100 * np.cos(2 * np.pi * day / 7) + 10 * rng.normal(size=steps)
    return pd.DataFrame({"date": pd.date_range("2020-01-01", periods=steps).astype(str), "load": load, "wind": wind})


def write(folder: Path, data: pd.DataFrame, name: str = "series.csv") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    data.to_csv(folder / name, index=False)
    return folder / name


def prepared(path: Path, **arguments: Any) -> tuple[Forecasting, Any]:
    task = Forecasting(DataArguments(task="forecasting", dataset_name=str(path), **{**LENGTHS, **arguments}))
    return task, task.prepare(0)


# --- Windows and splits -----------------------------------------------------------------------------------------------


def test_parts_are_consecutive_and_contain_their_targets(tmp_path: Path) -> None:
    task, splits = prepared(write(tmp_path, frame()), validation_fraction=0.25)
    test_begins = STEPS - round(0.2 * STEPS)
    validation_begins = test_begins - round(0.25 * test_begins)
    bounds = {
        "train": (CONTEXT, validation_begins),
        "validation": (validation_begins, test_begins),
        "test": (test_begins, STEPS),
    }
    for role, (begin, end) in bounds.items():
        assert splits[role]["row"] == list(range(begin, end - HORIZON + 1))
    batch = task.collator(task.processing, _model(task))([splits["test"][0]])
    values = task.series.values
    expected = torch.tensor(values[test_begins - CONTEXT : test_begins + HORIZON]).float()
    torch.testing.assert_close(batch["past_values"][0], expected[:CONTEXT])
    torch.testing.assert_close(batch["future_values"][0], expected[CONTEXT:])
    assert splits["test"]["time"][0] == pd.Timestamp("2020-01-01") + pd.Timedelta(days=test_begins)


def _model(task: Forecasting) -> Any:
    from transformers import AutoModelForTimeSeriesPrediction

    from tl_toolkit.models import RnnConfig

    sizes = task.config_arguments(task.processing)
    return AutoModelForTimeSeriesPrediction.from_config(RnnConfig(hidden_size=7, **sizes))


def test_training_does_not_depend_on_the_other_parts(tmp_path: Path) -> None:
    """Other values after the training part do not change its constants, windows or values."""
    data = frame()
    changed = data.copy()
    behind = STEPS - round(0.2 * STEPS) - round(0.1 * (STEPS - round(0.2 * STEPS)))
    changed.loc[behind:, ["load", "wind"]] *= -1000
    found = []
    for name, each in (("a.csv", data), ("b.csv", changed)):
        task, splits = prepared(write(tmp_path, each, name))
        batch = task.collator(task.processing, _model(task))(list(splits["train"]))
        found.append((task.processing, splits["train"]["row"], batch))
    (processing, rows, batch), (other_processing, other_rows, other_batch) = found
    assert processing == other_processing
    assert rows == other_rows and max(rows) + HORIZON == behind
    for name, values in batch.items():
        assert torch.equal(values, other_batch[name])
    assert processing.mean == pytest.approx(data[["load", "wind"]][:behind].mean().tolist())
    assert processing.standard_deviation == pytest.approx(data[["load", "wind"]][:behind].std(ddof=0).tolist())


def test_a_budget_keeps_the_last_windows_and_uses_no_earlier_values(tmp_path: Path) -> None:
    path = write(tmp_path, frame())
    _, whole = prepared(path)
    task, splits = prepared(path, label_budget=23, validation_budget=3, test_budget=4)
    assert splits["train"]["row"] == whole["train"]["row"][-23:]
    _, fewer = prepared(path, label_budget=11)
    assert set(fewer["train"]["row"]) < set(splits["train"]["row"])
    assert (len(splits["validation"]), len(splits["test"])) == (3, 4)
    assert splits["test"]["row"][0] == whole["test"]["row"][0] and splits["test"]["row"][-1] == whole["test"]["row"][-1]
    first, last = splits["train"]["row"][0] - CONTEXT, splits["train"]["row"][-1] + HORIZON
    seen = task.series.values[first:last]
    assert task.processing.mean == pytest.approx(seen.mean(axis=0).tolist())
    assert task.record()["budget"]["train_labels"] == 23


def test_splits_of_the_dataset_are_kept(tmp_path: Path) -> None:
    data = frame()
    for name, rows in {"train": slice(0, 120), "validation": slice(120, 160), "test": slice(160, None)}.items():
        data[rows].to_parquet(tmp_path / f"{name}.parquet")
    task, splits = prepared(tmp_path)
    assert splits["train"]["row"][-1] + HORIZON == 120
    assert splits["validation"]["row"][0] == 120  # its context reaches back into the training split
    assert splits["test"]["row"][0] == 160
    assert (task.record()["dataset"]["validation_from"], task.record()["dataset"]["test_from"]) == (
        "validation",
        "test",
    )


def test_cut_by_time() -> None:
    assert cut_by_time({"train": 0}, 100, 0.25) == {"train": (0, 60), "validation": (60, 80), "test": (80, 100)}
    assert cut_by_time({"train": 0, "test": 70}, 100, 0.1) == {
        "train": (0, 63),
        "validation": (63, 70),
        "test": (70, 100),
    }


def test_windows_without_observed_values_are_left_out() -> None:
    values = np.ones((23, 1))
    values[5:12] = np.nan
    # A window needs one of the 3 values before its position and one of the 2 values from its position.
    assert window_starts(values, 3, 23, 3, 2).tolist() == [3, 4, *[start for start in range(13, 22)]]


def test_lengths_and_season_come_from_the_time_step(tmp_path: Path) -> None:
    path = write(tmp_path, frame())
    task = Forecasting(DataArguments(task="forecasting", dataset_name=str(path)))
    task.prepare(0)
    assert (task.processing.context_length, task.processing.prediction_length, task.processing.seasonality) == (
        28,
        7,
        7,
    )


# --- Metrics ----------------------------------------------------------------------------------------------------------


def test_baselines_by_hand(tmp_path: Path) -> None:
    task, splits = prepared(write(tmp_path, frame()), value_columns="load")
    values = task.series.values
    starts = np.asarray(splits["test"]["row"])
    naive, seasonal = task._baselines(starts)
    for place, start in enumerate(starts):
        for step in range(HORIZON):
            assert naive[place, step, 0] == values[start - 1, 0]
            assert seasonal[place, step, 0] == values[start + step - 7, 0]
    truth = np.stack([values[start : start + HORIZON] for start in starts])
    train = values[: splits["train"]["row"][-1] + HORIZON, 0]
    scale = np.abs(train[7:] - train[:-7]).mean()
    forecast = truth + 2.0
    found = task.metrics(forecast, truth, splits["test"])
    assert (
        found["mae"] == pytest.approx(2.0)
        and found["rmse"] == pytest.approx(2.0)
        and found["mse"] == pytest.approx(4.0)
    )
    assert found["mase"] == pytest.approx(2.0 / scale)
    assert found["loss"] == pytest.approx(4.0 / train.std() ** 2)
    assert found["naive_mae"] == pytest.approx(np.abs(naive - truth).mean())
    assert found["seasonal_naive_mase"] == pytest.approx(np.abs(seasonal - truth).mean() / scale)
    assert found["smape"] == pytest.approx((4 / (np.abs(truth) + np.abs(forecast))).mean())


def test_several_variables_are_also_scored_separately(tmp_path: Path) -> None:
    task, splits = prepared(write(tmp_path, frame()))
    truth = WindowCollator(task.series.values, CONTEXT, HORIZON).targets(np.asarray(splits["test"]["row"]))
    found = task.metrics(truth + np.array([1.0, -30.0]), truth, splits["test"])
    assert (found["mae_load"], found["mae_wind"], found["mae"]) == pytest.approx((1.0, 30.0, 15.5))
    truth[:, :, 1] = np.nan
    found = task.metrics(np.nan_to_num(truth) + 1.0, truth, splits["test"])
    assert found["mae"] == pytest.approx(1.0) and "mae_wind" not in found


def test_seasonal_naive_uses_an_earlier_season_if_one_is_missing() -> None:
    past = np.arange(11.0)[None, :, None]
    observed = np.ones_like(past, dtype=bool)
    assert forecasts.seasonal_naive(past, observed, 5, 3)[0, :, 0].tolist() == [8, 9, 10, 8, 9]
    observed[0, 9] = False  # the previous season has this value at 6
    assert forecasts.seasonal_naive(past, observed, 5, 3)[0, :, 0].tolist() == [8, 6, 10, 8, 6]
    assert forecasts.seasonal_naive(past, observed, 2, 13)[0, :, 0].tolist() == [10, 10]
    observed[:] = False
    assert forecasts.seasonal_naive(past, observed, 2, 3)[0, :, 0].tolist() == [0, 0]


def test_a_constant_variable_has_no_scaled_error() -> None:
    truth = np.ones((3, 2, 1))
    assert forecasts.mase(truth + 1, truth, forecasts.seasonal_error(np.ones((9, 1)), 1)) is None
    season = (
        np.tile([0.1, 0.7, 0.2], 11)[:, None] * (1 + 1e-16 * np.arange(33)[:, None]) + 0.3
    )  # equal except for rounding
    assert forecasts.seasonal_error(season, 3) == 0
    assert forecasts.smape(np.zeros(3), np.zeros(3)) == 0


# --- Whole runs -------------------------------------------------------------------------------------------------------

RNN = {"model_type": "rnn", "config_overrides": "cell_type=gru,hidden_size=13,subtract_last_value=true"}


def test_a_run_and_a_forecast_beyond_the_end(finetune: Callable[..., dict], tmp_path: Path) -> None:
    from tl_toolkit.workflows.predict import parse_predict_arguments, predict

    path = write(tmp_path / "series", frame())
    settings = {"task": "forecasting", "dataset_name": str(path), "num_train_epochs": 15, "learning_rate": 1e-2}
    record = finetune(**settings, **LENGTHS, **RNN, label_budget=101)
    found = record["metrics"]["test"]
    assert found["mase"] < found["naive_mase"]
    assert record["dataset"]["columns"] == {"time": "date", "values": "load, wind"}
    output = tmp_path / "out"
    assert (output / "forecast.png").stat().st_size > 1000
    model = RnnForTimeSeriesPrediction.from_pretrained(output)
    processing = SeriesProcessing.from_pretrained(str(output))
    torch.testing.assert_close(model.scaling.mean, torch.tensor(processing.mean))
    table = pd.read_parquet(output / "predictions_test.parquet")
    errors = np.stack(table["prediction"].map(np.stack)) - np.stack(table["label"].map(np.stack))
    assert np.abs(errors).mean() == pytest.approx(found["mae"], rel=1e-5)

    argv = ["--model_name_or_path", str(output), "--dataset_name", str(path), "--use_cpu", "--disable_tqdm", "true"]
    metrics = predict(parse_predict_arguments([*argv, "--output_dir", str(tmp_path / "all")])).metrics
    assert metrics["mae"] > 0 and json.loads((tmp_path / "all" / "metrics.json").read_text())["metrics"] == metrics
    predictions = pd.read_parquet(tmp_path / "all" / "predictions.parquet")
    assert predictions["row"].tolist() == [*range(CONTEXT, STEPS - HORIZON + 1), STEPS]
    assert predictions["time"].iloc[-1] == pd.Timestamp("2020-01-01") + pd.Timedelta(days=STEPS)
    assert np.isfinite(np.stack(predictions["prediction"].iloc[-1])).all()
    assert all(value is None or np.isnan(value) for value in np.concatenate(list(predictions["label"].iloc[-1])))

    # A series shorter than the context, with an additional column: one forecast, and no targets to compare with.
    short = write(tmp_path / "short", frame(9, seed=1).assign(other=1.0))
    argv[3] = str(short)
    assert predict(parse_predict_arguments([*argv, "--output_dir", str(tmp_path / "short_out")])).metrics == {}
    assert pd.read_parquet(tmp_path / "short_out" / "predictions.parquet")["row"].tolist() == [9]


def test_a_report_has_no_table_of_wrong_predictions_for_series(tmp_path: Path) -> None:
    from types import SimpleNamespace

    from tl_toolkit.evaluation.predictions import PredictionReader

    pd.DataFrame({"row": [3], "label": [[1.0, 2.0]], "prediction": [[1.0, 3.0]]}).to_parquet(tmp_path / "test.parquet")
    sections = {"predictions": {"test": "test.parquet"}, "task": {"problem_type": "forecasting"}}
    result: Any = SimpleNamespace(folder=".", parts=(), section=sections.__getitem__)
    assert PredictionReader(tmp_path).labels(result) is None


def test_accumulated_batches_are_one_batch(finetune: Callable[..., dict], tmp_path: Path) -> None:
    """The loss divides by the observed values of the whole batch: parts of different sizes do not change it."""
    data = frame()
    data.loc[30:75, "wind"] = np.nan
    settings = {"task": "forecasting", "dataset_name": str(write(tmp_path / "series", data)), **LENGTHS, **RNN}
    settings |= {"num_train_epochs": 1, "label_budget": 121, "validation_budget": 7, "test_budget": 7}
    whole = finetune("whole", per_device_train_batch_size=20, **settings)
    parts = finetune("parts", per_device_train_batch_size=4, gradient_accumulation_steps=5, **settings)
    assert parts["metrics"]["test"]["loss"] == pytest.approx(whole["metrics"]["test"]["loss"], rel=1e-4)


def test_a_blank_row_does_not_change_the_loss(tmp_path: Path) -> None:
    task, splits = prepared(write(tmp_path, frame()))
    encoded = task.encode(splits, task.processing, None)["train"]
    collate = task.collator(task.processing, _model(task))
    with_blank = collate([encoded[0], task.blank(encoded[1])])
    alone = collate([encoded[0]])
    assert (task.counted(with_blank) != -100).sum() == (task.counted(alone) != -100).sum() == HORIZON * 2
    model = _model(task).eval()
    torch.testing.assert_close(model(**with_blank).loss, model(**alone).loss)


# --- Errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"context_length": 190}, "train part of the series has .* too few for a window of 190 past steps"),
        ({"prediction_length": 40}, "validation part .* time steps, too few for a window of 40 steps to forecast"),
        ({"prediction_length": 0}, "--prediction_length must be 1 time step or more, but is 0"),
        ({"seasonality": -7}, "--seasonality must be 1 time step or more, but is -7"),
        ({"label_budget": 1000}, "--label_budget is 1,000, but the train part has"),
        ({"label_budget": 0}, "--label_budget is 0"),
        ({"value_columns": "load,wimd"}, "Did you mean 'wind'"),
        ({"time_column": "day"}, "no column 'day'"),
    ],
)
def test_errors_suggest_a_remedy(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        prepared(write(tmp_path, frame()), **arguments)


def test_a_variable_without_training_values_raises_an_error(tmp_path: Path) -> None:
    data = frame()
    data.loc[:180, "wind"] = np.nan
    with pytest.raises(UserError, match="'wind' has no values in the training windows"):
        prepared(write(tmp_path, data))


def test_a_model_with_other_variables_or_lengths_raises_an_error(tmp_path: Path) -> None:
    path = write(tmp_path, frame())
    task, _ = prepared(path)
    other, _ = prepared(path, value_columns="wind")
    longer, _ = prepared(path, prediction_length=7)
    task.adapt(_model(task), task.processing)
    with pytest.raises(UserError, match=r"5 time steps of 2 variables, but 5 steps of 1 \(wind\) are requested"):
        other.adapt(_model(task), other.processing)
    with pytest.raises(UserError, match="but 7 steps of 2 .* are requested.* set --prediction_length 5"):
        longer.adapt(_model(task), longer.processing)


def test_a_model_without_series_settings_raises_an_error(tmp_path: Path) -> None:
    task = Forecasting(DataArguments(task="forecasting"))
    with pytest.raises(UserError, match="has no readable series_config.json"):
        task.load_processing(ModelArguments(model_name_or_path=str(tmp_path)))
    config = RnnForTimeSeriesPrediction.config_class(num_input_features=1, prediction_length=7)
    with pytest.raises(UserError, match="--prediction_length is 9, but the model forecasts 7"):
        Forecasting.for_model(DataArguments(prediction_length=9), config)
