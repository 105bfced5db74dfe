"""Configuration of language models that classify texts by a prompt."""

import copy
from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from .strict_config import StrictConfig


@strict
class PromptedConfig(StrictConfig):
    """Configuration of a `PromptedForSequenceClassification`.

    Args:
        language_model_config: configuration of the language model, any causal one of transformers; by default GPT-2's.
            A dictionary needs the key `model_type`.
        prompt: the prompt to read, with {text} in place of the text to classify.
        verbalizers: the words of the classes to read.
        before: ids of the tokens before the text: instruction and examples.
        after: ids of the tokens after the text.
        verbalizer_ids: ids of the words of each class.
        vocab_size: that of the language model; other values are ignored.
    """

    model_type = "prompted"
    sizes = ()
    sub_configs_defaults: ClassVar[dict[str, SubConfigSpec]] = {
        "language_model_config": SubConfigSpec(config_class=AutoConfig, model_type="gpt2")
    }
    auto_classes: ClassVar[dict[str, str]] = {
        "AutoConfig": "configuration_prompted.PromptedConfig",
        "AutoModelForSequenceClassification": "modeling_prompted.PromptedForSequenceClassification",
    }

    language_model_config: dict | PreTrainedConfig | None = None
    prompt: str = "{text}"
    verbalizers: list[str] | tuple[str, ...] = ()
    before: list[int] | tuple[int, ...] = ()
    after: list[int] | tuple[int, ...] = ()
    verbalizer_ids: list[list[int]] | tuple[tuple[int, ...], ...] = ((0,), (1,))

    def __post_init__(self, **kwargs: Any) -> None:
        self.language_model_config = copy.deepcopy(self.language_model_config)  # changed below
        super().__post_init__(**kwargs)  # a dictionary becomes a configuration here
        assert isinstance(self.language_model_config, PreTrainedConfig)
        self.vocab_size = self.language_model_config.get_text_config().vocab_size
        if len(self.verbalizer_ids) != self.num_labels or not all(self.verbalizer_ids):
            raise ValueError(f"verbalizer_ids must have the ids of {self.num_labels} classes: {self.verbalizer_ids}.")

    @property
    def max_position_embeddings(self) -> int | None:
        """The most tokens of a text, which are those of the language model without the prompt and the answer."""
        assert isinstance(self.language_model_config, PreTrainedConfig)
        limit = getattr(self.language_model_config.get_text_config(), "max_position_embeddings", None)
        longest = max(map(len, self.verbalizer_ids))
        return None if limit is None else limit - len(self.before) - len(self.after) - longest + 1
