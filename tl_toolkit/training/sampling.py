"""The order of training rows, which is the same for any number of processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import Sampler
from transformers import TrainingArguments
from transformers.trainer_pt_utils import get_length_grouped_indices

from ..config.processes import global_batch

if TYPE_CHECKING:
    from datasets import Dataset

    from ..tasks import Task


class EpochSampler(Sampler[int]):
    """Every row once per epoch, in an order that depends only on the seed and the epoch.

    All processes compute the same order and read their share of it; the global random generators, which diverge between
    processes, are not used. The order is filled to whole global batches with the index `rows`, which is a blank row
    (see `with_blank_row`). Distributed samplers usually repeat real rows instead, which trains on them twice.

    Args:
        rows: number of rows.
        seed: seed of the order.
        global_batch: rows per update over all processes.
        lengths: if set, rows of similar lengths are grouped in batches of `global_batch`.
        fill: whether to fill the last batch, which is only needed with several processes.
    """

    def __init__(
        self, rows: int, *, seed: int, global_batch: int, lengths: Sequence[int] | None = None, fill: bool = False
    ) -> None:
        self.rows, self.seed, self.global_batch, self.lengths = rows, seed, global_batch, lengths
        self.blanks = -rows % global_batch if fill else 0
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; accelerate's data loaders call this at the start of every epoch, also of a resumed one."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        if self.lengths is None:
            yield from torch.randperm(self.rows, generator=generator).tolist()
        else:
            yield from get_length_grouped_indices(self.lengths, self.global_batch, generator=generator)
        yield from [self.rows] * self.blanks

    def __len__(self) -> int:
        return self.rows + self.blanks


def epoch_sampler(args: TrainingArguments, rows: int, lengths: Sequence[int] | None = None) -> EpochSampler:
    """The sampler of a run with these arguments, for its number of rows."""
    return EpochSampler(
        rows,
        seed=args.seed if args.data_seed is None else args.data_seed,
        global_batch=global_batch(args),
        lengths=lengths,
        fill=args.world_size > 1,
    )


def row_lengths(dataset: Dataset) -> np.ndarray:
    """The column `length`, without a walk over its rows."""
    return dataset.select_columns("length").with_format("arrow")[:]["length"].to_numpy()


def with_blank_row(dataset: Dataset, task: Task) -> Dataset:
    """Append a blank row to `dataset`: a copy of the shortest row with targets that every loss ignores."""
    from datasets import Dataset, concatenate_datasets

    shortest = int(row_lengths(dataset).argmin())
    blank = Dataset.from_list([task.blank(dataset[shortest])], features=dataset.features)
    return concatenate_datasets([dataset, blank])
