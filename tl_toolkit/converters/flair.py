"""Convert Flair's character language models (Akbik et al. 2018) to `RnnForCausalLM`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..data.fastai_tokenizer import for_transformers
from ..errors import UserError
from .safe_pickle import PlainState, check_exists, read_json, read_tensors, read_vocabulary

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

UNKNOWN = "<unk>"
START = "\n"  # Flair's token before and between texts
_WEIGHTS = ("model.safetensors", "pytorch_model.bin", "best-lm.pt")


class FlairModel(NamedTuple):
    """The content of a Flair language model."""

    weights: dict[str, Tensor]
    items: list[str]
    is_forward: bool
    dropout: float
    cell_type: str


def read_flair(location: Path, vocabulary: Path | None, direction: str | None) -> FlairModel:
    """Read a file of Flair, or a state dict with a `config.json` in the same folder.

    Args:
        location: a folder with `config.json` and weights, or a file: Flair's own (.pt) or a state dict (.safetensors,
            .bin, .pt).
        vocabulary: a file (.pkl or .json) with the list of characters by id, if they are not saved with the weights.
        direction: `forward` or `backward`, if it is not saved with the weights.

    Raises:
        UserError: there is no file, it contains unsupported objects, or the characters or the direction are unknown.
    """
    path = next(filter(Path.is_file, (location, *(location / name for name in _WEIGHTS))), None)
    if path is None:
        raise UserError(
            f"{str(location)!r} (--weights) is neither a file nor a folder that contains one of {', '.join(_WEIGHTS)}."
        )
    content = _read(path)
    beside = path.with_name("config.json")
    config = read_json(beside) if beside.is_file() else {}
    config = config if isinstance(config, dict) else {}
    if isinstance(content.get("state_dict"), dict):  # Flair's own file has all settings
        config = {**config, **{name: value for name, value in content.items() if name != "state_dict"}}
        content = content["state_dict"]
    if vocabulary is not None:
        items: Any = read_vocabulary(vocabulary).tokens
    else:
        items = config.get("idx2item", getattr(config.get("dictionary"), "idx2item", None))
    is_forward = config.get("is_forward_lm", config.get("is_forward"))
    if direction is not None:
        is_forward = direction == "forward"
    if not isinstance(items, list) or not all(isinstance(item, str | bytes) for item in items):
        raise UserError(
            f"The weights {str(path)!r} have no list of characters. Specify one with --vocab: a pickled list or a JSON "
            'list of strings, in Flair [item.decode("utf-8") for item in model.dictionary.idx2item].'
        )
    if not isinstance(is_forward, bool | int):
        raise UserError(
            f"The direction of the weights {str(path)!r} is unknown. Specify it with --direction: forward or backward."
        )
    return FlairModel(
        weights=content,
        items=[item.decode("utf-8", "replace") if isinstance(item, bytes) else item for item in items],
        is_forward=bool(is_forward),
        dropout=float(config.get("dropout") or 0.0),
        cell_type=str(config.get("recurrent_type") or "lstm").lower(),
    )


def _read(path: Path) -> dict[str, Any]:
    if path.suffix != ".safetensors":
        return read_tensors(path, {"flair.data.Dictionary": PlainState})
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    check_exists(path)
    try:
        return load_file(path)
    except SafetensorError as error:
        raise UserError(f"The file {str(path)!r} is damaged or not a safetensors file.") from error


def convert_flair(source: FlairModel) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Return the model in float32, with Flair's dropouts, and its tokenizer.

    Raises:
        UserError: the weights are not of a Flair language model, or of one with a projection.
    """
    import torch

    from ..models import RnnConfig, RnnForCausalLM

    weights = source.weights
    if any(name.startswith("proj.") for name in weights):
        raise UserError(
            "The Flair model has a projection between its recurrent layer and its head (nout), which the rnn family "
            "does not support. Use a model with nout=None, such as any released by Flair."
        )
    depth = sum(name.startswith("rnn.weight_hh_l") for name in weights)
    renamed = {
        "encoder.weight": "rnn.embedding.weight",
        "decoder.weight": "lm_head.weight",
        "decoder.bias": "lm_head.bias",
    }
    for layer in range(depth):
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            renamed[f"rnn.{kind}_l{layer}"] = f"rnn.layers.{layer}.forward_cell.{kind}_l0"
    missing, unknown = sorted(set(renamed) - set(weights)), sorted(set(weights) - set(renamed))
    if missing or unknown or not depth:
        raise UserError(
            "These are not the weights of a Flair language model (encoder.weight, rnn.weight_ih_l0, …, decoder.weight, "
            f"decoder.bias): missing: {missing or 'none'}; unknown: {unknown or 'none'}."
        )
    vocab_size, embedding_size = weights["encoder.weight"].shape
    if vocab_size != len(source.items):
        raise UserError(f"The weights have {vocab_size} characters, but the vocabulary has {len(source.items)}.")
    ids = {item: place for place, item in enumerate(source.items)}
    config = RnnConfig(
        vocab_size=vocab_size,
        embedding_size=embedding_size,
        hidden_size=weights["rnn.weight_hh_l0"].shape[1],
        num_hidden_layers=depth,
        cell_type=source.cell_type,
        direction="forward" if source.is_forward else "backward",
        pooling="concat",  # of classifiers that start from it, as in ULMFiT
        lm_head_bias=True,
        embedding_dropout=source.dropout,
        hidden_dropout=source.dropout if depth > 1 else 0.0,
        classifier_dropout=source.dropout,
        pad_token_id=ids.get(UNKNOWN),
        bos_token_id=ids.get(START),
    )
    model = RnnForCausalLM(config)
    model.load_state_dict({new: weights[old].to(torch.float32) for old, new in renamed.items()})
    return model.eval(), character_tokenizer(source.items)


def character_tokenizer(items: Iterable[str]) -> PreTrainedTokenizerFast:
    """Return Flair's dictionary as a fast tokenizer: one id per character, `<unk>` for unknown ones, no special tokens.

    Flair pads with spaces and does not mask them; this tokenizer pads with `<unk>` and masks the padding.

    Raises:
        UserError: an item occurs twice, or there is no item for unknown characters.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    vocabulary: dict[str, int] = {}
    for item in items:
        if item in vocabulary:
            raise UserError(f"The vocabulary contains the character {item!r} twice.")
        vocabulary[item] = len(vocabulary)
    if UNKNOWN not in vocabulary:
        raise UserError(f"The vocabulary has no {UNKNOWN!r} for unknown characters.")
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"(?m:.)"), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    # "<unk>" in a text is five characters
    special = {"unk_token": UNKNOWN, "pad_token": UNKNOWN, "split_special_tokens": True}
    return for_transformers(tokenizer, "", None, **special)
