"""The forms of a model in which users run it (PyTorch, ONNX, int8), as `--measure` has recorded them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..results import Result

NAMES = {"pytorch": "PyTorch", "onnx": "ONNX", "int8": "ONNX, int8", "pytorch_int8": "PyTorch, int8"}
FIELDS = (
    *("latency_seconds", "latency_seconds_p25", "latency_seconds_p75", "rows_per_second", "bytes", "memory_bytes"),
    *("agreement", "score_lost"),
)


def mean_forms(results: Sequence[Result]) -> dict[str, dict[str, float]]:
    """The mean of each of `FIELDS` over runs, by form; only what every run has measured."""
    recorded, found = [_recorded(run) for run in results], {}
    for form in NAMES:
        own = [forms.get(form) or {} for forms in recorded]
        known = [name for name in FIELDS if own and all(one.get(name) is not None for one in own)]
        if "latency_seconds" in known:
            found[form] = {name: float(np.mean([one[name] for one in own])) for name in known}
    return found


def form_problems(results: Sequence[Result]) -> list[str]:
    """For each entry that has no such form, a sentence that says why."""
    found = {(run.entry, form): own["problem"] for run in results for form, own in _recorded(run).items()
             if own.get("problem")}  # fmt: skip
    return [f"{entry} was not measured as {NAMES.get(form, form)}. {why}" for (entry, form), why in found.items()]


def _recorded(run: Result) -> dict[str, Any]:
    return (run.section("cost").get("inference") or {}).get("forms") or {}
