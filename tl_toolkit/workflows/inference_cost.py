"""The inference cost of a trained model on this machine: latency of one row, and throughput in batches."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ..records.cost import wait_for_device

if TYPE_CHECKING:
    from datasets import Dataset

    from ..training.trainer import ToolkitTrainer

BATCH_SIZE = 32
SECONDS = 1.0
"""Duration of each of the two measurements after warm-up; short, so that it does not hold up the run."""
_MOST_ROWS = 256
_WARM_UP = 3


def measure_inference(trainer: ToolkitTrainer, rows: Dataset) -> dict[str, Any] | None:
    """Latency at batch size 1 and throughput at batch size 32, on the first encoded `rows`, not sorted by length.

    The time includes padding and (for a task that generates) `generate`, but not reading and tokenising. The latency is
    the median, because other load on the machine lengthens some of the times.

    Returns:
        `device`, `threads`, `rows` (the number of different rows timed alone), `latency_seconds` (median),
        `latency_seconds_p95`, `batch_size` and `rows_per_second`; None if the model is sharded over processes, or
        without rows.
    """
    import numpy as np
    import torch

    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled or not len(rows):
        return None
    model = trainer.accelerator.unwrap_model(trainer.model)
    was_training, during_training = model.training, trainer.generation
    own = trainer._remove_unused_columns(rows.select(range(min(_MOST_ROWS, len(rows)))), "inference")
    encoded = [own[position] for position in range(len(own))]

    def predict(some: list[dict[str, Any]]) -> None:
        trainer.answer(trainer._prepare_inputs(trainer.data_collator([dict(row) for row in some])))
        wait_for_device()

    model.eval()
    trainer.generation = {}  # the model's own settings, as in `tl-toolkit predict`
    try:
        with torch.no_grad(), trainer.compute_loss_context_manager():
            single = _times(predict, [[row] for row in encoded])
            batches = [encoded[start : start + BATCH_SIZE] for start in range(0, len(encoded), BATCH_SIZE)]
            whole = [batch for batch in batches if len(batch) == BATCH_SIZE] or batches
            together = _times(predict, whole)
    finally:
        model.train(was_training)
        trainer.generation = during_training
    sizes = [len(whole[place % len(whole)]) for place in range(len(together))]
    return {
        "device": trainer.args.device.type,
        "threads": torch.get_num_threads(),
        "rows": min(len(encoded), len(single)),
        "latency_seconds": float(np.median(single)),
        "latency_seconds_p95": float(np.quantile(single, 0.95)),
        "batch_size": max(sizes),
        "rows_per_second": sum(sizes) / sum(together),
    }


def _times(predict: Any, batches: list[list[dict[str, Any]]]) -> list[float]:
    """Seconds of each batch, in turn until `SECONDS` have passed or each batch was timed twice."""
    for batch in batches[:_WARM_UP]:  # compilation, allocation and caching are not part of the cost
        predict(batch)
    times: list[float] = []
    began = time.perf_counter()
    while time.perf_counter() - began < SECONDS and len(times) < 2 * len(batches):
        start = time.perf_counter()
        predict(batches[len(times) % len(batches)])
        times.append(time.perf_counter() - start)
    return times
