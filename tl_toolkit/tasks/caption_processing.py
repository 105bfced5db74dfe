"""The image processor and the tokenizer of a captioner, which encode images and captions and decode its output."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..config.overrides import parse_overrides
from ..data.beginnings import Beginnings
from ..data.encoding import decode_generated, truncation
from ..errors import UserError
from ..loading.names import loading, location_of
from .pair_processing import with_end

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor
    from transformers import BaseImageProcessor, PreTrainedTokenizerBase

    from ..config.arguments import ModelArguments

_KIND = "bpe"
_LARGEST = 64  # pixels of the longer side, if no image size is set
_MIDDLE = 0.5  # mean and standard deviation for normalisation: maps [0, 1] to [-1, 1]


@dataclass(frozen=True)
class CaptionProcessing:
    """An image processor and a tokenizer; `AutoImageProcessor` and `AutoTokenizer` load them from a saved folder."""

    image_processor: BaseImageProcessor
    tokenizer: PreTrainedTokenizerBase

    def save_pretrained(self, folder: str | Path, **kwargs: Any) -> None:
        """Write `preprocessor_config.json` and the tokenizer's files."""
        self.image_processor.save_pretrained(folder, **kwargs)
        self.tokenizer.save_pretrained(folder, **kwargs)

    @property
    def num_channels(self) -> int:
        """The number of channels of processed images: 1 for greyscale."""
        mean = getattr(self.image_processor, "image_mean", None)
        return 3 if mean is None else len(mean)

    def config_arguments(self) -> dict[str, Any]:
        """The image size, if it is fixed, the number of channels, and the decoder's start token."""
        size = _height_and_width(self.image_processor)
        begin, end = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        return {
            **({} if size is None else {"image_size": size}),
            "num_channels": self.num_channels,
            "decoder_start_token_id": end if begin is None else begin,
        }

    def pixel_values(self, images: Sequence[Image]) -> Tensor:
        """Resize and normalise images: (batch, num_channels, height, width)."""
        of_one_mode = [in_channels(image, self.num_channels) for image in images]
        return self.image_processor(of_one_mode, return_tensors="pt")["pixel_values"]

    def encode(self, captions: Sequence[str], max_length: int | None) -> list[list[int]]:
        """Ids of each caption followed by the end-of-text token, truncated to `max_length`."""
        end = self.tokenizer.eos_token_id
        cut = truncation(self.tokenizer, max_length)
        limit = cut.get("max_length")
        captions = Beginnings(self.tokenizer, limit).of(list(captions))
        ids = self.tokenizer(text_target=captions, **cut)["input_ids"]
        return [own if own and own[-1] == end else [*own[: None if limit is None else limit - 1], end] for own in ids]

    def decode(self, generated: np.ndarray) -> list[str]:
        """Texts of generated ids (rows, time), padded with -100; without special tokens."""
        return decode_generated(self.tokenizer, generated)


def in_channels(image: Image, num_channels: int) -> Image:
    """Convert an image to colour or greyscale; transparent pixels become white."""
    from PIL import Image as Pillow

    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Pillow.alpha_composite(Pillow.new("RGBA", image.size, "white"), image)
    if image.mode.startswith("I;16"):  # Pillow would clip these to white instead of scaling to 8 bits
        image = Pillow.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("L" if num_channels == 1 else "RGB")


def make_caption_processing(
    arguments: ModelArguments, captions: Iterable[str], example: Image, max_length: int | None
) -> CaptionProcessing:
    """The checkpoint's own processing; for a new model, one with a vocabulary built from the captions.

    A new model's images have the size and channels of its configuration (`image_size`, `num_channels`) or of its
    backbone, else those of the data. A backbone's own image processor also determines the normalisation.

    Args:
        captions: captions of the training images.
        example: a training image.
    """
    from ..loading.tokenizer import make_tokenizer

    if not arguments.model_type:
        return load_caption_processing(arguments)
    named = replace(arguments, tokenizer_name=arguments.tokenizer_name or _KIND)
    tokenizer = with_end(make_tokenizer(named, lambda: captions, max_length))
    return CaptionProcessing(_new_image_processor(arguments, example), tokenizer)


def _new_image_processor(arguments: ModelArguments, example: Image) -> BaseImageProcessor:
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    from ..loading.model import load_config

    config_class = type(load_config(arguments))
    overrides = parse_overrides(arguments.config_overrides, config_class)
    size, channels = overrides.get("image_size"), overrides.get("num_channels")
    if backbone := overrides.get("backbone"):
        config = loading(lambda: config_class(**overrides), f"a configuration of {arguments.model_type!r}")
        size, channels = config.image_size, config.num_channels
        own = _processor_of(backbone)
        if own is not None:
            return own
    if size is None:
        scale = min(1.0, _LARGEST / max(example.size))
        size = [max(1, round(scale * example.height)), max(1, round(scale * example.width))]
    height, width = (size, size) if isinstance(size, int) else size
    if channels is None:
        channels = 1 if example.mode in ("1", "L", "I", "I;16", "F") else 3
    normal = [_MIDDLE] * channels
    return ViTImageProcessorPil(size={"height": height, "width": width}, image_mean=normal, image_std=normal)


def _processor_of(backbone: str) -> BaseImageProcessor | None:
    """The image processor saved with a backbone, if there is one and its output size is fixed."""
    from transformers import AutoImageProcessor

    try:
        found = AutoImageProcessor.from_pretrained(backbone, backend="pil", trust_remote_code=False)
    except (OSError, ValueError, ImportError):
        return None
    return found if _height_and_width(found) else None


def _height_and_width(image_processor: BaseImageProcessor) -> list[int] | None:
    size = dict(getattr(image_processor, "size", None) or {})
    height, width = size.get("height"), size.get("width")
    return None if height is None or width is None else [height, width]


def load_caption_processing(arguments: ModelArguments) -> CaptionProcessing:
    """The image processor and the tokenizer of a checkpoint.

    Raises:
        UserError: one of them cannot be found, or the tokenizer has no end-of-text token.
    """
    from transformers import AutoImageProcessor

    from ..loading.tokenizer import load_tokenizer

    name = arguments.model_name_or_path
    image_processor = loading(
        lambda: AutoImageProcessor.from_pretrained(
            location_of(name),
            revision=arguments.model_revision,
            trust_remote_code=arguments.trust_remote_code,
            backend="pil",  # needs no torchvision, and resizes identically wherever the model is used
        ),
        f"the image processor of {name!r} (--model_name_or_path)",
        name,
    )
    tokenizer = load_tokenizer(arguments)
    if tokenizer.eos_token_id is None:
        raise UserError(f"The tokenizer of {name!r} has no end-of-text token, which captions need.")
    return CaptionProcessing(image_processor, tokenizer)
