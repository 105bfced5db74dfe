"""Errors that stop a run: recorded, and turned into a `UserError` where a user can remove the cause."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import STOPS, UserError, of_the_system, without_tokens
from ..records.record import write_record

if TYPE_CHECKING:
    from ..training.trainer import BaseTrainer

_NAME = f"{UserError.__module__}.{UserError.__qualname__}: "  # the start of a traceback's last line


def explained(error: Exception) -> Exception:
    """A `UserError` in place of `error` if a user can remove the cause, else `error` itself."""
    message = str(error)
    if isinstance(error, UserError) and "Traceback" in message:  # raised and wrapped in a data loader process
        return UserError(message.rpartition("\n" + _NAME)[2].strip(), everywhere=True)
    if not isinstance(error, UserError) and (known := of_the_system(error)) is not None:
        return known
    if isinstance(error, RuntimeError) and "could not create a primitive" in message:
        return UserError(
            "This CPU has no recurrent kernels in half precision. Leave out --bf16 to train the recurrent model in "
            "float32."
        )
    if isinstance(error, KeyError) and "metric_for_best_model" in message:
        return UserError(" ".join(str(error.args[0]).split()))
    return error


@contextmanager
def explaining() -> Iterator[None]:
    """Replace errors as `explained` does."""
    try:
        yield
    except Exception as error:
        if (reason := explained(error)) is error:
            raise
        raise reason from error


@contextmanager
def setting_up() -> Iterator[None]:
    """Turn errors of transformers about the arguments of a trainer into a `UserError`."""
    try:
        yield
    except UserError:
        raise
    except (ValueError, TypeError, RuntimeError, ImportError) as error:
        problem = " ".join(str(error).split())
        if "TensorBoardCallback requires" in problem:  # transformers advises to update PyTorch, which does not help
            problem = "--report_to tensorboard needs the package tensorboard: pip install tensorboard."
        raise UserError(f"Training cannot be set up: {problem}") from error


@contextmanager
def failures_recorded(record: dict[str, Any], trainer: BaseTrainer, output_dir: Path) -> Iterator[None]:
    """Write an error that stops the run to `result.json`, and raise it as `explained` returns it."""
    try:
        with explaining():
            yield
    except STOPS:
        raise
    except BaseException as error:
        record |= {
            "error": without_tokens(" ".join(str(error).split())),
            "finished": now(),
            "metrics": {},
            "predictions": {},
        }
        if trainer.is_world_process_zero():
            output_dir.mkdir(parents=True, exist_ok=True)  # nothing may have been saved yet
            write_record(output_dir, record)
        raise


def now() -> str:
    """The current time for records: UTC, ISO 8601, in seconds."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
