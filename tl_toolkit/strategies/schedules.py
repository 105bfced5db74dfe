"""Learning-rate schedules that transformers does not have."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

from torch.optim.lr_scheduler import LambdaLR

if TYPE_CHECKING:
    from torch.optim import Optimizer


def slanted_triangular_factor(step: int, steps: int, cut_fraction: float, ratio: float) -> float:
    """The learning rate of a step as a part of the peak rate (Howard and Ruder 2018, equation 3).

        cut = floor(T cut_fraction);  p = t / cut for t < cut, else 1 - (t - cut) / (cut (1 / cut_fraction - 1))
        eta_t = eta_max (1 + p (ratio - 1)) / ratio

    Where `T cut_fraction` is not whole, rounding it down would take p below 0 and the rate with it, so the second
    denominator is T - cut, which is the same number where it is whole (and what the authors' own code has).

    Args:
        step: t, from 0 to T - 1; later ones stay at the lowest rate.
        steps: T, the updates of the whole run.
        cut_fraction: the part of them in which the rate rises.
        ratio: how much smaller the lowest rate is than the peak.
    """
    cut = math.floor(steps * cut_fraction + 1e-9)  # 0.29 * 100 is 28.999999999999996
    p = step / cut if step < cut else max(0.0, 1 - (step - cut) / max(1, steps - cut))
    return (1 + p * (ratio - 1)) / ratio


def slanted_triangular(optimizer: Optimizer, steps: int, cut_fraction: float, ratio: float) -> LambdaLR:
    """The slanted triangular schedule over `steps` updates, on each group's own peak rate."""
    return LambdaLR(optimizer, partial(slanted_triangular_factor, steps=steps, cut_fraction=cut_fraction, ratio=ratio))
