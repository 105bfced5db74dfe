"""Which column is the picture and which its caption, told from types and names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..data.columns import describe, is_list, is_string
from ..errors import UserError, nearest

if TYPE_CHECKING:
    from ..config.arguments import DataArguments

# In order of preference, compared in lower case.
IMAGE_NAMES = ("image", "img", "picture", "photo", "jpg", "png")
CAPTION_NAMES = (
    "caption", "captions", "text", "texts", "description", "descriptions", "sentence", "sentences", "alt_text",
    "sentences_raw", "title", "answer", "label_text",
)  # fmt: skip


@dataclass(frozen=True)
class CaptionColumns:
    """The names of the columns; there may be no caption where there are only pictures to describe."""

    image: str
    caption: str | None


def find_caption_columns(
    features: Mapping[str, Any], arguments: DataArguments, caption_required: bool = True
) -> CaptionColumns:
    """Find the picture and its caption, or captions, among `features` (a `datasets.Features`).

    A column that is named is taken; else the one of its type, and of several the one with a conventional name.

    Raises:
        UserError: a name that is missing or of another type, or nothing or too much that it could be.
    """
    image = _find(features, "image", arguments.image_column, is_image, IMAGE_NAMES, "no picture")
    if arguments.text_column is not None or caption_required:
        text = _find(features, "text", arguments.text_column, is_caption, CAPTION_NAMES, "no text, nor a list of texts")
        return CaptionColumns(image, text)
    lower = {name.lower(): name for name in features if is_caption(features[name])}
    found = next((lower[name] for name in CAPTION_NAMES if name in lower), None)
    return CaptionColumns(image, found or (next(iter(lower.values())) if len(lower) == 1 else None))


def is_image(feature: Any) -> bool:
    """Whether a column holds pictures: as such, or as the bytes of picture files with or without their paths."""
    if isinstance(feature, dict):
        return {"bytes", "path"} == set(feature)
    return type(feature).__name__ == "Image" or str(getattr(feature, "dtype", "")) in ("binary", "large_binary")


def is_caption(feature: Any) -> bool:
    """Whether a column holds texts or lists of texts."""
    return is_string(feature) or (is_list(feature) and is_string(getattr(feature, "feature", None)))


def _find(
    features: Mapping[str, Any], role: str, named: str | None, fits: Any, known: tuple[str, ...], otherwise: str
) -> str:
    shown = f"The columns are {', '.join(f'{name!r} ({describe(feature)})' for name, feature in features.items())}."
    if named is not None:
        if named not in features:
            raise UserError(f"There is no column {named!r} (--{role}_column).{nearest(named, features)} {shown}")
        if not fits(features[named]) and not (role == "image" and is_string(features[named])):  # or paths of files
            raise UserError(f"The column {named!r} (--{role}_column) is {otherwise}. {shown}")
        return named
    fitting = [name for name, feature in features.items() if fits(feature)]
    if len(fitting) == 1:
        return fitting[0]
    lower = {name.lower(): name for name in reversed(fitting)}
    found = next((lower[name] for name in known if name in lower), None)
    if found is None:
        raise UserError(
            f"It is not clear which column is the {'picture' if role == 'image' else 'caption'}: "
            f"{'there is none of its type' if not fitting else 'it could be any of ' + ', '.join(map(repr, fitting))}. "
            f"Name it by --{role}_column. {shown}"
        )
    return found
