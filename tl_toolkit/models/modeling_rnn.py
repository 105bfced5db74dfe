"""Recurrent networks with a head: text classifiers and language models, and the names of the whole family.

Each head's file builds on `rnn_model.py`. Saved models refer to this file, which imports all heads: a model folder
contains all imported files, so any head can load a folder that another head saved.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn
from transformers.modeling_outputs import CausalLMOutputWithPast, MaskedLMOutput, SequenceClassifierOutput
from transformers.utils.generic import can_return_tuple

from .configuration_rnn import RnnConfig
from .modeling_rnn_time_series import RnnForTimeSeriesPrediction
from .modeling_rnn_token_classification import RnnForTokenClassification
from .pooling import SequencePooling, not_empty
from .rnn_cache import RnnCache
from .rnn_generation import RecurrentGenerationMixin
from .rnn_model import RnnModel, RnnPreTrainedModel
from .sequence_classification import SequenceClassification, average_logits
from .token_order import without_full_mask


class RnnForSequenceClassification(SequenceClassification, RnnPreTrainedModel):
    """A pooling layer and a linear head.

    With `direction="both"`, two such classifiers, whose probabilities (for regression: outputs) are averaged.
    """

    def __init__(self, config: RnnConfig) -> None:
        super().__init__(config)
        if config.direction == "both":
            for direction in ("forward", "backward"):
                own = RnnConfig.from_dict({**config.to_dict(), "direction": direction})
                self.add_module(f"{direction}_member", RnnForSequenceClassification(own))
            self.post_init()
            return
        self.rnn = RnnModel(config)
        self.pooling = SequencePooling(config.output_size, config.pooling, config.summary_position)
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
        output_attentions: bool | None = None,
        **kwargs: Any,
    ) -> SequenceClassifierOutput:
        """Classify texts; arguments as in `RnnModel`.

        Args:
            labels: see `SequenceClassification`.
            output_attentions: return the weights of attention pooling.

        Returns:
            `loss`, `logits` (batch, num_labels), `hidden_states`, and with `pooling="attention"` also `attentions`: one
            tensor (batch, time) that sums to 1 over the real tokens of each row and is 0 elsewhere. With
            `direction="both"` only `loss` and `logits`.
        """
        if self.config.direction == "both":
            found = [member(input_ids, attention_mask, inputs_embeds, **kwargs) for _, member in self.members()]
            averaged = average_logits([one.logits for one in found], self.config.problem_type, self.config.num_labels)
            return self.classified(averaged, labels, kwargs)
        input_ids, attention_mask = not_empty(input_ids, attention_mask, self.config.pad_token_id)
        attention_mask = without_full_mask(attention_mask)
        outputs = self.rnn(input_ids, attention_mask, inputs_embeds=inputs_embeds, use_cache=False, **kwargs)
        pooled, weights = self.pooling(outputs.last_hidden_state, attention_mask)
        if output_attentions is None:
            output_attentions = self.config.output_attentions
        shown = {"attentions": (weights,)} if output_attentions and weights is not None else {}
        logits = self.classifier(self.dropout(pooled))
        return self.classified(logits, labels, kwargs, hidden_states=outputs.hidden_states, **shown)

    def members(self) -> list[tuple[str, RnnForSequenceClassification]]:
        """The name and the classifier of each direction, with `direction="both"`."""
        names = ("forward_member", "backward_member")
        return [(name, self.get_submodule(name)) for name in names if self.config.direction == "both"]

    def get_input_embeddings(self) -> nn.Module | None:
        """The embeddings; with `direction="both"`, those of the forward member."""
        return (self.forward_member if self.members() else self).rnn.embedding

    def layer_groups(self) -> list[list[str]]:
        """Prefixes of parameter names, one list per group, from the embedding to the head."""
        groups = [
            [[f"{name}.{prefix}" for prefix in group] for group in member.layer_groups()]
            for name, member in self.members()
        ]
        return [sum(group, []) for group in zip(*groups, strict=True)] if groups else super().layer_groups()


class RnnForCausalLM(RnnPreTrainedModel, RecurrentGenerationMixin):
    """Language model: predicts the next token from all tokens before it (Mikolov et al. 2010).

    With `direction="backward"` it predicts the previous token from all tokens after it: the logits at a position score
    the token before it, and the loss uses the labels accordingly.
    """

    _auto_class = "AutoModelForCausalLM"
    _tied_weights_keys: ClassVar[dict[str, str]] = {"lm_head.weight": "rnn.embedding.weight"}

    def __init__(self, config: RnnConfig) -> None:
        if config.bidirectional:
            raise ValueError(
                "RnnForCausalLM needs bidirectional=False: a network that also reads from the end of the text sees the "
                "token that it predicts."
            )
        super().__init__(config)
        self.rnn = RnnModel(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=config.lm_head_bias)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        past_key_values: RnnCache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Score the next token at every position; arguments as in `RnnModel`.

        Args:
            labels: (batch, time), usually the input ids, -100 for positions to ignore; they are shifted here. Labels
                that are already shifted can be passed as `shift_labels`, which take precedence.
            logits_to_keep: compute only the logits of this many last positions (0: all), or of these positions.

        Returns:
            `loss`, `logits` (batch, time, vocab_size), `past_key_values`, `hidden_states`.
        """
        outputs = self.rnn(input_ids, attention_mask, past_key_values, inputs_embeds, use_cache, **kwargs)
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(self.dropout(outputs.last_hidden_state[:, kept]))
        loss = None
        if labels is not None:
            if self.config.direction == "backward" and kwargs.get("shift_labels") is None:
                kwargs["shift_labels"] = nn.functional.pad(labels[:, :-1], (1, 0), value=-100)
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, **kwargs)
        return CausalLMOutputWithPast(
            loss=loss, logits=logits, past_key_values=outputs.past_key_values, hidden_states=outputs.hidden_states
        )


