"""Writing with a trained model: language models go on with texts, encoder-decoders translate, captioners describe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from ..config.arguments import ModelArguments
from ..config.generate_arguments import GenerateArguments, check_choices, parse_generate_arguments
from ..errors import UserError
from ..figures import attention_map
from ..figures.alignment import alignment_of, answer_length, cross_attention
from ..figures.attention_over_image import draw_attention_over_image
from ..figures.style import check_picture_path
from ..figures.token_spans import Piece, merge_weights, pieces_of_ids, words_of
from ..loading.model import load_config, load_trained, longest_input
from ..loading.names import loading
from ..loading.tokenizer import load_tokenizer
from ..tasks.caption_processing import CaptionProcessing, load_caption_processing
from ..tasks.pair_processing import PairProcessing, load_pair_processing
from .lifecycle import without_progress_bars

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["GenerateArguments", "Result", "generate", "parse_generate_arguments"]

NEW_TOKENS = 100
"""A language model writes so many, where neither its folder nor a flag says how many."""


class Result(NamedTuple):
    """What was written for one input.

    Attributes:
        input: the text, or the image's file.
        generated: what was written; behind a text that was continued, with that text.
        log_probability: natural logarithm of the probability that the model gives to the tokens it wrote, the end of
            the text among them. None where it was not asked for.
    """

    input: str
    generated: str
    log_probability: float | None = None


def generate(arguments: GenerateArguments) -> Iterator[Result]:
    """Write for each text or image, one after the other; several results for one are in order, the best beam first.

    What a text becomes does not depend on the texts before it: sampling starts from `seed` plus its place.

    Raises:
        UserError: a model that writes nothing, inputs that it has no use for, or settings without an effect.
    """
    model_arguments = ModelArguments(
        model_name_or_path=arguments.model_name_or_path,
        model_revision=arguments.model_revision,
        trust_remote_code=arguments.trust_remote_code,
    )
    write = {"text": _continue, "translation": _translate, "captions": _describe}[
        kind := _kind(load_config(model_arguments), str(arguments.model_name_or_path))
    ]
    if kind == "captions" and not arguments.image:
        raise UserError(f"The model {arguments.model_name_or_path!r} describes images: give --image FILE.")
    if kind != "captions" and arguments.image:
        raise UserError(
            f"The model {arguments.model_name_or_path!r} reads texts and no images: give --text instead of --image."
        )
    if kind != "translation" and arguments.source_prefix:
        raise UserError("--source_prefix is for models that translate; put it into --text.")
    inputs = arguments.image or arguments.texts()
    if arguments.attention_target and (kind != "translation" or not arguments.attention_map):
        raise UserError("--attention_target is for models that translate, with --attention_map FILE.")
    if arguments.attention_map:
        if kind == "text":
            raise UserError(
                f"--attention_map shows where in its source a model looks, and the language model "
                f"{arguments.model_name_or_path!r} has none: it is for models that translate or describe images."
            )
        if len(inputs) != 1:
            raise UserError(f"--attention_map draws one picture, and there are {len(inputs)} inputs: give one.")
        check_picture_path(arguments.attention_map)
    yield from write(arguments, model_arguments, inputs)


def _kind(config: PreTrainedConfig, name: str) -> str:
    """What a model writes, from the head that it was saved with."""
    from transformers import (
        MODEL_FOR_CAUSAL_LM_MAPPING,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
        MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
    )

    kinds = {
        "text": MODEL_FOR_CAUSAL_LM_MAPPING,
        "translation": MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
        "captions": MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    }
    saved = next(iter(config.architectures or ()), None)
    for kind, mapping in kinds.items():
        head = mapping.get(type(config), None)
        heads = head if isinstance(head, (tuple, list)) else (head,)
        if head is not None and saved in (None, *(each.__name__ for each in heads)):
            return kind
    raise UserError(
        f"The model {name!r} is a {saved or type(config).__name__}, which writes no text. generate.py is for causal "
        "language models (pretrain.py), models that translate and models that describe images (finetune.py)."
    )


# --- the three kinds ------------------------------------------------------------------------------------------------


def _continue(arguments: GenerateArguments, model_arguments: ModelArguments, texts: list[str]) -> Iterator[Result]:
    from transformers import pipeline

    tokenizer = load_tokenizer(model_arguments)
    model = _load(model_arguments, "AutoModelForCausalLM", tokenizer, arguments)
    write = pipeline("text-generation", model=model, tokenizer=tokenizer, device=model.device)
    for place, text in enumerate(texts):
        # A text that begins is what follows the end of another one.
        prompt = text if tokenizer(text)["input_ids"] else tokenizer.eos_token
        if prompt is None:
            raise UserError(f"There is no token in the text {text!r} to go on from.")
        ids = tokenizer(prompt)["input_ids"]
        options = {**_sampling(arguments, model), "max_new_tokens": _new_tokens(arguments, model, len(ids))}
        found = _written(partial(write, prompt, return_tensors=True, **options), arguments, place)
        read = tokenizer.decode(ids, skip_special_tokens=True)
        for record in found:
            sequence = record["generated_token_ids"]
            # Decoded as a whole: alone, the new tokens would lose the space between them and the text.
            whole = tokenizer.decode(sequence, skip_special_tokens=True)
            score = _score(model, sequence, len(ids)) if arguments.json else None
            yield Result(text, text + whole[len(read) :], score)


def _translate(arguments: GenerateArguments, model_arguments: ModelArguments, texts: list[str]) -> Iterator[Result]:
    processing = load_pair_processing(model_arguments)
    model = _load(model_arguments, "AutoModelForSeq2SeqLM", processing.tokenizer, arguments)
    for place, text in enumerate(texts):
        prefixed = (arguments.source_prefix or "") + text
        inputs = processing.tokenizer(prefixed, return_tensors="pt").to(model.device)
        if not inputs["input_ids"].shape[1]:
            raise UserError(f"There is no token in the text {text!r} to translate.")
        draw = partial(_draw_alignment, prefixed, model, processing, inputs, arguments)
        yield from _decoded(model, processing, arguments, place, text, inputs, draw)


def _draw_alignment(
    text: str, model: PreTrainedModel, processing: PairProcessing, inputs: Any, arguments: GenerateArguments,
    written: Tensor,
) -> None:  # fmt: skip
    import torch

    if arguments.attention_target:  # drawn as if the model had written it
        (ids,) = processing.encode_targets([arguments.attention_target], None)
        written = torch.tensor([model.config.decoder_start_token_id, *ids], device=model.device)
    how: Any = {"layer": arguments.attention_layer, "words": arguments.attention_words}
    tokenizers = (processing.tokenizer, processing.target_tokenizer)
    shown = alignment_of(model, tokenizers, text, inputs, written, **how)
    attention_map.draw_attention_map(shown.source, shown.target, shown.weights, str(arguments.attention_map))


def _describe(arguments: GenerateArguments, model_arguments: ModelArguments, images: list[str]) -> Iterator[Result]:
    processing = load_caption_processing(model_arguments)
    model = _load(model_arguments, "AutoModelForImageTextToText", processing.tokenizer, arguments)
    for place, file in enumerate(images):
        image = _open(file)
        inputs = {"pixel_values": processing.pixel_values([image]).to(model.device)}
        draw = partial(_draw_over, image, model, processing.tokenizer, inputs, arguments)
        yield from _decoded(model, processing, arguments, place, file, inputs, draw)


def _open(file: str) -> Image:
    from PIL import Image as Pillow
    from PIL import ImageOps

    try:
        with Pillow.open(file) as image:
            return ImageOps.exif_transpose(image)
    except (OSError, ValueError, SyntaxError) as error:  # what Pillow raises of broken files
        raise UserError(f"The image {file!r} cannot be read: {' '.join(str(error).split())[:200]}") from error


def _draw_over(
    image: Image, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, inputs: Any, arguments: GenerateArguments,
    written: Tensor,
) -> None:  # fmt: skip
    if not hasattr(model, "grid_size"):
        raise UserError(
            f"{type(model).__name__} does not tell which of its positions is which part of the image, so that no "
            "--attention_map can be drawn; rnn_image_captioner does."
        )
    ids, weights = cross_attention(model, inputs, written, layer=arguments.attention_layer)
    words = [word for word in words_of(pieces_of_ids(ids, tokenizer)) if not word.special]
    if not words:
        raise UserError("The model wrote no word that an --attention_map could be drawn for.")
    merged = merge_weights(weights, words, [Piece("", range(n, n + 1)) for n in range(weights.shape[1])])
    grid = merged.reshape(len(words), *model.grid_size(weights.shape[1]))
    names = [word.text.strip() for word in words]
    draw_attention_over_image(image, names, grid.numpy(), str(arguments.attention_map))


# --- what they share ------------------------------------------------------------------------------------------------


def _load(
    model_arguments: ModelArguments, auto_class: str, tokenizer: PreTrainedTokenizerBase, arguments: GenerateArguments
) -> PreTrainedModel:
    import torch

    with without_progress_bars():
        model = load_trained(model_arguments, auto_class, tokenizer).eval()
    check_choices(arguments, model.generation_config)
    device = None if arguments.use_cpu else torch.accelerator.current_accelerator()
    return model.to(device or torch.device("cpu"))


def _decoded(
    model: PreTrainedModel, processing: PairProcessing | CaptionProcessing, arguments: GenerateArguments, place: int,
    given: str, inputs: Any, draw: Callable[[Tensor], None],
) -> Iterator[Result]:  # fmt: skip
    """What an encoder-decoder writes for the input at `place`; `draw` makes the attention map of the first answer."""
    found = _written(lambda: model.generate(**inputs, **arguments.generation()), arguments, place)
    if arguments.attention_map:
        draw(found[0])
    for written, sequence in zip(processing.decode(found.cpu().numpy()), found, strict=True):
        yield Result(given, written, _score(model, sequence.tolist(), 1, inputs) if arguments.json else None)


def _written(write: Any, arguments: GenerateArguments, place: int) -> Any:
    """What `write()` returns for the input at `place`, with what transformers says against it in one paragraph.

    Each input has a seed of its own: from one and the same, different texts would go on with the same words.
    """
    from transformers import set_seed

    set_seed(arguments.seed + place)
    return loading(write, f"a text of {arguments.model_name_or_path!r}")


def _sampling(arguments: GenerateArguments, model: PreTrainedModel) -> dict[str, Any]:
    """What was said to `generate`, and what the pipeline would else put in place of the model's own: it samples."""
    own, said = model.generation_config, arguments.generation()
    said.setdefault("do_sample", bool(own.do_sample))
    if said["do_sample"]:
        said.setdefault("temperature", own.temperature or 1.0)
    return said


