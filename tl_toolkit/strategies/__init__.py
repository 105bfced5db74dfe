"""Strategies for training a model, with or without transfer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import UserError, listing
from .bag_of_ngrams import NgramProbe
from .base import Strategy
from .contrastive import Contrastive
from .discriminative_and_gradual import Discriminative, GradualUnfreezing
from .distilled import Distilled
from .lora import Lora
from .probe import Probe
from .prompt import Prompt
from .scratch_full_frozen import Frozen, Full, Scratch

if TYPE_CHECKING:
    from ..config.arguments import ModelArguments, StrategyArguments

STRATEGIES: dict[str, type[Strategy]] = {
    kind.name: kind
    for kind in (Scratch, Full, Discriminative, GradualUnfreezing, Frozen, Probe, Lora, Contrastive, Prompt, Distilled)
}

_OF_DISTILLED = ("teacher", "unlabelled_dataset", "label_weight")
_TRANSFERRING = [name for name, kind in STRATEGIES.items() if not kind.from_scratch]


def make_strategy(arguments: StrategyArguments, model: ModelArguments) -> Strategy:
    """Return the specified strategy, by default `scratch` for an architecture and `full` for a checkpoint.

    The architecture `bag_of_ngrams` is always solved.

    Raises:
        UserError: neither or both of a checkpoint and an architecture are set, or the strategy cannot use the one set.
    """
    if (model.model_name_or_path is None) == (model.model_type is None):
        given = "neither is" if model.model_type is None else "both are"
        raise UserError(
            "A run needs either --model_name_or_path (a checkpoint to transfer from) or --model_type (an architecture "
            f"to train from scratch), but {given} set."
        )
    if model.model_type == "bag_of_ngrams":
        if arguments.strategy not in (None, NgramProbe.name):
            raise UserError(
                f"--strategy {arguments.strategy!r} cannot be used with --model_type 'bag_of_ngrams', whose weights "
                f"are solved at once: leave it out, or use {NgramProbe.name!r}."
            )
        return NgramProbe(arguments)
    name = arguments.strategy or ("scratch" if model.model_type else "full")
    strategy = STRATEGIES[name](arguments)
    if strategy.from_scratch and model.model_name_or_path:
        raise UserError(
            "The strategy 'scratch' starts from random weights and cannot use --model_name_or_path "
            f"{model.model_name_or_path!r}. Use --model_type instead, or one of {listing(_TRANSFERRING)}."
        )
    if strategy.from_scratch is False and model.model_type:
        raise UserError(
            f"The strategy {name!r} transfers from a checkpoint, but --model_type {model.model_type!r} has random "
            "weights. Use --model_name_or_path, or the strategy 'scratch'."
        )
    if name != Distilled.name:
        others = [own for own in _OF_DISTILLED if getattr(arguments, own) is not None]
        if others:
            raise UserError(f"--{others[0]} only applies to the strategy 'distilled', not to {name!r}: leave it out.")
    if arguments.head_learning_rate is not None and name != "full":
        raise UserError(f"--head_learning_rate only applies to the strategy 'full': use --learning_rate with {name!r}.")
    return strategy
