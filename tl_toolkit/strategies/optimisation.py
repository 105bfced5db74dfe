"""What the optimiser is given: groups over every parameter, and a schedule that transformers does not have."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.optim.lr_scheduler import LambdaLR

if TYPE_CHECKING:
    from torch.optim import Optimizer


def parameter_groups(
    model: nn.Module, weight_decay: float, learning_rates: Mapping[str, float] | None = None
) -> list[dict[str, Any]]:
    """Optimiser groups over *all* parameters of `model`, frozen ones included.

    A frozen parameter has no gradient, so that the optimiser passes it over, but one that the optimiser never saw
    would stay untrained after it is unfrozen. Weight decay is for matrices that mix features: biases and norms (one
    dimension) and embeddings (a row of which is seen now and then, but would be decayed at every step) are spared.

    Args:
        learning_rates: by parameter name, where it is not the optimiser's own.

    Raises:
        ValueError: a rate for a parameter that `model` does not have.
    """
    rates = dict(learning_rates or {})
    if unknown := rates.keys() - {name for name, _ in model.named_parameters()}:
        raise ValueError(f"learning_rates names parameters that the model does not have: {sorted(unknown)}")

    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, (nn.Embedding, nn.EmbeddingBag))}
    groups: dict[tuple[float | None, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        decayed = parameter.ndim >= 2 and id(parameter) not in embeddings
        groups.setdefault((rates.get(name), decayed), []).append(parameter)
    return [
        {
            "params": parameters,
            "weight_decay": weight_decay if decayed else 0.0,
            **({} if rate is None else {"lr": rate}),
        }
        for (rate, decayed), parameters in sorted(groups.items(), key=lambda item: (item[0][0] or 0.0, not item[0][1]))
    ]


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
