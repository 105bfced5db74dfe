"""A recurrent language model whose state is a list of named tensors, for graphs that read and return it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..models.rnn_cache import RnnCache


class StatefulModel(nn.Module):
    """Reads tokens and `past_LAYER_PART`, and returns `logits` and `present_LAYER_PART`, each (batch, size).

    The parts of a layer are h, and c of an LSTM; they are zeros before a text. All tokens are real.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.config = model, model.config
        with torch.no_grad():
            cache = model.eval()(torch.zeros(1, 1, dtype=torch.long), use_cache=True).past_key_values
        self.states_per_layer = cache.layers[0].number_of_states
        states = [(f"past_{layer}_{part}", tensor) for layer, own in enumerate(cache.layers)
                  for part, tensor in enumerate(own.state)]  # fmt: skip
        self.shapes = {name: [tensor.shape[1]] for name, tensor in states}

    @property
    def outputs(self) -> list[str]:
        return ["logits", *(name.replace("past", "present") for name in self.shapes)]

    def example(self, batch: int, time: int, side: str) -> dict[str, Tensor]:
        """Random tokens (batch, time) after a random state."""
        draw = torch.Generator().manual_seed(batch * time)
        ids = torch.randint(self.config.vocab_size, (batch, time), generator=draw)
        states = {name: torch.randn(batch, *shape, generator=draw).tanh() for name, shape in self.shapes.items()}
        return {"input_ids": ids, **states}

    def forward(self, input_ids: Tensor, **past: Tensor) -> dict[str, Tensor]:
        states = [past[name] for name in self.shapes]
        cache = RnnCache(len(states) // self.states_per_layer, self.states_per_layer)
        for layer in cache.layers:
            layer.update(tuple(states.pop(0) for _ in range(self.states_per_layer)), 0)
        result = self.model(input_ids, past_key_values=cache, use_cache=True)
        present = [tensor for layer in result.past_key_values.layers for tensor in layer.state]
        return dict(zip(self.outputs, [result.logits, *present], strict=True))
