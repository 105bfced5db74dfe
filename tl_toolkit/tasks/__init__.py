"""What is learned: one file per task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tl_toolkit.errors import UserError, listing, nearest
from tl_toolkit.tasks.base import Task
from tl_toolkit.tasks.captioning import Captioning
from tl_toolkit.tasks.forecasting import Forecasting
from tl_toolkit.tasks.regression import Regression
from tl_toolkit.tasks.text_classification import TextClassification
from tl_toolkit.tasks.token_classification import TokenClassification
from tl_toolkit.tasks.translation import Translation

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from tl_toolkit.training.arguments import DataArguments

TASKS: dict[str, type[Task]] = {
    task.name: task
    for task in (TextClassification, Regression, TokenClassification, Forecasting, Translation, Captioning)
}

__all__ = [
    "TASKS",
    "Captioning",
    "Forecasting",
    "Regression",
    "Task",
    "TextClassification",
    "TokenClassification",
    "Translation",
    "make_task",
    "task_for_model",
]


def make_task(arguments: DataArguments) -> Task:
    """The task that `--task` names."""
    if arguments.task not in TASKS:
        raise UserError(
            f"There is no task {arguments.task!r}; the tasks are {listing(TASKS)}.{nearest(arguments.task, TASKS)}"
        )
    return TASKS[arguments.task](arguments)


def task_for_model(arguments: DataArguments, config: PretrainedConfig) -> Task:
    """The task that a trained model was trained for, told from its configuration; `--task` is not looked at."""
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
