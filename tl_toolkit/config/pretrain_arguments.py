"""The arguments of language-model training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..errors import UserError, listing, nearest
from .arguments import DataArguments, ModelArguments, RunArguments, StrategyArguments
from .fields import flag, require
from .help import Help, VerbParser
from .parsing import Given, as_flags, into_dataclasses, make_parser, settings_and_flags

KINDS = ("causal-lm", "masked-lm")
_LABELLED_ROWS_ONLY = {
    "label_budget": "use --max_train_tokens",
    "validation_budget": "use --max_eval_tokens",
    "test_budget": "use --max_eval_tokens",
    "max_length": "use --window_length or --block_size",
    "text_pair_column": "use a single --text_column",
    "drop_duplicates": "it compares labelled rows",
    "class_weight": "their texts have no classes",
    "main_metric": "they are ranked by the loss",
}

_UNSUPPORTED = {
    "label_smoothing_factor": "makes the loss unusable for perplexity",
    "ignore_data_skip": "resumes with text that does not match the carried state",
    "auto_find_batch_size": "changes the number of lanes during training",
}


@dataclass
class LanguageModelArguments:
    """Language model"""

    window_length: int = flag(
        "Recurrent models: tokens between two cuts of the gradient. The state is carried across them.",
        70,
    )
    random_window_lengths: bool = flag(
        "Recurrent models: draw window lengths around --window_length. The learning rate of an update is scaled to its "
        "window (Merity et al. 2017).",
        True,
    )
    block_size: int = flag("Other models: tokens in a block. The model's own limit applies as well.", 256)
    mlm_probability: float = flag("masked-lm: the fraction of tokens to fill in.", 0.15)
    separator: str | None = flag(
        "The token after each text. By default the tokenizer's end-of-text or separator token."
    )
    shuffle_documents: bool = flag(
        "Shuffle the training texts by the seed. Use it for datasets sorted by class or topic, not if a text continues "
        "in the next row.",
        False,
    )
    max_train_tokens: int | None = flag("Train on the first N training tokens.")
    streaming: bool = flag(
        "Read the training texts during training, without a copy in memory or on disk. --max_train_tokens or "
        "--max_steps is the end. For a Hub id, or parquet, jsonl or txt files.",
        False,
    )
    vocabulary_rows: int = flag("--streaming: learn a vocabulary from the first N training rows.", 10_000)
    evaluation_rows: int = flag(
        "--streaming: evaluate on the first N rows of the validation and test splits. Without a validation split, they "
        "are held out from the training rows.",
        1000,
    )
    max_eval_tokens: int | None = flag(
        "Evaluate on the first texts of a split that together have N tokens. The last text is kept whole."
    )
    evaluate_only: bool = flag("Evaluate --model_name_or_path on the dataset without training.", False)

    def __post_init__(self) -> None:
        counts = ["window_length", "block_size", "max_train_tokens", "max_eval_tokens", "vocabulary_rows"]
        counts += ["evaluation_rows"]
        require(self, counts, lambda value: value >= 1, "1 or more")
        require(self, ["mlm_probability"], lambda value: 0 < value < 1, "between 0 and 1")


class PretrainArguments(NamedTuple):
    """All arguments of one language-model training."""

    data: DataArguments
    model: ModelArguments
    strategy: StrategyArguments
    language_model: LanguageModelArguments
    run: RunArguments


_DATACLASSES = (DataArguments, ModelArguments, StrategyArguments, LanguageModelArguments, RunArguments)


def parse_pretrain_arguments(given: Given = None, help: Help = Help("pretrain")) -> PretrainArguments:
    """The arguments of `pretrain`.

    Raises:
        UserError: an unknown flag or key, a value of the wrong type, or a flag that does not apply to language models.
    """
    parser = _parser(help)
    return _checked(into_dataclasses(parser, settings_and_flags(parser, given), _DATACLASSES))


def pretrain_arguments_from(settings: Mapping[str, Any], where: str) -> PretrainArguments:
    """The arguments of one language-model training from a mapping, with the checks and types of flags.

    `where` names the source of the settings in errors.
    """
    parser = _parser()
    return _checked(into_dataclasses(parser, as_flags(settings, parser, where), _DATACLASSES))


def _parser(help: Help = Help("pretrain")) -> VerbParser:
    parser = make_parser(help, _DATACLASSES)
    parser.set_defaults(task=None, max_length=None, per_device_eval_batch_size=32)
    help_texts = {
        "task": "causal-lm or masked-lm. By default masked-lm for encoders (bert) and causal-lm for all others.",
        "train_split_name": "The split to train on. By default 'train'; several are separated by commas.",
        "test_split_name": "The split to report. By default 'test', if there is one.",
        "per_device_eval_batch_size": "Evaluation batch size on each device. Not used by recurrent models, whose lanes "
        "depend only on the text.",
        "per_device_train_batch_size": "Training batch size on each device. For recurrent models, the number of lanes.",
    }
    for action in parser._actions:
        action.help = help_texts.get(action.dest, action.help)
    for action in list(parser._actions):
        if action.dest in _LABELLED_ROWS_ONLY:
            action.help = f"Not for language models: {_LABELLED_ROWS_ONLY[action.dest]}."
    return parser


def _checked(groups: list[Any]) -> PretrainArguments:
    arguments = PretrainArguments(*groups)
    for name, instead in _LABELLED_ROWS_ONLY.items():
        if not any(getattr(arguments.data, name) is unset for unset in (None, False)):
            raise UserError(f"--{name} does not apply to language models: {instead}.")
    if arguments.data.task is not None and arguments.data.task not in KINDS:
        raise UserError(
            f"There is no language-model task {arguments.data.task!r}; the tasks are {listing(KINDS)}."
            f"{nearest(arguments.data.task, KINDS)}"
        )
    for name, trouble in _UNSUPPORTED.items():
        if getattr(arguments.run, name):
            raise UserError(f"Leave out --{name}: with language models it {trouble}.")
    if arguments.language_model.evaluate_only and arguments.model.model_name_or_path is None:
        raise UserError("--evaluate_only needs --model_name_or_path, a language model to evaluate.")
    if arguments.language_model.streaming:
        _check_streaming(arguments)
    return arguments


def _check_streaming(arguments: PretrainArguments) -> None:
    """Refuse what needs all texts at once. A stream is read once and in order, so there is one epoch."""
    settings, run = arguments.language_model, arguments.run
    if settings.max_train_tokens is None and run.max_steps <= 0:
        raise UserError("--streaming needs an end: set --max_train_tokens or --max_steps.")
    if run.num_train_epochs not in (0, 1):
        raise UserError(
            f"--streaming reads the texts once: leave out --num_train_epochs {run.num_train_epochs:g}. "
            "--max_train_tokens or --max_steps is the end."
        )
    refused = {
        "shuffle_documents": (settings.shuffle_documents, "texts are read in order; shuffle the files beforehand"),
        "evaluate_only": (settings.evaluate_only, "there are no training texts to stream"),
        "stream_rows": (arguments.data.stream_rows, "set --max_train_tokens instead"),
        "group_column": (arguments.data.group_column, "the rows are documents"),
        "find_lr": (run.find_lr, "try rates on the first tokens, with --max_train_tokens and without --streaming"),
        "min_train_steps": (run.min_train_steps, "--max_train_tokens or --max_steps is the end"),
        "dataloader_num_workers": (run.dataloader_num_workers, "a process reads and tokenises its texts itself"),
    }
    for name, (value, reason) in refused.items():
        if value:
            raise UserError(f"--{name} does not apply with --streaming: {reason}.")
