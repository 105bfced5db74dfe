"""How a model that writes its answers is told to write them, in evaluations and wherever its folder is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel

    from ..config.arguments import RunArguments

# Beams cost several times as much, and which epoch was best hardly depends on them.
GREEDY = {"num_beams": 1, "do_sample": False}


def settle_generation(model: PreTrainedModel, args: RunArguments, rows: Dataset) -> None:
    """Put what was asked for into the `generation_config` of `model`, with which it is saved.

    transformers count the start token as one of an answer, users do not. Where no length was asked for, answers may
    have as many tokens as the longest target in `rows`: a model that has not yet learned to stop would otherwise write
    up to the limit of the library.
    """
    settings: dict[str, Any] = {
        "num_beams": args.generation_num_beams,
        "length_penalty": args.generation_length_penalty,
        "max_length": 1 + (args.generation_max_length or max(len(labels) for labels in rows["labels"])),
    }
    for name, value in settings.items():
        if value is not None:
            setattr(model.generation_config, name, value)
