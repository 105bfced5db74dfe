"""A causal language model whose state is a list of named tensors, for graphs that read and return it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..models.rnn_cache import RnnCache


class StatefulModel(nn.Module):
    """Reads tokens and `past_LAYER_PART`, and returns `logits` and `present_LAYER_PART`.

    The parts of a recurrent layer are h, and c of an LSTM, each (batch, size), zeros before a text. Those of an
    attention layer are keys and values (batch, heads, positions, size), without positions before a text. All tokens
    are real.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.config = model, model.config
        with torch.no_grad():
            self.cache = model.eval()(torch.zeros(1, 1, dtype=torch.long), use_cache=True).past_key_values
        states = [(f"past_{layer}_{part}", tensor) for layer, own in enumerate(self.cache.layers)
                  for part, tensor in enumerate(_parts(own))]  # fmt: skip
        self.shapes = {name: [tensor.shape[1], *([0, tensor.shape[3]] if tensor.dim() == 4 else [])]
                       for name, tensor in states}  # fmt: skip

    @property
    def outputs(self) -> list[str]:
        return ["logits", *(name.replace("past", "present") for name in self.shapes)]

    def example(self, batch: int, time: int, side: str = "right") -> dict[str, Tensor]:
        """Random tokens after a random state; with attention, half of the `time` positions are in the state."""
        draw = torch.Generator().manual_seed(batch * time)
        read = 0 if isinstance(self.cache, RnnCache) else time // 2
        ids = torch.randint(self.config.vocab_size, (batch, time - read), generator=draw)
        shapes = {name: [read if size == 0 else size for size in shape] for name, shape in self.shapes.items()}
        states = {name: torch.randn(batch, *shape, generator=draw).tanh() for name, shape in shapes.items()}
        return {"input_ids": ids, **states}

    def forward(self, input_ids: Tensor, **past: Tensor) -> dict[str, Tensor]:
        result = self.model(input_ids, past_key_values=self._cache_of(past), use_cache=True)
        present = [tensor for layer in result.past_key_values.layers for tensor in _parts(layer)]
        return dict(zip(self.outputs, [result.logits, *present], strict=True))

    def _cache_of(self, past: dict[str, Tensor]) -> Any:
        states = [past[name] for name in self.shapes]
        if isinstance(self.cache, RnnCache):
            each = self.cache.layers[0].number_of_states
            cache: Any = RnnCache(len(states) // each, each)
            for layer in cache.layers:
                layer.update(tuple(states.pop(0) for _ in range(each)), 0)
            return cache
        from transformers import DynamicCache

        cache = DynamicCache()
        for layer in range(len(self.cache.layers)):
            cache.update(states.pop(0), states.pop(0), layer)
        return cache


def _parts(layer: Any) -> tuple[Tensor, ...]:
    return layer.state if hasattr(layer, "number_of_states") else (layer.keys, layer.values)
