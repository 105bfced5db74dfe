"""The loss of distillation, and a trainer with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..tasks.losses import summed_loss
from .trainer import ToolkitTrainer

COLUMN = "teacher_logits"


def distillation_loss(
    logits: Tensor,
    teacher: Tensor,
    labels: Tensor,
    label_weight: float,
    temperature: float,
    class_weights: Tensor | None = None,
) -> Tensor:
    """The loss summed over rows: (1 - a) T² KL(softmax(v / T) ‖ softmax(z / T)) + a H(y, softmax(z)).

    It is that of Hinton et al. (2015), section 2, where T² keeps the size of the gradients, and for a high T that of
    Tang et al. (2019), equation 4, the squared error of the logits. A row without a label has the first term only.

    Args:
        logits: z of the model (rows, classes).
        teacher: v of the teacher (rows, classes).
        labels: class ids (rows,), -100 for none.
        label_weight: a, from 0 to 1.
        temperature: T.
        class_weights: of the second term (classes,).
    """
    soft = functional.kl_div(
        (logits.float() / temperature).log_softmax(-1),
        (teacher.float() / temperature).log_softmax(-1),
        reduction="sum",
        log_target=True,
    )
    hard = summed_loss(logits, labels, "single_label_classification", weights=class_weights) if label_weight else 0.0
    return (1 - label_weight) * temperature**2 * soft + label_weight * hard


class DistillingTrainer(ToolkitTrainer):
    """Trains on rows with the column `teacher_logits`.

    Attributes:
        label_weight, distillation_temperature: see `distillation_loss`.
    """

    label_weight = 0.0

    def __init__(self, *args: Any, distillation_temperature: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.distillation_temperature = distillation_temperature

    def _set_signature_columns_if_needed(self) -> None:
        if self._signature_columns is None:
            super()._set_signature_columns_if_needed()
            self._signature_columns = [*(self._signature_columns or ()), COLUMN]

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> Any:
        return sum(len(batch["labels"]) for batch in batch_samples)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Mapping[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        given = dict(inputs)
        teacher, labels = given.pop(COLUMN), given.pop("labels")
        outputs = model(**given)
        total = distillation_loss(
            outputs["logits"], teacher, labels, self.label_weight, self.distillation_temperature,
            self.task.class_weights,
        )  # fmt: skip
        loss = total / (num_items_in_batch or len(labels))
        return (loss, outputs) if return_outputs else loss
