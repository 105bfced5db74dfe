"""Prediction on encoded datasets, and the files of predictions and losses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..records.output_dir import PREDICTIONS, staged

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset, DatasetDict

    from ..data.streams import TokenStream
    from ..tasks import Task
    from ..training.trainer import ToolkitTrainer

_TIMING = ("runtime", "samples_per_second", "steps_per_second", "model_preparation_time")


def by_length(dataset: Dataset) -> Any:
    """The row positions of `dataset` by increasing length; an array of integers."""
    import numpy as np

    return np.argsort(dataset["length"], kind="stable")


def predict_in_order(trainer: ToolkitTrainer, dataset: Dataset) -> tuple[Any, dict[str, float]]:
    """Raw predictions in the order of the rows of `dataset`, and its metrics by plain name (empty without labels).

    Rows are predicted in the order of their lengths, which needs the least padding, and put back afterwards.
    """
    import numpy as np

    order = by_length(dataset)
    output = trainer.predict(dataset.select(order), metric_key_prefix="test")
    places = np.argsort(order)
    found = output.predictions
    found = tuple(part[places] for part in found) if isinstance(found, tuple) else found[places]
    plain = {key.removeprefix("test_"): value for key, value in (output.metrics or {}).items()}
    return found, {key: value for key, value in plain.items() if key not in _TIMING}


def save_predictions(task: Task, splits: DatasetDict, predicted: Mapping[str, Any], output_dir: Path) -> dict[str, str]:
    """Write a parquet file for each split in `predicted`, and return the file names by split."""
    with staged(output_dir) as staging:
        for split, own in predicted.items():
            frame = task.predictions(own, splits[split])
            if split in task.groups:
                frame["group"] = task.groups[split]
            frame.to_parquet(staging / PREDICTIONS[split], index=False)
        if "test" in predicted:
            task.draw(predicted["test"], splits["test"], staging)
    return {split: PREDICTIONS[split] for split in predicted}


def save_losses(losses: np.ndarray, stream: TokenStream, output_dir: Path) -> None:
    """Write a parquet file with a row for each document of the test split.

    Its columns are `row`, `loss_sum` (in nats), `tokens` (the number of predicted tokens) and `bytes` (of the text).

    Args:
        losses: float64 `[tokens]`, the loss of each token of `stream`; NaN where a token was not predicted.
        stream: the test split, in whole documents.
    """
    import numpy as np
    import pandas as pd

    document = np.repeat(np.arange(stream.documents), stream.document_tokens)
    known = ~np.isnan(losses)
    columns = {
        "row": np.arange(stream.documents),
        "loss_sum": np.bincount(document[known], losses[known], stream.documents),
        "tokens": np.bincount(document[known], minlength=stream.documents),
        "bytes": stream.document_bytes,
    }
    with staged(output_dir) as staging:
        pd.DataFrame(columns).to_parquet(staging / PREDICTIONS["test"], index=False)
