"""Prediction on encoded datasets, and the files of predictions and losses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.encoding import PaddedRows
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

    return np.argsort(dataset.with_format("arrow")[:]["length"].to_numpy(), kind="stable")


def predict_in_order(trainer: ToolkitTrainer, dataset: Dataset) -> tuple[Any, dict[str, float]]:
    """Raw predictions in the order of the rows of `dataset`, and its metrics by plain name (empty without labels).

    Rows are predicted in the order of their lengths, which needs the least padding, and put back afterwards.
    """
    order = by_length(dataset)
    output = trainer.predict(dataset.select(order), metric_key_prefix="test")
    plain = {key.removeprefix("test_"): value for key, value in (output.metrics or {}).items()}
    answers = join_rows([output.predictions], [order])
    return answers, {key: value for key, value in plain.items() if key not in _TIMING}


def answers_in_order(trainer: ToolkitTrainer, dataset: Dataset) -> tuple[Any, Any]:
    """Raw predictions and labels (None without) in the order of the rows of `dataset`, as from `predict_in_order`.

    On one device, batches are made and predicted here, which takes less than half the time of an evaluation.
    """
    import torch
    from transformers.trainer_pt_utils import nested_numpify

    args = trainer.args
    if args.world_size > 1 or args.n_gpu > 1 or args.bf16_full_eval or args.fp16_full_eval or args.torch_compile:
        order = by_length(dataset)
        output = trainer.predict(dataset.select(order))
        labels = output.label_ids
        return join_rows([output.predictions], [order]), None if labels is None else join_rows([labels], [order])
    if not trainer.accelerator._models:
        trainer.accelerator.prepare_model(trainer.model, evaluation_mode=True)  # for --bf16
    trainer.model.eval()
    trainer._set_signature_columns_if_needed()
    names = [name for name in dataset.column_names if name in trainer._signature_columns]
    if PaddedRows.fits(names, trainer.data_collator):
        batch_of: Any = PaddedRows(dataset, trainer.data_collator, names).__getitems__
    else:
        own = dataset.select_columns(names)

        def batch_of(rows: np.ndarray) -> Any:
            return trainer.data_collator([own[int(row)] for row in rows])

    order = by_length(dataset)
    size = args.eval_batch_size
    parts = [order[start : start + size] for start in range(0, len(order), size)]
    answers, targets = [], []
    with torch.inference_mode():
        for rows in parts:
            _, answer, label = trainer.prediction_step(trainer.model, batch_of(rows), False)
            answers.append(nested_numpify(answer))
            targets.append(None if label is None else nested_numpify(label))
    return join_rows(answers, parts), None if targets[0] is None else join_rows(targets, parts)


def join_rows(answers: list[Any], rows: list[np.ndarray]) -> Any:
    """The answers (arrays, or tuples of arrays) of all rows in order, padded with -100 where shapes differ.

    Args:
        rows: the positions of the rows of each part.
    """
    import numpy as np

    if isinstance(answers[0], tuple):
        return tuple(join_rows(list(own), rows) for own in zip(*answers, strict=True))
    shape = np.max([own.shape[1:] for own in answers], axis=0) if answers[0].ndim > 1 else ()
    joined = np.full((sum(map(len, rows)), *map(int, shape)), -100, dtype=answers[0].dtype)
    for own, places in zip(answers, rows, strict=True):
        where: Any = (places, *(slice(size) for size in own.shape[1:]))
        joined[where] = own
    return joined


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
