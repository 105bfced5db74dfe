"""The loss of distillation by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax

from tl_toolkit.training.distillation import distillation_loss

RNG = np.random.default_rng(3)
LOGITS, TEACHER = RNG.normal(size=(2, 5, 3))
LABELS = np.array([2, -100, 0, 1, -100])


def _loss(label_weight: float, temperature: float, weights: torch.Tensor | None = None) -> float:
    given = (torch.tensor(LOGITS), torch.tensor(TEACHER), torch.tensor(LABELS))
    return distillation_loss(*given, label_weight, temperature, weights).item()


@pytest.mark.parametrize(("label_weight", "temperature"), [(0.0, 1.0), (0.3, 2.0), (1.0, 5.0)])
def test_the_loss_by_hand(label_weight: float, temperature: float) -> None:
    soft = hard = 0.0
    for z, v, label in zip(LOGITS, TEACHER, LABELS, strict=True):
        p, q = softmax(v / temperature), softmax(z / temperature)
        soft += float((p * np.log(p / q)).sum())
        hard -= 0.0 if label == -100 else float(log_softmax(z)[label])
    expected = (1 - label_weight) * temperature**2 * soft + label_weight * hard
    assert _loss(label_weight, temperature) == pytest.approx(expected, rel=1e-5)


def test_at_a_high_temperature_it_is_the_squared_error_of_centred_logits() -> None:
    difference = (LOGITS - LOGITS.mean(1, keepdims=True)) - (TEACHER - TEACHER.mean(1, keepdims=True))
    assert _loss(0.0, 300.0) == pytest.approx((difference**2).sum() / (2 * 3), rel=0.02)  # Hinton et al., section 2.1


def test_classes_are_weighted_in_the_loss_of_the_labels_only() -> None:
    weights = torch.tensor([2.0, 3.0, 5.0])
    losses = -log_softmax(LOGITS, axis=1)
    assert _loss(1.0, 2.0, weights) == pytest.approx(5 * losses[0, 2] + 2 * losses[2, 0] + 3 * losses[3, 1], rel=1e-5)
    assert _loss(0.0, 2.0, weights) == _loss(0.0, 2.0)
