"""Calibrate the probabilities of a classifier by one temperature (Guo et al. 2017, "On Calibration of Modern Neural
Networks", section 4.2): softmax(logits / T), with the T that minimises the log loss on validation rows.

The temperature becomes part of the weights of the last layer, so that every use of the saved model has the same
probabilities. It changes no decision.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

FEWEST_ROWS = 20
_LARGEST = 20.0


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> tuple[float, str]:
    """Return the temperature of validation rows, and if it stays 1 the reason.

    Args:
        logits: (rows, classes).
        labels: class ids (rows,).
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    if len(labels) < FEWEST_ROWS:
        return 1.0, f"fewer than {FEWEST_ROWS} validation rows"
    if len(np.unique(labels)) < 2:
        return 1.0, "the validation rows have one class"
    logits = logits.astype(np.float64)
    if (logits.argmax(axis=1) == labels).all():
        return 1.0, "no validation row is wrong, so the log loss has no minimum"

    def log_loss(log_temperature: float) -> float:
        chances = log_softmax(logits * math.exp(-log_temperature), axis=1)
        return -float(chances[np.arange(len(labels)), labels].mean())

    bound = math.log(_LARGEST)
    found = minimize_scalar(log_loss, bounds=(-bound, bound), method="bounded", options={"xatol": 1e-6})
    if abs(found.x) > bound - 0.01:  # the log loss falls up to the border: the logits are worse than chance
        return 1.0, f"the log loss has no minimum between temperatures of {1 / _LARGEST:g} and {_LARGEST:g}"
    return math.exp(found.x), ""


@torch.no_grad()
def fold_temperature(model: torch.nn.Module, temperature: float, classes: int, logits_of: Callable[[], Any]) -> bool:
    """Divide the logits of `model` by a temperature, in the weight and bias of its last linear layer.

    A model without any such layer, as a bag of n-grams, is one itself.

    This is possible if the logits are proportional to that layer. It is tested by halving the layer, which is exact in
    binary numbers; a model that fails the test, such as one that averages probabilities, is not changed.

    Args:
        classes: the outputs of the layer.
        logits_of: returns the model's logits for some rows.

    Returns:
        Whether the model was changed.
    """
    layers = [part for part in model.modules() if isinstance(part, torch.nn.Linear)]
    last = [part for part in layers if part.out_features == classes][-1:]
    own: list[torch.Tensor] = [one for part in (last if layers else (model,)) for one in part.parameters()]
    if not own or own[0].dtype not in (torch.float32, torch.float64):  # others are too coarse
        return False
    before = logits_of()
    torch._foreach_mul_(own, 0.5)
    proportional = torch.allclose(2 * logits_of(), before, rtol=1e-4, atol=1e-6)
    torch._foreach_mul_(own, 2.0)
    if proportional:
        torch._foreach_div_(own, temperature)
    return proportional
