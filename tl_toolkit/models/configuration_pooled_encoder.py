"""Configuration of pre-trained encoders whose token vectors are pooled."""

import copy
from typing import Any, ClassVar, Literal

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from .strict_config import StrictConfig


@strict
class PooledEncoderConfig(StrictConfig):
    """Configuration of a `PooledEncoderModel`.

    Args:
        encoder_config: configuration of the encoder, any text encoder or decoder of transformers; by default BERT's.
            A dictionary needs the key `model_type`.
        pooling: how a text becomes one vector (`pooling.SequencePooling`): `cls`, the vector of the first token;
            `last`, that of the last; `mean` or `max` over all tokens.
        normalize: scale the pooled vector to the length sqrt(hidden_size), the length of a vector whose features have
            a mean square of 1. Many sentence encoders were trained on vectors of length 1, but a new classifier learns
            slowly on features that small.
        classifier_dropout: dropout before the classifier.
        initializer_range: standard deviation of the normal distribution that initialises the classifier.
        vocab_size: that of the encoder; other values are ignored.
        use_cache: whether a decoder returns keys and values, which nothing here reads.
    """

    model_type = "pooled_encoder"
    sizes = ()
    sub_configs_defaults: ClassVar[dict[str, SubConfigSpec]] = {
        "encoder_config": SubConfigSpec(config_class=AutoConfig, model_type="bert")
    }
    auto_classes: ClassVar[dict[str, str]] = {
        "AutoConfig": "configuration_pooled_encoder.PooledEncoderConfig",
        "AutoModel": "modeling_pooled_encoder.PooledEncoderModel",
        "AutoModelForSequenceClassification": "modeling_pooled_encoder.PooledEncoderForSequenceClassification",
    }

    encoder_config: dict | PreTrainedConfig | None = None
    pooling: Literal["cls", "last", "mean", "max"] = "mean"
    normalize: bool = False
    classifier_dropout: float | int = 0.1
    initializer_range: float | int = 0.02
    use_cache: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        self.encoder_config = copy.deepcopy(self.encoder_config)  # changed below
        super().__post_init__(**kwargs)  # a dictionary becomes a configuration here
        encoder = self.get_text_config()
        if encoder.is_encoder_decoder:
            raise ValueError(
                f"The encoder of a PooledEncoderConfig cannot be an encoder-decoder ({encoder.model_type})."
            )
        encoder.use_cache = self.use_cache
        self.vocab_size = encoder.vocab_size
        if self.pad_token_id is None:
            self.pad_token_id = getattr(encoder, "pad_token_id", None)

    def get_text_config(self, decoder: bool | None = None, encoder: bool | None = None) -> PreTrainedConfig:
        """The encoder's configuration, which has the sizes that transformers looks for."""
        assert isinstance(self.encoder_config, PreTrainedConfig)  # converted in `__post_init__`
        return self.encoder_config.get_text_config(decoder=decoder, encoder=encoder)

    @property
    def hidden_size(self) -> int:
        """Number of features of a pooled vector."""
        return self.get_text_config().hidden_size
