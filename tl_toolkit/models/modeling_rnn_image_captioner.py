"""Image captioning: an image encoder and a recurrent decoder, with or without attention to the image grid.

Without attention, the image only determines the decoder's initial state: the network of Vinyals et al. 2015 ("Show and
tell"), which passes the image vector as the first input instead (Tanti et al. 2018 compare the two). With attention,
this is the network of Xu et al. 2015 ("Show, attend and tell") with soft attention.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput, Seq2SeqModelOutput
from transformers.utils.generic import can_return_tuple

from .configuration_rnn_image_captioner import RnnImageCaptionerConfig
from .convolutional_encoder import ConvolutionalEncoder
from .rnn_cache import RnnDecoderCache
from .rnn_decoder import DecodingMixin, RnnDecoder
from .rnn_generation import RecurrentSeq2SeqGenerationMixin
from .rnn_pretrained import RecurrentPreTrainedModel
from .vision_backbone import VisionBackbone


class ImageEncoder(nn.Module):
    """Encodes pixels as the grid of features that the decoder reads."""

    main_input_name = "pixel_values"

    def __init__(self, config: RnnImageCaptionerConfig) -> None:
        super().__init__()
        if config.backbone_config is not None:
            self.network = VisionBackbone(config.backbone_config, config.freeze_backbone)
        else:
            self.network = ConvolutionalEncoder(
                config.num_channels, list(config.encoder_channels), config.encoder_stride
            )
        self.num_channels = config.num_channels
        self.output_size = self.network.output_size
        self.dropout = nn.Dropout(config.encoder_dropout)

    @can_return_tuple
    def forward(self, pixel_values: Tensor, **kwargs: Any) -> BaseModelOutput:
        """(batch, num_channels, height, width) -> `last_hidden_state` (batch, positions, features), row by row."""
        if pixel_values.dim() != 4 or pixel_values.shape[1] != self.num_channels:
            raise ValueError(
                f"pixel_values must be (batch, {self.num_channels}, height, width), got {tuple(pixel_values.shape)}."
            )
        return BaseModelOutput(last_hidden_state=self.dropout(self.network(pixel_values)))


class RnnImageCaptionerPreTrainedModel(RecurrentPreTrainedModel):
    """Base class of body and head: configuration, initialisation, the frozen backbone and layer groups."""

    config: RnnImageCaptionerConfig
    config_class = RnnImageCaptionerConfig
    base_model_prefix = "captioner"
    main_input_name = "pixel_values"
    input_modalities = ("image", "text")
    _no_split_modules: ClassVar[list[str]] = ["RnnLayer", "ConvolutionalLayer"]
    _input_embed_layer = "embedding"

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """As in the base class, but convolutions are normal for ReLU (He et al. 2015); a backbone has its own."""
        if isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, nonlinearity="relu")
        elif isinstance(module, nn.GroupNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        else:
            super()._init_weights(module)

    def _freeze(self) -> None:
        if self.config.freeze_backbone:
            self.base_model.encoder.network.requires_grad_(False)

    def get_encoder(self, modality: str | None = None) -> nn.Module:
        """The image encoder, the only encoder for every `modality`."""
        return self.base_model.encoder

    def grid_size(self, positions: int) -> tuple[int, int]:
        """Height and width of an image grid with this many positions, with the aspect ratio closest to the image's."""
        height, width = self.config.image_height_and_width
        heights = (number for number in range(1, positions + 1) if positions % number == 0)
        found = min(heights, key=lambda number: abs(math.log(number * number / positions * width / height)))
        return found, positions // found

    def layer_groups(self) -> list[list[str]]:
        """Prefixes of parameter names, one list per group, from the image encoder to the head."""
        prefix = self._body_prefix
        layers = self.base_model.decoder.layer_groups(f"{prefix}decoder.")
        layers[0].insert(1, f"{prefix}initial_state.")
        return [[f"{prefix}encoder."], [f"{prefix}embedding."], *layers, *self._head_group()]


