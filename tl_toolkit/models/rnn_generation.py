"""Generation with a recurrent language model or a recurrent decoder."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .rnn_search import SearchMixin


class RecurrentGenerationMixin(SearchMixin):
    """Generation from a recurrent state, which the model creates itself and returns as `past_key_values`."""

    def prepare_inputs_for_generation(
        self, input_ids: Any, attention_mask: Any = None, inputs_embeds: Any = None, **kwargs: Any
    ) -> dict[str, Any]:
        # Generation reads this signature to find the arguments that the model accepts.
        if self.config.direction == "backward":
            raise ValueError(
                "generate() appends tokens, but a model with direction='backward' predicts the tokens before a text."
            )
        return super().prepare_inputs_for_generation(
            input_ids, attention_mask=attention_mask, inputs_embeds=inputs_embeds, **kwargs
        )


class RecurrentSeq2SeqGenerationMixin(SearchMixin):
    """Output layer, decoder inputs and generation of a recurrent decoder, which creates its state itself."""

    config: Any

    def add_output_layer(self, vocab_size: int) -> None:
        """Add dropout and a linear map to logits, and with tied embeddings of another size a projection before it."""
        config = self.config
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.projection = None
        head_size = config.embedding_size if config.tie_word_embeddings else config.hidden_size
        if head_size != config.hidden_size:
            self.projection = nn.Linear(config.hidden_size, head_size, bias=False)
        self.lm_head = nn.Linear(head_size, vocab_size)

    def read_out(self, hidden_states: Tensor) -> Tensor:
        """The input of the output layer: (…, hidden_size) -> (…, features of the output layer)."""
        hidden_states = self.dropout(hidden_states)
        return hidden_states if self.projection is None else self.projection(hidden_states)

    def _continue(self, tokens: Tensor, cache: Any, others: Any) -> Tensor:
        if "forward" in vars(self):  # wrapped, for example by accelerate for mixed precision
            return super()._continue(tokens, cache, others)
        body: Any = self.base_model  # what `forward` does, without the costs of its outputs
        embedded = body.embedding_dropout(body.get_decoder_embeddings()(tokens[:, None]))
        return self.lm_head(self.read_out(body.decoder(embedded, cache=cache).outputs[:, 0])).float()

    def prepare_decoder_input_ids_from_labels(self, labels: Tensor) -> Tensor:
        """Labels shifted right after `decoder_start_token_id`, with `pad_token_id` for -100: (batch, target)."""
        start, pad = self.config.decoder_start_token_id, self.config.pad_token_id
        if start is None:
            raise ValueError("decoder_start_token_id must be set to make decoder inputs from labels, got None.")
        shifted = torch.cat([torch.full_like(labels[:, :1], start), labels[:, :-1]], dim=1)
        return shifted.masked_fill(shifted == -100, start if pad is None else pad)

    def _expand_inputs_for_generation(
        self, expand_size: int = 1, is_encoder_decoder: bool = False, input_ids: Any = None, **model_kwargs: Any
    ) -> tuple[Any, dict[str, Any]]:
        # The beams of a sentence share its memory (see RnnDecoderCache), so arguments of the source are not expanded.
        ours = ("encoder_outputs", "attention_mask")
        shared: dict[str, Any] = {name: model_kwargs.pop(name) for name in ours if name in model_kwargs}
        input_ids, model_kwargs = super()._expand_inputs_for_generation(
            expand_size=expand_size, is_encoder_decoder=False, input_ids=input_ids, **model_kwargs
        )
        return input_ids, {**model_kwargs, **shared}
