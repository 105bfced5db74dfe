"""Convert fastai's AWD-LSTM (language models, encoders and classifiers) to `awd_lstm` and back.

fastai saves a state dict, with or without that of the optimiser. Sizes are read from the shapes. Dropouts are not part
of its files; they are set to fastai's defaults for language models or classifiers.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..errors import UserError, listing
from .safe_pickle import Skipped, read_tensors

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from ..models import AwdLstmConfig

# Types in the optimiser's state besides tensors; they are skipped, because only the model is used.
_OF_THE_OPTIMISER = (
    "fastcore.foundation.L",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
)
CLASSIFIER_DROPOUTS = {
    "input_dropout": 0.4,
    "hidden_dropout": 0.3,
    "output_dropout": 0.4,
    "embedding_dropout": 0.05,
    "weight_dropout": 0.5,
}
_LSTM = ("weight_hh_l0", "weight_ih_l0", "bias_ih_l0", "bias_hh_l0")  # fastai's order, on which its loader depends
_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def read_fastai(path: Path) -> dict[str, Tensor]:
    """Read the state dict from a file of `learn.save`, `learn.save_encoder` or fastai's releases.

    Raises:
        UserError: the file does not exist, or is an exported Learner or another file without a state dict.
    """
    content = read_tensors(path, dict.fromkeys(_OF_THE_OPTIMISER, Skipped))
    weights = content["model"] if set(content) <= {"model", "opt"} and "model" in content else content
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise UserError(
            f"The file {str(path)!r} does not contain a model's state dict. In fastai, save one with "
            "learn.save('weights', with_opt=False)."
        )
    return weights


def convert_fastai(
    weights: dict[str, Tensor],
    direction: str = "forward",
    special_ids: dict[str, int | None] | None = None,
    labels: list[str] | None = None,
) -> PreTrainedModel:
    """Return `AwdLstmForCausalLM`, `AwdLstmForSequenceClassification` or (for an encoder) `AwdLstmModel` in float32.

    Args:
        direction: `backward` for a model trained on reversed texts.
        special_ids: ids for the configuration, such as `pad_token_id`.
        labels: labels of a classifier by id.

    Raises:
        UserError: the weights are of another architecture, or of a variant that `awd_lstm` does not support.
    """
    from ..models import AwdLstmConfig, AwdLstmForCausalLM, AwdLstmForSequenceClassification, AwdLstmModel

    plain = {name: x.float() if x.is_floating_point() else x for name, x in _plain_names(weights).items()}
    body = {name: plain.pop(name) for name in list(plain) if name.startswith(("encoder.", "rnns."))}
    sizes = _body_sizes(body)
    model: PreTrainedModel
    settings = {**sizes, **(special_ids or {}), "direction": direction}
    renamed = {f"{direction}_body.{new}": body[old] for new, old in _body_names(sizes["num_hidden_layers"]).items()}
    if not plain:
        model = AwdLstmModel(AwdLstmConfig(**settings))
    elif "decoder.weight" in plain:
        _check_names(plain, {"decoder.weight", "decoder.bias"}, {"decoder.bias"})
        tied = torch.equal(plain["decoder.weight"], body["encoder.weight"])
        model = AwdLstmForCausalLM(AwdLstmConfig(**settings, tie_word_embeddings=tied))
        bias = plain.get("decoder.bias", torch.zeros(sizes["vocab_size"]))
        head = {"lm_head.weight": plain["decoder.weight"], "lm_head.bias": bias}
    else:
        head = _head(plain, sizes["embedding_size"])
        num_labels = len(head["output.weight"])
        if labels is not None and len(labels) != num_labels:
            raise UserError(f"The weights have {num_labels} labels, but the vocabulary has {len(labels)}.")
        names = labels or [f"LABEL_{index}" for index in range(num_labels)]
        config = AwdLstmConfig(
            **settings,
            **CLASSIFIER_DROPOUTS,
            classifier_hidden_size=len(head["hidden.weight"]),
            id2label=dict(enumerate(names)),
            label2id={name: index for index, name in enumerate(names)},
        )
        model = AwdLstmForSequenceClassification(config)
        head = {f"{direction}_head.{name}": tensor for name, tensor in head.items()}
    if plain:
        renamed = {f"awd_lstm.{name}": tensor for name, tensor in renamed.items()} | head
    try:
        model.load_state_dict(renamed)
    except RuntimeError as error:
        reasons = "; ".join(line.strip() for line in str(error).splitlines()[1:])
        raise UserError(f"The shapes of the weights do not match: {reasons}") from error
    return model.eval()


def _plain_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights by fastai's names without wrapper modules, each weight once.

    `0.module.rnns.1.module.weight_ih_l0` becomes `rnns.1.weight_ih_l0`. A recurrent matrix with weight drop is saved as
    `weight_hh_l0_raw`; some versions also save the last copy with dropped weights as `weight_hh_l0`, which is ignored.
    `encoder_dp.emb.weight` is a copy of `encoder.weight`.
    """
    plain: dict[str, Tensor] = {}
    for name, tensor in sorted(weights.items(), key=lambda item: item[0].endswith("_raw")):  # last: take precedence
        short = ".".join(part for part in name.removesuffix("_raw").split(".") if part != "module")
        short = re.sub(r"^0\.(?=encoder|rnns)|^1\.(?=decoder)", "", short)
        if short == "encoder_dp.emb.weight":
            plain.setdefault("encoder.weight", tensor)
        else:
            plain[short] = tensor
    return plain


def _body_names(depth: int) -> dict[str, str]:
    """Return fastai's plain names of the weights of a body, by our names."""
    layers = {f"layers.{layer}.{kind}": f"rnns.{layer}.{kind}" for layer in range(depth) for kind in _LSTM}
    return {"embedding.weight": "encoder.weight", **layers}


