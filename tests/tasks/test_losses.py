from __future__ import annotations

import math

import pytest
import torch

from tl_toolkit.tasks.losses import batch_mean_loss, mean_loss, summed_loss


def test_losses_by_hand() -> None:
    logits = torch.tensor([[0.0, math.log(3.0)], [0.0, 0.0]])  # probabilities 1/4, 3/4 and 1/2, 1/2
    expected = -math.log(3 / 4) - math.log(1 / 2)
    assert summed_loss(logits, torch.tensor([1, 0]), "single_label_classification").item() == pytest.approx(expected)
    binary = torch.tensor([[math.log(3.0), -math.log(3.0)]])  # probabilities 3/4 and 1/4
    assert summed_loss(binary, torch.tensor([[1.0, 1.0]]), "multi_label_classification").item() == pytest.approx(
        -math.log(3 / 4) - math.log(1 / 4)
    )
    assert summed_loss(torch.tensor([[2.0], [5.0]]), torch.tensor([1.0, 3.0]), "regression").item() == 5.0


@pytest.mark.parametrize(
    ("problem_type", "labels"),
    [
        ("single_label_classification", torch.tensor([0, 2, 1, 1, 0, 2, 2])),
        ("multi_label_classification", torch.randint(0, 2, (7, 3), generator=torch.Generator().manual_seed(1)).float()),
        ("regression", torch.randn(7, generator=torch.Generator().manual_seed(2))),
    ],
)
def test_parts_of_a_batch_add_up_to_the_whole(problem_type: str, labels: torch.Tensor) -> None:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(7, 1 if problem_type == "regression" else 3, generator=generator)
    loss = batch_mean_loss(problem_type)
    whole = loss({"logits": logits}, labels)
    total = torch.tensor(labels.numel())
    parts = sum(loss({"logits": logits[a:b]}, labels[a:b], num_items_in_batch=total) for a, b in ((0, 5), (5, 7)))
    torch.testing.assert_close(parts, whole)
    assert mean_loss(logits.numpy(), labels.numpy(), problem_type) == pytest.approx(whole.item())
