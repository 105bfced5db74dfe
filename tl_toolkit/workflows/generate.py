"""`generate`: continue a text with a language model, translate it, or describe an image."""

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
from ..loading.model import exported_graph, load_config, load_trained, longest_input
from ..loading.names import loading
from ..loading.tokenizer import load_tokenizer
from ..records.identity import identity_of_model
from ..tasks.caption_processing import CaptionProcessing, load_caption_processing
from ..tasks.pair_processing import PairProcessing, load_pair_processing
from .lifecycle import without_progress_bars

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["GenerateArguments", "Result", "generate", "parse_generate_arguments"]

NEW_TOKENS = 100
"""Default number of new tokens for a language model, if neither a flag nor its folder sets it."""


class Result(NamedTuple):
    """The text generated for one input.

    Attributes:
        input: the text, or the path of the image file.
        generated: the generated text; for a language model, the input text with its continuation.
        log_probability: natural logarithm of the probability of the generated tokens, the end token included; None
            unless `json` is set.
    """

    input: str
    generated: str
    log_probability: float | None = None


def generate(arguments: GenerateArguments) -> Iterator[Result]:
    """Yield the results for each text or image in order; several results for one input start with the best beam.

    The results for an input do not depend on other inputs: input number i is sampled with `seed` + i.

    Raises:
        UserError: the model does not generate text, the inputs do not suit it, or a setting has no effect.
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
        raise UserError(f"The model {arguments.model_name_or_path!r} describes images: specify --image FILE.")
    if kind != "captions" and arguments.image:
        raise UserError(
            f"The model {arguments.model_name_or_path!r} reads texts, not images: use --text instead of --image."
        )
    if kind != "translation" and arguments.source_prefix:
        raise UserError("--source_prefix is for translation models only. Put the prefix into --text.")
    inputs = arguments.image or arguments.texts()
    if arguments.attention_target and (kind != "translation" or not arguments.attention_map):
        raise UserError("--attention_target needs a translation model and --attention_map FILE.")
    if arguments.attention_map:
        if kind == "text":
            raise UserError(
                "--attention_map needs a model that translates or describes images; "
                f"{arguments.model_name_or_path!r} is a language model."
            )
        if len(inputs) != 1:
            raise UserError(f"--attention_map needs exactly one input, but there are {len(inputs)}.")
        if exported_graph(model_arguments) is not None:
            raise UserError("--attention_map needs the model in PyTorch: an exported one returns no attention.")
        check_picture_path(arguments.attention_map)
    yield from write(arguments, model_arguments, inputs)


def _kind(config: PreTrainedConfig, name: str) -> str:
    """The kind of text that a model generates, `text`, `translation` or `captions`, from its saved head."""
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
        f"The model {name!r} is a {saved or type(config).__name__}, which does not generate text. Use a causal "
        "language model (tl-toolkit pretrain), or a translation or captioning model (tl-toolkit finetune)."
    )


# --- the three kinds ------------------------------------------------------------------------------------------------


def _continue(arguments: GenerateArguments, model_arguments: ModelArguments, texts: list[str]) -> Iterator[Result]:
    from transformers import pipeline

    tokenizer = load_tokenizer(model_arguments)
    model = _load(model_arguments, "AutoModelForCausalLM", tokenizer, arguments)
    write: Any
    if exported_graph(model_arguments) is None:
        write = pipeline("text-generation", model=model, tokenizer=tokenizer, device=model.device)
    else:
        write = partial(_greedy, model, tokenizer)
    for place, text in enumerate(texts):
        # The start of a text is predicted after the end of the one before.
        prompt = text if tokenizer(text)["input_ids"] else tokenizer.eos_token
        if prompt is None:
            raise UserError(f"The text {text!r} has no tokens. Specify a longer text.")
        ids = tokenizer(prompt)["input_ids"]
        options = {**_sampling(arguments, model), "max_new_tokens": _new_tokens(arguments, model, len(ids))}
        found = _written(partial(write, prompt, return_tensors=True, **options), arguments, place)
        read = tokenizer.decode(ids, skip_special_tokens=True)
        for record in found:
            sequence = record["generated_token_ids"]
            # Decoding the new tokens alone would lose the space before them.
            whole = tokenizer.decode(sequence, skip_special_tokens=True)
            score = _score(model, sequence, len(ids)) if arguments.json else None
            yield Result(text, text + whole[len(read) :], score)


def _greedy(model: Any, tokenizer: PreTrainedTokenizerBase, prompt: str, **options: Any) -> list[dict[str, Any]]:
    """As a pipeline of transformers, for an exported language model."""
    written = model.generate(tokenizer(prompt, return_tensors="pt")["input_ids"], **options | {"return_tensors": None})
    return [{"generated_token_ids": written[0].tolist()}]


def _translate(arguments: GenerateArguments, model_arguments: ModelArguments, texts: list[str]) -> Iterator[Result]:
    processing = load_pair_processing(model_arguments)
    model = _load(model_arguments, "AutoModelForSeq2SeqLM", processing.tokenizer, arguments)
    trained = identity_of_model(str(model_arguments.model_name_or_path), model_arguments.model_revision)
    prefix = arguments.source_prefix or trained.get("settings", {}).get("source_prefix") or ""
    for place, text in enumerate(texts):
        prefixed = prefix + text
        inputs = processing.tokenizer(prefixed, return_tensors="pt").to(model.device)
        if not inputs["input_ids"].shape[1]:
            raise UserError(f"The text {text!r} has no tokens to translate. Specify a longer text.")
        draw = partial(_draw_alignment, prefixed, model, processing, inputs, arguments)
        yield from _decoded(model, processing, arguments, place, text, inputs, draw)


def _draw_alignment(
    text: str, model: PreTrainedModel, processing: PairProcessing, inputs: Any, arguments: GenerateArguments,
    written: Tensor,
) -> None:  # fmt: skip
    import torch

    if arguments.attention_target:  # replaces the output of the model
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
    except (OSError, ValueError, SyntaxError) as error:  # Pillow's errors for broken files
        raise UserError(f"The image {file!r} cannot be read: {' '.join(str(error).split())[:200]}") from error


def _draw_over(
    image: Image, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, inputs: Any, arguments: GenerateArguments,
    written: Tensor,
) -> None:  # fmt: skip
    if not hasattr(model, "grid_size"):
        raise UserError(
            f"--attention_map does not work with {type(model).__name__}, which does not map its positions to parts of "
            "the image. Use an rnn_image_captioner."
        )
    ids, weights = cross_attention(model, inputs, written, layer=arguments.attention_layer)
    words = [word for word in words_of(pieces_of_ids(ids, tokenizer)) if not word.special]
    if not words:
        raise UserError("The model generated no words, so there is no attention to draw. Leave out --attention_map.")
    merged = merge_weights(weights, words, [Piece("", range(n, n + 1)) for n in range(weights.shape[1])])
    grid = merged.reshape(len(words), *model.grid_size(weights.shape[1]))
    names = [word.text.strip() for word in words]
    draw_attention_over_image(image, names, grid.numpy(), str(arguments.attention_map))


# --- shared functions -----------------------------------------------------------------------------------------------


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
    """Yield the results of an encoder-decoder for input number `place`; `draw` draws the attention of the first."""
    found = _written(lambda: model.generate(**inputs, **arguments.generation()), arguments, place)
    if arguments.attention_map:
        draw(found[0])
    for written, sequence in zip(processing.decode(found.cpu().numpy()), found, strict=True):
        yield Result(given, written, _score(model, sequence.tolist(), 1, inputs) if arguments.json else None)


def _written(write: Any, arguments: GenerateArguments, place: int) -> Any:
    """The result of `write()` for input number `place`; errors of transformers become one paragraph.

    Each input has its own seed, because with a common one different texts would continue with the same words.
    """
    from transformers import set_seed

    set_seed(arguments.seed + place)
    return loading(write, f"a text of {arguments.model_name_or_path!r}")


def _sampling(arguments: GenerateArguments, model: PreTrainedModel) -> dict[str, Any]:
    """The given settings, and the model's own sampling settings, which the pipeline would override to sample."""
    own, options = model.generation_config, arguments.generation()
    options.setdefault("do_sample", bool(own.do_sample))
    if options["do_sample"]:
        options.setdefault("temperature", own.temperature or 1.0)
    return options


def _new_tokens(arguments: GenerateArguments, model: PreTrainedModel, read: int) -> int:
    """The number of tokens to generate after `read` tokens, within the positions of the model."""
    limit = longest_input(model)
    room = limit - read if limit is not None else None
    if room is not None and room < (arguments.max_new_tokens or 1):
        lower = f" or lower --max_new_tokens {arguments.max_new_tokens}" if arguments.max_new_tokens else ""
        raise UserError(
            f"Shorten the text{lower}: it takes {read} of the model's {limit} positions and leaves {max(0, room)}."
        )
    if arguments.max_new_tokens is not None:
        return arguments.max_new_tokens
    own = model.generation_config
    default = own.max_new_tokens or (own.max_length - read if own.max_length and own.max_length > read else NEW_TOKENS)
    return default if room is None else min(default, room)


def _score(model: PreTrainedModel, sequence: list[int], start: int, inputs: Any = None) -> float:
    """The sum of the log-probabilities of the tokens of `sequence` from position `start` to its end.

    `inputs` are the inputs of the encoder; None for a language model.
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
