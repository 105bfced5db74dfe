"""The model families, made known to transformers' Auto classes.

Registration lives here and not in the files of a family: those travel to the Hub with a saved model, where the Auto
classes find them through `auto_map`.
"""

from __future__ import annotations

import transformers
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from .configuration_rnn import RnnConfig
from .modeling_rnn import RnnForCausalLM, RnnForSequenceClassification, RnnForTokenClassification, RnnModel


def register(config_class: type[PreTrainedConfig], models: dict[str, type[PreTrainedModel]]) -> None:
    """Register a family: `models` maps the name of an Auto class to the model that it builds for this configuration.

    `register_for_auto_class` is what makes `save_pretrained` copy the code beside the weights.
    """
    AutoConfig.register(config_class.model_type, config_class, exist_ok=True)
    config_class.register_for_auto_class()
    for auto_class, model_class in models.items():
        getattr(transformers, auto_class).register(config_class, model_class, exist_ok=True)
        model_class.register_for_auto_class(auto_class)


register(
    RnnConfig,
    {
        "AutoModel": RnnModel,
        "AutoModelForSequenceClassification": RnnForSequenceClassification,
        "AutoModelForTokenClassification": RnnForTokenClassification,
        "AutoModelForCausalLM": RnnForCausalLM,
    },
)

__all__ = [
    "RnnConfig",
    "RnnForCausalLM",
    "RnnForSequenceClassification",
    "RnnForTokenClassification",
    "RnnModel",
    "register",
]
