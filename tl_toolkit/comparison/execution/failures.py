"""Helpers around every run and stage of a comparison: silence, recorded errors, freed memory."""

from __future__ import annotations

import contextlib
import gc
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from ...errors import UserError

Failure = Literal["error", "not_finite", "out_of_memory", "killed"]
"""Why a run failed: the values of `failure` in records."""

_OUT_OF_MEMORY = ("DefaultCPUAllocator: can't allocate", "CUDA out of memory", "CUDA error: out of memory")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence progress bars and load reports, which would hide the one line of progress per run."""
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


def failed(record: dict[str, Any], folder: Path, error: BaseException) -> dict[str, Any]:
    """`record` marked as failed with `error`; the traceback is written to `folder` unless it is a `UserError`."""
    folder.mkdir(parents=True, exist_ok=True)
    if not isinstance(error, UserError):
        (folder / "error.txt").write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
    said = " ".join(str(error).split())
    return {**record, "status": "failed", "failure": failure_of(error), "error": f"{kind}{said}".removesuffix(": ")}


def failure_of(error: BaseException) -> Failure:
    """The type of failure of an error, or of the first of its causes that has one."""
    import torch

    from ...training.trainer import NonFiniteLoss

    cause: BaseException | None = error
    while cause is not None:
        if (known := getattr(cause, "failure", None)) is not None:  # set by the process that raised it
            return known
        if isinstance(cause, NonFiniteLoss):
            return "not_finite"
        if isinstance(cause, MemoryError | torch.OutOfMemoryError) or any(s in str(cause) for s in _OUT_OF_MEMORY):
            return "out_of_memory"
        cause = cause.__cause__
    return "error"


def free_memory() -> None:
    """Free memory after a run."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
