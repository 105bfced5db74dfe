"""Synthetic comparisons: records, predictions and attention as runs leave them, drawn from known accuracies."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

LIBRARIES = [
    "accelerate",
    "datasets",
    "numpy",
    "pandas",
    "scipy",
    "sklearn",
    "stdlib",
    "sympy",
    "torch",
    "yaml",
    "zlib",
]
SCRATCH = {
    "elman": (0.19, 0.27, 0.38),
    "lstm": (0.23, 0.34, 0.50),
    "bilstm-attention": (0.25, 0.37, 0.53),
    "self-attention": (0.24, 0.36, 0.52),
    "bert-small": (0.22, 0.33, 0.48),
    "gpt-small": (0.21, 0.31, 0.46),
}
TRANSFER = {"minilm": (0.45, 0.58, 0.67), "minilm-frozen": (0.43, 0.52, 0.58)}
BUDGETS: tuple[int | None, ...] = (100, 500, 2000)
SENTENCES = [
    "Return the indices of the elements that are non-zero, grouped by element.",
    "Computes the gradient of current tensor with respect to graph leaves, accumulated in .grad.",
    "A dict-like object whose items are read lazily; <b>markup</b> & ampersands stay as they are.",
    "Fit the model according to the given training data and the parameters that were chosen before it.",
]


def make_record(entry: str, budget: int | None, seed: int, reached: float, **changes: Any) -> dict[str, Any]:
    """A completed record of a single-label run that reached this test accuracy."""
    transfer = entry.startswith("minilm")
    labels = budget or 6920
    total = 22_700_000 if transfer else 1_040_000
    trained = 4_235 if entry.endswith("frozen") else total
    metrics = {"loss": 1.3, "accuracy": reached, "macro_f1": reached - 0.021}
    arguments = {
        "dataset_name": "builtin:pydocs",
        "strategy": "full" if transfer else "scratch",
        "learning_rate": 5e-5 if transfer else 2e-3,
        "config_overrides": {"hidden_size": 128, "bidirectional": True},
        "num_train_epochs": 10.0,
        "seed": seed,
    } | ({} if budget is None else {"label_budget": budget})
    return {
        "schema_version": 1,
        "toolkit_version": "0.1.0",
        "status": "completed",
        "error": None,
        "started": "2026-11-23T18:00:00+00:00",
        "finished": "2026-11-23T18:00:09+00:00",
        "name": entry,
        "entry": entry,
        "folder": f"runs/{entry}-{budget}-{seed}",
        "task": {
            "name": "text-classification",
            "problem_type": "single_label_classification",
            "labels": LIBRARIES,
            "main_metric": "accuracy",
            "greater_is_better": True,
        },
        "dataset": {
            "name": "builtin:pydocs",
            "config": None,
            "revision": None,
            "fingerprint": "0123456789abcdef",
            "versions": {"torch": "2.13.0", "numpy": "2.4.6"},
            "columns": {"text": "text", "text_pair": None, "label": "library"},
            "rows": {"train": labels, "validation": min(labels, 1000), "test": 2000},
            "validation_from": "validation",
            "test_from": "test",
        },
        "model": {
            "model_type": "bert" if transfer else "rnn",
            "model_name_or_path": "builtin:minilm" if transfer else None,
            "class": "BertForSequenceClassification" if transfer else "RnnForSequenceClassification",
            "tokenizer": "builtin:minilm" if transfer else "word",
            "vocab_size": 30522 if transfer else 9000,
        },
        "strategy": {"name": "scratch" if not transfer else "frozen" if entry.endswith("frozen") else "full"},
        "budget": {
            "label_budget": budget,
            "validation_budget": min(labels, 1000),
            "train_labels": labels,
            "validation_labels": min(labels, 1000),
        },
        "seed": seed,
        "arguments": arguments,
        "metrics": {"validation": dict(metrics), "test": dict(metrics)},
        "predictions": {"test": "predictions_test.parquet"},
        "history": [],
        "cost": {
            "parameters": {"total": total, "trained": trained},
            "train_seconds": (48.0 if transfer else 3.4) * labels / 2000 + 0.4 * seed,
            "evaluate_seconds": 0.5,
            "examples_per_second": 210.0 if transfer else 2900.0,
            "tokens_per_second": 20000.0,
            "peak_memory_bytes": 1_400_000_000 if transfer else 880_000_000,
            "steps": 40,
            "epochs": 10.0,
        },
        "hardware": {
            "device": "cpu",
            "device_name": "x86_64",
            "world_size": 1,
            "threads": 2,
            "platform": "Linux",
        },
        "versions": {"python": "3.11.7", "torch": "2.13.0", "transformers": "5.23.0"},
    } | changes


def write_parquet(folder: Path, columns: dict[str, Any]) -> None:
    """A predictions file as a run writes it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), folder / "predictions_test.parquet")


