"""A causal language model whose state is a list of named tensors, for graphs that read and return it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache

from ..models.rnn_cache import RnnCache


class StatefulModel(nn.Module):
    """Reads tokens and `past_LAYER_PART`, and returns `logits` and `present_LAYER_PART`.

    The parts of a recurrent layer are h, and c of an LSTM (batch, size); those of attention are keys and values (batch,
    heads, past, size), whose past is empty at first. All tokens are real.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.config = model, model.config
        with torch.no_grad():
            cache = model.eval()(torch.zeros(1, 1, dtype=torch.long), use_cache=True).past_key_values
        self.states_per_layer = cache.layers[0].number_of_states if isinstance(cache, RnnCache) else 0
        self.shapes = {
            f"past_{layer}_{part}": [*tensor.shape[1:]] for layer, own in enumerate(self._parts(cache))
            for part, tensor in enumerate(own)
        }  # fmt: skip
        if not self.states_per_layer:
            self.shapes = {name: [heads, 0, size] for name, (heads, _, size) in self.shapes.items()}

    @property
    def outputs(self) -> list[str]:
        return ["logits", *(name.replace("past", "present") for name in self.shapes)]

    def state(self, batch: int, past: int = 0) -> dict[str, Tensor]:
        """The state before a text; with `past`, a random one after so many tokens."""
        draw = torch.Generator().manual_seed(past)
        sizes = {name: [own or past for own in shape] for name, shape in self.shapes.items()}
        if not past:
            return {name: torch.zeros(batch, *self.shapes[name]) for name in sizes}
        return {name: torch.randn(batch, *size, generator=draw).tanh() for name, size in sizes.items()}

    def example(self, batch: int, time: int, side: str) -> dict[str, Tensor]:
        """Random tokens (batch, time) after half as many others."""
        draw = torch.Generator().manual_seed(batch * time)
        ids = torch.randint(self.config.get_text_config().vocab_size, (batch, time), generator=draw)
        return {"input_ids": ids, **self.state(batch, past=time // 2)}

    def forward(self, input_ids: Tensor, **past: Tensor) -> dict[str, Tensor]:
        cache, mask = self._cache(past), None
        if not self.states_per_layer:
            first = next(iter(past.values()))
            mask = torch.ones(input_ids.shape[0], first.shape[2] + input_ids.shape[1], dtype=torch.long)
        result = self.model(input_ids, attention_mask=mask, past_key_values=cache, use_cache=True)
        present = [tensor for own in self._parts(result.past_key_values) for tensor in own]
        return dict(zip(self.outputs, [result.logits, *present], strict=True))

    def _parts(self, cache: Any) -> list[tuple[Tensor, ...]]:
        if isinstance(cache, RnnCache):
            return [layer.state for layer in cache.layers]
        return [(layer.keys, layer.values) for layer in cache.layers]

    def _cache(self, past: dict[str, Tensor]) -> Any:
        count = self.states_per_layer or 2
        layers = [tuple(past[f"past_{layer}_{part}"] for part in range(count)) for layer in range(len(past) // count)]
        if not self.states_per_layer:
            cache = DynamicCache()
            for place, (keys, values) in enumerate(layers):
                cache.update(keys, values, place)
            return cache
        recurrent = RnnCache(len(layers), count)
        for layer, state in zip(recurrent.layers, layers, strict=True):
            layer.update(state, 0)
        return recurrent
