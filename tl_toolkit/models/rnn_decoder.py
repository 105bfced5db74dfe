"""A recurrent decoder with any memory: the states of a text encoder, the grid of an image, or none."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.modeling_outputs import Seq2SeqModelOutput

from .configuration_rnn_decoder import RnnDecoderConfig
from .rnn_attention import AttentionMemory, make_attention
from .rnn_cache import RnnDecoderCache
from .rnn_cells import CellSteps, LoopLinear, known_bias, known_gates, single_step, within
from .rnn_layers import layer_steps, recurrent_layers, run_to_end
from .token_order import AS_IT_STANDS, AsItStands, State, token_order


class RnnDecoderOutput(NamedTuple):
    """Output of a decoder.

    Attributes:
        outputs: (batch, target, hidden_size), the input of the output layer.
        attentions: (batch, target, source), None without attention.
        hidden_states: the inputs and the output of every layer, if requested.
    """

    outputs: Tensor
    attentions: Tensor | None
    hidden_states: tuple[Tensor, ...] | None


class RnnDecoder(nn.Module):
    """Recurrent layers with attention to a memory, from input vectors to the input of an output layer.

    `attention="none"` (Sutskever et al. 2014): the outputs are the top layer's states; the memory is not used.

    `attention="bahdanau"` (Bahdanau et al. 2015, appendix A): `e_ts = v . tanh(W s_{t-1} + U m_s)`, `c_t = sum_s
    softmax(e_t)_s m_s`, `s_t = f(s_{t-1}, [y_{t-1}; c_t])`, and a read-out layer over state, context and input,
    `tanh(W_o [s_t; c_t; y_{t-1}])`, instead of the paper's maxout layer. Of several layers, only the first one attends,
    as in Wu et al. 2016 (section 3): the layers above run as fused calls over the whole target.

    `attention="luong"` (Luong et al. 2015, section 3): `c_t` from the top layer's current state, and the attentional
    vector `tanh(W_c [c_t; h_t])` (equation 5) as the output. With `input_feeding`, the vector of the previous step is
    concatenated to the input (section 3.3), which needs a loop over the target; without it, all calls are fused.

    Args:
        memory_size: features of the memory; not used without attention.
    """

    def __init__(self, config: RnnDecoderConfig, memory_size: int) -> None:
        super().__init__()
        input_size, hidden_size = config.embedding_size, config.hidden_size
        self.num_layers = config.num_decoder_layers
        self.hidden_size = hidden_size
        self.attends_before_step = config.attention == "bahdanau"
        self.input_feeding = config.input_feeding
        self.states_per_layer = config.states_per_layer
        fed_size = memory_size if self.attends_before_step else hidden_size if self.input_feeding else 0
        self.layers = recurrent_layers(config, input_size + fed_size, self.num_layers)
        self.hidden_dropout = nn.Dropout(config.hidden_dropout)
        self.steps = layer_steps(self.layers)
        self.attention = make_attention(config, memory_size)
        self.readout = None
        if self.attention is not None:
            read_size = memory_size + hidden_size + (input_size if self.attends_before_step else 0)
            self.readout = nn.Linear(read_size, hidden_size, bias=self.attends_before_step)

    def layer_groups(self, prefix: str) -> list[list[str]]:
        """Prefixes of parameter names, one list per layer, after a common `prefix`.

        Attention belongs to the group that reads its output: the first layer, or the read-out after the last.
        """
        groups = [[f"{prefix}layers.{index}."] for index in range(self.num_layers)]
        if self.attention is not None:
            reader = groups[0] if self.attends_before_step else groups[-1]
            if any(True for _ in self.attention.parameters()):  # a dot product has none
                reader.append(f"{prefix}attention.")
            groups[-1].append(f"{prefix}readout.")
        return groups

    def make_cache(self) -> RnnDecoderCache:
        """An empty state."""
        return RnnDecoderCache(self.num_layers, self.states_per_layer, self.input_feeding)

    def forward(
        self,
        inputs_embeds: Tensor,
        memory: Tensor | None = None,
        memory_mask: Tensor | None = None,
        initial_states: list[State] | None = None,
        cache: RnnDecoderCache | None = None,
        order: AsItStands = AS_IT_STANDS,
        output_hidden_states: bool = False,
    ) -> RnnDecoderOutput:
        """Run over a whole target, or continue from a state.

        Args:
            inputs_embeds: (rows, target, embedding_size).
            memory: (batch, source, memory_size), where `rows` is `batch` or a multiple of it: the beams of a sentence
                share its memory. Ignored if the cache already has a memory.
            memory_mask: (batch, source), 1 for visible positions; None if all are visible.
            initial_states: for every layer `(h,)` or `(h, c)` of (batch, hidden_size); None for zeros. Ignored if the
                cache already has states.
            cache: from `make_cache` or the previous call; it receives the state after the last real token.
            order: positions of the real tokens of the target.

        Raises:
            ValueError: attention without a memory; a number of rows that is not a multiple of the memory's.
        """
        rows = inputs_embeds.shape[0]
        states, vector = (cache.states, cache.attentional_vector) if cache is not None else (None, None)
        if states is None:
            states = self._spread(initial_states, inputs_embeds)
        attended: Any = self._remember(memory, memory_mask, cache)  # None without attention
        if attended is not None and rows % attended.values.shape[0]:
            raise ValueError(f"The target's {rows} rows are not a multiple of the memory's {attended.values.shape[0]}.")

        inputs = order.compact(inputs_embeds)
        keeps = order if cache is not None else AS_IT_STANDS  # only a cache needs the state before padding
        if self.input_feeding:
            vector = inputs.new_zeros(rows, self.hidden_size) if vector is None else vector
            flat = [part for state in states for part in state]
            outputs, weights, vector, *others = self.steps[0](
                inputs, attended.values, attended.keys, vector, *flat, run=partial(self._feed, attended.mask, keeps)
            )
            layer_outputs, flat = others[: self.num_layers], others[self.num_layers :]
            states = list(zip(*[iter(flat)] * self.states_per_layer, strict=True))
        elif self.attends_before_step:
            run = partial(self._attend_and_step, attended.mask, keeps)
            hidden, contexts, weights, *state = self.steps[0](
                inputs, attended.values, attended.keys, *states[0], run=run
            )
            above, states_above = self._run_fused(hidden, states, keeps, first=1)
            layer_outputs, states = [hidden, *above], [tuple(state), *states_above]
            outputs = torch.tanh(self.readout(torch.cat([layer_outputs[-1], contexts, inputs], dim=-1)))
        else:
            layer_outputs, states = self._run_fused(inputs, states, keeps)
            outputs, weights = layer_outputs[-1], None
            if self.attention is not None:
                contexts, weights = self.attention(outputs, attended)
                outputs = torch.tanh(self.readout(torch.cat([contexts, outputs], dim=-1)))
        if cache is not None:
            cache.update_all(states, vector, inputs.shape[1])

        hidden_states = (inputs_embeds, *map(order.restore, layer_outputs)) if output_hidden_states else None
        weights = None if weights is None else order.restore(weights)
        return RnnDecoderOutput(order.restore(outputs), weights, hidden_states)

    def _spread(self, initial_states: list[State] | None, inputs: Tensor) -> list[State]:
        """The initial states of every row of the inputs."""
        rows = inputs.shape[0]
        if initial_states is None:
            zeros = inputs.new_zeros(rows, self.hidden_size)
            return [(zeros,) * self.states_per_layer] * self.num_layers
        repeats = rows // initial_states[0][0].shape[0]
        if repeats == 1:
            return initial_states
        return [tuple(part.repeat_interleave(repeats, dim=0) for part in state) for state in initial_states]

    def _remember(
        self, memory: Tensor | None, mask: Tensor | None, cache: RnnDecoderCache | None
    ) -> AttentionMemory | None:
        if self.attention is None:
            return None
        if cache is not None and cache.memory is not None:
            return cache.memory
        if memory is None:
            raise ValueError("A decoder with attention needs a memory.")
        attended = self.attention.remember(memory, mask)
        if cache is not None:
            cache.memory = attended
        return attended

    def _run_fused(
        self, hidden: Tensor, states: list[State], order: AsItStands, first: int = 0
    ) -> tuple[list[Tensor], list[State]]:
        """Outputs and last states of the layers from `first`, each as one call over the whole target."""
        outputs, new_states = [], []
        for index, layer in enumerate(self.layers[first:], start=first):
            run = partial(self._run_layer, layer, order, bool(index))
            hidden, *state = self.steps[index](hidden, *states[index], run=run)
            outputs.append(hidden)
            new_states.append(tuple(state))
        return outputs, new_states

    def _run_layer(
        self, layer: nn.Module, order: AsItStands, has_dropout: bool, hidden: Tensor, *state: Tensor
    ) -> tuple[Tensor, ...]:
        hidden = self.hidden_dropout(hidden) if has_dropout else hidden
        if hidden.shape[1] > 1:
            outputs, new_state = run_to_end(layer.forward_cell, hidden, order, state)
            return outputs, *new_state
        # A fused call packs its weights first, which costs more than a single step.
        new_state = within([layer], lambda cells: single_step(cells[0], hidden[:, 0], state))
        return new_state[0][:, None], *order.keep_ended(new_state, state)

    def _attend_and_step(
        self, mask: Tensor | None, order: AsItStands, inputs: Tensor, values: Tensor, keys: Tensor, *state: Tensor
    ) -> tuple[Tensor, ...]:
        """The first layer with Bahdanau's attention: states, contexts and weights of all positions, and last state."""
        memory = AttentionMemory(values, keys, mask)
        return within(self.layers[:1], lambda cells: self._attend_in_loop(cells[0], inputs, memory, state, order))

    def _attend_in_loop(
        self, cell: nn.RNNBase, inputs: Tensor, memory: AttentionMemory, state: State, order: AsItStands
    ) -> tuple[Tensor, ...]:
        step = CellSteps(cell, known_gates(cell, inputs.transpose(0, 1)), inputs.shape[2])
        hidden, contexts, weights = [], [], []
        for position in range(inputs.shape[1]):
            context, weight = self.attention(state[0][:, None], memory)
            new_state = step(position, context[:, 0], state)
            state = order.keep_ended(new_state, state, position)
            hidden.append(new_state[0])
            contexts.append(context)
            weights.append(weight)
        return torch.stack(hidden, dim=1), torch.cat(contexts, dim=1), torch.cat(weights, dim=1), *state

    def _feed(
        self,
        mask: Tensor | None,
        order: AsItStands,
        inputs: Tensor,
        values: Tensor,
        keys: Tensor,
        vector: Tensor,
        *flat: Tensor,
    ) -> tuple[Tensor, ...]:
        """All layers with input feeding: vectors, weights, the last vector, layer outputs and last states."""
        memory = AttentionMemory(values, keys, mask)
        states = list(zip(*[iter(flat)] * self.states_per_layer, strict=True))
        return within(self.layers, lambda cells: self._feed_in_loop(cells, inputs, memory, states, vector, order))

    def _feed_in_loop(
        self,
        cells: list[nn.RNNBase],
        inputs: Tensor,
        memory: AttentionMemory,
        states: list[State],
        vector: Tensor,
        order: AsItStands,
    ) -> tuple[Tensor, ...]:
        rows, target, known_size = inputs.shape
        steps = [CellSteps(cells[0], known_gates(cells[0], inputs.transpose(0, 1)), known_size)]
        steps += [CellSteps(cell, known_bias(cell).expand(target, rows, -1), 0) for cell in cells[1:]]
        combine = self._combine_in_loop(target, rows, memory.values)
        dropout = self.hidden_dropout.p if self.training else 0.0
        vectors, weights = [], []
        hidden: list[list[Tensor]] = [[] for _ in cells]
        for position in range(target):
            new_states, below = [], vector
            for index, step in enumerate(steps):
                if index and dropout:
                    below = functional.dropout(below, dropout)
                new_states.append(step(position, below, states[index]))
                below = new_states[-1][0]
                hidden[index].append(below)
            context, weight = self.attention(below[:, None], memory)
            new_vector = torch.tanh(combine(position, context[:, 0], below))
            vectors.append(new_vector)
            weights.append(weight)
            states = [order.keep_ended(*pair, position) for pair in zip(new_states, states, strict=True)]
            (vector,) = order.keep_ended((new_vector,), (vector,), position)
        layer_outputs = [torch.stack(of_layer, dim=1) for of_layer in hidden]
        last = [part for state in states for part in state]
        return torch.stack(vectors, dim=1), torch.cat(weights, dim=1), vector, *layer_outputs, *last

    def _combine_in_loop(self, target: int, rows: int, values: Tensor) -> Callable[[int, Tensor, Tensor], Tensor]:
        """`W_c [c_t; h_t]` of Luong's equation 5, as a function for one position at a time."""
        readout: Any = self.readout
        if type(readout) is not nn.Linear:  # a layer wrapped by an adapter computes more than a matrix product
            return lambda position, context, hidden: readout(torch.cat([context, hidden], dim=1))
        parts = readout.weight.split([values.shape[2], self.hidden_size], dim=1)
        return LoopLinear(values.new_zeros(1).expand(target, rows, self.hidden_size), *parts)


