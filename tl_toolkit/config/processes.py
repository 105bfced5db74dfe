"""What a launcher started: the number of processes, how they share the model, and the batch of each."""

from __future__ import annotations

import logging
import os
from typing import Any

from ..errors import UserError

logger = logging.getLogger(__name__)


def sharding(args: Any) -> str | None:
    """`FSDP` or `DeepSpeed` if a launch file or a flag divides the model over processes, else None."""
    if args.deepspeed or _is_set("ACCELERATE_USE_DEEPSPEED"):
        return "DeepSpeed"
    return "FSDP" if args.fsdp or (_is_set("ACCELERATE_USE_FSDP") and "LOCAL_RANK" in os.environ) else None


def global_batch(args: Any) -> int:
    """The training rows of an update, over all processes and accumulated batches."""
    return args.train_batch_size * args.gradient_accumulation_steps * args.world_size


def settle_global_batch(args: Any) -> None:
    """Derive the batch of a device and the accumulation from `--global_batch_size`, for any number of devices.

    What is given stays: the batch of a device is then the whole share of a device divided by the accumulation, or the
    accumulation is that share divided by the batch. By default, nothing is accumulated.

    Raises:
        UserError: the global batch cannot be divided like this.
    """
    rows = args.global_batch_size
    if rows is None:
        return
    devices = args.world_size * max(1, args.n_gpu)
    parts = 1 if args.batch_by_rule else args.per_device_train_batch_size
    given = args.as_given.get("gradient_accumulation_steps")
    unit = devices * parts * (given or 1)
    if rows % unit or (not args.batch_by_rule and given and rows != unit):
        lower = rows // unit * unit
        nearest = f"{lower} or {lower + unit}" if lower else str(unit)
        flags = "" if args.batch_by_rule else f" times --per_device_train_batch_size {parts}"
        flags += f" times --gradient_accumulation_steps {given}" if given else ""
        exact = not args.batch_by_rule and given
        raise UserError(
            f"--global_batch_size {rows} cannot be divided over {devices} process{'es' if devices > 1 else ''}{flags}: "
            + (f"it must be {unit}." if exact else f"it must be a multiple of {unit}, such as {nearest}.")
        )
    if args.batch_by_rule:
        args.per_device_train_batch_size = rows // unit
        args.batch_by_rule = False
    else:
        args.gradient_accumulation_steps = rows // (devices * parts)


def warn_of_missing_processes(args: Any) -> None:
    """Warn if accelerate was asked for several processes and started one.

    `accelerate launch --cpu --num_processes 2` does that. It then sets the address at which processes would meet.
    """
    launched = {"ACCELERATE_MIXED_PRECISION", "MASTER_PORT"} <= os.environ.keys() and "WORLD_SIZE" not in os.environ
    if launched and args.world_size == 1:
        logger.warning(
            "accelerate launch was asked for several processes, but started one: it does so with --cpu. Use a launch "
            'file: accelerate launch --config_file "$(tl-toolkit configs two_cpu.yaml)" --num_processes N …'
        )


def _is_set(name: str) -> bool:
    return os.environ.get(name, "false").lower() in ("true", "1", "yes")