def _body_sizes(body: dict[str, Tensor]) -> dict[str, int]:
    depth = sum(name.endswith("weight_hh_l0") for name in body)
    if "encoder.weight" not in body or not depth:
        raise UserError(
            "These are not the weights of fastai's AWD-LSTM: encoder.weight or rnns.0.weight_hh_l0_raw is missing. "
            "AWD-QRNN, Transformer and Transformer-XL models cannot be converted."
        )
    _check_names(body, set(_body_names(depth).values()))
    vocab_size, embedding_size = body["encoder.weight"].shape
    return {
        "vocab_size": vocab_size,
        "embedding_size": embedding_size,
        "hidden_size": body["rnns.0.weight_hh_l0"].shape[1],
        "num_hidden_layers": depth,
    }


def _head(plain: dict[str, Tensor], embedding_size: int) -> dict[str, Tensor]:
    """Return the weights of a classifier's head by our names.

    fastai's names are `1.layers.{block}.{place}`: batch norm is at place 0, the matrix at 2, or at 1 without dropout.
    """
    blocks = [name for name in plain if name.endswith(".weight") and plain[name].dim() == 2]
    places = [re.fullmatch(r"1\.layers\.([01])\.([12])\.weight", name) for name in blocks]
    if len(blocks) != 2 or not all(places):
        raise UserError(
            "The classifier's head is not the default of fastai 2, one hidden layer (lin_ftrs of length 1): it has the "
            f"weights {listing(sorted(plain))}. Convert only its encoder (learn.save_encoder) and train a new head."
        )
    first, second = sorted(blocks)
    norms = {"pooled_norm": "1.layers.0.0", "hidden_norm": "1.layers.1.0"}
    _check_names(plain, {first, second, *(f"{old}.{kind}" for old in norms.values() for kind in _NORM)})
    head = {f"{new}.{kind}": plain[f"{old}.{kind}"] for new, old in norms.items() for kind in _NORM}
    head |= {"hidden.weight": plain[first], "output.weight": plain[second]}
    return _swap_pools(head, embedding_size)


def _swap_pools(head: dict[str, Tensor], embedding_size: int) -> dict[str, Tensor]:
    """Convert fastai's order of pooled vectors, [last, max, mean], to ours, [last, mean, max], or back."""
    swapped = dict(head)
    for name in ("hidden.weight", *(f"pooled_norm.{kind}" for kind in _NORM[:-1])):
        last, second, third = head[name].split(embedding_size, dim=-1)
        swapped[name] = torch.cat([last, third, second], dim=-1)
    return swapped


def _check_names(given: dict[str, Tensor], expected: set[str], optional: set[str] | None = None) -> None:
    missing, unknown = expected - set(given) - (optional or set()), set(given) - expected
    if missing or unknown:
        raise UserError(
            "These are not the weights of fastai 2's AWD-LSTM: "
            f"missing: {listing(sorted(missing)) or 'none'}; unknown: {listing(sorted(unknown)) or 'none'}. "
            "Bidirectional layers (bidir=True) and QRNN cannot be converted."
        )


def to_fastai(model: PreTrainedModel, order: list[int] | None = None) -> dict[str, dict[str, Tensor]]:
    """Return fastai's state dict for each direction of an `awd_lstm` model, in fastai's order.

    Args:
        order: our id for each id in fastai's vocabulary; by default, ids are equal.

    Raises:
        UserError: the model is of another family.
    """
    config: AwdLstmConfig = model.config
    if config.model_type != "awd_lstm":
        raise UserError(f"Only awd_lstm models can be converted to fastai, but this is a {config.model_type!r} model.")
    state = model.state_dict()
    return {direction: _direction_to_fastai(state, config, direction, order) for direction in config.directions}


def _direction_to_fastai(
    state: dict[str, Tensor], config: AwdLstmConfig, direction: str, order: list[int] | None
) -> dict[str, Tensor]:
    prefix = "awd_lstm." if any(name.startswith("awd_lstm.") for name in state) else ""
    by_id = {f"{prefix}{direction}_body.embedding.weight", "lm_head.weight", "lm_head.bias"}
    ordered = {name: tensor[order] if order and name in by_id else tensor for name, tensor in state.items()}
    is_classifier = f"{direction}_head.output.weight" in state
    wrap = "" if not prefix else "0.module." if is_classifier else "0."
    weights: dict[str, Any] = {}
    for ours, theirs in _body_names(config.num_hidden_layers).items():
        tensor = ordered[f"{prefix}{direction}_body.{ours}"]
        if ours == "embedding.weight":
            weights |= {f"{wrap}encoder.weight": tensor, f"{wrap}encoder_dp.emb.weight": tensor}
        elif ours.endswith("weight_hh_l0"):
            weights[f"{wrap}{theirs}_raw"] = tensor
        else:
            _, layer, kind = theirs.split(".")
            weights[f"{wrap}rnns.{layer}.module.{kind}"] = tensor
    if is_classifier:
        start = f"{direction}_head."
        head = {name.removeprefix(start): tensor for name, tensor in ordered.items() if name.startswith(start)}
        head = _swap_pools(head, config.embedding_size)
        for block, (norm, linear) in enumerate((("pooled_norm", "hidden"), ("hidden_norm", "output"))):
            weights |= {f"1.layers.{block}.0.{kind}": head[f"{norm}.{kind}"] for kind in _NORM}
            weights[f"1.layers.{block}.2.weight"] = head[f"{linear}.weight"]
    elif prefix:
        weights |= {"1.decoder.weight": ordered["lm_head.weight"], "1.decoder.bias": ordered["lm_head.bias"]}
    return weights
