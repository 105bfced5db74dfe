"""`pretrain`: train a language model on texts, and write a model folder and a result record."""

from __future__ import annotations

from typing import Any

from ..config.pretrain_arguments import PretrainArguments
from ..records.output_dir import for_output_dir
from .lifecycle import without_progress_bars
from .pretraining import Pretraining
from .streamed_pretraining import StreamedPretraining


@without_progress_bars()
@for_output_dir
def pretrain(arguments: PretrainArguments) -> dict[str, Any]:
    """Train and evaluate a language model, and write the model folder and `result.json` to `output_dir`.

    Returns:
        The result record. With `find_lr`, the result of `find_learning_rate`; nothing else is written then.

    Raises:
        UserError: an input cannot be used; nothing was trained.
        NonFiniteLoss: training diverged. The result record has the `status` "failed".
    """
    return pretraining(arguments).run()


def pretraining(arguments: PretrainArguments) -> Pretraining:
    """The run, which reads its training texts at its start or, with `streaming`, while it trains."""
    return (StreamedPretraining if arguments.language_model.streaming else Pretraining)(arguments)
