"""Convert tables with a time column to a regular series: sorted, one row per time step, missing values as NaN."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UserError, listing, nearest

if TYPE_CHECKING:
    import pandas as pd
    from datasets import Dataset

logger = logging.getLogger(__name__)

_TIME_NAMES = ("time", "date", "datetime", "timestamp", "ds", "month", "day", "year", "hour")
# If there are more than this many missing steps per present one, the table is treated as a list of events.
_MOST_GAPS = 5
_SECONDS = {"minute": 60, "hour": 3600, "day": 86400, "week": 604800}
# Length of the usual season for each time step: a day of hours, a week of days, a year of months.
_SEASONS = {"minute": 60, "hour": 24, "day": 7, "week": 52, "month": 12, "quarter": 4}
_MONTHS = {"month": 1, "quarter": 3, "year": 12}


@dataclass(frozen=True)
class Series:
    """One or several variables over the same regular times.

    Attributes:
        names: names of the variables.
        values: float64 (steps, variables), NaN if not observed.
        times: numpy datetime64 (steps,), or integers if the table has no times.
        time_column: column with the times; None if rows are used in file order.
        step: "hour", "day", "month", …; None for other step lengths.
        starts: the step at which each table starts.
    """

    names: tuple[str, ...]
    values: np.ndarray
    times: np.ndarray
    time_column: str | None
    step: str | None
    starts: tuple[int, ...] = (0,)

    @property
    def seasonality(self) -> int:
        """Number of time steps in the usual season, or 1 if there is none."""
        return _SEASONS.get(self.step or "", 1)

    @property
    def next_time(self) -> Any:
        """Time of the step after the last one."""
        import pandas as pd

        last = self.times[-1]
        if self.step in _MONTHS:
            return (pd.Timestamp(last) + pd.DateOffset(months=_MONTHS[self.step])).to_datetime64().astype(last.dtype)
        return last + (last - self.times[-2] if len(self.times) > 1 else 0)


def read_series(
    tables: Sequence[Dataset], time_column: str | None = None, value_columns: Sequence[str] | None = None
) -> Series:
    """Convert one table, or several consecutive ones, to a series with regular time steps.

    Rows are sorted by time, and rows without values are dropped. Missing time steps become unobserved steps. If the
    times are irregular, each row is used as one step, with a warning.

    Args:
        time_column: by default the column that holds timestamps or has a conventional name (`date`, `timestamp`, …);
            without such a column, rows are used in file order.
        value_columns: by default all other columns that hold numbers.

    Raises:
        UserError: a column does not exist, a value is not a number, a time cannot be read or occurs twice, tables
            overlap in time, or there is nothing to forecast.
    """
    import pandas as pd

    frames = [table.to_pandas() for table in tables]
    odd = next((frame for frame in frames if set(frame.columns) != set(frames[0].columns)), None)
    if odd is not None:
        raise UserError(
            f"The splits of a series need the same columns, but one has {listing(map(str, frames[0].columns))} and "
            f"another {listing(map(str, odd.columns))}."
        )
    frame = pd.concat(frames, ignore_index=True)
    table = np.repeat(np.arange(len(frames)), [len(each) for each in frames])
    time = _time_column(frame, time_column)
    names = _value_columns(frame, time, value_columns)
    values = np.column_stack([_numbers(frame[name], name) for name in names])
    if time is None:
        logger.warning("The dataset has no time column (--time_column): rows are used in file order.")
        return Series(names, values, np.arange(len(values)), None, None, _starts(table))
    times = _times(frame[time], time)
    kept = np.flatnonzero(~np.isnan(values).all(axis=1))
    order = kept[np.argsort(times[kept], kind="stable")]
    values, times, table = values[order], times[order], table[order]
    if len(repeated := np.flatnonzero(times[1:] == times[:-1])):
        raise UserError(
            f"The time {_shown(times[repeated[0]])} occurs in two rows of column {time!r}, but a series has one row "
            "per time step. If the table holds several series, put each in its own columns or its own dataset."
        )
    if (np.diff(table) < 0).any() or len(np.unique(table)) < len(frames):
        raise UserError(
            f"The splits of the dataset overlap or are out of order in time (column {time!r}), so a model would be "
            "evaluated on times it was trained on. Put all rows in one file, which is then split by time."
        )
    if np.issubdtype(times.dtype, np.integer):
        step, position = None, (times - times[0]) // max(1, np.gcd.reduce(np.diff(times)))
    else:
        step, position = _positions(pd.DatetimeIndex(times))
    if position is None or position[-1] + 1 > (1 + _MOST_GAPS) * len(position):
        logger.warning(
            "The times in column %r are irregular, or most time steps are missing: each of the %d rows is used as one "
            "step.",
            time,
            len(times),
        )
        return Series(names, values, times, time, None, _starts(table))
    return _regular(Series(names, values, times, time, step), position, _starts(table))


def _starts(table: np.ndarray) -> tuple[int, ...]:
    return tuple(int(start) for start in np.searchsorted(table, np.arange(table[-1] + 1)))


def _regular(series: Series, position: np.ndarray, starts: tuple[int, ...]) -> Series:
    """Expand the series to one row for each integer from 0 to the last position."""
    steps = int(position[-1]) + 1
    if missing := steps - len(position):
        logger.warning("%d of %d time steps are missing and are treated as not observed.", missing, steps)
    values = np.full((steps, series.values.shape[1]), np.nan)
    values[position] = series.values
    whole = series.times.astype(np.int64)
    times = np.interp(np.arange(steps), position, whole).astype(np.int64)
    times[position] = whole  # interpolation uses floats, which cannot represent all nanoseconds
    return replace(
        series, values=values, times=times.astype(series.times.dtype), starts=tuple(int(position[s]) for s in starts)
    )


def _positions(times: pd.DatetimeIndex) -> tuple[str | None, np.ndarray | None]:
    """Return the name of the time step and the step number of each time; None for irregular times."""
    if len(times) < 2:
        return None, np.zeros(len(times), dtype=np.int64)
    months = np.asarray(times.year * 12 + times.month, dtype=np.int64)
    offsets = times.to_numpy() - times.to_numpy().astype("datetime64[M]")
    distances = np.diff(months)
    same_day = (offsets == offsets[0]).all() or (np.asarray(times.is_month_end).all())
    if same_day and distances.min() > 0:  # calendar steps have no fixed number of seconds
        size = int(np.gcd.reduce(distances))
        return {own: name for name, own in _MONTHS.items()}.get(size), (months - months[0]) // size
    seconds = times.to_numpy().astype("datetime64[s]").astype(np.int64)
    differences = np.diff(seconds)
    kinds, counts = np.unique(differences, return_counts=True)
    size = int(kinds[counts.argmax()])
    if size == 0 or ((seconds - seconds[0]) % size).any():
        return None, None
    name = next((name for name, length in _SECONDS.items() if length == size), None)
    return name, (seconds - seconds[0]) // size


def _time_column(frame: pd.DataFrame, named: str | None) -> str | None:
    import pandas as pd

    columns = [str(name) for name in frame.columns]
    if named is not None:
        if named not in columns:
            raise UserError(
                f"There is no column {named!r} (--time_column); the columns are {listing(columns)}."
                f"{nearest(named, columns)}"
            )
        return named
    stamped = [name for name in columns if pd.api.types.is_datetime64_any_dtype(frame[name])]
    called = [name for name in columns if name.lower() in _TIME_NAMES]
    return next(iter([*stamped, *called]), None)


def _value_columns(frame: pd.DataFrame, time: str | None, named: Sequence[str] | None) -> tuple[str, ...]:
    import pandas as pd

    columns = [str(name) for name in frame.columns if name != time]
    if named:
        for name in named:
            if name not in columns:
                raise UserError(
                    f"There is no column {name!r} to forecast (--value_columns); the columns are {listing(columns)}."
                    f"{nearest(name, columns)}"
                )
        if len(set(named)) < len(named):
            raise UserError(f"--value_columns names a column twice: {listing(named)}.")
        return tuple(named)
    numeric = [
        name
        for name in columns
        if pd.api.types.is_numeric_dtype(frame[name])
        and not pd.api.types.is_bool_dtype(frame[name])
        and frame[name].notna().any()
    ]
    if not numeric:
        raise UserError(
            f"No column of the dataset holds numbers to forecast; its columns are {listing(map(str, frame.columns))}. "
            "Specify numeric columns with --value_columns."
        )
    if others := [name for name in columns if name not in numeric]:
        logger.warning("Columns that do not hold numbers are ignored: %s.", listing(others))
    return tuple(numeric)


def _numbers(column: pd.Series, name: str) -> np.ndarray:
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column):
        numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        read = pd.to_numeric(column.replace(r"^\s*$", None, regex=True), errors="coerce")
        odd = np.flatnonzero((read.isna() & column.notna() & (column.astype(str).str.strip() != "")).to_numpy())
        if len(odd):
            raise UserError(
                f"Row {odd[0]} of column {name!r} holds {column.iloc[odd[0]]!r}, but must hold a number or be empty."
            )
        numbers = read.to_numpy(dtype=np.float64, na_value=np.nan)
    if np.isinf(numbers).any():
        raise UserError(f"Row {int(np.isinf(numbers).argmax())} of column {name!r} holds an infinite number.")
    if np.isnan(numbers).all():
        raise UserError(f"The column {name!r} (--value_columns) holds no numbers, so there is nothing to forecast.")
    return numbers


def _times(column: pd.Series, name: str) -> np.ndarray:
    """Return times as datetime64 in UTC; integers are returned unchanged."""
    import pandas as pd

    if missing := column.isna().to_numpy().nonzero()[0].tolist():
        raise UserError(f"Row {missing[0]} of column {name!r} (--time_column) is empty. Fill it in or remove the row.")
    if pd.api.types.is_integer_dtype(column):
        return column.to_numpy(dtype=np.int64)
    try:
        read = pd.to_datetime(column, utc=True, format=None if column.dtype.kind == "M" else "ISO8601")
    except (ValueError, TypeError) as error:
        bad = next((value for value in column if not _is_iso(value)), column.iloc[0])
        raise UserError(
            f"The column {name!r} (--time_column) holds {bad!r}. Write times in ISO 8601, such as 2016-07-01 or "
            "2016-07-01 13:00:00; in other formats, day and month are ambiguous."
        ) from error
    return read.dt.tz_localize(None).to_numpy().astype("datetime64[ns]")


def _is_iso(value: Any) -> bool:
    import pandas as pd

    try:
        pd.to_datetime([value], utc=True, format="ISO8601")
    except (ValueError, TypeError):
        return False
    return True


def _shown(time: Any) -> str:
    import pandas as pd

    return str(time) if isinstance(time, np.integer) else str(pd.Timestamp(time))