def _new_tokens(arguments: GenerateArguments, model: PreTrainedModel, read: int) -> int:
    """How many tokens to write behind `read` ones: no more than the model has positions for."""
    limit = longest_input(model)
    room = limit - read if limit is not None else None
    if room is not None and room < (arguments.max_new_tokens or 1):
        wanted = f" and --max_new_tokens asks for {arguments.max_new_tokens}" if arguments.max_new_tokens else ""
        raise UserError(
            f"The model has {limit} positions, of which the text takes {read}{wanted}: there are {max(0, room)} left."
        )
    if arguments.max_new_tokens is not None:
        return arguments.max_new_tokens
    own = model.generation_config
    default = own.max_new_tokens or (own.max_length - read if own.max_length and own.max_length > read else NEW_TOKENS)
    return default if room is None else min(default, room)


def _score(model: PreTrainedModel, sequence: list[int], start: int, inputs: Any = None) -> float:
    """Summed log-probability of the tokens of `sequence` from position `start` to its end.

    `inputs` are those of the encoder; None for a language model, which has none.
    """
    import torch

    ids: Tensor = torch.tensor([sequence], device=model.device)
    stop = answer_length(sequence, model, start)
    read = ids[:, : stop - 1]
    own = {"input_ids": read, "attention_mask": torch.ones_like(read)}
    with torch.no_grad():
        logits = model(**own if inputs is None else {**inputs, "decoder_input_ids": read}).logits
    scores = logits[0, start - 1 :].float().log_softmax(-1)
    return float(scores.gather(-1, ids[0, start:stop, None]).double().sum())
