"""`convert`: convert weights of fastai or Flair to a model folder, or a model folder to fastai."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..config.fields import flag
from ..config.help import Help
from ..config.parsing import Given, read_arguments
from ..converters.fastai import convert_fastai, read_fastai, to_fastai
from ..converters.flair import convert_flair, read_flair
from ..converters.safe_pickle import read_vocabulary, write_plain_pickle
from ..data.fastai_tokenizer import BOS, PAD, UNK, fastai_tokenizer, fastai_vocabulary
from ..errors import UserError
from ..records.output_dir import check_free, staged, without_empty_folder

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast


@dataclass
class ConvertArguments:
    """Conversion"""

    output_dir: str = field(metadata={"help": "The folder to write. It must not contain a model."})
    source: Literal["fastai", "flair"] | None = flag("The library whose weights become a model of the toolkit.")
    target: Literal["fastai"] | None = flag("The library for which a model of the toolkit is written.")
    weights: str | None = flag("With --source: the file of weights. For flair, also its folder.")
    vocab: str | None = flag(
        "With --source: tokens by id, a pickled or JSON list of strings. Flair's weights contain them."
    )
    direction: Literal["forward", "backward"] | None = flag(
        "With --source: the reading direction. By default as in Flair's file, and forward for fastai."
    )
    model_name_or_path: str | None = flag("With --target: the model folder to convert.")

    def __post_init__(self) -> None:
        if (self.source is None) == (self.target is None):
            raise ValueError("give either --source (fastai or flair) or --target (fastai).")
        needed = {"fastai": ("weights", "vocab"), "flair": ("weights",), None: ("model_name_or_path",)}[self.source]
        missing = [f"--{name}" for name in needed if getattr(self, name) is None]
        if missing:
            what = f"--source {self.source}" if self.source else f"--target {self.target}"
            raise ValueError(f"{what} needs {' and '.join(missing)}.")


def parse_convert_arguments(given: Given = None, help: Help = Help("convert")) -> ConvertArguments:
    """The arguments of `convert`.

    Raises:
        UserError: an unknown flag or key, a value of the wrong type, or a missing flag.
    """
    return read_arguments((ConvertArguments,), given, help)[0]


def convert(arguments: ConvertArguments) -> list[Path]:
    """Convert the weights, and return the files written.

    Raises:
        UserError: a file cannot be read, contains more than tensors and plain values, or does not fit the others.
    """
    output_dir = Path(arguments.output_dir)
    sources = [arguments.weights, arguments.vocab, arguments.model_name_or_path]
    with without_empty_folder(output_dir):
        check_free(output_dir, overwrite=False, sources=sources)
        return _convert(arguments, output_dir)


def _convert(arguments: ConvertArguments, output_dir: Path) -> list[Path]:
    if arguments.target == "fastai":
        return _write_for_fastai(str(arguments.model_name_or_path), output_dir)
    location = Path(str(arguments.weights)).expanduser()
    vocab = Path(arguments.vocab).expanduser() if arguments.vocab else None
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    if arguments.source == "flair":
        model, tokenizer = convert_flair(read_flair(location, vocab, arguments.direction))
    else:
        assert vocab is not None
        model, tokenizer = from_fastai(location, vocab, arguments.direction or "forward")
    return save(model, tokenizer, output_dir)


def from_fastai(weights: Path, vocab: Path, direction: str) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """A model of the toolkit and its tokenizer, from fastai's weights and vocabulary.

    Raises:
        UserError: a file cannot be read, or the two do not fit together.
    """
    vocabulary = read_vocabulary(vocab)
    tokenizer = fastai_tokenizer(vocabulary.tokens)
    special_ids = {"pad_token_id": tokenizer.pad_token_id, "bos_token_id": tokenizer.bos_token_id}
    model = convert_fastai(read_fastai(weights), direction, special_ids, vocabulary.labels)
    if model.config.vocab_size != len(vocabulary.tokens):
        raise UserError(
            f"The weights {str(weights)!r} have {model.config.vocab_size} tokens, but the vocabulary {str(vocab)!r} "
            f"has {len(vocabulary.tokens)}. Specify the --vocab that was saved with these weights."
        )
    return model, tokenizer


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, output_dir: Path) -> list[Path]:
    """Write the model, its code and the tokenizer to a folder that `from_pretrained` loads."""
    with staged(output_dir) as staging:
        model.save_pretrained(staging)
        tokenizer.save_pretrained(staging)
        names = [path.relative_to(staging) for path in sorted(staging.rglob("*")) if path.is_file()]
    return [output_dir / name for name in names]


def _write_for_fastai(name: str, output_dir: Path) -> list[Path]:
    import torch
    from transformers import AutoTokenizer

    model = _load(name)
    tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    tokens, order = _fastai_order(tokenizer, model.config.vocab_size)
    states = to_fastai(model, order)
    labels = [model.config.id2label[index] for index in range(model.config.num_labels)]
    is_classifier = type(model).__name__.endswith("SequenceClassification")
    written = []
    with staged(output_dir) as staging:
        for direction, state in states.items():
            weights = "weights.pth" if len(states) == 1 else f"weights_{direction}.pth"
            torch.save(_sharing_tied(state), staging / weights)
            written.append(output_dir / weights)
        write_plain_pickle(staging / "vocab.pkl", [tokens, labels] if is_classifier else tokens)
    return [*written, output_dir / "vocab.pkl"]


def _sharing_tied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of `state` on the CPU. A tensor with several names is saved once."""
    copies = {id(tensor): tensor.detach().cpu().contiguous() for tensor in state.values()}
    return {name: copies[id(tensor)] for name, tensor in state.items()}


def _load(name: str) -> PreTrainedModel:
    import torch
    import transformers
    from transformers import AutoConfig

    from .. import models

    if not Path(name).expanduser().is_dir():
        raise UserError(f"--model_name_or_path {name!r} is not a folder. Specify a model folder.")
    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise UserError(f"--model_name_or_path {name!r} is not a model folder: {error}") from error
    architecture = (config.architectures or ["AwdLstmModel"])[0]
    if config.model_type != "awd_lstm":
        raise UserError(
            f"The model in {name!r} is a {architecture} ({config.model_type}), which fastai lacks. Only awd_lstm "
            "models can be converted to fastai."
        )
    model_class = getattr(models, architecture, None) or getattr(transformers, architecture)
    return model_class.from_pretrained(name, dtype=torch.float32, use_safetensors=True)


def _fastai_order(tokenizer: PreTrainedTokenizerFast, vocab_size: int) -> tuple[list[str], list[int]]:
    """fastai's vocabulary, and the toolkit's id for each of its ids.

    fastai uses id 0 for unknown words and 1 for padding, so the special tokens move there under fastai's names. Rows of
    the weights without a token get a placeholder.
    """
    tokens = fastai_vocabulary(tokenizer)
    renamed = {tokenizer.unk_token: UNK, tokenizer.pad_token: PAD, tokenizer.bos_token: BOS}
    tokens = [renamed.get(token, token) for token in tokens]
    tokens += ["xxfake"] * (vocab_size - len(tokens))
    first = [tokens.index(token) for token in (UNK, PAD) if token in tokens]
    order = [*first, *(index for index in range(vocab_size) if index not in first)]
    return [tokens[index] for index in order], order
