"""Small synthetic comparisons with known truths: records and predictions as runs leave them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from synthetic_records import make_record, write_lines, write_parquet

KIND_OF = {"tfidf": "linear", "lstm": "scratch", "gru": "scratch", "ulmfit": "ulmfit", "minilm": "transformer"}
COST = {
    "tfidf": (0.0002, 0.5),
    "lstm": (0.001, 4.0),
    "gru": (0.001, 6.0),
    "ulmfit": (0.003, 40.0),
    "minilm": (0.01, 60.0),
}


def write_world(
    folder: Path,
    skills: Mapping[str, Sequence[float]],
    *,
    budgets: Sequence[int | None] = (100, 400, 1600),
    seeds: int | Sequence[int] = 3,
    rows: int = 997,
    deviation: float = 0.007,
    constant: float = 0.5,
    dataset: str = "reviews",
    failed: Mapping[str, Sequence[int]] | None = None,
    change: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Runs of right and wrong answers on two classes; `skills` are the accuracies of each entry by budget.

    Rows have a difficulty that all entries share. `constant` is the fraction of the most frequent class, and `failed`
    lists the seeds of entries whose runs have diverged.
    """
    generator = np.random.default_rng(3)
    label = (np.arange(rows) >= constant * rows).astype(int)
    label = generator.permutation(label)
    hardness = generator.random(rows)
    records = []
    for place, budget in enumerate(budgets):
        for entry, curve in skills.items():
            for seed in range(1, (seeds if isinstance(seeds, int) else seeds[place]) + 1):
                reached = curve[place] + generator.normal(0, deviation)
                ease = 0.6 * hardness + 0.4 * generator.random(rows)
                right = ease <= np.quantile(ease, min(max(reached, 0), 1))
                prediction = np.where(right, label, 1 - label)
                record = make_record(entry, budget, seed, float(right.mean()), kind=KIND_OF[entry], **(change or {}))
                answer, training = COST[entry]
                record["cost"] |= {"inference": {"latency_seconds": answer}, "train_seconds": training}
                record["task"] |= {"labels": ["bad", "good"]}
                record["dataset"] |= {
                    "name": dataset,
                    "rows": {"train": budget or 6920, "validation": 100, "test": rows},
                }
                record["budget"]["constant_answer"] = 0
                record["folder"] = f"runs/{dataset}/{entry}-{budget}-{seed}"
                if seed in (failed or {}).get(entry, ()):
                    lost = (
                        "task",
                        "dataset",
                        "seed",
                        "entry",
                        "folder",
                        "budget",
                        "kind",
                        "arguments",
                        "strategy",
                        "model",
                    )
                    record = {name: record[name] for name in (*lost, "schema_version")}
                    record |= {"status": "failed", "failure": "not_finite", "error": "Loss is nan."}
                else:
                    columns = {"row": np.arange(rows), "label": label, "prediction": prediction}
                    write_parquet(folder / record["folder"], columns)
                records.append(record)
    write_lines(folder, records)
    return records


def write_language_models(folder: Path, losses: Mapping[str, Sequence[float]], rows: int = 211) -> None:
    """Runs of language models with these mean losses per token, by token budget."""
    generator = np.random.default_rng(5)
    tokens = generator.integers(20, 60, rows)
    common = generator.normal(0, 0.3, rows)
    records = []
    for place, budget in enumerate((10_000, 40_000)):
        for entry, curve in losses.items():
            for seed in (1, 2, 3):
                loss = curve[place] + common + generator.normal(0, 0.05, rows) + generator.normal(0, 0.01)
                mean = float((loss * tokens).sum() / tokens.sum())
                metrics = {"loss": mean, "perplexity": float(np.exp(mean))}
                record = make_record(entry, None, seed, 0, kind=KIND_OF[entry])
                record["task"] = {
                    "name": "causal-language-modeling", "problem_type": None, "main_metric": "perplexity",
                    "greater_is_better": False,
                }  # fmt: skip
                record["metrics"] = {"validation": metrics, "test": metrics}
                record["budget"] = {"token_budget": budget, "train_tokens": budget}
                record["folder"] = f"runs/{entry}-{budget}-{seed}"
                columns = {"row": np.arange(rows), "loss_sum": loss * tokens, "tokens": tokens, "bytes": 5 * tokens}
                write_parquet(folder / record["folder"], columns)
                records.append(record)
    write_lines(folder, records)
