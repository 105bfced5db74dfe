"""A recurrent encoder-decoder in two graphs: the encoder, and one step of the decoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..models.modeling_rnn_encoder_decoder import RnnEncoderDecoderForConditionalGeneration
from ..models.rnn_encoder import RnnEncoderOutput


class EncoderPart(nn.Module):
    """Reads a source; returns `memory` (batch, source, size) and the decoder's first states `past_LAYER_PART`."""

    def __init__(self, model: RnnEncoderDecoderForConditionalGeneration) -> None:
        super().__init__()
        self.model, self.config = model, model.config
        layers, parts = model.config.num_decoder_layers, model.config.states_per_layer
        self.states = [f"past_{layer}_{part}" for layer in range(layers) for part in range(parts)]

    @property
    def outputs(self) -> list[str]:
        return ["memory", *self.states]

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        encoded = self.model.model.encoder(input_ids, attention_mask)
        states = [part for state in self.model.model.bridge(encoded.final_state) for part in state]
        return {"memory": encoded.last_hidden_state, **dict(zip(self.states, states, strict=True))}


class StepPart(nn.Module):
    """Reads a token (batch, 1), the memory with its mask, and the states; returns `logits` (batch, 1, vocabulary).

    The states are `past_LAYER_PART` (batch, size) and, with input feeding, `past_vector`; the next ones have the same
    names with `present`.
    """

    def __init__(self, model: RnnEncoderDecoderForConditionalGeneration) -> None:
        super().__init__()
        self.model, self.config = model, model.config
        self.states = [*EncoderPart(model).states, *(["past_vector"] if model.config.input_feeding else [])]

    @property
    def outputs(self) -> list[str]:
        return ["logits", *(name.replace("past", "present") for name in self.states)]

    def example(self, batch: int, time: int, side: str) -> dict[str, Tensor]:
        """Random inputs for sources of `time` tokens, padded on a side."""
        draw, config = torch.Generator().manual_seed(batch * time), self.config
        mask = (torch.arange(time) <= torch.arange(batch)[:, None] + time // 2).long()
        ids = torch.randint(config.target_vocab_size, (batch, 1), generator=draw)
        memory = torch.randn(batch, time, config.encoder_output_size, generator=draw).tanh()
        states = {name: torch.randn(batch, config.hidden_size, generator=draw).tanh() for name in self.states}
        mask = mask.flip(1) if side == "left" else mask
        return {"input_ids": ids, "memory": memory, "attention_mask": mask, **states}

    def forward(self, input_ids: Tensor, memory: Tensor, attention_mask: Tensor, **past: Tensor) -> dict[str, Tensor]:
        cache, parts = self.model.model.decoder.make_cache(), [past[name] for name in self.states]
        for layer in cache.layers:
            layer.update(tuple(parts.pop(0) for _ in range(layer.number_of_states)), 0)
        result = self.model(
            encoder_outputs=RnnEncoderOutput(last_hidden_state=memory),
            attention_mask=attention_mask,
            decoder_input_ids=input_ids,
            past_key_values=cache,
            use_cache=True,
        )
        present = [part for layer in result.past_key_values.layers for part in layer.state]
        return dict(zip(self.outputs, [result.logits, *present], strict=True))
