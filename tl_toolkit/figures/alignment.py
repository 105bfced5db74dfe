"""Attention weights of an encoder-decoder over the source while it generates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import UserError
from .token_spans import merge_weights, pieces_of_ids, pieces_of_text, words_of

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Alignment(NamedTuple):
    """Source, generated target, and the attention of each target piece over the source.

    Source and target are readable pieces (names for special tokens); rows of `weights` (target, source) sum to 1.
    """

    source: list[str]
    target: list[str]
    weights: Tensor


def attention_of(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    text: str,
    *,
    target_tokenizer: PreTrainedTokenizerBase | None = None,
    inputs: Any = None,
    layer: int = -1,
    head: int | None = None,
    words: bool = False,
    **generation: Any,
) -> Alignment:
    """Generate the output of an encoder-decoder for `text` and return its attention over the source.

    The output of `generate` is read by the decoder again in one pass, which returns the attention over the source, by
    default averaged over the heads of the last layer.

    Args:
        target_tokenizer: tokenizer of the output, if the vocabularies are separate.
        inputs: encoded `text` (tensors with one row); by default encoded by `tokenizer`.
        layer: index of the decoder layer; negative values count from the end.
        head: index of a head; by default the average over all heads.
        words: join the tokens of each word.
        **generation: arguments of `generate`, such as `num_beams`.

    Raises:
        UserError: the model is not an encoder-decoder, has no attention, or lacks this layer or head.
    """
    _check_has_alignment(model)
    inputs = tokenizer(text, return_tensors="pt") if inputs is None else inputs
    inputs = {name: value.to(model.device) for name, value in inputs.items()}
    written = model.generate(**inputs, **generation)[0]
    tokenizers = (tokenizer, target_tokenizer or tokenizer)
    return alignment_of(model, tokenizers, text, inputs, written, layer=layer, head=head, words=words)


def alignment_of(
    model: PreTrainedModel,
    tokenizers: tuple[PreTrainedTokenizerBase, PreTrainedTokenizerBase],
    text: str,
    inputs: Any,
    written: Tensor,
    *,
    layer: int = -1,
    head: int | None = None,
    words: bool = False,
) -> Alignment:
    """Return the attention for each token of `written` (time,), which starts with the start token.

    `inputs` are `text` encoded by the first of `tokenizers`; the second one decodes `written`. For the other arguments
    see `attention_of`.
    """
    ids, weights = cross_attention(model, inputs, written, layer=layer, head=head)
    source = pieces_of_text(text, inputs["input_ids"][0].tolist(), tokenizers[0])
    target = pieces_of_ids(ids, tokenizers[1])
    if words:
        source, target = words_of(source), words_of(target)
    merged = merge_weights(weights, target, source)
    return Alignment([piece.text for piece in source], [piece.text for piece in target], merged)


def cross_attention(
    model: PreTrainedModel, inputs: Any, written: Tensor, *, layer: int = -1, head: int | None = None
) -> tuple[list[int], Tensor]:
    """Return the ids of `written` (time,) after the start token, up to the end of the text, and their attention.

    Weights are (ids, source), in float32 on the CPU. For the other arguments and errors see `attention_of`.
    """
    _check_has_alignment(model)
    name = type(model).__name__
    written = written[: answer_length(written.tolist(), model)]
    layers = with_attention(model, **inputs, decoder_input_ids=written[None, :-1], use_cache=False).cross_attentions
    if not layers or layers[0] is None:
        raise UserError(f"{name} has no attention over the source or does not return its weights.")
    weights = _choose(list(layers), layer, "layer", name)[0].float()
    weights = weights.mean(0) if head is None else _choose(list(weights), head, "head", name)
    return written[1:].tolist(), weights.detach().cpu()


def _check_has_alignment(model: PreTrainedModel) -> None:
    if not model.config.is_encoder_decoder:
        raise UserError(
            f"{type(model).__name__} is not an encoder-decoder, so it has no attention from target to source."
        )


def with_attention(model: PreTrainedModel, **inputs: Any) -> Any:
    """Run one forward pass that returns attention, with the eager implementation if necessary."""
    import torch

    chosen = model.config._attn_implementation
    if chosen not in (None, "eager"):
        model.set_attn_implementation("eager")
    was_training = model.training
    try:
        with torch.no_grad():
            return model.eval()(**inputs, output_attentions=True, return_dict=True)
    finally:
        model.train(was_training)
        if chosen not in (None, "eager"):
            model.set_attn_implementation(chosen)


def answer_length(ids: list[int], model: PreTrainedModel, start: int = 1) -> int:
    """Return the number of `ids` up to and including the first end of the text at or after position `start`."""
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    return next((place + 1 for place in range(start, len(ids)) if ids[place] in ends), len(ids))


def _choose(choices: list[Tensor], index: int, what: str, name: str) -> Tensor:
    if not -len(choices) <= index < len(choices):
        raise UserError(f"{name} has no {what} {index}: it has {len(choices)}, counted from 0.")
    return choices[index]