class RnnForMaskedLM(RnnPreTrainedModel):
    """Fills in masked tokens from the tokens on both sides, the objective of Devlin et al. (2019, section 3.1).

    A linear map precedes the output layer, `W_o (W_p h + b) + b_o`: the output layer has the size of the embeddings
    and can share their matrix.
    """

    _auto_class = "AutoModelForMaskedLM"
    _tied_weights_keys: ClassVar[dict[str, str]] = {"lm_head.weight": "rnn.embedding.weight"}

    def __init__(self, config: RnnConfig) -> None:
        if not config.bidirectional:
            raise ValueError(
                "RnnForMaskedLM needs bidirectional=True: a network that reads in one direction does not see the "
                "tokens on the other side of a masked one."
            )
        super().__init__(config)
        self.rnn = RnnModel(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.projection = nn.Linear(config.output_size, config.embedding_size)
        self.lm_head = nn.Linear(config.embedding_size, config.vocab_size, bias=config.lm_head_bias)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> MaskedLMOutput:
        """Score all tokens at every position; arguments as in `RnnModel`.

        Args:
            labels: (batch, time), the tokens to predict at masked positions, -100 elsewhere.

        Returns:
            `loss`, `logits` (batch, time, vocab_size), `hidden_states`.
        """
        outputs = self.rnn(input_ids, attention_mask, inputs_embeds=inputs_embeds, use_cache=False, **kwargs)
        logits = self.lm_head(self.projection(self.dropout(outputs.last_hidden_state)))
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, **kwargs)
        return MaskedLMOutput(loss=loss, logits=logits, hidden_states=outputs.hidden_states)


# `save_pretrained` copies the file of a class's `__module__`, and all files that it imports.
for _model in (RnnModel, RnnForTokenClassification, RnnForTimeSeriesPrediction):
    _model.__module__ = __name__

__all__ = [
    "RnnForCausalLM",
    "RnnForMaskedLM",
    "RnnForSequenceClassification",
    "RnnForTimeSeriesPrediction",
    "RnnForTokenClassification",
    "RnnModel",
    "RnnPreTrainedModel",
]
