"""What is done around every run and stage of a comparison: quiet, errors kept, memory let go."""

from __future__ import annotations

import contextlib
import gc
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import UserError


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """One line a run is progress enough; bars and load reports of dozens of runs would hide it."""
    import datasets
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), datasets.are_progress_bars_disabled()
    logging.set_verbosity_error()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if not bars:
            datasets.enable_progress_bars()


def failed(record: dict[str, Any], folder: Path, error: Exception) -> dict[str, Any]:
    """`record` as that of a failure; the traceback of a defect is kept in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    if not isinstance(error, UserError):
        (folder / "error.txt").write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
    return {**record, "status": "failed", "error": f"{kind}{' '.join(str(error).split())}"}


def forget() -> None:
    """Let go of what was just finished."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
