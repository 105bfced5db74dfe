"""A linear probe: the head is solved instead of trained."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..errors import UserError, listing
from .base import Strategy
from .layer_groups import head_parameters, layer_groups

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

    from ..config.arguments import RunArguments
    from .linear_solver import LinearFit

logger = logging.getLogger(__name__)

_TASKS = ("text-classification", "regression", "token-classification")


class Probe(Strategy):
    """Solves the last linear layer on features of the checkpoint (Alain and Bengio 2017), with L-BFGS.

    The regularisation is chosen by cross-validation on the training rows, so there is nothing to tune. A text is the
    mean of its token vectors, unless `--pooling` or the checkpoint says otherwise: the head of an architecture has
    further layers, which a probe would leave random.

    Class attributes:
        instead: the advice for what it cannot do.
        of_updates: the settings that do not apply.
    """

    instead: ClassVar[str] = "use the strategy 'frozen'"
    of_updates: ClassVar[tuple[str, ...]] = (
        *("learning_rate", "num_train_epochs", "max_steps", "min_train_steps", "label_smoothing_factor", "find_lr"),
        *("early_stopping_patience", "resume_from_checkpoint"),
    )

    name = "probe"
    fits = True
    reads_features = True
    pooling = "mean"

    def check(self, args: RunArguments, task: str) -> None:
        if task not in _TASKS:
            raise UserError(
                f"The strategy 'probe' solves a linear layer with an output for each label, which --task {task} does "
                f"not have: use the strategy 'frozen', or one of the tasks {listing(_TASKS)}."
            )
        given = [name for name in self.of_updates if args.as_given.get(name)]
        if given:
            raise UserError(
                f"--{given[0]} {args.as_given[given[0]]} does not apply to the strategy {self.name!r}, which solves "
                f"the head without updates: leave it out, or {self.instead}."
            )

    def prepare(self, model: PreTrainedModel) -> PreTrainedModel:
        final = final_linear(model)
        others = head_parameters(model) - {
            name for name, own in model.named_parameters() if any(own is one for one in final.parameters())
        }
        if others:
            logger.warning(
                "A probe solves the last layer of %s and leaves the others of its head as they are, which is random "
                "unless the checkpoint has them: %s. The strategy 'frozen' trains them.",
                type(model).__name__, listing(sorted(others)),
            )  # fmt: skip
        model.requires_grad_(False)
        final.requires_grad_(True)
        return model


def final_linear(model: PreTrainedModel) -> nn.Linear:
    """Return the last linear layer of the head, which has an output for each label.

    Raises:
        UserError: there is none.
    """
    from torch import nn

    head = set(layer_groups(model)[-1])
    found = [
        module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == model.config.num_labels and f"{name}.weight" in head
    ]
    if not found:
        raise UserError(
            f"The strategy 'probe' solves a linear layer with an output for each label, but the head of "
            f"{type(model).__name__} has none. Use the strategy 'frozen'."
        )
    return found[-1]


def solve(
    final: nn.Linear,
    features: Sequence[np.ndarray],
    labels: Sequence[Any],
    problem_type: str | None,
    seed: int,
    class_weights: Sequence[float] | None = None,
) -> dict[str, Any]:
    """Set the weights of `final` to those that fit the training rows.

    Args:
        features: (features,) of each row, or (tokens, features).
        labels: the targets of each row, or of each token, where -100 is ignored.
        problem_type: as in a configuration of transformers; None for tokens.
        class_weights: the weight of each class in the loss; for several labels, of the presence of each.

    Returns:
        The chosen regularisation, for the result record.
    """
    import torch

    if features[0].ndim == 2:
        targets = np.concatenate([np.asarray(own) for own in labels])
        rows = np.concatenate(list(features))[targets != -100]
        targets = targets[targets != -100]
    else:
        rows, targets = np.stack(list(features)), np.asarray(labels)
    kind = problem_type or "single_label_classification"
    fit, record = fit_head(rows, targets, kind, class_weights, outputs=final.out_features, seed=seed)
    with torch.no_grad():
        final.weight.copy_(torch.from_numpy(fit.weight))
        if final.bias is not None:
            final.bias.copy_(torch.from_numpy(fit.bias))
    return record


def fit_head(
    features: Any, targets: Any, problem_type: str, class_weights: Sequence[float] | None, **options: Any
) -> tuple[LinearFit, dict[str, Any]]:
    """The head that fits the rows, see `fit_linear`, and its entry in the result record. Weights as in `solve`."""
    from .linear_solver import fit_linear

    weight: Any = None if class_weights is None else dict(enumerate(map(float, class_weights)))
    if weight is not None and problem_type == "multi_label_classification":
        weight = [{0: 1.0, 1: own} for own in weight.values()]
    fit = fit_linear(features, targets, problem_type, class_weight=weight, **options)
    rows, columns = features.shape
    return fit, {"rows": rows, "features": columns, "regularisation": fit.regularisation, "scores": fit.scores}
