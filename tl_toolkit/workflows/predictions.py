"""Predictions in the order of the rows they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..records.output_dir import PREDICTIONS, staged

if TYPE_CHECKING:
    import torch
    from datasets import Dataset, DatasetDict

    from ..data.streams import TokenStream
    from ..tasks import Task
    from ..training.trainer import ToolkitTrainer

_TIMING = ("runtime", "samples_per_second", "steps_per_second", "model_preparation_time")


def by_length(dataset: Dataset) -> Any:
    """The positions of the rows of `dataset`, shortest first."""
    import numpy as np

    return np.argsort(dataset["length"], kind="stable")


def predict_in_order(trainer: ToolkitTrainer, dataset: Dataset) -> tuple[Any, dict[str, float]]:
    """What the task gathered of `dataset`, in the order of its rows, and its metrics with plain names.

    There are no metrics without labels.

    Rows are read in the order of their lengths, which wastes least on padding, and put back afterwards.
    """
    import numpy as np

    order = by_length(dataset)
    output = trainer.predict(dataset.select(order), metric_key_prefix="test")
    places = np.argsort(order)
    answers = output.predictions
    answers = tuple(part[places] for part in answers) if isinstance(answers, tuple) else answers[places]
    plain = {key.removeprefix("test_"): value for key, value in (output.metrics or {}).items()}
    return answers, {key: value for key, value in plain.items() if key not in _TIMING}


def save_predictions(task: Task, splits: DatasetDict, answers: Mapping[str, Any], output_dir: Path) -> dict[str, str]:
    """Leave a parquet file for each split that has `answers`; returns their names by split."""
    with staged(output_dir) as staging:
        for split, own in answers.items():
            task.predictions(own, splits[split]).to_parquet(staging / PREDICTIONS[split], index=False)
        if "test" in answers:
            task.draw(answers["test"], splits["test"], staging)
    return {split: PREDICTIONS[split] for split in answers}


def save_losses(losses: torch.Tensor, stream: TokenStream, output_dir: Path) -> str:
    """Leave a parquet file with a row for each document of the test split; returns its name.

    Its columns are `row`, `loss_sum` (in nats, over the predicted tokens), `tokens` (those) and `bytes` (of the text).

    Args:
        losses: `[tokens]` of `stream`, whose documents are whole; not a number where a token was not predicted.
    """
    import numpy as np
    import pandas as pd

    values = losses.double().numpy()
    document = np.repeat(np.arange(stream.documents), stream.document_tokens)
    known = ~np.isnan(values)
    columns = {
        "row": np.arange(stream.documents),
        "loss_sum": np.bincount(document[known], values[known], stream.documents),
        "tokens": np.bincount(document[known], minlength=stream.documents),
        "bytes": stream.document_bytes,
    }
    with staged(output_dir) as staging:
        pd.DataFrame(columns).to_parquet(staging / PREDICTIONS["test"], index=False)
    return PREDICTIONS["test"]
