"""The order in which training rows are read: the same for any number of processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices

if TYPE_CHECKING:
    from datasets import Dataset

    from ..tasks import Task


class EpochSampler(Sampler[int]):
    """Every row once an epoch, in an order that depends on the seed and the epoch alone.

    Each process draws the same order and takes its share of it, whatever else it has drawn at random before (dropout on
    batches of different shapes leaves the processes' generators apart). The order is filled up to whole global batches
    with the index `rows`, that of a blank row, see `with_blank_row`: repeating real rows instead, as samplers of
    several processes usually do, would train on them twice.

    Args:
        rows: how many rows there are.
        seed: of the order.
        global_batch: rows of one update over all processes.
        lengths: with these, rows of similar lengths come together, in groups of `global_batch`.
        fill: whether to fill the last batch, which only several processes need.
    """

    def __init__(
        self, rows: int, *, seed: int, global_batch: int, lengths: Sequence[int] | None = None, fill: bool = False
    ) -> None:
        self.rows, self.seed, self.global_batch, self.lengths = rows, seed, global_batch, lengths
        self.blanks = -rows % global_batch if fill else 0
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """accelerate's data loaders call this at the start of every epoch, a resumed one included."""
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


def with_blank_row(dataset: Dataset, task: Task) -> Dataset:
    """`dataset` and behind it one row whose targets are ignored by every loss: the shortest one without its targets."""
    from datasets import Dataset, concatenate_datasets

    lengths = dataset["length"]
    shortest = min(range(len(dataset)), key=lambda row: lengths[row])
    blank = Dataset.from_list([task.blank(dataset[shortest])], features=dataset.features)
    return concatenate_datasets([dataset, blank])
