"""Parameter groups for the optimiser, and the slanted triangular schedule, which transformers does not have."""

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
    """Return optimiser groups over *all* parameters of `model`, frozen ones included.

    The optimiser skips frozen parameters because they have no gradient, but it must know them to train them after they
    are unfrozen. Weight decay applies only to matrices that mix features, not to biases and norms (one dimension) or
    embeddings (their rows have a gradient only now and then, but would decay at every step).

    Args:
        learning_rates: learning rates by parameter name that differ from that of the optimiser.

    Raises:
        ValueError: a learning rate is for a parameter that `model` does not have.
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


def reshard(model: nn.Module) -> None:
    """Let the modules of a model sharded by FSDP have the parameters that the optimiser knows.

    After a forward pass without a backward pass, some have copies with the weights of all processes.
    """
    from torch.distributed.fsdp import FSDPModule

    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def slanted_triangular_factor(step: int, steps: int, cut_fraction: float, ratio: float) -> float:
    """Return the learning rate of a step as a fraction of the peak rate (Howard and Ruder 2018, equation 3).

        cut = floor(T cut_fraction);  p = t / cut for t < cut, else 1 - (t - cut) / (cut (1 / cut_fraction - 1))
        eta_t = eta_max (1 + p (ratio - 1)) / ratio

    If `T cut_fraction` is not an integer, p and the rate would become negative, because cut is rounded down. Therefore
    the second denominator is T - cut, as in the authors' code; for integers, both are equal.

    Args:
        step: t, from 0 to T - 1; later steps keep the lowest rate.
        steps: T, the number of updates of the whole run.
        cut_fraction: fraction of the updates in which the rate rises.
        ratio: peak rate divided by lowest rate.
    """
    cut = math.floor(steps * cut_fraction + 1e-9)  # 0.29 * 100 is 28.999999999999996
    p = step / cut if step < cut else max(0.0, 1 - (step - cut) / max(1, steps - cut))
    return (1 + p * (ratio - 1)) / ratio


def slanted_triangular(optimizer: Optimizer, steps: int, cut_fraction: float, ratio: float) -> LambdaLR:
    """Return the slanted triangular schedule over `steps` updates; it scales the peak rate of each group."""
    return LambdaLR(optimizer, partial(slanted_triangular_factor, steps=steps, cut_fraction=cut_fraction, ratio=ratio))
