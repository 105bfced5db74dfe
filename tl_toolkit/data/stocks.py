"""`builtin:stocks`: monthly stock prices since 1990, from the sample data of matplotlib."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from .built_in import chosen_config

if TYPE_CHECKING:
    from datasets import DatasetDict


def load_stocks(config_name: str | None = None) -> DatasetDict:
    """Return a split "train" with `Date` (the first of each month) and a column of prices per stock and index.

    Some columns start years after 1990 and are empty until then.

    Raises:
        UserError: a configuration is specified (there are none), or matplotlib is installed without the file.
    """
    chosen_config("stocks", config_name, ())
    import matplotlib
    from datasets import Dataset, DatasetDict

    path = Path(matplotlib.get_data_path()) / "sample_data" / "Stocks.csv"
    if not path.exists():
        raise UserError(
            f"The dataset 'builtin:stocks' needs matplotlib's sample data, but this installation of matplotlib "
            f"({version('matplotlib')}) has no {str(path)!r}. Reinstall matplotlib from PyPI."
        )
    import pandas as pd

    # The file also has dividend days without prices and, at its end, a day of an unfinished month.
    prices = pd.read_csv(path, comment="#")
    monthly = prices[prices["Date"].str.endswith("-01") & prices.drop(columns="Date").notna().any(axis=1)]
    return DatasetDict({"train": Dataset.from_pandas(monthly, preserve_index=False)})


def stocks_record() -> dict[str, Any]:
    """Return the version of matplotlib, which provides the rows."""
    return {"versions": {"matplotlib": version("matplotlib")}}
