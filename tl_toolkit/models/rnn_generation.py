"""What `generate` has to know of a recurrent language model."""

from __future__ import annotations

from typing import Any

from transformers import GenerationMixin


class RecurrentGenerationMixin(GenerationMixin):
    """Generation from a recurrent state, which the model makes itself and hands on as `past_key_values`."""

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False  # generation must not start from a cache of keys and values

    def prepare_inputs_for_generation(
        self, input_ids: Any, attention_mask: Any = None, inputs_embeds: Any = None, **kwargs: Any
    ) -> dict[str, Any]:
        # The names are in the signature because generation looks there for what the model can use.
        if self.config.direction == "backward":
            raise ValueError(
                "generate() appends to a text; a model with direction='backward' predicts what comes before."
            )
        return super().prepare_inputs_for_generation(
            input_ids, attention_mask=attention_mask, inputs_embeds=inputs_embeds, **kwargs
        )