def write_lines(folder: Path, records: Sequence[dict[str, Any]]) -> None:
    """results.jsonl as a comparison writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


def write_comparison(
    folder: Path,
    skills: dict[str, Sequence[float]] | None = None,
    budgets: Sequence[int | None] = BUDGETS,
    seeds: Sequence[int] = (5, 3, 2),
    rows: int = 503,
    predictions: bool = True,
    texts: Sequence[str] = SENTENCES,
) -> list[dict[str, Any]]:
    """A grid of runs whose records agree with their predictions. Rows have a hardness that all entries share."""
    generator = np.random.default_rng(7)
    classes = len(LIBRARIES)
    label = generator.integers(classes, size=rows)
    hardness = generator.random(rows)
    records = []
    for column, budget in enumerate(budgets):
        for entry, skill in (skills or SCRATCH | TRANSFER).items():
            for seed in range(1, seeds[column] + 1):
                ease = skill[column] + generator.normal(0, 0.006)
                right = 0.7 * hardness + 0.3 * generator.random(rows)
                right = right <= np.quantile(right, ease)
                # Wrong answers fall on the neighbouring class more often than chance.
                wrong = (
                    label + np.where(generator.random(rows) < 0.5, 1, generator.integers(1, classes, rows))
                ) % classes
                prediction = np.where(right, label, wrong)
                record = make_record(entry, budget, seed, float((prediction == label).mean()))
                records.append(record)
                if predictions:
                    top = generator.uniform(0.3, 0.99, rows)
                    scores = np.repeat(((1 - top) / (classes - 1))[:, None], classes, axis=1)
                    scores[np.arange(rows), prediction] = top
                    columns = {
                        "row": np.arange(rows) * 3,
                        "text": [texts[index % len(texts)] for index in range(rows)],
                        "label": label,
                        "prediction": prediction,
                        "scores": list(scores.astype(np.float32)),
                    }
                    write_parquet(folder / record["folder"], columns)
    write_lines(folder, records)
    return records


def enrich(record: dict[str, Any], generator: np.random.Generator) -> dict[str, Any]:
    """The record with everything that a run may tell beyond the least: costs of use, energy, stages, tuning."""
    transfer, cost = record["strategy"]["name"] != "scratch", record["cost"]
    noise = float(generator.uniform(0.9, 1.1)) * (1 + 0.3 * (len(record["entry"]) % 5))
    cost["train_seconds"] *= noise
    latency = (0.0086 if transfer else 0.0011) * noise
    cost["disk_bytes"] = 4 * cost["parameters"]["total"] + 300_000
    cost["seconds"] = {"data": 0.7, "model": 0.2, "train": cost["train_seconds"], "evaluate": 0.5, "save": 0.1}
    cost["seconds"]["total"] = sum(cost["seconds"].values())
    cost["inference"] = {
        "device": "cpu",
        "threads": 2,
        "rows": 256,
        "latency_seconds": latency,
        "latency_seconds_p95": 1.4 * latency,
        "rows_per_second": 3.1 / latency,
        "batch_size": 32,
    }
    cost["energy_joules"] = {"cpu": 21.0 * cost["train_seconds"]}
    record["attention"] = "attention.json" if "attention" in record["entry"] or transfer else None
    if record["entry"] == "lstm":
        record["tuning"] = {
            "trials": 12,
            "failed": 1,
            "seconds": 340.0,
            "search": {"learning_rate": "log 1e-4 to 1e-2"},
            "chosen": {"learning_rate": 0.0031},
            "best": 0.51,
            "metric": "accuracy",
        }
    return record


def write_attention(folder: Path, texts: Sequence[str], generator: np.random.Generator, most: int = 5) -> None:
    """attention.json as a run of a model with attention leaves it, for the first rows of `texts`."""
    rows = []
    for row, text in enumerate(texts[:most]):
        tokens = text.split()
        weights = generator.dirichlet(np.full(len(tokens), 0.4))
        rows.append({"row": row, "tokens": tokens, "weights": [round(float(weight), 4) for weight in weights]})
    told = {"what": "how much of the sentence's vector each word is, from the attention pooling", "rows": rows}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "attention.json").write_text(json.dumps(told))


def write_rich_comparison(folder: Path, **keywords: Any) -> list[dict[str, Any]]:
    """As `write_comparison`, with records that tell all they can and attention where a model has one."""
    records = write_comparison(folder, **keywords)
    generator = np.random.default_rng(11)
    for record in records:
        enrich(record, generator)
        if record["attention"]:
            write_attention(folder / record["folder"], keywords.get("texts", SENTENCES), generator)
    write_lines(folder, records)
    return records


def write_many(folder: Path, entries: int, budgets: int, seeds: int, rows: int) -> int:
    """A comparison of `entries` · `budgets` · `seeds` runs, every fifth entry with transfer; returns their number."""
    sizes = [round(100 * (70 ** (place / max(1, budgets - 1)))) for place in range(budgets)]
    skills = {}
    for number in range(entries):
        transfer = number % 5 == 4
        name = f"minilm-{number}" if transfer else f"{('elman', 'lstm', 'gru', 'attention')[number % 5]}-{number}"
        start = 0.45 if transfer else 0.2 + 0.005 * number
        skills[name] = [start + (0.25 if transfer else 0.35) * place / budgets for place in range(budgets)]
    records = write_rich_comparison(folder, skills=skills, budgets=sizes, seeds=[seeds] * budgets, rows=rows)
    return len(records)
