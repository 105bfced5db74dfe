"""The inference cost of a trained model on this machine: latency of one row, and throughput in batches."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..records.cost import architecture, wait_for_device
from ..shared_work import shared

if TYPE_CHECKING:
    from datasets import Dataset

    from ..training.trainer import ToolkitTrainer

BATCH_SIZE = 32
SECONDS = 1.0
"""Duration of each of the two measurements after warm-up; short, so that it does not hold up the run."""
MOST_ROWS = 256
_WARM_UP = 3
# Processor time of this thread, in which a form computes alone: on a busy machine, it is the latency of an idle one.
_CLOCK = time.thread_time if time.get_clock_info("thread_time").resolution < 1e-6 else time.perf_counter


def measure_inference(trainer: ToolkitTrainer, rows: Dataset) -> dict[str, Any] | None:
    """Latency at batch size 1 and throughput at batch size 32, on the first encoded `rows`, not sorted by length.

    The time includes padding and (for a task that generates) `generate`, but not reading and tokenising. The latency is
    the median, because other load on the machine lengthens some of the times.

    The runs of a comparison share the measurement of an entry if their models differ in nothing but weights and words.

    Returns:
        `device`, `threads`, `rows` (the number of different rows timed alone), `latency_seconds` (median),
        `latency_seconds_p95`, `batch_size`, `rows_per_second`, and `measured_in`, the run whose model was timed if that
        is another one; None if the model is sharded over processes, or without rows.
    """
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled or not len(rows):
        return None
    own = str(trainer.args.run_name)
    first = rows.select(range(min(MOST_ROWS, len(rows))))
    run, found = shared("inference", lambda: _key(trainer, first), lambda: (own, _measure(trainer, first)))
    return found if run == own else {**found, "measured_in": run}


def _key(trainer: ToolkitTrainer, rows: Dataset) -> Hashable:
    """All that determines the inference cost; None if weights do, or the number of tokens of `rows` is unknown."""
    if trainer.task.generates or "length" not in rows.column_names:
        return None
    args, model = trainer.args, trainer.accelerator.unwrap_model(trainer.model)
    precision = (args.bf16, args.fp16, args.bf16_full_eval, args.fp16_full_eval, args.torch_compile)
    return args.name, architecture(model), args.device, precision, tuple(rows["length"][:])


def _measure(trainer: ToolkitTrainer, rows: Dataset) -> dict[str, Any]:
    import numpy as np
    import torch

    model = trainer.accelerator.unwrap_model(trainer.model)
    was_training, during_training = model.training, trainer.generation
    own = trainer._remove_unused_columns(rows, "inference")
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


def measure_in_turns(
    forms: Mapping[str, Callable[[Any], object]], singles: Sequence[Any], groups: Sequence[Any]
) -> dict[str, dict[str, Any]]:
    """Latency and throughput of several forms of a model, which answer each row, and each batch, in turns.

    Other load on the machine so meets all of them, and its waiting times do not count: PyTorch must use one thread. The
    time is that of the model alone: inputs are padded before.

    Args:
        forms: functions of the inputs that are in `singles`, one row each, and `groups`.

    Returns:
        For each form `threads`, `rows`, `latency_seconds` (median) with its quartiles `latency_seconds_p25` and
        `latency_seconds_p75`, `batch_size` and `rows_per_second` (median).
    """
    import numpy as np
    import torch

    with torch.no_grad():
        alone, together = (_times_in_turns(forms, inputs) for inputs in (singles, groups))
    sizes = [len(next(iter(inputs.values()))) for inputs in groups]
    found = {}
    for form in forms:
        low, median, high = map(float, np.quantile(alone[form], (0.25, 0.5, 0.75)))
        rates = [sizes[place % len(sizes)] / took for place, took in enumerate(together[form])]
        found[form] = {
            "device": "cpu",
            "threads": torch.get_num_threads(),
            "rows": min(len(singles), len(alone[form])),
            "latency_seconds": median,
            "latency_seconds_p25": low,
            "latency_seconds_p75": high,
            "batch_size": max(sizes),
            "rows_per_second": float(np.median(rates)),
        }
    return found


def _times_in_turns(forms: Mapping[str, Callable[[Any], object]], inputs: Sequence[Any]) -> dict[str, list[float]]:
    """Processor seconds of each input by form, until each form had `SECONDS` on average, or each input two turns."""
    names, times = list(forms), {form: list[float]() for form in forms}
    for own in inputs[:_WARM_UP]:
        for form in names:
            forms[form](own)
    began, place = time.perf_counter(), 0
    while not place or (time.perf_counter() - began < SECONDS * len(names) and place < 2 * len(inputs)):
        first = place % len(names)  # no form always follows the same one
        for form in names[first:] + names[:first]:
            start = _CLOCK()
            forms[form](inputs[place % len(inputs)])
            times[form].append(_CLOCK() - start)
        place += 1
    return times
