"""Progress bars of transformers and the Hub, left as they were found."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """No bars for loading and saving models: one for every checkpoint would break that of the training.

    Also a decorator. What the caller had chosen is in force again afterwards.
    """
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from transformers.utils import logging

    enabled, none_of_the_hub = logging.is_progress_bar_enabled(), are_progress_bars_disabled()
    logging.disable_progress_bar()  # those of the Hub as well
    try:
        yield
    finally:
        with warnings.catch_warnings(action="ignore"):  # where the environment forbids the Hub's, nothing was changed
            if enabled:
                logging.enable_progress_bar()
            (disable_progress_bars if none_of_the_hub else enable_progress_bars)()
