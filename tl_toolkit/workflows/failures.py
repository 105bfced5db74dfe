"""What stopped a run: recorded, and said as one paragraph where it is something that a user can change."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..atomic_files import write_json
from ..errors import UserError, without_tokens
from ..records.record import RESULT_NAME

if TYPE_CHECKING:
    from ..training.trainer import BaseTrainer

_NAME = f"{UserError.__module__}.{UserError.__qualname__}: "  # as the last line of a traceback begins


def explained(error: Exception) -> Exception:
    """The same error, as a `UserError` where its cause is one that a user can remove."""
    import torch

    message = str(error)
    if isinstance(error, UserError) and "Traceback" in message:  # raised in a process that reads data, and wrapped
        return UserError(message.rpartition("\n" + _NAME)[2].strip(), everywhere=True)
    if isinstance(error, torch.OutOfMemoryError):
        return UserError(
            "The device ran out of memory. Lower --per_device_train_batch_size (and raise "
            "--gradient_accumulation_steps by as much), or lower --max_length (of language models --window_length or "
            "--block_size).",
            everywhere=True,
        )
    if isinstance(error, RuntimeError) and "could not create a primitive" in message:
        return UserError(
            "This processor has no fused recurrent kernels in half precision, so --bf16 cannot train a recurrent model "
            "on it. Leave it out to train in float32."
        )
    if isinstance(error, KeyError) and "metric_for_best_model" in message:
        return UserError(" ".join(str(error.args[0]).split()))
    return error


@contextmanager
def explaining() -> Iterator[None]:
    """Raise what `explained` makes of an error."""
    try:
        yield
    except Exception as error:
        if (reason := explained(error)) is error:
            raise
        raise reason from error


@contextmanager
def setting_up() -> Iterator[None]:
    """What transformers refuse of a trainer's arguments, as a `UserError`."""
    try:
        yield
    except UserError:
        raise
    except (ValueError, TypeError, RuntimeError, ImportError) as error:
        problem = " ".join(str(error).split())
        if "TensorBoardCallback requires" in problem:  # transformers advise an update of PyTorch, which does not help
            problem = "--report_to tensorboard needs a package that is not installed here: pip install tensorboard."
        raise UserError(f"Training cannot be set up: {problem}") from error


@contextmanager
def failures_recorded(record: dict[str, Any], trainer: BaseTrainer, output_dir: Path) -> Iterator[None]:
    """Leave a record of what stopped the run, and raise it as a `UserError` where a user can remove the cause."""
    try:
        with explaining():
            yield
    except Exception as error:
        record |= {
            "error": without_tokens(" ".join(str(error).split())),
            "finished": now(),
            "metrics": {},
            "predictions": {},
        }
        if trainer.is_world_process_zero():
            write_json(output_dir / RESULT_NAME, record)
        raise


def now() -> str:
    """The time as records have it: UTC, ISO 8601."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
