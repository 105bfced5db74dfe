"""What a recipe prints at the end."""

from __future__ import annotations

from typing import Any


def print_summary(record: dict[str, Any], output_dir: str) -> None:
    """Metrics by split, the labels they took, and what the run cost."""
    names = list(next(iter(record["metrics"].values())))
    width = max(map(len, names))
    print()
    print(" " * width, *(f"{split:>12}" for split in record["metrics"]))
    for name in names:
        values = [metrics.get(name) for metrics in record["metrics"].values()]
        print(f"{name:<{width}}", *(f"{value:>12.4f}" if value is not None else f"{'-':>12}" for value in values))
    cost, budget = record["cost"], record["budget"]
    print(
        f"\nLearned from {budget['train_labels']:,} labels and selected on {budget['validation_labels']:,}; "
        f"{cost['parameters']['trained']:,} of {cost['parameters']['total']:,} parameters trained in "
        f"{cost['train_seconds']:.1f} s ({cost['examples_per_second']:,.0f} rows/s) on "
        f"{record['hardware']['world_size']} {record['hardware']['device']} process(es)."
    )
    print(f"The model and result.json are in {output_dir}")
