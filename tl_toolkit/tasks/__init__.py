"""The tasks, one file each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import UserError, listing, nearest
from .base import RowTask, Task
from .captioning import Captioning
from .forecasting import Forecasting
from .regression import Regression
from .text_classification import TextClassification
from .token_classification import TokenClassification
from .translation import Translation

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from ..config.arguments import DataArguments

TASKS: dict[str, type[Task]] = {
    task.name: task
    for task in (TextClassification, Regression, TokenClassification, Forecasting, Translation, Captioning)
}

__all__ = [
    "TASKS", "Captioning", "Forecasting", "Regression", "Task", "TextClassification", "TokenClassification",
    "Translation", "make_task", "task_for_model",
]  # fmt: skip


def make_task(arguments: DataArguments) -> Task:
    """The task that `--task` names."""
    if arguments.task not in TASKS:
        raise UserError(
            f"There is no task {arguments.task!r}; the tasks are {listing(TASKS)}.{nearest(arguments.task, TASKS)}"
        )
    task = TASKS[arguments.task](arguments)
    if arguments.group_column is not None and not isinstance(task, RowTask):
        raise UserError(f"--group_column does not apply to --task {arguments.task}: leave it out.")
    if arguments.drop_duplicates and not task.texts:
        raise UserError(
            f"--drop_duplicates compares the texts of rows, but those of --task {task.name} have none: leave it out."
        )
    return task


def task_for_model(arguments: DataArguments, config: PretrainedConfig) -> Task:
    """The task that a model was trained for, from its configuration; `--task` is ignored."""
    architecture = next(iter(config.architectures or ()), "")
    if architecture.endswith("ForTimeSeriesPrediction"):
        return Forecasting.for_model(arguments, config)
    if architecture.endswith("ForTokenClassification"):
        return TokenClassification.for_model(arguments, config)
    if config.is_encoder_decoder and _describes_images(config):
        return Captioning.for_model(arguments, config)
    if config.is_encoder_decoder and not architecture.endswith("ForSequenceClassification"):
        return Translation.for_model(arguments, config)
    regression = config.problem_type == "regression" or (config.problem_type is None and config.num_labels == 1)
    return (Regression if regression else TextClassification).for_model(arguments, config)


def _describes_images(config: PretrainedConfig) -> bool:
    from transformers import AutoModelForImageTextToText

    auto_class = AutoModelForImageTextToText.__name__
    return type(config) in AutoModelForImageTextToText._model_mapping or auto_class in (config.auto_map or ())
