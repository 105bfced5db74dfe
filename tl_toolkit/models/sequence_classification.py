"""What the classifiers of texts of all families share."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers.modeling_outputs import SequenceClassifierOutput


class SequenceClassification:
    """A head with one label, several labels or numbers per text, according to `config.problem_type`.

    As in transformers, labels are (batch,) class ids, where -100 is ignored; (batch, num_labels) zeros and ones for
    several labels; or numbers in either shape.
    """

    config: Any
    loss_function: Any
    _auto_class = "AutoModelForSequenceClassification"  # makes `save_pretrained` copy the code
    # The losses for several labels and for numbers are means over a batch and ignore `num_items_in_batch`, so Trainer
    # must average over accumulated batches itself.
    accepts_loss_kwargs = False

    def classified(
        self, logits: Tensor, labels: Tensor | None, kwargs: dict[str, Any], **others: Any
    ) -> SequenceClassifierOutput:
        """The output with `logits` (batch, num_labels), the loss if there are labels, and `others`."""
        loss = None
        if labels is not None:
            loss = self.loss_function(labels=labels, pooled_logits=logits, config=self.config, **kwargs)
        return SequenceClassifierOutput(loss=loss, logits=logits, **others)


def average_logits(member_logits: list[Tensor], problem_type: str | None, num_labels: int) -> Tensor:
    """Logits of the mean probabilities of several members, from their logits, each (batch, num_labels).

    The result is log-probabilities for one label per text, and log-odds for several. Regression outputs are averaged.
    """
    if len(member_logits) == 1:
        return member_logits[0]
    stacked = torch.stack(member_logits)  # (members, batch, num_labels)
    if problem_type == "regression" or (problem_type is None and num_labels == 1):
        return stacked.mean(dim=0)
    if problem_type == "multi_label_classification":
        # The number of members cancels in the quotient of the two means.
        return functional.logsigmoid(stacked).logsumexp(dim=0) - functional.logsigmoid(-stacked).logsumexp(dim=0)
    return stacked.log_softmax(dim=-1).logsumexp(dim=0) - math.log(len(member_logits))
