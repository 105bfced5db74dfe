"""Run folders for tests, created quickly because nothing is trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LABELS = ("fruit", "metal", "river")


def make_run_folder(folder: Path, home: str = "/home/anna") -> Path:
    """Create the run folder of an rnn text classifier with all files that finetune writes.

    The record contains folder names below `home`, like the record of a run with local inputs.
    """
    import pandas as pd
    import torch

    from tl_toolkit.data.tokenizers import build_tokenizer
    from tl_toolkit.models import RnnConfig, RnnForSequenceClassification

    tokenizer = build_tokenizer("word", ["iron and tin", "apple and pear", "rhine and rhone"], min_frequency=1)
    torch.manual_seed(0)
    config = RnnConfig(
        vocab_size=len(tokenizer),
        embedding_size=5,
        hidden_size=7,
        num_hidden_layers=1,
        pad_token_id=tokenizer.pad_token_id,
        id2label=dict(enumerate(LABELS)),
        label2id={label: index for index, label in enumerate(LABELS)},
        problem_type="single_label_classification",
    )
    RnnForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    rows = pd.DataFrame({"row": [0], "text": ["iron and tin"], "label": [1], "prediction": [1]})
    rows.to_parquet(folder / "predictions_test.parquet")
    (folder / "attention.json").write_text('[{"words": ["iron"], "weights": [1.0]}]')
    (folder / "result.json").write_text(json.dumps(make_record(home), indent=1))
    return folder


def make_record(home: str) -> dict[str, Any]:
    """The result record of a fine-tuning run that started from a local folder."""
    epochs = [{"epoch": 1.0, "step": 10, "loss": 1.1}, {"epoch": 1.0, "step": 10, "eval_loss": 1.0}]
    epochs += [{"epoch": 2.0, "step": 20, "loss": 0.9}, {"epoch": 2.0, "step": 20, "eval_loss": 0.8}]
    return {
        "schema_version": 1,
        "toolkit_version": "0.1.0",
        "status": "completed",
        "error": None,
        "started": "2026-01-02T03:04:05+00:00",
        "finished": "2026-01-02T03:14:05+00:00",
        "name": f"{home}/outputs/lm",
        "model": {
            "model_type": "rnn",
            "model_name_or_path": f"{home}/outputs/lm",
            "class": "RnnForSequenceClassification",
            "tokenizer": f"{home}/outputs/words",
            "vocab_size": 11,
        },
        "strategy": {"name": "full"},
        "seed": 42,
        "arguments": {
            "dataset_name": f"{home}/data/sst2",
            "model_name_or_path": f"{home}/outputs/lm",
            "vectors": "~/vectors/glove.txt.gz",
            "config_overrides": f"embedding_size=5,note={home}/notes",
            "seed": 42,
        },
        "resolved": {"learning_rate": 0.001, "num_train_epochs": 2.0},
        "hardware": {"device": "cpu", "device_name": "cpu", "world_size": 1, "threads": 1, "platform": "Linux-x86_64"},
        "versions": {"python": "3.11.7", "torch": "2.13.0"},
        "dataset": {
            "name": f"{home}/data/sst2",
            "config": None,
            "revision": None,
            "fingerprint": "4acc1daddcd7175e",
            "versions": None,
            "columns": {"text": "text", "text_pair": None, "label": "label"},
            "rows": {"train": 66, "validation": 31, "test": 47},
            "validation_from": "validation",
            "test_from": "test",
        },
        "task": {
            "name": "text-classification",
            "problem_type": "single_label_classification",
            "labels": list(LABELS),
            "main_metric": "accuracy",
            "greater_is_better": True,
        },
        "budget": {
            "label_budget": None,
            "validation_budget": None,
            "train_labels": 66,
            "validation_labels": 31,
            "constant_answer": 0,
        },
        "metrics": {split: {"loss": 0.8, "accuracy": 0.5, "macro_f1": 0.4} for split in ("validation", "test")},
        "predictions": {"test": "predictions_test.parquet"},
        "attention": "attention.json",
        "history": epochs,
        "cost": {
            "parameters": {"total": 500, "trained": 500},
            "train_seconds": 1.0,
            "examples_per_second": 100.0,
            "tokens_per_second": 700.0,
            "steps": 20,
            "epochs": 2.0,
            "peak_memory_bytes": 10**8,
            "evaluate_seconds": 0.1,
            "disk_bytes": 10**5,
        },
    }
