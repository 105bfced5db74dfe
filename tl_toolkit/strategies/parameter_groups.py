"""What the optimiser is given: every parameter, in a group with weight decay or one without."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


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
    from torch import nn

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
