"""Recurrent encoder-decoders with or without attention."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import Seq2SeqLMOutput, Seq2SeqModelOutput
from transformers.utils.generic import can_return_tuple

from .chunked_cross_entropy import IGNORED, chunked_cross_entropy
from .configuration_rnn_encoder_decoder import RnnEncoderDecoderConfig
from .rnn_cache import RnnDecoderCache
from .rnn_decoder import DecodingMixin, RnnDecoder
from .rnn_encoder import RnnEncoder, RnnEncoderOutput, StateBridge
from .rnn_generation import RecurrentSeq2SeqGenerationMixin
from .rnn_pretrained import RecurrentPreTrainedModel


class RnnEncoderDecoderPreTrainedModel(RecurrentPreTrainedModel):
    """Base class of the family: configuration, initialisation and layer groups."""

    config: RnnEncoderDecoderConfig
    config_class = RnnEncoderDecoderConfig
    base_model_prefix = "model"
    input_modalities = ("text",)
    _no_split_modules: ClassVar[list[str]] = ["RnnEncoder", "RnnDecoder"]

    def resize_token_embeddings(self, new_num_tokens: int | None = None, *args: Any, **kwargs: Any) -> nn.Embedding:
        """As in transformers, if both sides share one embedding table; with two, it is unclear which to resize."""
        if new_num_tokens is not None and not self.config.has_one_embedding:
            raise ValueError(
                "resize_token_embeddings needs one embedding table for both sides (decoder_vocab_size=None and "
                f"share_embeddings=True), got decoder_vocab_size={self.config.decoder_vocab_size} and "
                f"share_embeddings={self.config.share_embeddings}."
            )
        return super().resize_token_embeddings(new_num_tokens, *args, **kwargs)

    def layer_groups(self) -> list[list[str]]:
        """Prefixes of parameter names, one list per group, from the embeddings to the head."""
        prefix = self._body_prefix
        embeddings = [f"{prefix}encoder.embedding."]
        if not self.config.has_one_embedding:
            embeddings.append(f"{prefix}decoder_embedding.")
        encoder = [[f"{prefix}encoder.layers.{index}."] for index in range(self.config.num_encoder_layers)]
        decoder = self.base_model.decoder.layer_groups(f"{prefix}decoder.")
        if self.base_model.bridge.projections:
            decoder[0].insert(1, f"{prefix}bridge.")
        return [embeddings, *encoder, *decoder, *self._head_group()]


class RnnEncoderDecoderModel(RnnEncoderDecoderPreTrainedModel, DecodingMixin):
    """An encoder, a bridge and a decoder, without the output layer."""

    _auto_class = "AutoModel"

    def __init__(self, config: RnnEncoderDecoderConfig) -> None:
        super().__init__(config)
        self.encoder = RnnEncoder(config)
        self.bridge = StateBridge(config)
        self.decoder_embedding = (
            None if config.has_one_embedding else nn.Embedding(config.target_vocab_size, config.embedding_size)
        )
        self.embedding_dropout = nn.Dropout(config.embedding_dropout)
        self.decoder = RnnDecoder(config, config.encoder_output_size)
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        return self.encoder.embedding

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.encoder.embedding = value

    def get_decoder_embeddings(self) -> nn.Embedding:
        """The embedding table of the target, which can be the same as the source's."""
        return self.encoder.embedding if self.decoder_embedding is None else self.decoder_embedding

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        encoder_outputs: RnnEncoderOutput | tuple[Tensor, ...] | None = None,
        past_key_values: RnnDecoderCache | None = None,
        inputs_embeds: Tensor | None = None,
        decoder_inputs_embeds: Tensor | None = None,
        output_hidden_states: bool | None = None,
        **kwargs: Any,
    ) -> Seq2SeqModelOutput:
        """Read a batch of sources and run the decoder over their targets.

        Args:
            input_ids: (batch, source); alternatively `inputs_embeds` (batch, source, embedding_size) or
                `encoder_outputs`.
            attention_mask: (batch, source), 1 for real tokens. Masked positions are skipped wherever they are.
            decoder_input_ids: (rows, target), the target shifted right, or `decoder_inputs_embeds`. `rows` is `batch`,
                or with `encoder_outputs` a multiple of it: the beams of a sentence share its source.
            decoder_attention_mask: (rows, target) or, with a state, (rows, past + target). Masked positions are skipped
                and their outputs are zeros; padding after the target needs no mask.
            encoder_outputs: the output of `get_encoder()` for these sources.
            past_key_values: the state to continue from; it is replaced by the state after these tokens.
            use_cache, output_attentions: return the state (by default only in evaluation mode) and `cross_attentions`.

        Returns:
            `last_hidden_state` (rows, target, hidden_size); `cross_attentions`, one tensor (rows, 1, target, source) in
            the source's original order and 0 at padding (None with `attention="none"`); `past_key_values`; the hidden
            states of both sides.

        Raises:
            ValueError: not exactly one form of the source, or of the target; a mask of the wrong length.
        """
        if (decoder_input_ids is None) == (decoder_inputs_embeds is None):
            raise ValueError("Pass exactly one of decoder_input_ids and decoder_inputs_embeds.")
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        if encoder_outputs is None:
            encoded = self.encoder(input_ids, attention_mask, inputs_embeds, output_hidden_states)
        elif isinstance(encoder_outputs, tuple):
            encoded = RnnEncoderOutput(*encoder_outputs)
        else:
            encoded = encoder_outputs
        if decoder_inputs_embeds is None:
            decoder_inputs_embeds = self.get_decoder_embeddings()(decoder_input_ids)
        outputs = self.decode(
            decoder_inputs_embeds,
            decoder_attention_mask,
            memory=encoded.last_hidden_state,
            memory_mask=attention_mask,
            first_states=lambda: self.bridge(encoded.final_state),
            cache=past_key_values,
            output_hidden_states=output_hidden_states,
            **kwargs,
        )
        outputs.encoder_hidden_states = encoded.hidden_states
        return outputs


