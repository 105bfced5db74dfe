"""The base class of all recurrent families: initialisation, frozen parameters, and names of layer groups."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init

from .rnn_cache import RnnCache


class RecurrentPreTrainedModel(PreTrainedModel):
    """Base class of the models of all recurrent families."""

    _is_stateful = True
    supports_gradient_checkpointing = True

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False  # generation must not start from a cache of keys and values

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Initialise a module by its type.

        Recurrent layers use `initialize_recurrent`; embeddings are uniform; other matrices are Xavier-uniform (Glorot
        and Bengio 2010) with zero biases.
        """
        if isinstance(module, nn.RNNBase):
            initialize_recurrent(module, getattr(self.config, "initialization", "orthogonal") == "uniform")
        elif isinstance(module, (nn.Linear, nn.Conv1d)):
            init.xavier_uniform_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            init.uniform_(module.weight, -self.config.initializer_range, self.config.initializer_range)

    def post_init(self) -> None:
        super().post_init()
        self._freeze()

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """As in transformers; loading makes all parameters trainable, so frozen ones are frozen again."""
        loaded = super().from_pretrained(*args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded  # a tuple with output_loading_info=True
        model._freeze()
        return loaded

    def _freeze(self) -> None:
        """Freeze parameters according to the configuration."""

    def _cache(
        self, past_key_values: RnnCache | None, use_cache: bool | None, has_state: bool, states_per_layer: int = 2
    ) -> RnnCache | None:
        """The cache to read from and write to; None without an input or output state."""
        if past_key_values is not None:
            return past_key_values
        if use_cache is None:
            use_cache = self.config.use_cache and not self.training and has_state
        return RnnCache(self.config.num_hidden_layers, states_per_layer) if use_cache else None

    @property
    def _body_prefix(self) -> str:
        """The prefix of the names of the body's parameters."""
        return "" if self.base_model is self else f"{self.base_model_prefix}."

    def _head_group(self) -> list[list[str]]:
        """The layer group of the head; empty for a body."""
        if self.base_model is self:
            return []
        heads = [name for name, module in self.named_children() if any(True for _ in module.parameters())]
        return [[f"{name}." for name in heads if name != self.base_model_prefix]]


def initialize_recurrent(cell: nn.RNNBase, uniform: bool = False) -> None:
    """Initialise a recurrent module by parameter type, except for loaded weights.

    Input matrices are Xavier-uniform per gate (Glorot and Bengio 2010); recurrent matrices are orthogonal per gate
    (Saxe et al. 2014); biases are zero, except that an LSTM's forget gate starts at 1, so that the cell remembers
    (Jozefowicz et al. 2015, section 2.2). torch adds two biases: only `bias_ih` contains the 1.

    With `uniform`, all are uniform up to 1 / sqrt(hidden_size), as in `torch.nn.RNNBase.reset_parameters`.
    """
    bound = cell.hidden_size**-0.5
    for name, parameter in cell.named_parameters(recurse=False):
        # The blocks below are new tensors without the flag that protects loaded weights.
        if getattr(parameter, "_is_hf_initialized", False):
            continue
        if name.startswith("weight_ih") and cell.has_identity_input:
            init.eye_(parameter)
        elif uniform:
            init.uniform_(parameter, -bound, bound)
        elif name.startswith("weight_ih"):
            for gate in parameter.split(cell.hidden_size):
                init.xavier_uniform_(gate)
        elif name.startswith("weight_hh"):
            for gate in parameter.split(cell.hidden_size):
                init.orthogonal_(gate)
        else:
            init.zeros_(parameter)
            if name.startswith("bias_ih") and isinstance(cell, nn.LSTM):
                init.ones_(parameter[cell.hidden_size : 2 * cell.hidden_size])
