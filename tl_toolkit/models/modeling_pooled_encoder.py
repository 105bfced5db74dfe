"""A pre-trained encoder of transformers with a classifier on its pooled token vectors.

Sentence encoders are trained on pooled vectors (Reimers and Gurevych 2019, "Sentence-BERT", section 3), so the mean of
their token vectors says more about a text than the first of them, which the classification head of BERT reads.
"""

# No postponed annotations here: tools read the annotations of `forward` to find the keywords of a model.
import inspect

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModel, PreTrainedConfig
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling, SequenceClassifierOutput
from transformers.modeling_utils import PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_MAPPING
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs
from transformers.utils.generic import can_return_tuple

from .configuration_pooled_encoder import PooledEncoderConfig
from .pooling import SequencePooling, not_empty
from .sequence_classification import SequenceClassification


def without_pooler(config: PreTrainedConfig) -> dict[str, bool]:
    """Arguments of `AutoModel` that leave out the encoder's own pooling layer, if it has a choice."""
    model_class = MODEL_MAPPING[type(config)]
    chosen = "add_pooling_layer" in inspect.signature(model_class.__init__).parameters
    return {"add_pooling_layer": False} if chosen else {}


class PooledEncoderPreTrainedModel(PreTrainedModel):
    """Base class of the body and the classifier."""

    config: PooledEncoderConfig
    config_class = PooledEncoderConfig
    base_model_prefix = "model"
    # The encoder refuses what it does not support.
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Initialise the classifier; the encoder initialises its own modules."""
        if isinstance(module, nn.Linear):
            init.normal_(module.weight, std=self.config.initializer_range)
            init.zeros_(module.bias)

    def get_input_embeddings(self) -> nn.Module:
        return self.base_model.encoder.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.base_model.encoder.set_input_embeddings(value)


class PooledEncoderModel(PooledEncoderPreTrainedModel):
    """An encoder of transformers and the pooling of its token vectors."""

    _auto_class = "AutoModel"  # makes `save_pretrained` copy the code

    def __init__(self, config: PooledEncoderConfig) -> None:
        super().__init__(config)
        self.encoder = AutoModel.from_config(config.encoder_config, **without_pooler(config.encoder_config))
        self.pooling = SequencePooling(config.hidden_size, config.pooling)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutputWithPooling:
        """Encode texts; other keywords are those of the encoder, such as `token_type_ids`, and left out if None.

        Args:
            input_ids: (batch, time), or `inputs_embeds` (batch, time, embedding size) instead.
            attention_mask: (batch, time), 1 for real tokens; None: all tokens are real.

        Returns:
            `last_hidden_state` (batch, time, hidden_size) and, if requested, `hidden_states` and `attentions` of the
            encoder; `pooler_output` (batch, hidden_size), the vectors of the texts.
        """
        input_ids, attention_mask = not_empty(input_ids, attention_mask, self.config.pad_token_id)
        given = {name: value for name, value in kwargs.items() if value is not None}
        outputs = self.encoder(input_ids=input_ids, attention_mask=attention_mask, inputs_embeds=inputs_embeds, **given)
        pooled, _ = self.pooling(outputs.last_hidden_state, attention_mask)
        if self.config.normalize:
            pooled = functional.normalize(pooled, dim=-1) * self.config.hidden_size**0.5
        return BaseModelOutputWithPooling(
            last_hidden_state=outputs.last_hidden_state,
            pooler_output=pooled,
            hidden_states=getattr(outputs, "hidden_states", None),
            attentions=getattr(outputs, "attentions", None),
        )


class PooledEncoderForSequenceClassification(SequenceClassification, PooledEncoderPreTrainedModel):
    """A linear head on the vector of a text."""

    def __init__(self, config: PooledEncoderConfig) -> None:
        super().__init__(config)
        self.model = PooledEncoderModel(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> SequenceClassifierOutput:
        """Arguments as in `PooledEncoderModel.forward`; labels as in `SequenceClassification`.

        Returns `loss` (with labels) and `logits` (batch, num_labels).
        """
        outputs = self.model(input_ids, attention_mask, inputs_embeds, token_type_ids=token_type_ids, **kwargs)
        logits = self.classifier(self.dropout(outputs.pooler_output))
        shown = {"hidden_states": outputs.hidden_states, "attentions": outputs.attentions}
        return self.classified(logits, labels, kwargs, **shown)


__all__ = ["PooledEncoderForSequenceClassification", "PooledEncoderModel", "PooledEncoderPreTrainedModel"]
