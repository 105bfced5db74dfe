"""The arguments of text generation, and checks of their combinations."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UserError
from .fields import flag, require
from .help import Help
from .parsing import Given, read_arguments


@dataclass
class GenerateArguments:
    """Model, inputs and decoding"""

    model_name_or_path: str | None = flag("A model folder, such as the output of pretrain or finetune, or a Hub id.")
    model_revision: str | None = flag("Commit, tag or branch of a Hub checkpoint.")
    trust_remote_code: bool = flag("Run code that a checkpoint contains. Only for sources you trust.", False)
    text: list[str] = field(
        default_factory=list,
        metadata={
            "help": "A text to continue or translate. Can be repeated; without --text, --text_file and --image, each "
            "line of standard input is a text.",
            "action": "extend",
        },
    )
    text_file: str | None = flag("A file with one text on each line.")
    source_prefix: str | None = flag("Prepended to every text to translate, as T5 expects. By default as in training.")
    image: list[str] = field(
        default_factory=list,
        metadata={"help": "An image file to describe. Can be repeated.", "action": "extend"},
    )
    max_new_tokens: int | None = flag("Generate at most N tokens. By default as the model folder says, else 100.")
    min_new_tokens: int | None = flag("Generate at least N tokens.")
    num_beams: int | None = flag("Number of beams. 1 is greedy decoding or sampling.")
    num_return_sequences: int = flag("Results for each text: the best N beams, or N samples.", 1)
    length_penalty: float | None = flag(
        "Beam search ranks by log-probability / length ** length_penalty. Values above 0 favour longer texts."
    )
    do_sample: bool | None = flag("Sample the next token instead of taking the most likely.")
    temperature: float | None = flag("Sampling: below 1 favours likely tokens, above 1 unlikely ones.")
    top_k: int | None = flag("Sampling: draw from the N most likely tokens. 0 means all; the default is 50.")
    top_p: float | None = flag("Sampling: draw from the most likely tokens with this total probability.")
    repetition_penalty: float | None = flag("Above 1, tokens that occur already become less likely.")
    no_repeat_ngram_size: int | None = flag("No sequence of N tokens is generated twice.")
    seed: int = flag("Random seed for the first text, plus 1 for each further text.", 42)
    attention_map: str | None = flag(
        "Draw attention to a .png or .svg file. It shows where the model looked in the text or image for each word of "
        "its first result; there must be one input."
    )
    attention_target: str | None = flag(
        "Draw the attention for this text, such as a reference translation, instead of the model's own output."
    )
    attention_layer: int = flag("The layer whose attention is drawn, averaged over its heads. -1 is the last.", -1)
    attention_words: bool = flag("Draw attention between words instead of tokens. Captions always do.", False)
    json: bool = flag(
        "Print a JSON object for each result. It has input, generated and log_probability, the sum over the generated "
        "tokens.",
        False,
    )
    use_cpu: bool = flag("Use the CPU even if a GPU is available.", False)

    def __post_init__(self) -> None:
        counts = ["max_new_tokens", "num_beams", "num_return_sequences"]
        require(self, counts, lambda value: value >= 1, "1 or more")
        require(self, ["min_new_tokens", "top_k", "no_repeat_ngram_size"], lambda value: value >= 0, "0 or more")
        greedy = ". Without --do_sample the most likely token is taken"
        require(self, ["temperature"], lambda value: value > 0, "a number above 0", greedy)
        require(self, ["repetition_penalty"], lambda value: value > 0, "a number above 0")
        require(self, ["top_p"], lambda value: 0 < value <= 1, "above 0 and at most 1")
        if self.text and self.text_file:
            raise UserError("--text and --text_file are both given: choose one.")
        if self.image and (self.text or self.text_file):
            raise UserError("--image and a text are both given: a model reads either images or texts.")

    def generation(self) -> dict[str, Any]:
        """The given settings of transformers' `generate`, by its own names."""
        names = (
            "max_new_tokens", "min_new_tokens", "num_beams", "num_return_sequences", "length_penalty", "do_sample",
            "temperature", "top_k", "top_p", "repetition_penalty", "no_repeat_ngram_size",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def texts(self) -> list[str]:
        """The given texts, or the lines of the file or of standard input.

        Raises:
            UserError: there are no texts, or they cannot be read.
        """
        if self.text:
            return self.text
        if self.text_file:
            try:
                lines = Path(self.text_file).expanduser().read_text(encoding="utf-8").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise UserError(f"--text_file {self.text_file!r} cannot be read: {error}.") from error
        elif sys.stdin is None or sys.stdin.isatty():
            raise UserError(
                "There is no input. Specify --text, --text_file or --image, or write lines to standard input."
            )
        else:
            lines = sys.stdin.read().splitlines()
        if not lines:
            raise UserError(f"{self.text_file or 'standard input'!r} has no lines.")
        return lines


def parse_generate_arguments(given: Given = None, help: Help = Help("generate")) -> GenerateArguments:
    """The arguments of `generate`.

    Raises:
        UserError: an unknown flag or key, a value of the wrong type, no model, or settings that exclude each other.
    """
    (arguments,) = read_arguments((GenerateArguments,), given, help)
    if arguments.model_name_or_path is None:
        raise UserError("tl-toolkit generate needs a model: the output folder of finetune or pretrain, or a Hub id.")
    return arguments


def check_choices(arguments: GenerateArguments, generation_config: Any) -> None:
    """Refuse settings that would silently have no effect.

    Raises:
        UserError: settings of sampling without sampling, of beams without beams, or more results than possible.
    """
    options = arguments.generation()
    sampling = options.get("do_sample", generation_config.do_sample) or False
    beams = options.get("num_beams", generation_config.num_beams) or 1
    for name in ("temperature", "top_k", "top_p"):
        if name in options and not sampling:
            raise UserError(f"--{name} has an effect only with sampling: add --do_sample.")
    if "length_penalty" in options and beams == 1:
        raise UserError("--length_penalty has an effect only with beam search: add --num_beams 4, for example.")
    if not sampling and arguments.num_return_sequences > beams:
        raise UserError(
            f"--num_return_sequences is {arguments.num_return_sequences}, but there are {beams} beams: raise "
            "--num_beams, or sample with --do_sample."
        )
