"""Tables are converted to regular series: sorted, with even steps and NaN for missing values."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset

from tl_toolkit.config.arguments import DataArguments
from tl_toolkit.data.series import Series, read_series
from tl_toolkit.data.sources import load_source
from tl_toolkit.errors import UserError


def table(times: Any, **columns: Any) -> Dataset:
    return Dataset.from_pandas(pd.DataFrame({"date": times, **columns}), preserve_index=False)


def days(count: int, start: str = "2020-01-01") -> list[str]:
    return pd.date_range(start, periods=count).strftime("%Y-%m-%d").tolist()


def read(*tables: Dataset, **settings: Any) -> Series:
    return read_series(tables, **settings)


def test_rows_are_sorted_and_gaps_are_not_observed(caplog: pytest.LogCaptureFixture) -> None:
    dates = days(7)
    order = [4, 0, 6, 1, 2]  # the days 3 and 5 are missing
    with caplog.at_level(logging.WARNING):
        series = read(table([dates[day] for day in order], load=[float(day) for day in order]))
    assert series.names == ("load",)
    np.testing.assert_array_equal(series.values[:, 0], [0, 1, 2, np.nan, 4, np.nan, 6])
    assert [str(time)[:10] for time in series.times] == dates
    assert (series.step, series.seasonality) == ("day", 7)
    assert "2 of 7 time steps are missing" in caplog.text


def test_integer_times_may_have_any_step() -> None:
    series = read(table([10, 0, 5, 20], load=[2.0, 0.0, 1.0, 4.0]))
    np.testing.assert_array_equal(series.values[:, 0], [0, 1, 2, np.nan, 4])
    np.testing.assert_array_equal(series.times, [0, 5, 10, 15, 20])
    assert series.next_time == 25
    assert len(read(table([3], load=[1.0])).values) == 1


def test_ignored_columns_are_named(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        series = read(table(days(3), load=[1.0, 2.0, 3.0], price=["4", "x", "6"]))
    assert series.names == ("load",) and "ignored: 'price'" in caplog.text
    with pytest.raises(UserError, match="its columns are 'date'"):
        read(table(days(3)))


@pytest.mark.parametrize(
    "frequency, step, seasonality, following",
    [
        ("h", "hour", 24, "2020-01-01 11:00:00"),
        ("min", "minute", 60, "2020-01-01 00:11:00"),
        ("7D", "week", 52, "2020-03-18"),
        ("MS", "month", 12, "2020-12-01"),
        ("ME", "month", 12, None),
        ("QS", "quarter", 4, "2022-10-01"),
        ("YS", "year", 1, "2031-01-01"),
        ("90min", None, 1, "2020-01-01 16:30:00"),
    ],
)
def test_steps_and_seasons(frequency: str, step: str | None, seasonality: int, following: str | None) -> None:
    times = pd.date_range("2020-01-01", periods=11, freq=frequency)
    series = read(table(times.astype(str), load=np.arange(11.0)))
    assert (series.step, series.seasonality, len(series.values)) == (step, seasonality, 11)
    if following is not None:
        assert pd.Timestamp(series.next_time) == pd.Timestamp(following)


def test_months_of_different_length_are_even_steps() -> None:
    times = ["2020-01-01", "2020-02-01", "2020-04-01", "2020-05-01"]
    series = read(table(times, load=[1.0, 2.0, 4.0, 5.0]))
    np.testing.assert_array_equal(series.values[:, 0], [1, 2, np.nan, 4, 5])


def test_uneven_times_use_each_row_as_a_step(caplog: pytest.LogCaptureFixture) -> None:
    times = ["2020-01-01", "2020-01-02", "2020-01-03", "2020-01-03T07:00", "2020-01-11"]
    with caplog.at_level(logging.WARNING):
        series = read(table(times, load=np.arange(5.0)))
    assert len(series.values) == 5 and series.step is None
    assert "are irregular" in caplog.text


def test_events_are_not_expanded_to_regular_steps() -> None:
    """Ten rows over a century stay ten rows."""
    times = days(9) + ["2120-01-01"]
    assert len(read(table(times, load=np.arange(10.0))).values) == 10


def test_columns_that_hold_numbers() -> None:
    data = table(
        days(3), a=[1.0, 2.0, 3.0], b=[1, 2, 3], flag=[True, False, True], name=["x", "y", "z"], none=[None] * 3
    )
    assert read(data).names == ("a", "b")
    assert read(data, value_columns=["b"]).names == ("b",)


def test_numbers_as_text_are_read_and_empty_fields_missing() -> None:
    series = read(table(days(5), load=["1.5", "-3", "", " 2 ", None]), value_columns=["load"])
    np.testing.assert_array_equal(series.values[:, 0], [1.5, -3, np.nan, 2])  # the last row is empty and left out


def test_integer_times_and_no_times() -> None:
    counted = read(Dataset.from_dict({"t": [5, 3, 4], "load": [5.0, 3.0, 4.0]}), time_column="t")
    np.testing.assert_array_equal(counted.values[:, 0], [3, 4, 5])
    plain = read(Dataset.from_dict({"load": [5.0, 3.0, 4.0]}))
    np.testing.assert_array_equal(plain.values[:, 0], [5, 3, 4])
    assert plain.time_column is None and plain.next_time == 3


def test_time_zones_become_utc() -> None:
    series = read(table(["2020-01-01T01:00+01:00", "2020-01-01T01:00+00:00"], load=[1.0, 2.0]))
    assert [str(time)[:13] for time in series.times] == ["2020-01-01T00", "2020-01-01T01"]


def test_consecutive_tables_are_joined() -> None:
    series = read(table(days(5), load=np.arange(5.0)), table(days(3, "2020-01-07"), load=np.arange(6.0, 9)))
    assert series.starts == (0, 6)
    np.testing.assert_array_equal(series.values[:, 0], [0, 1, 2, 3, 4, np.nan, 6, 7, 8])


@pytest.mark.parametrize(
    "columns, settings, message",
    [
        ({"load": [1.0, 2.0]}, {"time_column": "dat"}, "no column 'dat'.*Did you mean 'date'"),
        ({"load": [1.0, 2.0]}, {"value_columns": ["lood"]}, "no column 'lood' to forecast.*Did you mean 'load'"),
        ({"load": [1.0, 2.0]}, {"value_columns": ["load", "load"]}, "names a column twice"),
        ({"load": ["1", "two"]}, {"value_columns": ["load"]}, "Row 1 of column 'load' holds 'two'"),
        ({"load": ["a", "b"]}, {}, "No column of the dataset holds numbers"),
        ({"load": [1.0, float("inf")]}, {}, "Row 1 of column 'load' holds an infinite number"),
        ({"load": [None, None]}, {"value_columns": ["load"]}, "holds no numbers"),
    ],
)
def test_errors_name_the_column(columns: dict[str, Any], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(table(days(2), **columns), **settings)


@pytest.mark.parametrize(
    "times, message",
    [
        (["2020-01-01", "2020-01-01"], "2020-01-01 00:00:00 occurs in two rows of column 'date'"),
        (["2020-01-01", "31.01.2020"], "holds '31.01.2020'. Write times in ISO 8601"),
        (["2020-01-01", None], "Row 1 of column 'date'.*is empty"),
    ],
)
def test_errors_name_the_time(times: list[Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(table(times, load=[1.0, 2.0]))


def test_tables_that_overlap_or_differ() -> None:
    first = table(days(5), load=np.arange(5.0))
    with pytest.raises(UserError, match="overlap or are out of order in time"):
        read(first, table(days(3, "2019-12-01"), load=np.arange(3.0)))
    with pytest.raises(UserError, match="need the same columns"):
        read(first, table(days(3, "2020-02-01"), other=np.arange(3.0)))


def test_stocks_come_with_matplotlib() -> None:
    source = load_source(DataArguments(dataset_name="builtin:stocks"))
    assert "matplotlib" in source.record["versions"]
    series = read(source.dataset["train"])
    assert series.step == "month" and series.names[0] == "IBM" and "^GSPC" in series.names
    assert len(series.values) == len(source.dataset["train"]) >= 360  # no month is missing
    assert str(series.times[0]) == "1990-01-01T00:00:00.000000000"
    assert series.values[0, 0] == pytest.approx(10.970438)
    assert np.isnan(series.values[0, series.names.index("GOOGL")])
    with pytest.raises(UserError, match="no configurations"):
        load_source(DataArguments(dataset_name="builtin:stocks:daily"))


def test_real_series(test_data: Path) -> None:
    found = {}
    for name in ("ETTh1", "airline-passengers", "daily-min-temperatures"):
        source = load_source(DataArguments(dataset_name=str(test_data / "data" / "time_series" / f"{name}.csv")))
        series = read(source.dataset["train"])
        found[name] = (series.step, series.values.shape, int(np.isnan(series.values).sum()))
    assert found == {
        "ETTh1": ("hour", (17420, 7), 0),
        "airline-passengers": ("month", (144, 1), 0),
        "daily-min-temperatures": ("day", (3652, 1), 2),  # the 31 December of leap years is missing
    }
