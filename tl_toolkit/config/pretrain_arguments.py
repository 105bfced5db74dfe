"""What a user can ask of language-model training, and how it is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import UserError, listing, nearest
from .arguments import DataArguments, ModelArguments, RunArguments, StrategyArguments
from .fields import flag, require
from .parsing import as_flags, into_dataclasses, make_parser, settings_and_flags

if TYPE_CHECKING:
    from transformers import HfArgumentParser

KINDS = ("causal-lm", "masked-lm")
_OF_LABELLED_ROWS = {
    "label_budget": "--max_train_tokens limits what is learned from",
    "validation_budget": "--max_eval_tokens limits what is evaluated on",
    "test_budget": "--max_eval_tokens limits what is evaluated on",
    "max_length": "--window_length or --block_size says how much is read at a time",
    "text_pair_column": "name one --text_column",
}

_OF_OTHER_TRAINERS = {
    "label_smoothing_factor": "would make a loss that is no perplexity any more",
    "ignore_data_skip": "would go on with other text than the carried state comes from",
    "auto_find_batch_size": "would change the lanes that a text is cut into",
}


@dataclass
class LanguageModelArguments:
    """How text is read."""

    window_length: int = flag(
        "Recurrent models: tokens between two cuts of the gradient; the state is carried across them.",
        70,
    )
    random_window_lengths: bool = flag(
        "Recurrent models: draw window lengths around --window_length, and scale the learning rate of an update to "
        "its window (Merity et al. 2017).",
        True,
    )
    block_size: int = flag("Other models: tokens read at a time; the model's own limit is kept as well.", 256)
    mlm_probability: float = flag("masked-lm: the part of the tokens to fill in.", 0.15)
    separator: str | None = flag(
        "The token behind each text; by default the tokenizer's end-of-text or separator token."
    )
    shuffle_documents: bool = flag(
        "Put the training texts into an order drawn by the seed: for datasets sorted by class or topic; not where a "
        "text goes on in the next row.",
        False,
    )
    max_train_tokens: int | None = flag("Train on the first so many tokens of the training texts.")
    max_eval_tokens: int | None = flag(
        "Evaluate on the first texts of a split that have so many tokens together, the last whole."
    )
    evaluate_only: bool = flag("Train nothing: evaluate --model_name_or_path on the dataset.", False)

    def __post_init__(self) -> None:
        counts = ["window_length", "block_size", "max_train_tokens", "max_eval_tokens"]
        require(self, counts, lambda value: value >= 1, "1 or more")
        require(self, ["mlm_probability"], lambda value: 0 < value < 1, "a part of 1")


class PretrainArguments(NamedTuple):
    """Everything that was asked of one language-model training."""

    data: DataArguments
    model: ModelArguments
    strategy: StrategyArguments
    language_model: LanguageModelArguments
    run: RunArguments


_DATACLASSES = (DataArguments, ModelArguments, StrategyArguments, LanguageModelArguments, RunArguments)


def parse_pretrain_arguments(argv: Sequence[str] | None = None, description: str | None = None) -> PretrainArguments:
    """The arguments of `pretrain.py` from the command line `argv` (by default that of the process).

    Raises:
        UserError: an unknown flag or key, a value of the wrong type, or one that language models have no use for.
    """
    parser = _parser(description)
    return _checked(into_dataclasses(parser, settings_and_flags(parser, argv), _DATACLASSES))


def pretrain_arguments_from(settings: Mapping[str, Any], where: str) -> PretrainArguments:
    """The arguments of one language-model training from a mapping, checked and typed as flags are.

    `where` names the source of the settings in error messages.
    """
    parser = _parser(None)
    return _checked(into_dataclasses(parser, as_flags(settings, parser, where), _DATACLASSES))


def _parser(description: str | None) -> HfArgumentParser:
    parser = make_parser(description, _DATACLASSES)
    # An evaluation batch is as many lanes of a stream, each of which starts without a state: few, then.
    parser.set_defaults(task=None, max_length=None, per_device_eval_batch_size=32)
    help_texts = {
        "task": "causal-lm or masked-lm; by default masked-lm for encoders (bert) and causal-lm for all others.",
        "train_split_name": "The split to train on, by default 'train'; several are separated by commas.",
        "test_split_name": "The split to report, by default 'test', where there is one.",
        "per_device_train_batch_size": "Training batch size on each device; for recurrent models, the number of lanes.",
    }
    for action in parser._actions:
        action.help = help_texts.get(action.dest, action.help)
    for action in list(parser._actions):
        if action.dest in _OF_LABELLED_ROWS:
            action.help = f"Not for language models: {_OF_LABELLED_ROWS[action.dest]}."
    return parser


def _checked(groups: list[Any]) -> PretrainArguments:
    arguments = PretrainArguments(*groups)
    for name, instead in _OF_LABELLED_ROWS.items():
        if getattr(arguments.data, name) is not None:
            raise UserError(f"--{name} has no meaning for language models, which learn from text alone: {instead}.")
    if arguments.data.task is not None and arguments.data.task not in KINDS:
        raise UserError(
            f"There is no language-model task {arguments.data.task!r}; the tasks are {listing(KINDS)}."
            f"{nearest(arguments.data.task, KINDS)}"
        )
    for name, trouble in _OF_OTHER_TRAINERS.items():
        if getattr(arguments.run, name):
            raise UserError(f"--{name} {trouble}: leave it out.")
    if arguments.language_model.evaluate_only and arguments.model.model_name_or_path is None:
        raise UserError("--evaluate_only needs --model_name_or_path, a language model to evaluate.")
    return arguments
