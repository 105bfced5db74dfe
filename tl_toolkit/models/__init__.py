"""The model families, registered with transformers' Auto classes.

Registration is here and not in the files of a family: `save_pretrained` copies those into saved models, where the Auto
classes find them through `auto_map`. Model classes are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .configuration_awd_lstm import AwdLstmConfig
from .configuration_bag_of_ngrams import BagOfNgramsConfig
from .configuration_pooled_encoder import PooledEncoderConfig
from .configuration_prompted import PromptedConfig
from .configuration_rnn import RnnConfig
from .configuration_rnn_encoder_decoder import RnnEncoderDecoderConfig
from .configuration_rnn_image_captioner import RnnImageCaptionerConfig
from .configuration_self_attention import SelfAttentionConfig
from .registration import register

if TYPE_CHECKING:
    from .modeling_awd_lstm import AwdLstmForCausalLM, AwdLstmForSequenceClassification, AwdLstmModel
    from .modeling_bag_of_ngrams import BagOfNgramsForSequenceClassification
    from .modeling_pooled_encoder import PooledEncoderForSequenceClassification, PooledEncoderModel
    from .modeling_prompted import PromptedForSequenceClassification
    from .modeling_rnn import (
        RnnForCausalLM,
        RnnForMaskedLM,
        RnnForSequenceClassification,
        RnnForTimeSeriesPrediction,
        RnnForTokenClassification,
        RnnModel,
    )
    from .modeling_rnn_encoder_decoder import RnnEncoderDecoderForConditionalGeneration, RnnEncoderDecoderModel
    from .modeling_rnn_image_captioner import RnnImageCaptionerForConditionalGeneration, RnnImageCaptionerModel
    from .modeling_self_attention import (
        SelfAttentionForCausalLM,
        SelfAttentionForMaskedLM,
        SelfAttentionForSequenceClassification,
        SelfAttentionForTokenClassification,
        SelfAttentionModel,
    )

FAMILIES = (
    AwdLstmConfig,
    BagOfNgramsConfig,
    PooledEncoderConfig,
    PromptedConfig,
    RnnConfig,
    RnnEncoderDecoderConfig,
    RnnImageCaptionerConfig,
    SelfAttentionConfig,
)

_MODELS = {name: model for config_class in FAMILIES for name, model in register(config_class).items()}

__all__ = [
    "FAMILIES", "AwdLstmConfig", "AwdLstmForCausalLM", "AwdLstmForSequenceClassification", "AwdLstmModel",
    "BagOfNgramsConfig", "BagOfNgramsForSequenceClassification", "PooledEncoderConfig",
    "PooledEncoderForSequenceClassification", "PooledEncoderModel", "PromptedConfig",
    "PromptedForSequenceClassification", "RnnConfig", "RnnEncoderDecoderConfig",
    "RnnEncoderDecoderForConditionalGeneration", "RnnEncoderDecoderModel", "RnnForCausalLM",
    "RnnForMaskedLM", "RnnForSequenceClassification", "RnnForTimeSeriesPrediction", "RnnForTokenClassification",
    "RnnImageCaptionerConfig", "RnnImageCaptionerForConditionalGeneration", "RnnImageCaptionerModel", "RnnModel",
    "SelfAttentionConfig", "SelfAttentionForCausalLM", "SelfAttentionForMaskedLM",
    "SelfAttentionForSequenceClassification", "SelfAttentionForTokenClassification", "SelfAttentionModel",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _MODELS:
        return _MODELS[name].load()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
