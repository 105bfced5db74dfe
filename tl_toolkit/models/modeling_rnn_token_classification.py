"""A recurrent network that labels every token, with or without a conditional random field (CRF)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers.utils.generic import ModelOutput, can_return_tuple

from .configuration_rnn import RnnConfig
from .crf import IGNORED, LinearChainCrf
from .rnn_model import RnnModel, RnnPreTrainedModel


@dataclass
class RnnTokenClassifierOutput(ModelOutput):
    """Output of `RnnForTokenClassification`.

    Attributes:
        loss: the negative log-likelihood of all sentences divided by the number of labels that are not ignored.
        logits: (batch, time, num_labels). With a CRF, the logarithms of the posterior marginals `p(y_t | x)`, whose
            softmax gives these probabilities; zeros at masked positions.
        predicted_tags: (batch, time), -100 at masked positions: with a CRF, the most probable sequence (only in
            evaluation mode, because training does not need it); without one, the most probable tag per position.
        log_likelihood: (batch,), the log-likelihood of each sentence's labels, if there are labels.
        hidden_states: as in `RnnModel`.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    predicted_tags: Tensor | None = None
    log_likelihood: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None


class RnnForTokenClassification(RnnPreTrainedModel):
    """One label per token: a softmax at each position, or a CRF over the sentence (`config.crf`).

    With bidirectional LSTMs, these are the BiLSTM and the BiLSTM-CRF of Huang et al. 2015, and with
    `character_encoder="rnn"` or `"cnn"` the models of Lample et al. 2016 and of Ma and Hovy 2016.
    """

    _auto_class = "AutoModelForTokenClassification"

    def __init__(self, config: RnnConfig) -> None:
        super().__init__(config)
        self.rnn = RnnModel(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.output_size, config.num_labels)
        self.crf = LinearChainCrf(config.num_labels) if config.crf else None
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        character_ids: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **kwargs: Any,
    ) -> RnnTokenClassifierOutput:
        """Label tokens; arguments as in `RnnModel`.

        Args:
            labels: (batch, time), -100 for positions to ignore. A CRF sums over the tags of such positions (see
                `LinearChainCrf`), and ignores the labels of masked positions.
            num_items_in_batch: divisor of the summed loss; by default the number of labels that are not ignored.
        """
        given = {"inputs_embeds": inputs_embeds, "character_ids": character_ids, **kwargs}
        outputs = self.rnn(input_ids, attention_mask, use_cache=False, **given)
        logits = self.classifier(self.dropout(outputs.last_hidden_state))
        log_likelihood = predicted_tags = None
        if self.crf is not None:
            emissions = logits
            logits, log_likelihood = self.crf(emissions, attention_mask, labels)
            predicted_tags = None if self.training else self.crf.decode(emissions, attention_mask)
        else:
            predicted_tags = logits.argmax(dim=-1)
            if attention_mask is not None:
                predicted_tags = predicted_tags.masked_fill(attention_mask == 0, IGNORED)
            if labels is not None:
                losses = nn.functional.cross_entropy(logits.transpose(1, 2).float(), labels, reduction="none")
                log_likelihood = -losses.sum(dim=1)  # cross_entropy returns 0 for ignored labels
        loss = None
        if log_likelihood is not None and labels is not None:
            if num_items_in_batch is None:
                counts = labels.ne(IGNORED)
                if self.crf is not None and attention_mask is not None:
                    counts = counts & attention_mask.bool()
                num_items_in_batch = counts.sum().clamp(min=1)
            loss = -log_likelihood.sum() / num_items_in_batch
        return RnnTokenClassifierOutput(
            loss=loss,
            logits=logits,
            predicted_tags=predicted_tags,
            log_likelihood=log_likelihood,
            hidden_states=outputs.hidden_states,
        )


__all__ = ["RnnForTokenClassification", "RnnTokenClassifierOutput"]
