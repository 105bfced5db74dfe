"""What the optimiser is given: every parameter, in a group with weight decay or one without."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Optimiser groups over *all* parameters of `model`, frozen ones included.

    A frozen parameter has no gradient, so that the optimiser passes it over, but one that the optimiser never saw
    would stay untrained after it is unfrozen. Weight decay is for matrices that mix features: biases and norms (one
    dimension) and embeddings (a row of which is seen now and then, but would be decayed at every step) are spared.
    """
    from torch import nn

    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, (nn.Embedding, nn.EmbeddingBag))}
    decayed: list[nn.Parameter] = []
    spared: list[nn.Parameter] = []
    for parameter in model.parameters():
        (decayed if parameter.ndim >= 2 and id(parameter) not in embeddings else spared).append(parameter)
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": spared, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]