class RnnImageCaptionerModel(RnnImageCaptionerPreTrainedModel, DecodingMixin):
    """The image encoder and the decoder without its output layer."""

    _auto_class = "AutoModel"

    def __init__(self, config: RnnImageCaptionerConfig) -> None:
        super().__init__(config)
        self.encoder = ImageEncoder(config)
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_size)
        self.embedding_dropout = nn.Dropout(config.embedding_dropout)
        self.decoder = RnnDecoder(config, self.encoder.output_size)
        states = config.num_decoder_layers * config.states_per_layer
        self.initial_state = nn.Linear(self.encoder.output_size, states * config.hidden_size)
        self.post_init()
        is_new = self.embedding.weight.device.type != "meta"  # a saved model is built on "meta" and loads its weights
        if config.use_pretrained_backbone and is_new:
            self.encoder.network.load_pretrained(config.backbone)

    def get_decoder_embeddings(self) -> nn.Embedding:
        """The embedding table of the captions."""
        return self.embedding

    def initial_states(self, grid: Tensor) -> list[tuple[Tensor, ...]]:
        """The decoder's states before the first token, from the mean of the grid (Xu et al. 2015, section 3.1.2).

        (batch, positions, features) -> for every layer `(h,)` or `(h, c)` of (batch, hidden_size).
        """
        parts = torch.tanh(self.initial_state(grid.mean(dim=1))).split(self.config.hidden_size, dim=1)
        each = self.config.states_per_layer
        return [
            tuple(part.contiguous() for part in parts[start : start + each]) for start in range(0, len(parts), each)
        ]

    @can_return_tuple
    def forward(
        self,
        pixel_values: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        encoder_outputs: BaseModelOutput | tuple[Tensor, ...] | None = None,
        past_key_values: RnnDecoderCache | None = None,
        decoder_inputs_embeds: Tensor | None = None,
        **kwargs: Any,
    ) -> Seq2SeqModelOutput:
        """Encode images and decode captions, or continue captions.

        Args:
            pixel_values: (batch, num_channels, height, width), or `encoder_outputs` instead.
            decoder_input_ids: (batch, target), or `decoder_inputs_embeds` (batch, target, embedding_size); by default
                the start token.
            decoder_attention_mask: (batch, target) or, with a state, (batch, past + target): 1 for real tokens.
            encoder_outputs: the output of `get_encoder()`, or a tuple that begins with its grid.
            past_key_values: the decoder's state to continue from; it is replaced by the state after these tokens.
            use_cache, output_attentions: return the state (by default only in evaluation mode) and `cross_attentions`.

        Returns:
            `last_hidden_state` (batch, target, hidden_size); `cross_attentions`: a tuple of one tensor (batch, 1,
            target, positions) that sums to 1 over the positions of the grid, row by row (`grid_size` returns its height
            and width); `encoder_last_hidden_state` (batch, positions, features); `decoder_hidden_states`: the
            embeddings and the output of every layer; `past_key_values`.

        Raises:
            ValueError: no image, or two forms of decoder inputs.
        """
        if encoder_outputs is None:
            if pixel_values is None:
                raise ValueError("Pass pixel_values or encoder_outputs.")
            encoder_outputs = self.encoder(pixel_values)
        grid = encoder_outputs[0]
        if decoder_input_ids is not None and decoder_inputs_embeds is not None:
            raise ValueError("Pass one of decoder_input_ids and decoder_inputs_embeds, not both.")
        if decoder_inputs_embeds is None:
            if decoder_input_ids is None:
                decoder_input_ids = self._start_tokens(grid)
            decoder_inputs_embeds = self.embedding(decoder_input_ids)
        return self.decode(
            decoder_inputs_embeds,
            decoder_attention_mask,
            memory=grid,
            memory_mask=None,
            first_states=lambda: self.initial_states(grid),
            cache=past_key_values,
            **kwargs,
        )

    def _start_tokens(self, grid: Tensor) -> Tensor:
        if self.config.decoder_start_token_id is None:
            raise ValueError("Without decoder_input_ids, the configuration must set decoder_start_token_id.")
        return grid.new_full((grid.shape[0], 1), self.config.decoder_start_token_id, dtype=torch.long)


