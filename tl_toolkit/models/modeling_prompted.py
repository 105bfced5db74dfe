"""A causal language model of transformers that classifies texts by a prompt, without training.

The score of a class is the probability that the language model gives to its words after the prompt (Brown et al. 2020,
"Language Models are Few-Shot Learners", section 2.4), corrected for what it prefers to answer to any text (Zhao et al.
2021, "Calibrate Before Use", section 4).
"""

# No postponed annotations here: tools read the annotations of `forward` to find the keywords of a model.
import copy
import inspect
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM
from transformers import initialization as init
from transformers.cache_utils import DynamicCache, DynamicLayer
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.modeling_utils import PreTrainedModel
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs
from transformers.utils.generic import can_return_tuple

from .configuration_prompted import PromptedConfig
from .pooling import not_empty
from .sequence_classification import SequenceClassification

_MOST_TOKENS = 16_384
"""Rows are split so that a pass of the language model has at most so many tokens, with those of the prompt."""


class PromptedForSequenceClassification(SequenceClassification, PreTrainedModel):
    """Scores the words of each class after `before`, a text and `after` (see `PromptedConfig`).

    The keys and values of `before` are computed once and kept, until the weights, their device or their type change.
    """

    config: PromptedConfig
    config_class = PromptedConfig
    base_model_prefix = "language_model"
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    def __init__(self, config: PromptedConfig) -> None:
        super().__init__(config)
        self.language_model = AutoModelForCausalLM.from_config(config.language_model_config)
        self.calibration = nn.Linear(config.num_labels, config.num_labels)
        self._kept: tuple[Any, DynamicCache | None] | None = None
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Without calibration, logits are the scores; the language model initialises its own modules."""
        if module is self.calibration:
            init.eye_(module.weight)
            init.zeros_(module.bias)

    def get_input_embeddings(self) -> nn.Module:
        return self.language_model.get_input_embeddings()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> SequenceClassifierOutput:
        """Classify texts.

        Args:
            input_ids: (batch, time), the tokens of the texts alone, without special tokens.
            attention_mask: (batch, time), 1 for real tokens; None: all tokens are real.
            labels: as in `SequenceClassification`.

        Returns:
            `loss` (with labels) and `logits` (batch, num_labels): W log p + b, where p are the probabilities of the
            words of the classes, divided by their sum.
        """
        input_ids, attention_mask = not_empty(input_ids, attention_mask, self.config.pad_token_id)
        assert input_ids is not None
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        longest = len(self.config.before) + len(self.config.after) + input_ids.shape[1]
        rows = max(1, _MOST_TOKENS // longest)
        scores = [self.scores(*part) for part in zip(input_ids.split(rows), mask.split(rows), strict=True)]
        logits = self.calibration(torch.cat(scores).log_softmax(dim=-1).to(self.calibration.weight.dtype))
        return self.classified(logits, labels, kwargs)

    def scores(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        """The log-probability of the words of each class after each text, (batch, num_labels) in float32."""
        config, found = self.config, {}
        padding_last = (1 - mask.long()).argsort(dim=1, stable=True)
        texts, lengths = input_ids.gather(1, padding_last), mask.long().sum(dim=1)
        for start in dict.fromkeys(tuple(ids[:-1]) for ids in config.verbalizer_ids):
            tail = texts.new_tensor([*config.after, *start])
            places = lengths[:, None] + torch.arange(len(tail), device=texts.device)
            rows = torch.cat([texts, texts.new_zeros(len(texts), len(tail))], dim=1)  # (batch, time)
            rows = rows.scatter(1, places, tail.expand(len(rows), -1))
            chances = self._next(rows, lengths + len(tail), len(start) + 1)  # (batch, len(start) + 1, vocabulary)
            begun = sum(chances[:, place, word] for place, word in enumerate(start))
            for label, ids in enumerate(config.verbalizer_ids):
                if tuple(ids[:-1]) == start:
                    found[label] = begun + chances[:, -1, ids[-1]]
        return torch.stack([found[label] for label in range(len(found))], dim=1)

    def _next(self, rows: Tensor, ends: Tensor, count: int) -> Tensor:
        """Log-probabilities of the next token at the last `count` places before `ends`, (batch, count, vocabulary).

        Args:
            rows: (batch, time), with padding after `ends` (batch,).
        """
        prefix = rows.new_tensor(self.config.before)
        past = self._cached(prefix)
        mask = (torch.arange(rows.shape[1], device=rows.device) < ends[:, None]).long()
        mask = torch.cat([mask.new_ones(len(rows), len(prefix)), mask], dim=1)
        wanted = ends[:, None] - count + torch.arange(count, device=rows.device)
        if past is None:
            rows, wanted = torch.cat([prefix.expand(len(rows), -1), rows], dim=1), wanted + len(prefix)
        else:
            past = copy.deepcopy(past)
            past.batch_repeat_interleave(len(rows))
        kept, places = wanted.unique(return_inverse=True)
        given: dict[str, Any] = {"past_key_values": past, "use_cache": past is not None}
        if selects := "logits_to_keep" in inspect.signature(self.language_model.forward).parameters:
            given["logits_to_keep"] = kept
        logits = self.language_model(input_ids=rows, attention_mask=mask, **given).logits
        own = torch.arange(len(rows), device=rows.device)[:, None]
        return logits[own, places if selects else wanted].float().log_softmax(dim=-1)

    def _cached(self, prefix: Tensor) -> DynamicCache | None:
        """The keys and values of `before` (1, …); None if gradients are needed, or the model keeps another state."""
        if torch.is_grad_enabled() or not len(prefix):
            return None
        device = prefix.device.type
        autocast = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        weights = [(own.data_ptr(), own._version, own.dtype) for own in self.language_model.parameters()]
        key = (weights, autocast, self.training, tuple(self.config.before))
        if self._kept is None or self._kept[0] != key:
            output = self.language_model(input_ids=prefix[None], use_cache=True)
            past = getattr(output, "past_key_values", None)
            plain = isinstance(past, DynamicCache) and all(isinstance(layer, DynamicLayer) for layer in past.layers)
            self._kept = (key, past if plain else None)
        return self._kept[1]


__all__ = ["PromptedForSequenceClassification"]
