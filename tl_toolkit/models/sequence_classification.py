"""What the classifiers of texts of all families share."""

from __future__ import annotations

from typing import Any

from torch import Tensor
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
