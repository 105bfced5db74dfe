"""The base class of strategies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..config.processes import sharding
from ..errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import nn
    from transformers import PreTrainedModel, TrainerCallback, TrainingArguments

    from ..config.arguments import RunArguments, StrategyArguments


class Strategy:
    """Prepares a model for training and returns an ordinary model afterwards.

    Class attributes:
        name: the name in `--strategy`.
        from_scratch: whether it trains random weights and cannot use a checkpoint; None: it can use either.
        wraps: whether `prepare` wraps the model and `finish` has to unwrap it.
        fits: whether the head is solved at once instead of trained in updates.
        reads_features: whether only the head is trained, on features that the rest of the model computes once.
        least_epochs: the fewest epochs in which all layers are trained.
        pooling: how the token vectors of a checkpoint are pooled if nothing says how; "auto" keeps its own head.
        needs_one_class: whether each row must have one class, not several labels.
        needs_one_text: whether each row must have one text, not two.
    """

    name: ClassVar[str]
    from_scratch: ClassVar[bool | None] = False
    wraps: ClassVar[bool] = False
    fits: ClassVar[bool] = False
    reads_features: ClassVar[bool] = False
    least_epochs: float = 0.0
    pooling: ClassVar[str] = "auto"
    needs_one_class: ClassVar[bool] = False
    needs_one_text: ClassVar[bool] = False

    def __init__(self, arguments: StrategyArguments) -> None:
        self.arguments = arguments

    def check(self, args: RunArguments, task: str) -> None:
        """Check the settings and the task of a run before it begins.

        Raises:
            UserError: the strategy cannot be used with these settings, or for this task.
        """

    def check_rows(self, problem_type: str | None, two_texts: bool) -> None:
        """Check that the strategy can learn from the rows of a task.

        Args:
            problem_type: as in a configuration of transformers.
            two_texts: rows are pairs of texts.

        Raises:
            UserError: it cannot.
        """
        if self.needs_one_class and problem_type == "multi_label_classification":
            needed, found = "class", "several labels"
        elif self.needs_one_text and two_texts:
            needed, found = "text", "two texts"
        else:
            return
        raise UserError(
            f"The strategy {self.name!r} needs rows with one {needed}, but they have {found}: use the strategy 'full' "
            "or 'probe'."
        )

    def adapt(self, model: PreTrainedModel, rows: Dataset) -> None:
        """Adapt the sizes of a new model to the encoded training rows, before `prepare`.

        Raises:
            UserError: the rows do not suffice.
        """

    def prepare(self, model: PreTrainedModel) -> nn.Module:
        """Return the module to train: `model` itself, changed in place if necessary, or a wrapper around it.

        Raises:
            UserError: the strategy cannot be applied to this model.
        """
        return model

    def configure(self, args: TrainingArguments) -> None:
        """Set the training arguments that the strategy needs, before the trainer is created.

        Raises:
            UserError: the strategy cannot be used with these arguments.
        """
        if self.fits and sharding(args):
            raise UserError(
                f"The strategy {self.name!r} computes features with a whole model: start it without {sharding(args)}."
            )

    def learning_rates(
        self, model: nn.Module, learning_rate: float, head_learning_rate: float | None = None
    ) -> dict[str, float]:
        """Return the peak learning rates, by parameter name, that differ from the run's `learning_rate`.

        Strategies with rates of their own for the head ignore `head_learning_rate`.
        """
        return {}

    def callbacks(self, model: nn.Module) -> list[TrainerCallback]:
        """Return callbacks for the trainer of `model`, the module returned by `prepare`."""
        return []

    def finish(self, model: nn.Module, output_dir: Path) -> PreTrainedModel:
        """Return the trained model without wrapper; files that only the strategy can save go to `output_dir`."""
        return model

    def record(self) -> dict[str, Any]:
        """Return the entry of the strategy in a result record."""
        return {"name": self.name}
