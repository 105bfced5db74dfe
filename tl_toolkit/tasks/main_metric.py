"""The main metric of a task, which selects the model: one of the task's own, or the score of a class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from ..errors import UserError, listing, nearest
from ..metrics.scores import CLASS_SCORES, named_class

if TYPE_CHECKING:
    from ..config.arguments import DataArguments

_ERRORS = ("loss", "mse", "mae", "rmse", "smape", "mase")


class Scored:
    """What is scored by metrics, one of which is the main metric.

    Class attributes:
        has_classes: the targets are classes, which can have weights and scores of their own.
        default_metric: the main metric without `--main_metric`.
        metric_names: the metrics beside the loss.
    """

    name: ClassVar[str]
    has_classes: ClassVar[bool] = False
    default_metric: str
    metric_names: Sequence[str]
    arguments: DataArguments
    labels: list[str] | None

    @property
    def main_metric(self) -> str:
        """The metric that selects the model: that of the arguments, or the task's own."""
        return self.arguments.main_metric or self.default_metric

    @property
    def greater_is_better(self) -> bool:
        """Whether higher values of the main metric are better."""
        return self.main_metric not in _ERRORS

    @property
    def scored_classes(self) -> Sequence[str]:
        """The names of the classes that have scores of their own."""
        return (self.labels or ()) if self.has_classes else ()

    def metric_of_class(self) -> tuple[str, str] | None:
        """Return the score and the class of a main metric such as `recall:spam`; None for another main metric.

        Raises:
            UserError: there is no such metric or class.
        """
        known, classes = [*self.metric_names, "loss"], self.scored_classes
        if classes and (found := named_class(self.main_metric)) is not None:
            if found[1] in classes:
                return found
            raise UserError(
                f"--main_metric {self.main_metric} names the class {found[1]!r}, which does not occur; the classes are "
                f"{listing(classes)}.{nearest(found[1], classes)}"
            )
        if self.main_metric in known:
            return None
        of_classes = [f"{score}:CLASS" for score in CLASS_SCORES] if classes else []
        raise UserError(
            f"--main_metric {self.main_metric} is not a metric of --task {self.name}; choose one of "
            f"{', '.join([*known, *of_classes])}.{nearest(self.main_metric, known)}"
        )
