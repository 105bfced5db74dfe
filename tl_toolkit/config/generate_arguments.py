"""What a user can ask of a model that writes, and which of it does not go together."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UserError
from .fields import flag, require
from .parsing import read_arguments


@dataclass
class GenerateArguments:
    """Which model writes, what about, and how it chooses its words."""

    model_name_or_path: str | None = flag(
        "The output folder of pretrain.py or finetune.py, another local model folder, or a Hub id."
    )
    model_revision: str | None = flag("Commit, tag or branch of a Hub checkpoint.")
    trust_remote_code: bool = flag("Run code that a checkpoint brings along. Only for sources you trust.", False)
    text: list[str] = field(
        default_factory=list,
        metadata={
            "help": "A text to continue or to translate; may be said several times. Without any, and without "
            "--text_file and --image, each line of standard input is one.",
            "action": "extend",
        },
    )
    text_file: str | None = flag("A file with one text a line.")
    source_prefix: str | None = flag("Put in front of every text that is translated, as T5 was trained with.")
    image: list[str] = field(
        default_factory=list,
        metadata={"help": "An image file to describe; may be said several times.", "action": "extend"},
    )
    max_new_tokens: int | None = flag(
        "Write at most so many tokens; by default what the model's folder says, else 100."
    )
    min_new_tokens: int | None = flag("Write at least so many tokens.")
    num_beams: int | None = flag("Beams of beam search; 1 is greedy, or sampling.")
    num_return_sequences: int = flag("Results for each text: the best of so many beams, or so many samples.", 1)
    length_penalty: float | None = flag(
        "Beam search ranks by log-probability / length ** length_penalty: above 0 for longer texts."
    )
    do_sample: bool | None = flag("Draw the next token instead of taking the best.")
    temperature: float | None = flag("For --do_sample: below 1 for likely words, above 1 for unlikely ones.")
    top_k: int | None = flag("For --do_sample: draw from the k likeliest tokens, 0 for all; 50 by default.")
    top_p: float | None = flag("For --do_sample: draw from the likeliest tokens that have this probability together.")
    repetition_penalty: float | None = flag("Above 1: tokens that are there already become less likely.")
    no_repeat_ngram_size: int | None = flag("No sequence of so many tokens is written twice.")
    seed: int = flag("Sampling starts from it for the first text, from the next number for the next.", 42)
    attention_map: str | None = flag(
        "A .png or .svg file: where the model looked in the text, or in the image, for each word of its first result. "
        "For one text or image."
    )
    attention_target: str | None = flag(
        "For --attention_map of a translation: draw where the model looks for this text, such as a translation by "
        "somebody else, instead of for its own."
    )
    attention_layer: int = flag("The layer whose attention is drawn, averaged over its heads; -1 is the last.", -1)
    attention_words: bool = flag("Draw the attention between words instead of tokens; captions always do.", False)
    json: bool = flag(
        "Print a JSON object for each result: input, generated, and log_probability, what the model itself gives to "
        "the tokens it wrote, summed.",
        False,
    )
    use_cpu: bool = flag("Leave accelerators alone.", False)

    def __post_init__(self) -> None:
        counts = ["max_new_tokens", "num_beams", "num_return_sequences"]
        require(self, counts, lambda value: value >= 1, "1 or more")
        require(self, ["min_new_tokens", "top_k", "no_repeat_ngram_size"], lambda value: value >= 0, "0 or more")
        greedy = ". Without --do_sample the likeliest token is taken"
        require(self, ["temperature"], lambda value: value > 0, "a number above 0", greedy)
        require(self, ["repetition_penalty"], lambda value: value > 0, "a number above 0")
        require(self, ["top_p"], lambda value: 0 < value <= 1, "a probability above 0")
        if self.text and self.text_file:
            raise UserError("--text and --text_file were both given: choose one.")
        if self.image and (self.text or self.text_file):
            raise UserError("--image and a text were both given: a model describes images, or goes on with texts.")

    def generation(self) -> dict[str, Any]:
        """What was said to `generate`, by its own names."""
        names = (
            "max_new_tokens", "min_new_tokens", "num_beams", "num_return_sequences", "length_penalty", "do_sample",
            "temperature", "top_k", "top_p", "repetition_penalty", "no_repeat_ngram_size",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def texts(self) -> list[str]:
        """The texts that were given, or the lines of the file or of standard input.

        Raises:
            UserError: there are none, or they cannot be read.
        """
        if self.text:
            return self.text
        if self.text_file:
            try:
                lines = Path(self.text_file).expanduser().read_text(encoding="utf-8").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise UserError(f"--text_file {self.text_file!r} cannot be read: {error}.") from error
        elif sys.stdin is None or sys.stdin.isatty():
            raise UserError("There is no text: give --text, --text_file, --image, or lines on standard input.")
        else:
            lines = sys.stdin.read().splitlines()
        if not lines:
            raise UserError(f"There is no line in {self.text_file or 'standard input'!r}.")
        return lines


def parse_generate_arguments(argv: Sequence[str] | None = None, description: str | None = None) -> GenerateArguments:
    """The arguments of `generate.py` from a command line.

    Raises:
        UserError: an unknown flag or key, a value of the wrong type, no model, or what does not go together.
    """
    (arguments,) = read_arguments((GenerateArguments,), argv, description)
    if arguments.model_name_or_path is None:
        raise UserError("generate.py needs --model_name_or_path: the output folder of a training, or a Hub id.")
    return arguments


def check_choices(arguments: GenerateArguments, generation_config: Any) -> None:
    """Refuse what would silently have no effect on how words are chosen.

    Raises:
        UserError: settings of sampling without sampling, of beams without beams, or more results than there can be.
    """
    said = arguments.generation()
    sampling = said.get("do_sample", generation_config.do_sample) or False
    beams = said.get("num_beams", generation_config.num_beams) or 1
    for name in ("temperature", "top_k", "top_p"):
        if name in said and not sampling:
            raise UserError(f"--{name} says how tokens are drawn, and none is drawn: add --do_sample.")
    if "length_penalty" in said and beams == 1:
        raise UserError("--length_penalty ranks the results of beam search: add --num_beams 4, for one.")
    if not sampling and arguments.num_return_sequences > beams:
        raise UserError(
            f"--num_return_sequences is {arguments.num_return_sequences}, more than there are beams ({beams}): raise "
            "--num_beams, or draw several samples by --do_sample."
        )