class RnnEncoderDecoderForConditionalGeneration(RnnEncoderDecoderPreTrainedModel, RecurrentSeq2SeqGenerationMixin):
    """Predicts the next token of the target from the source and all target tokens before it."""

    _auto_class = "AutoModelForSeq2SeqLM"

    def __init__(self, config: RnnEncoderDecoderConfig) -> None:
        super().__init__(config)
        table = "encoder.embedding" if config.has_one_embedding else "decoder_embedding"
        self._tied_weights_keys = {"lm_head.weight": f"model.{table}.weight"}
        self.model = RnnEncoderDecoderModel(config)
        self.add_output_layer(config.target_vocab_size)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        encoder_outputs: RnnEncoderOutput | tuple[Tensor, ...] | None = None,
        past_key_values: RnnDecoderCache | None = None,
        inputs_embeds: Tensor | None = None,
        decoder_inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        skip_logits: bool | None = None,
        **kwargs: Any,
    ) -> Seq2SeqLMOutput:
        """Score the target's tokens; arguments as in `RnnEncoderDecoderModel`.

        Args:
            labels: (batch, target), -100 for positions to ignore. Without decoder inputs, the labels shifted right
                after `decoder_start_token_id` become the decoder inputs.
            logits_to_keep: compute only the logits of this many last positions (0: all), or of these positions.
            skip_logits: with a loss, return no logits: the loss only uses positions with a label, and never stores all
                logits at once. Default: in training mode.

        Returns:
            `loss`: the mean cross-entropy, or with `num_items_in_batch` the sum divided by it; `logits` (rows, target,
            target vocabulary); the other outputs as in `RnnEncoderDecoderModel`.
        """
        if labels is not None and decoder_input_ids is None and decoder_inputs_embeds is None:
            decoder_input_ids = self.prepare_decoder_input_ids_from_labels(labels)
        source = {"input_ids": input_ids, "attention_mask": attention_mask, "inputs_embeds": inputs_embeds}
        # Also without labels, because the caller (such as Trainer) may compute the loss from the logits. Not with a
        # state, because then the inputs continue a target, as in `_scheduled_inputs`.
        is_whole_target = decoder_input_ids is not None and decoder_input_ids.shape[1] > 1 and past_key_values is None
        if self.training and self.config.scheduled_sampling and is_whole_target:
            decoder_input_ids = self._scheduled_inputs(
                source, encoder_outputs, decoder_input_ids, decoder_attention_mask
            )
        outputs = self.model(
            **source,
            decoder_input_ids=decoder_input_ids,
            decoder_attention_mask=decoder_attention_mask,
            encoder_outputs=encoder_outputs,
            past_key_values=past_key_values,
            decoder_inputs_embeds=decoder_inputs_embeds,
            **kwargs,
        )
        if skip_logits is None:
            skip_logits = self.training and labels is not None
        # An output layer wrapped by an adapter computes more than a product with its matrix.
        skip_logits = skip_logits and type(self.lm_head) is nn.Linear
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = None if skip_logits else self.lm_head(self.read_out(outputs.last_hidden_state[:, kept]))
        loss = None
        if labels is not None and skip_logits:
            loss = self._loss(outputs.last_hidden_state, labels, kwargs.get("num_items_in_batch"))
        elif labels is not None:
            # The labels are already aligned with the logits and must not be shifted again.
            kwargs["shift_labels"] = labels
            vocab_size = self.config.target_vocab_size
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=vocab_size, **kwargs)
        others = {name: value for name, value in outputs.items() if name != "last_hidden_state"}
        return Seq2SeqLMOutput(loss=loss, logits=logits, **others)

    def _loss(self, hidden_states: Tensor, labels: Tensor, num_items_in_batch: Tensor | int | None) -> Tensor:
        """The loss of `forward`, computed without all logits."""
        if labels.shape != hidden_states.shape[:2]:
            raise ValueError(
                f"labels must have the shape of the decoder inputs, {tuple(hidden_states.shape[:2])}, got "
                f"{tuple(labels.shape)}."
            )
        labels = labels.to(hidden_states.device).flatten()
        chosen = (labels != IGNORED).nonzero().squeeze(1)
        read = self.read_out(hidden_states.flatten(0, 1).index_select(0, chosen))
        read = read.to(self.lm_head.weight.dtype)  # half under autocast
        summed = chunked_cross_entropy(read, self.lm_head.weight, self.lm_head.bias, labels[chosen])
        if num_items_in_batch is None:
            return summed / len(chosen)
        return summed / torch.as_tensor(num_items_in_batch, device=summed.device)

    @torch.no_grad()
    def _scheduled_inputs(
        self,
        source: dict[str, Tensor | None],
        encoder_outputs: RnnEncoderOutput | tuple[Tensor, ...] | None,
        decoder_input_ids: Tensor,
        decoder_attention_mask: Tensor | None,
    ) -> Tensor:
        """Replace each decoder input except the first, with the configured probability, by the last prediction.

        Bengio et al. 2015, "Scheduled Sampling", section 2.4, with the most probable token as the prediction. As in the
        paper, no gradient flows through the choice, so inputs are chosen first and the loss is computed from them.
        """
        if encoder_outputs is None:
            encoder_outputs = self.model.encoder(**source)
        chosen, cache = decoder_input_ids[:, :1], None
        is_own = torch.rand(decoder_input_ids.shape, device=chosen.device) < self.config.scheduled_sampling
        for position in range(1, decoder_input_ids.shape[1]):
            outputs = self(
                encoder_outputs=encoder_outputs,
                attention_mask=source["attention_mask"],
                decoder_input_ids=chosen[:, -1:],
                decoder_attention_mask=None if decoder_attention_mask is None else decoder_attention_mask[:, :position],
                past_key_values=cache,
                use_cache=True,
            )
            cache = outputs.past_key_values
            given, own = decoder_input_ids[:, position], outputs.logits[:, -1].argmax(dim=-1)
            chosen = torch.cat([chosen, torch.where(is_own[:, position], own, given)[:, None]], dim=1)
        return chosen


__all__ = ["RnnEncoderDecoderForConditionalGeneration", "RnnEncoderDecoderModel", "RnnEncoderDecoderPreTrainedModel"]