@dataclass
class RnnImageCaptionerOutput(Seq2SeqLMOutput):
    """transformers' `Seq2SeqLMOutput` plus the penalty for uneven attention.

    Attributes:
        attention_penalty: (batch,), in training with `doubly_stochastic_weight`: the term that each caption adds to the
            summed loss, already multiplied by the weight.
    """

    attention_penalty: Tensor | None = None


class RnnImageCaptionerForConditionalGeneration(RnnImageCaptionerPreTrainedModel, RecurrentSeq2SeqGenerationMixin):
    """Predicts the next token of a caption from the image and all tokens before it."""

    _auto_class = "AutoModelForImageTextToText"
    _tied_weights_keys: ClassVar[dict[str, str]] = {"lm_head.weight": "captioner.embedding.weight"}

    def __init__(self, config: RnnImageCaptionerConfig) -> None:
        super().__init__(config)
        self.captioner = RnnImageCaptionerModel(config)
        self.add_output_layer(config.vocab_size)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        pixel_values: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        encoder_outputs: BaseModelOutput | tuple[Tensor, ...] | None = None,
        past_key_values: RnnDecoderCache | None = None,
        decoder_inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        output_attentions: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        num_items_in_batch: Tensor | int | None = None,
        **kwargs: Any,
    ) -> RnnImageCaptionerOutput:
        """Score the tokens of captions; arguments as in `RnnImageCaptionerModel`.

        Args:
            labels: (batch, target), -100 for positions to ignore. Without decoder inputs, the labels shifted right
                after `decoder_start_token_id` become the decoder inputs.
            logits_to_keep: compute only the logits of this many last positions (0: all), or of these positions.
            num_items_in_batch: divisor of the summed loss; by default the number of labels that are not -100.

        Returns:
            `loss`: the mean cross-entropy, in training with `attention_penalty`; `logits` (batch, target, vocab_size);
            `attention_penalty` over the tokens with a label, or without labels over the unmasked tokens; the other
            outputs as in `RnnImageCaptionerModel`.
        """
        if labels is not None and decoder_input_ids is None and decoder_inputs_embeds is None:
            decoder_input_ids = self.prepare_decoder_input_ids_from_labels(labels)
        weight = self.config.doubly_stochastic_weight if self.training else 0.0
        if output_attentions is None:
            output_attentions = self.config.output_attentions
        outputs = self.captioner(
            pixel_values,
            decoder_input_ids=decoder_input_ids,
            decoder_attention_mask=decoder_attention_mask,
            encoder_outputs=encoder_outputs,
            past_key_values=past_key_values,
            decoder_inputs_embeds=decoder_inputs_embeds,
            output_attentions=output_attentions or weight > 0,
            **kwargs,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(self.read_out(outputs.last_hidden_state[:, kept]))
        penalty = loss = None
        if weight:
            counted = decoder_attention_mask if labels is None else labels != -100
            penalty = weight * uneven_attention(outputs.cross_attentions[0][:, 0], counted)
        if labels is not None:
            loss = functional.cross_entropy(logits.float().transpose(1, 2), labels, reduction="sum")
            loss = loss if penalty is None else loss + penalty.sum()
            loss = loss / ((labels != -100).sum() if num_items_in_batch is None else num_items_in_batch)
        left_out = ("last_hidden_state",) if output_attentions else ("last_hidden_state", "cross_attentions")
        others = {name: value for name, value in outputs.items() if name not in left_out}
        return RnnImageCaptionerOutput(loss=loss, logits=logits, attention_penalty=penalty, **others)


def uneven_attention(weights: Tensor, counted: Tensor | None) -> Tensor:
    """`sum_i (1 - sum_t a_ti)^2` of each caption (Xu et al. 2015, equation 14): (batch,).

    Args:
        weights: (batch, target, positions).
        counted: (batch, target), true or 1 for the tokens of a caption; None for all.
    """
    received = (weights if counted is None else weights * counted[:, :, None]).sum(dim=1)  # (batch, positions)
    penalty = (1 - received).square().sum(dim=1)
    return penalty if counted is None else penalty * counted.any(dim=1)  # no penalty for a caption without tokens


__all__ = ["RnnImageCaptionerForConditionalGeneration", "RnnImageCaptionerModel", "RnnImageCaptionerPreTrainedModel"]
