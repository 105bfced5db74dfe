"""Where an encoder-decoder looks while it writes: the weights of its attention over the source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import UserError
from .token_spans import merge_weights, pieces_of_ids, pieces_of_text, words_of

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Alignment(NamedTuple):
    """What was read, what was written, and where each piece of the latter looked in the former.

    Source and target are readable pieces, special tokens by their names; rows of `weights` (target, source) sum to 1.
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
    """Let an encoder-decoder write its answer to `text`, and read off where it looked.

    The answer is written by `generate`; the decoder then reads it once more, in one go, and hands out its attention
    over the source, averaged over the heads of its last layer.

    Args:
        target_tokenizer: reads what is written, where the vocabularies are separate.
        inputs: encoded `text` (tensors with one row); by default what `tokenizer` makes of it.
        layer: of the decoder, counted from 0, or from -1 backwards.
        head: one head instead of the average over all.
        words: join the tokens of a word.
        **generation: what `generate` takes, such as `num_beams`.

    Raises:
        UserError: the model is no encoder-decoder, has no attention, or not this layer or head.
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
    """Where an encoder-decoder looks for each token of `written` (time,), which begins with its start token.

    `inputs` are `text` as the first of `tokenizers` encodes it; the second reads what was written. The rest is as in
    `attention_of`.
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
    """The ids behind the start token of `written` (time,), up to the end of the text, and the attention of each.

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
    """One pass that hands out attention, which only the plain implementation of transformers' models does."""
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
    """How many of `ids` there are up to the first end of the text at position `start` or behind it, with that end."""
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    return next((place + 1 for place in range(start, len(ids)) if ids[place] in ends), len(ids))


def _choose(choices: list[Tensor], index: int, what: str, name: str) -> Tensor:
    if not -len(choices) <= index < len(choices):
        raise UserError(f"{name} has no {what} {index}: it has {len(choices)}, counted from 0.")
    return choices[index]
