"""Self-attention networks: an encoder without recurrence, and its classification and language-model heads.

The encoder of Vaswani et al. 2017, "Attention Is All You Need" (arXiv:1706.03762), with a causal mask for language
modelling. Pre-norm layers follow Xiong et al. 2020, "On Layer Normalization in the Transformer Architecture".
"""

# No postponed annotations here: tools read the annotations of `forward` to find the keywords of a model.
import copy

import torch
from torch import Tensor, nn
from transformers import initialization as init
from transformers.cache_utils import Cache, DynamicCache
from transformers.generation import GenerationMixin
from transformers.masking_utils import create_bidirectional_mask, create_causal_mask
from transformers.modeling_outputs import (
    BaseModelOutputWithPast,
    CausalLMOutputWithPast,
    MaskedLMOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)
from transformers.modeling_utils import PreTrainedModel
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs
from transformers.utils.generic import can_return_tuple, merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from .configuration_self_attention import SelfAttentionConfig
from .pooling import SequencePooling, not_empty
from .self_attention_layers import (
    MultiHeadAttention,
    SelfAttentionEmbeddings,
    SelfAttentionLayer,
    position_ids_from_mask,
)
from .sequence_classification import SequenceClassification


class SelfAttentionPreTrainedModel(PreTrainedModel):
    """Base class of the family: initialisation, layer groups, and the features of transformers that it supports."""

    config_class = SelfAttentionConfig
    base_model_prefix = "model"
    _input_embed_layer = "tokens"
    supports_gradient_checkpointing = True
    _no_split_modules = ["SelfAttentionLayer"]
    _skip_keys_device_placement = ["past_key_values"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True
    _can_record_outputs = {"hidden_states": SelfAttentionLayer, "attentions": MultiHeadAttention}

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            init.xavier_uniform_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=self.config.initializer_range)
            if module.padding_idx is not None and not getattr(module.weight, "_is_hf_initialized", False):
                init.zeros_(module.weight[module.padding_idx])
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)

    def layer_groups(self) -> list[list[str]]:
        """Prefixes of parameter names, one list per group, from the embeddings to the head.

        Every parameter name begins with exactly one of the prefixes. A head whose only parameter is tied to the
        embeddings has no group.
        """
        body = "" if isinstance(self, SelfAttentionModel) else f"{self.base_model_prefix}."
        groups = [[f"{body}embeddings."]]
        groups += [[f"{body}layers.{index}."] for index in range(self.config.num_hidden_layers)]
        groups[-1].append(f"{body}norm.")
        groups.append([f"{name}." for name, _ in self.named_children() if body and name != self.base_model_prefix])
        names = [name for name, _ in self.named_parameters()]
        used = [[prefix for prefix in group if any(name.startswith(prefix) for name in names)] for group in groups]
        return [group for group in used if group]


