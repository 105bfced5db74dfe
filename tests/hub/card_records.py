"""A run folder with fixed numbers in its record, for card tests without training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

REVISION = "8d51e7e4887a4caaa95b3fbebbf53c0490b58bbb"

CONFIG = {
    "architectures": ["RnnForSequenceClassification"],
    "auto_map": {"AutoConfig": "configuration_rnn.RnnConfig"},
    "model_type": "rnn",
    "cell_type": "gru",
    "bidirectional": True,
    "vocab_size": 8191,
    "embedding_size": 61,
    "hidden_size": 67,
    "num_hidden_layers": 2,
    "id2label": {"0": "negative", "1": "positive"},
    "problem_type": "single_label_classification",
}
LABELS = [0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1]
PREDICTIONS = [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 0, 0]


def make_record(**changes: Any) -> dict[str, Any]:
    """The record of a completed run with a two-class classifier."""
    record: dict[str, Any] = {
        "schema_version": 1,
        "toolkit_version": "0.1.0",
        "status": "completed",
        "error": None,
        "started": "2026-03-01T10:00:00+00:00",
        "finished": "2026-03-01T10:02:00+00:00",
        "name": "bigru",
        "model": {
            "model_type": "rnn",
            "model_name_or_path": None,
            "revision": None,
            "class": "RnnForSequenceClassification",
            "tokenizer": "word",
            "vocab_size": 8191,
        },
        "strategy": {"name": "scratch"},
        "seed": 7,
        "arguments": {"dataset_name": "stanfordnlp/sst2", "model_type": "rnn", "label_budget": 500, "seed": 7},
        "resolved": {"learning_rate": 0.002, "num_train_epochs": 10.0},
        "hardware": {
            "device": "cpu",
            "device_name": "Test Processor",
            "world_size": 1,
            "threads": 2,
            "platform": "Linux-x86_64",
        },
        "versions": {"python": "3.11.7", "torch": "2.13.0", "transformers": "5.23.0"},
        "dataset": {
            "name": "stanfordnlp/sst2",
            "config": None,
            "revision": REVISION,
            "fingerprint": "0123456789abcdef",
            "versions": None,
            "columns": {"text": "sentence", "text_pair": None, "label": "label"},
            "rows": {"train": 500, "validation": 100, "test": 13},
            "validation_from": "train",
            "test_from": "test",
            "data_look": {
                "most_frequent": {"label": "positive", "share": 0.522},
                "in_test": {"count": 2, "rows": [17, 29]},
                "repeated": {"count": 1, "rows": [31]},
                "empty": {"train": {"count": 1, "rows": [3]}},
                "truncated": {"length": 64, "splits": {"train": {"count": 5, "of": 500}}},
            },
        },
        "task": {
            "name": "text-classification",
            "problem_type": "single_label_classification",
            "labels": ["negative", "positive"],
            "main_metric": "accuracy",
            "greater_is_better": True,
        },
        "budget": {
            "label_budget": 500,
            "validation_budget": 100,
            "train_labels": 500,
            "validation_labels": 100,
            "constant_answer": 0,
        },
        "metrics": {
            "validation": {"loss": 0.41, "accuracy": 0.81, "macro_f1": 0.805},
            "test": {"loss": 0.49, "accuracy": 10 / 13, "macro_f1": 0.7636363636363637},
        },
        "predictions": {"test": "predictions_test.parquet"},
        "history": [
            {"loss": 0.69, "step": 16, "epoch": 1.0},
            {"eval_loss": 0.6, "eval_accuracy": 0.7, "step": 16, "epoch": 1.0},
            {"loss": 0.5, "step": 32, "epoch": 2.0},
            {"eval_loss": 0.41, "eval_accuracy": 0.81, "step": 32, "epoch": 2.0},
        ],
        "cost": {
            "parameters": {"total": 612_345, "trained": 612_345},
            "train_seconds": 12.5,
            "examples_per_second": 400.0,
            "steps": 160,
            "epochs": 10.0,
            "peak_memory_bytes": 612_000_000,
            "inference": {
                "device": "cpu",
                "threads": 2,
                "rows": 13,
                "latency_seconds": 0.0031,
                "latency_seconds_p95": 0.0042,
                "batch_size": 13,
                "rows_per_second": 2100.0,
            },
        },
    }
    return {**record, **changes}


def make_run_folder(folder: Path, record: dict[str, Any] | None = None, **config: Any) -> Path:
    """Create a run folder with dummy weights, which cards do not read."""
    import pandas as pd

    folder.mkdir(parents=True)
    record = make_record() if record is None else record
    (folder / "config.json").write_text(json.dumps({**CONFIG, **config}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 256}))
    (folder / "model.safetensors").write_bytes(bytes(2_449_380))
    (folder / "modeling_rnn.py").write_text("")
    (folder / "result.json").write_text(json.dumps(record))
    frame = {"row": range(13), "text": ["a secret text"] * 13, "label": LABELS, "prediction": PREDICTIONS}
    pd.DataFrame(frame).to_parquet(folder / "predictions_test.parquet")
    return folder
