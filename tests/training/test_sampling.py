from __future__ import annotations

import pytest
from datasets import Dataset

from tl_toolkit.config.arguments import DataArguments
from tl_toolkit.tasks import make_task
from tl_toolkit.tasks.losses import summed_loss
from tl_toolkit.training.sampling import EpochSampler, with_blank_row

LENGTHS = [3, 11, 5, 2, 7, 13, 17, 3, 5, 11, 2, 19, 7]


@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_every_row_occurs_once_and_blanks_fill_the_last_batch(lengths: list[int] | None) -> None:
    sampler = EpochSampler(13, seed=5, global_batch=6, lengths=lengths, fill=True)
    first = list(sampler)
    assert len(first) == len(sampler) == 18
    assert sorted(first[:13]) == list(range(13)) and first[13:] == [13] * 5
    assert list(sampler) == first  # independent of the global generator
    sampler.set_epoch(1)
    assert list(sampler) != first
    assert sorted(list(sampler)[:13]) == list(range(13))
    alone = EpochSampler(13, seed=5, global_batch=6, lengths=lengths)
    assert list(alone) == first[:13]


def test_similar_lengths_are_grouped() -> None:
    order = list(EpochSampler(1000, seed=1, global_batch=10, lengths=[row % 97 for row in range(1000)]))
    spreads = [
        max(r % 97 for r in order[i : i + 10]) - min(r % 97 for r in order[i : i + 10]) for i in range(0, 1000, 10)
    ]
    assert sum(spreads) / len(spreads) < 10


@pytest.mark.parametrize("labels", [[2, 0, 1], [1.5, 0.25, 3.0], [[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]]])
def test_the_blank_row_has_no_loss(labels: list) -> None:
    import torch

    dataset = Dataset.from_dict({"input_ids": [[5, 6], [7], [8, 9, 4]], "length": [2, 1, 3], "labels": labels})
    blank = with_blank_row(dataset, make_task(DataArguments()))
    assert blank.features == dataset.features
    assert blank[:3] == dataset[:]
    assert blank[3]["input_ids"] == [7]
    kinds = {int: "single_label_classification", float: "regression", list: "multi_label_classification"}
    kind = kinds[type(labels[0])]
    logits = torch.randn(1, {"regression": 1, "multi_label_classification": 2}.get(kind, 3))
    assert summed_loss(logits, torch.tensor([blank[3]["labels"]]), kind).item() == 0