class DecodingMixin:
    """The decoding of a model body, after its encoder."""

    config: Any
    training: bool
    decoder: RnnDecoder
    embedding_dropout: nn.Module

    def decode(
        self,
        inputs_embeds: Tensor,
        attention_mask: Tensor | None,
        memory: Tensor,
        memory_mask: Tensor | None,
        first_states: Callable[[], list[State]],
        cache: RnnDecoderCache | None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        **kwargs: Any,
    ) -> Seq2SeqModelOutput:
        """Run the decoder over a target, or continue from a state; None selects the configuration's value.

        Args:
            inputs_embeds, attention_mask: (rows, target, embedding_size) and (rows, target), of the target.
            memory, memory_mask: (batch, source, memory_size) and (batch, source), the encoder's output.
            first_states: computes the initial states.
            cache, use_cache, output_attentions, output_hidden_states: as in `forward`.
        """
        if use_cache is None:
            use_cache = self.config.use_cache and not self.training
        if cache is None and use_cache:
            cache = self.decoder.make_cache()
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        if output_attentions is None:
            output_attentions = self.config.output_attentions
        has_state = cache is not None and cache.states is not None
        decoded = self.decoder(
            self.embedding_dropout(inputs_embeds),
            memory=memory,
            memory_mask=memory_mask,
            initial_states=None if has_state else first_states(),
            cache=cache,
            order=token_order(inputs_embeds, attention_mask, reverse=False),
            output_hidden_states=output_hidden_states,
        )
        weights = decoded.attentions
        return Seq2SeqModelOutput(
            last_hidden_state=decoded.outputs,
            past_key_values=cache,
            decoder_hidden_states=decoded.hidden_states,
            cross_attentions=(weights[:, None],) if output_attentions and weights is not None else None,
            encoder_last_hidden_state=memory,
        )
