"""What stopped a run, where it is something that a user can change."""

from __future__ import annotations

from ..errors import UserError

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
