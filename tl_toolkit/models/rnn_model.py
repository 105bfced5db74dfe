"""The body of the recurrent networks, and the base class of their heads."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.utils.output_capturing import capture_outputs

from .character_features import CharacterFeatures
from .configuration_rnn import RnnConfig
from .crf import LinearChainCrf
from .rnn_cache import RnnCache
from .rnn_layers import NUM_GATES, RnnLayer, ShownLayer, layer_steps, recurrent_layers, run_stack
from .rnn_pretrained import RecurrentPreTrainedModel
from .token_order import State, token_order


class RnnPreTrainedModel(RecurrentPreTrainedModel):
    """Base class of the family: configuration, initialisation and layer groups."""

    config: RnnConfig
    config_class = RnnConfig
    base_model_prefix = "rnn"
    input_modalities = ("text",)
    _no_split_modules: ClassVar[list[str]] = ["RnnLayer"]
    _input_embed_layer = "embedding"
    _can_record_outputs: ClassVar[dict[str, Any]] = {"hidden_states": ShownLayer}

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Zeros for CRF transitions; with one-hot inputs, embeddings are initialised as input matrices."""
        if isinstance(module, LinearChainCrf):
            for parameter in module.parameters(recurse=False):
                init.zeros_(parameter)
        elif isinstance(module, nn.Embedding) and self.config.embedding_type == "one_hot":
            # These rows are columns of the first layer's input matrices: initialise one Xavier block per gate.
            if not getattr(module.weight, "_is_hf_initialized", False):
                for gate in module.weight.split(self.config.hidden_size, dim=1):
                    init.xavier_uniform_(gate)
        else:
            super()._init_weights(module)

    def _freeze(self) -> None:
        """Freeze embeddings with `freeze_embeddings`, and the identity matrices of one-hot inputs."""
        if self.config.freeze_embeddings:
            self.get_input_embeddings().weight.requires_grad_(False)
        for module in self.modules():
            if isinstance(module, nn.RNNBase) and module.has_identity_input:
                module.weight_ih_l0.requires_grad_(False)

    def layer_groups(self) -> list[list[str]]:
        """Prefixes of parameter names, one list per group, from the embedding to the head."""
        prefix = self._body_prefix
        layers = [[f"{prefix}layers.{index}."] for index in range(self.config.num_hidden_layers)]
        embedding = [] if self.config.num_input_features is not None else [[f"{prefix}embedding."]]
        if self.config.character_encoder != "none":
            embedding[0].append(f"{prefix}characters.")
        return [*embedding, *layers, *self._head_group()]


class RnnModel(RnnPreTrainedModel):
    """Embeddings and a stack of recurrent layers.

    The product of a one-hot vector and the input matrix W is a column of W. With `embedding_type="one_hot"`, the
    embedding table therefore contains the first layer's transposed input matrices (vocab_size, directions x gates x
    hidden_size), and that layer's `weight_ih_l0` is a fixed identity: one-hot vectors are never materialised.
    """

    _auto_class = "AutoModel"

    def __init__(self, config: RnnConfig) -> None:
        super().__init__(config)
        if config.direction == "both":
            raise ValueError("Only RnnForSequenceClassification joins two directions, as direction='both' says.")
        is_one_hot = config.embedding_type == "one_hot"
        directions = 2 if config.bidirectional else 1
        gates = NUM_GATES[config.cell_type] * config.hidden_size
        vector_size = directions * gates if is_one_hot else config.embedding_size
        reads_numbers = config.num_input_features is not None
        self.embedding = None if reads_numbers else nn.Embedding(config.vocab_size, vector_size)
        has_characters = config.character_encoder != "none"
        self.characters = CharacterFeatures(config) if has_characters else None
        self.embedding_dropout = nn.Dropout(config.embedding_dropout)
        first_size = gates if is_one_hot else config.input_size
        self.layers = recurrent_layers(
            config, first_size, config.num_hidden_layers, config.bidirectional, is_looked_up=is_one_hot
        )
        self.hidden_dropout = nn.Dropout(config.hidden_dropout)
        self.steps, self.shown = layer_steps(self.layers), ShownLayer()
        self.post_init()

    @capture_outputs
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        past_key_values: RnnCache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | int | list[int] | None = None,
        character_ids: Tensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """Read a batch of texts, or the next window of each.

        Args:
            input_ids: (batch, time), or `inputs_embeds` (batch, time, embedding_size) instead; with
                `num_input_features` always the latter, (batch, time, config.input_size).
            attention_mask: (batch, time) or, with a state, (batch, past + time): 1 for real tokens. Masked positions
                are skipped wherever they are, and their outputs are zeros.
            past_key_values: the initial state; it is replaced by the state after these tokens. With
                `direction="backward"`, the next window to read is the one before this window in the text.
            use_cache: return the state. Default: the configuration's value, in evaluation mode, with one direction.
            output_hidden_states: return the inputs and the output of every layer, or those at these indices.
            character_ids: (batch, time, characters), the characters of the words for `character_encoder` (see
                `CharacterFeatures`); without them, the character features of all words are zeros.

        Returns:
            `last_hidden_state` (batch, time, output_size) in the original order; `hidden_states` with the embeddings
            (batch, time, input_size) and the output of every layer; `past_key_values`.

        Raises:
            ValueError: both or neither of `input_ids` and `inputs_embeds`; a mask of the wrong length; a state with a
                bidirectional network.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Pass exactly one of input_ids and inputs_embeds.")
        if input_ids is not None and self.embedding is None:
            raise ValueError("A network with num_input_features reads numbers: pass inputs_embeds, not input_ids.")
        is_one_way = not self.config.bidirectional
        if not is_one_way and (past_key_values is not None or use_cache):
            raise ValueError(
                "A network with bidirectional=True has no state to carry from window to window, because its second "
                "direction starts at the end of the text: do not pass past_key_values or use_cache."
            )
        cache = self._cache(past_key_values, use_cache, is_one_way, 2 if self.config.cell_type == "lstm" else 1)
        order = token_order(
            input_ids if input_ids is not None else inputs_embeds, attention_mask, self.config.direction == "backward"
        )
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states

        if inputs_embeds is None:
            inputs_embeds = self.embedding(order.compact(input_ids))  # moving ids is cheaper than moving vectors
        else:
            inputs_embeds = order.compact(inputs_embeds)
        if self.characters is not None:
            if character_ids is None:
                features = inputs_embeds.new_zeros(*inputs_embeds.shape[:2], self.config.character_feature_size)
            else:
                features = self.characters(order.compact(character_ids))
            inputs_embeds = torch.cat([inputs_embeds, features], dim=-1)
        hidden_states = self.embedding_dropout(inputs_embeds)  # (batch, time, input_size), real tokens first

        def run(layer: RnnLayer, inputs: Tensor, state: State | None) -> tuple[Tensor, State]:
            return layer(inputs, order, state, keeps_state=cache is not None)

        last, collected, _ = run_stack(
            self.steps, self.layers, hidden_states, order, self.hidden_dropout, bool(output_hidden_states), run, cache
        )
        for pair in pairwise(collected):
            self.shown(*pair)
        return BaseModelOutputWithPast(last_hidden_state=last, past_key_values=cache)
