"""The recurrent encoder of a source text, and the bridge from its last states to a decoder's initial states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.utils import ModelOutput

from .configuration_rnn_encoder_decoder import RnnEncoderDecoderConfig
from .rnn_layers import (
    RnnLayer,
    is_fused,
    last_of,
    layer_steps,
    recurrent_layers,
    run_cell,
    run_lstm,
    run_stack,
    run_to_end,
)
from .token_order import AsItStands, State, TokenOrder, token_order


@dataclass
class RnnEncoderOutput(ModelOutput):
    """Output of an encoder; `generate` can repeat and select rows of every tensor in it.

    Attributes:
        last_hidden_state: (batch, source, encoder_output_size) in the original order, zeros at masked positions.
        final_state: (batch, layers, states, encoder_output_size), the states after the last token that is read: h and c
            of an LSTM; both directions of a bidirectional layer, concatenated.
        hidden_states: the embeddings and the output of every layer, if requested.
    """

    last_hidden_state: Tensor | None = None
    final_state: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class RnnEncoder(nn.Module):
    """Embeddings and a stack of recurrent layers, in one direction or two."""

    main_input_name = "input_ids"

    def __init__(self, config: RnnEncoderDecoderConfig) -> None:
        super().__init__()
        self.reverse_source = config.reverse_source
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_size)
        self.embedding_dropout = nn.Dropout(config.embedding_dropout)
        self.layers = recurrent_layers(
            config, config.embedding_size, config.num_encoder_layers, config.bidirectional_encoder
        )
        self.hidden_dropout = nn.Dropout(config.hidden_dropout)
        self.steps = layer_steps(self.layers)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_hidden_states: bool | None = None,
        **kwargs: Any,
    ) -> RnnEncoderOutput:
        """Read a batch of sources; arguments as in `RnnEncoderDecoderModel`.

        Raises:
            ValueError: both or neither of `input_ids` and `inputs_embeds`; a mask of the wrong length.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Pass exactly one of input_ids and inputs_embeds (or encoder_outputs instead).")
        order = token_order(
            input_ids if input_ids is not None else inputs_embeds, attention_mask, reverse=self.reverse_source
        )
        vectors = self.embedding(order.compact(input_ids)) if inputs_embeds is None else order.compact(inputs_embeds)
        hidden_states = self.embedding_dropout(vectors)  # (batch, source, embedding_size), real tokens first

        def run(layer: RnnLayer, inputs: Tensor, state: State | None) -> tuple[Tensor, State]:
            return read(layer, inputs, order)

        last, collected, states = run_stack(
            self.steps, self.layers, hidden_states, order, self.hidden_dropout, bool(output_hidden_states), run
        )
        return RnnEncoderOutput(
            last_hidden_state=last,
            final_state=torch.stack([torch.stack(state, dim=1) for state in states], dim=1),
            hidden_states=collected if output_hidden_states else None,
        )


def read(layer: RnnLayer, inputs: Tensor, order: AsItStands) -> tuple[Tensor, State]:
    """Outputs of a layer over (batch, time, features) with real tokens first, and the state after the last one."""
    if layer.backward_cell is None:
        return read_one_way(layer.forward_cell, inputs, order, layer.has_cell_state)
    if is_fused(cells := (layer.forward_cell, layer.backward_cell), inputs):
        outputs, (h, c) = run_lstm(cells, inputs, order)
        if isinstance(order, TokenOrder):  # the second direction ends at the first position
            forward, backward = outputs.chunk(2, dim=-1)
            h = torch.cat([last_of(forward, order), backward[:, 0]], dim=-1)
        return outputs, order.keep_ended((h, c), None)
    outputs, state = read_one_way(layer.forward_cell, inputs, order, layer.has_cell_state)
    backward_outputs, backward_state = read_one_way(
        layer.backward_cell, order.flip(inputs), order, layer.has_cell_state
    )
    both = tuple(torch.cat(pair, dim=-1) for pair in zip(state, backward_state, strict=True))
    return torch.cat([outputs, order.flip(backward_outputs)], dim=-1), both


def read_one_way(cell: nn.RNNBase, inputs: Tensor, order: AsItStands, has_cell_state: bool) -> tuple[Tensor, State]:
    """As `read`, for one direction, in the order of the inputs."""
    if has_cell_state or not isinstance(order, TokenOrder):
        # Only an LSTM's cell state after each row's last real token is not among the outputs.
        return run_to_end(cell, inputs, order, None)
    outputs, _ = run_cell(cell, inputs)
    return outputs, order.keep_ended((last_of(outputs, order),), None)


class StateBridge(nn.Module):
    """Maps the encoder's last states to the decoder's initial states.

    Decoder layer l starts from encoder layer `l + max(0, encoder layers - decoder layers)`, or from the last one if
    this does not exist: layers are matched from the top if the encoder is deeper, from the bottom otherwise. With equal
    depths and one direction, the states are passed on unchanged (Sutskever et al. 2014). Otherwise each layer has its
    own map, `h = tanh(W [h_forward; h_backward] + b)` (Bahdanau et al. 2015, appendix A.2.2, where it only reads the
    backward state), and for an LSTM `c = W' [c_forward; c_backward] + b'`, which is not bounded.

    """

    def __init__(self, config: RnnEncoderDecoderConfig) -> None:
        super().__init__()
        above, below, input_size = config.num_decoder_layers, config.num_encoder_layers, config.encoder_output_size
        skipped = max(0, below - above)
        self.sources = [min(index + skipped, below - 1) for index in range(above)]
        self.is_identity = below == above and input_size == config.hidden_size
        count = 0 if self.is_identity else above * config.states_per_layer
        self.projections = nn.ModuleList(nn.Linear(input_size, config.hidden_size) for _ in range(count))

    def forward(self, final_state: Tensor) -> list[State]:
        """(batch, encoder layers, states, input_size) -> for each decoder layer `(h,)` or `(h, c)`."""
        states = [final_state[:, source].unbind(1) for source in self.sources]
        if self.is_identity:
            return states
        projections = iter(self.projections)
        projected = [tuple(next(projections)(part) for part in state) for state in states]
        return [(torch.tanh(state[0]), *state[1:]) for state in projected]
