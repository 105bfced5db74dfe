"""Metrics. `scores` has the formulas; the `evaluate.Metric` classes are imported lazily, because importing `evaluate`
takes seconds."""

from __future__ import annotations

from typing import Any

__all__ = [
    "Accuracy", "EntityF1", "MacroF1", "MeanAbsoluteError", "MeanSquaredError", "MicroF1", "Pearson", "Spearman",
    "TextScores",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in __all__:
        from . import modules

        return getattr(modules, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