class SelfAttentionModel(SelfAttentionPreTrainedModel):
    """The body: embeddings and a stack of self-attention layers, bidirectional or (`config.is_causal`) causal."""

    _auto_class = "AutoModel"  # makes `save_pretrained` copy the code

    def __init__(self, config: SelfAttentionConfig) -> None:
        super().__init__(config)
        self.embeddings = SelfAttentionEmbeddings(config)
        self.layers = nn.ModuleList(SelfAttentionLayer(config, index) for index in range(config.num_hidden_layers))
        pre_norm = config.norm_position == "pre"
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps) if pre_norm else nn.Identity()
        self.gradient_checkpointing = False
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutputWithPast:
        """Encode a batch of texts.

        Args:
            input_ids: (batch, time); alternatively
            inputs_embeds: (batch, time, embedding_size), before scaling and positions.
            attention_mask: (batch, past + time), 1 for real tokens, other values for padding, which no token attends to
                and which does not count as a position. None: all tokens are real. A mask with four dimensions is used
                unchanged.
            position_ids: (batch, time), from 0; by default, the number of real tokens before each token.
            past_key_values: keys and values of earlier tokens, which a causal model extends in place.
            use_cache: whether a causal model creates and returns them.

        Returns:
            `last_hidden_state` (batch, time, hidden_size), `past_key_values`; with `output_hidden_states`, the input of
            the first layer and the output of every layer, the last one after the final norm; with `output_attentions`,
            the weights (batch, heads, time, past + time) of every layer.

        Raises:
            ValueError: not exactly one of `input_ids` and `inputs_embeds`, or more tokens than learned positions.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Pass exactly one of input_ids and inputs_embeds.")
        if inputs_embeds is None:
            inputs_embeds = self.embeddings.tokens(input_ids)
        if use_cache and past_key_values is None and self.config.is_causal:
            past_key_values = DynamicCache(config=self.config)
        past = past_key_values.get_seq_length() if past_key_values is not None else 0
        if position_ids is None:
            position_ids = self._default_positions(inputs_embeds, attention_mask, past)
        create_mask = create_causal_mask if self.config.is_causal else create_bidirectional_mask
        mask = create_mask(
            config=self.config,
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            position_ids=position_ids,
        )
        hidden_states = self.embeddings(inputs_embeds, position_ids)
        for layer in self.layers:
            hidden_states = layer(hidden_states, attention_mask=mask, past_key_values=past_key_values, **kwargs)
        return BaseModelOutputWithPast(last_hidden_state=self.norm(hidden_states), past_key_values=past_key_values)

    def _default_positions(self, inputs_embeds: Tensor, attention_mask: Tensor | None, past: int) -> Tensor:
        time = inputs_embeds.shape[1]
        if self.embeddings.positions is not None and past + time > self.config.max_position_embeddings:
            raise ValueError(
                f"The input is {past + time} tokens long, but the model has learned positions for at most "
                f"{self.config.max_position_embeddings} tokens (max_position_embeddings). Truncate it."
            )
        if attention_mask is not None and attention_mask.ndim == 2:
            return position_ids_from_mask(attention_mask.to(inputs_embeds.device), time)
        return torch.arange(past, past + time, device=inputs_embeds.device).unsqueeze(0)


class SelfAttentionForSequenceClassification(SequenceClassification, SelfAttentionPreTrainedModel):
    """A pooling layer and a linear head."""

    def __init__(self, config: SelfAttentionConfig) -> None:
        super().__init__(config)
        self.model = SelfAttentionModel(config)
        self.pooling = SequencePooling(config.hidden_size, config.pooling)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(self.pooling.output_size, config.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> SequenceClassifierOutput:
        """Arguments as in `SelfAttentionModel.forward`; labels as in `SequenceClassification`.

        Returns `loss` (with labels) and `logits` (batch, num_labels).
        """
        input_ids, attention_mask = not_empty(input_ids, attention_mask, self.config.pad_token_id)
        outputs = self.model(input_ids, attention_mask, inputs_embeds=inputs_embeds, use_cache=False, **kwargs)
        pooled, _ = self.pooling(outputs.last_hidden_state, attention_mask)
        shown = {"hidden_states": outputs.hidden_states, "attentions": outputs.attentions}
        return self.classified(self.classifier(self.dropout(pooled)), labels, kwargs, **shown)


class SelfAttentionForTokenClassification(SelfAttentionPreTrainedModel):
    """One label per token."""

    _auto_class = "AutoModelForTokenClassification"  # makes `save_pretrained` copy the code

    def __init__(self, config: SelfAttentionConfig) -> None:
        super().__init__(config)
        self.model = SelfAttentionModel(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> TokenClassifierOutput:
        """Arguments as in `SelfAttentionModel.forward`, and labels (batch, time), where -100 is ignored.

        Returns `loss` (with labels) and `logits` (batch, time, num_labels).
        """
        outputs = self.model(input_ids, attention_mask, inputs_embeds=inputs_embeds, use_cache=False, **kwargs)
        logits = self.classifier(self.dropout(outputs.last_hidden_state))
        loss = None if labels is None else self.loss_function(logits, labels, config=self.config, **kwargs)
        return TokenClassifierOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )


class SelfAttentionLanguageModel(SelfAttentionPreTrainedModel):
    """A body and an output layer over the vocabulary.

    Class attributes:
        is_causal: whether a token only sees itself and earlier tokens.
    """

    is_causal: bool
    _tied_weights_keys = {"lm_head.weight": "model.embeddings.tokens.weight"}

    def __init__(self, config: SelfAttentionConfig) -> None:
        config = copy.deepcopy(config)  # the caller may build another model from the same object
        config.is_causal = self.is_causal
        super().__init__(config)
        self.model = SelfAttentionModel(config)
        same = config.embedding_size == config.hidden_size
        self.projection = nn.Identity() if same else nn.Linear(config.hidden_size, config.embedding_size, bias=False)
        self.lm_head = nn.Linear(config.embedding_size, config.vocab_size, bias=False)
        self.post_init()


class SelfAttentionForMaskedLM(SelfAttentionLanguageModel):
    """Fills in masked tokens from the tokens on both sides (Devlin et al. 2019, section 3.1)."""

    _auto_class = "AutoModelForMaskedLM"  # makes `save_pretrained` copy the code
    is_causal = False

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> MaskedLMOutput:
        """Arguments as in `SelfAttentionModel.forward`, and labels (batch, time): the tokens to predict, else -100.

        Returns `loss` (with labels) and `logits` (batch, time, vocab_size).
        """
        outputs = self.model(input_ids, attention_mask, inputs_embeds=inputs_embeds, use_cache=False, **kwargs)
        logits = self.lm_head(self.projection(outputs.last_hidden_state))
        loss = None
        if labels is not None:
            loss = self.loss_function(logits, labels, vocab_size=self.config.vocab_size, **kwargs)
        return MaskedLMOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )


class SelfAttentionForCausalLM(SelfAttentionLanguageModel, GenerationMixin):
    """Language model: predicts the next token at every position from this token and all earlier tokens."""

    _auto_class = "AutoModelForCausalLM"  # makes `save_pretrained` copy the code
    is_causal = True

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Unpack[TransformersKwargs],
    ) -> CausalLMOutputWithPast:
        """Arguments as in `SelfAttentionModel.forward`, and

        labels: (batch, time), usually the input ids: they are shifted here; -100 is ignored.
        shift_labels: targets that are already shifted; used instead of `labels`, which must also be passed.
        logits_to_keep: compute only the logits of this many last positions (0: all), or of these positions.

        Returns `loss` (with labels), `logits` (batch, time or fewer, vocab_size), `past_key_values`.
        """
        outputs = self.model(
            input_ids, attention_mask, position_ids, past_key_values, inputs_embeds, use_cache=use_cache, **kwargs
        )
        wanted = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(self.projection(outputs.last_hidden_state[:, wanted]))
        loss = None
        if labels is not None:
            loss = self.loss_function(logits, labels, vocab_size=self.config.vocab_size, **kwargs)
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )


__all__ = [
    "SelfAttentionForCausalLM",
    "SelfAttentionForMaskedLM",
    "SelfAttentionForSequenceClassification",
    "SelfAttentionForTokenClassification",
    "SelfAttentionModel",
    "SelfAttentionPreTrainedModel",
]
