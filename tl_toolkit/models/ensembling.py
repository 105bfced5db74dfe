"""One answer from several classifiers."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def average_logits(answers: list[Tensor], problem_type: str | None, num_labels: int) -> Tensor:
    """Logits whose probabilities are the means of those that `answers`, each (batch, num_labels), stand for.

    For one label per text these are log-probabilities; for several, log-odds. Numbers (regression) are averaged.
    """
    if len(answers) == 1:
        return answers[0]
    stacked = torch.stack(answers)  # (members, batch, num_labels)
    if problem_type == "regression" or (problem_type is None and num_labels == 1):
        return stacked.mean(dim=0)
    if problem_type == "multi_label_classification":
        # The members' number cancels in the quotient of the two means.
        return functional.logsigmoid(stacked).logsumexp(dim=0) - functional.logsigmoid(-stacked).logsumexp(dim=0)
    return stacked.log_softmax(dim=-1).logsumexp(dim=0) - math.log(len(answers))
