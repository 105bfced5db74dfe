"""What a recipe prints at the end."""

from __future__ import annotations

from typing import Any


def print_summary(record: dict[str, Any], output_dir: str) -> None:
    """Metrics by split, the labels they took, and what the run cost."""
    _print_table(record["metrics"])
    cost, budget = record["cost"], record["budget"]
    print(
        f"\nLearned from {budget['train_labels']:,} labels and selected on {budget['validation_labels']:,}; "
        f"{cost['parameters']['trained']:,} of {cost['parameters']['total']:,} parameters trained in "
        f"{cost['train_seconds']:.1f} s ({cost['examples_per_second']:,.0f} rows/s) on "
        f"{record['hardware']['world_size']} {record['hardware']['device']} process(es)."
    )
    print(f"The model and result.json are in {output_dir}")


def print_language_model_summary(record: dict[str, Any], output_dir: str) -> None:
    """Metrics by split, and what the run cost."""
    _print_table(record["metrics"])
    cost = record["cost"]
    if cost["steps"]:
        tokens = record["dataset"]["tokens"]["train"]
        print(
            f"\nLearned from {tokens:,} tokens in {cost['epochs']:g} epochs; {cost['parameters']['trained']:,} of "
            f"{cost['parameters']['total']:,} parameters trained in {cost['train_seconds']:.1f} s "
            f"({cost['tokens_per_second']:,.0f} tokens/s) on {record['hardware']['world_size']} "
            f"{record['hardware']['device']} process(es)."
        )
    print(f"{'The model and result.json are' if cost['steps'] else 'result.json is'} in {output_dir}")


def print_ensemble_summary(record: dict[str, Any], output_dir: str) -> None:
    """The metrics of both members and of the ensemble side by side, split by split, and what evaluating it took."""
    for split, metrics in record["metrics"].items():
        print(f"\n{split}", end="")
        members = {member["direction"]: member["metrics"][split] for member in record["members"]}
        _print_table({**members, "ensemble": metrics})
    cost = record["cost"]
    print(
        f"\n{cost['parameters']['total']:,} parameters, evaluated in {cost['evaluate_seconds']:.1f} s "
        f"({cost['examples_per_second']:,.0f} rows/s)."
    )
    print(f"The model and result.json are in {output_dir}")


def _print_table(results: dict[str, dict[str, float]]) -> None:
    names = list(next(iter(results.values())))
    width = max(map(len, names))
    print()
    print(" " * width, *(f"{split:>12}" for split in results))
    for name in names:
        values = [metrics.get(name) for metrics in results.values()]
        print(f"{name:<{width}}", *(f"{value:>12.4f}" if value is not None else f"{'-':>12}" for value in values))
