"""Captioning: a text that describes an image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..data.column_roles import check_texts
from ..data.special_column_roles import CaptionColumns, find_caption_columns
from ..errors import UserError
from .caption_processing import CaptionProcessing, load_caption_processing, make_caption_processing
from .generation import GenerationTask

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict
    from PIL.Image import Image
    from torch import Tensor

    from ..config.arguments import ModelArguments


class Captioning(GenerationTask):
    """A caption for each image, scored by BLEU, chrF and exact matches with its references.

    chrF is the main metric: captions are short, and BLEU is 0 if no text has four words.

    Rows have the columns `row`, `image` and, unless there are only images, `captions` (a list). An image with several
    captions is one training example per caption; evaluations compute its loss on the first caption, and compare the
    generated text with all of them.

    Rows refer to their image by its index in `images`, which keeps the images as encoded files: the collator decodes
    pixels batch by batch, never a whole dataset.
    """

    name = "captioning"
    auto_class: ClassVar[str] = "AutoModelForImageTextToText"
    collated_columns: ClassVar[tuple[str, ...]] = ("image",)
    default_metric = "chrf"
    columns: CaptionColumns
    processing: CaptionProcessing
    images: Dataset

    # Rows

    def _find_columns(self, features: Any, required: bool = True) -> CaptionColumns:
        from datasets import Dataset

        self.images = Dataset.from_dict({})
        return find_caption_columns(features, self.arguments, caption_required=required)

    def _roles(self) -> dict[str, str | None]:
        return {"image": self.columns.image, "caption": self.columns.caption}

    def _has_targets(self, role: str, split: Dataset) -> bool:
        return role != "test" or self._has_captions(split)

    def _has_captions(self, split: Dataset) -> bool:
        return self.columns.caption in split.column_names and any(split[self.columns.caption])

    def _read_inputs(self, split: Dataset, name: str) -> int:
        """Append the images of a split to `images`; returns the index of the first."""
        from datasets import Image, concatenate_datasets

        column, start = self.columns.image, len(self.images)
        check_texts(split, name, (), [column])
        own = split.select_columns([column]).cast_column(column, Image(decode=False))
        self.images = concatenate_datasets([self.images, own])
        return start

    def _read_targets(self, split: Dataset, name: str, inputs: int) -> tuple[list[list[str]], np.ndarray]:
        """The captions of each row of a split, at least one."""
        column = str(self.columns.caption)
        check_texts(split, name, [self.columns.image, column])
        captions = [[text] if isinstance(text, str) else list(text) for text in split[column]]
        for row, own in enumerate(captions):
            if not own or not all(own):
                raise UserError(f"Row {row} of split {name!r} has no caption or an empty one in column {column!r}.")
        return captions, np.full(len(captions), True)

    def _known_targets(self, split: Dataset, name: str, inputs: int) -> list[list[str]] | None:
        return self._read_targets(split, name, inputs)[0] if self._has_captions(split) else None

    def _rows(self, inputs: int, targets: list[list[str]] | None, rows: np.ndarray) -> Dataset:
        from datasets import Dataset

        columns: dict[str, Any] = {"row": rows.astype(np.int64), "image": (inputs + rows).astype(np.int64)}
        if targets is not None:
            columns["captions"] = [list(targets[row]) for row in rows]
        return Dataset.from_dict(columns)

    # From rows to model inputs

    def make_processing(self, arguments: ModelArguments, splits: DatasetDict) -> CaptionProcessing:
        """Create an image processor and a tokenizer, see `caption_processing`."""
        train = splits["train"]
        texts = [text for own in train["captions"] for text in own]
        example = self.read_image(train[0]["image"])
        self.processing = make_caption_processing(arguments, texts, example, self.arguments.max_length)
        return self.processing

    def load_processing(self, arguments: ModelArguments) -> CaptionProcessing:
        self.processing = load_caption_processing(arguments)
        return self.processing

    def encode(self, dataset: DatasetDict, processing: CaptionProcessing, max_length: int | None) -> DatasetDict:
        """`image` and `length`, and with captions also `labels` and `reference`.

        "train" has one row per caption, all other splits one row per image.
        """
        import pyarrow as pa
        from datasets import Dataset, DatasetDict

        encoded = {}
        for name, split in dataset.items():
            columns = {"image": split["image"][:], "length": [1] * len(split)}
            if "captions" in split.column_names:
                captions = split["captions"][:]
                taught = captions if name == "train" else [own[:1] for own in captions]
                columns["image"] = [place for place, own in zip(columns["image"], taught, strict=True) for _ in own]
                columns["reference"] = [own for own, first in zip(captions, taught, strict=True) for _ in first]
                labels = processing.encode([text for own in taught for text in own], max_length)
                columns["labels"] = pa.array(labels, type=pa.list_(pa.int64()))
                columns["length"] = list(map(len, labels))
            encoded[name] = Dataset(pa.table(columns))
        return DatasetDict(encoded)

    def collator(self, processing: CaptionProcessing, model: Any) -> Callable[[list[dict[str, Any]]], dict[str, Any]]:
        """A collator that reads images, pads labels, and builds decoder inputs from labels as the model does."""
        return CaptionCollator(self.read_image, processing, model.prepare_decoder_input_ids_from_labels)

    def read_image(self, place: int) -> Image:
        """The image at an index of `images`.

        Raises:
            UserError: the image cannot be read.
        """
        from datasets import Image

        kept = self.images[place][self.columns.image]
        if kept is None:
            raise UserError(f"Row {place} of column {self.columns.image!r} has no image: remove the row.")
        try:
            return Image().decode_example(kept)
        except (OSError, ValueError, SyntaxError) as error:  # the exceptions of Pillow for broken files
            raise UserError(
                f"An image in column {self.columns.image!r} cannot be read ({kept.get('path') or f'number {place}'}): "
                f"{_in_words(error)}"
            ) from error

    # Loss and predictions

    def loss(self, label_smoothing: float) -> Callable[..., Tensor]:
        """As in `GenerationTask`, plus a model's penalty for uneven attention (`attention_penalty`, per caption)."""
        of_tokens = super().loss(label_smoothing)

        def compute(outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
            loss = of_tokens(outputs, labels, num_items_in_batch)
            penalty = outputs.get("attention_penalty")
            if penalty is None:
                return loss
            counted = labels != -100
            number = counted.sum() if num_items_in_batch is None else num_items_in_batch
            return loss + (penalty * counted.any(dim=1)).sum() / number

        return compute

    def _shown(self, split: Dataset) -> dict[str, Any]:
        """The column `reference`, if there are captions: texts, or lists if an image has several."""
        if "captions" not in split.column_names:
            return {}
        captions = split["captions"][:]
        single = all(len(own) == 1 for own in captions)
        return {"reference": [own[0] for own in captions] if single else captions}


@dataclass(frozen=True)
class CaptionCollator:
    """Builds a batch from encoded rows; `shift` is the model's own function from labels to decoder inputs."""

    read_image: Callable[[int], Image]
    processing: CaptionProcessing
    shift: Callable[[Tensor], Tensor]

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """`pixel_values`, and if rows have labels, `labels`, `decoder_input_ids` and `decoder_attention_mask`."""
        import torch
        from torch.nn.utils.rnn import pad_sequence

        batch = {"pixel_values": self.processing.pixel_values([self.read_image(row["image"]) for row in rows])}
        if "labels" in rows[0]:
            ids = [torch.tensor(row["labels"]) for row in rows]
            labels = pad_sequence(ids, batch_first=True, padding_value=-100)
            batch |= {
                "labels": labels,
                "decoder_input_ids": self.shift(labels),
                "decoder_attention_mask": (labels != -100).long(),
            }
        return batch


def _in_words(error: Exception) -> str:
    """Pillow's error message about an image, without the memory address of an object."""
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "its file format is not supported."
    return " ".join(str(error).split())[:200]
