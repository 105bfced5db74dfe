"""`builtin:digits`: a captioning dataset built from scikit-learn's handwritten digits, without downloads.

The 1,797 digits of 8x8 pixels come with scikit-learn (Alpaydin and Kaynak 1998). A picture shows one digit, or two
digits with one left of or above the other; each has its original or twice its size. The caption describes the picture
in a fixed wording, so that there is only one correct caption:

    a large seven                    a small two left of a large nine                    a large four above a small four

The digits of training, validation and test pictures are different images.
"""

from __future__ import annotations

import hashlib
import random
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

_CANVAS = 32  # pixels, high and wide
_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_DIGIT_SIZE = 8
_SCALES = {"small": 1, "large": 2}
_RELATIONS = ("", "left of", "above")
# Split: number of pictures, number of digit images that only this split uses.
_SPLITS = {"train": (6000, 1297), "validation": (500, 200), "test": (1000, 300)}
_CONFIG = "pairs"


class _Placed(NamedTuple):
    digit: int  # index of the image
    size: str
    top: int
    left: int


def load_digits(config: str | None = None) -> DatasetDict:
    """Return pictures: `image` (greyscale PNG, 32x32, white on black), `caption`, `digits` (labels in the order of the
    caption) and `boxes` (top, left, height and width of each digit in pixels).

    Raises:
        UserError: an unknown configuration.
    """
    if config not in (None, _CONFIG):
        raise UserError(f"The dataset 'builtin:digits' has no configuration {config!r}, only {_CONFIG!r}.")
    return _made()[0]


def digits_record() -> dict[str, Any]:
    """Return the entry of a result record: a hash of pixels and captions, and the version of scikit-learn."""
    import sklearn

    return {"fingerprint": _made()[1], "versions": {"scikit-learn": sklearn.__version__}}


@cache
def _made() -> tuple[DatasetDict, str]:
    from datasets import DatasetDict
    from sklearn.datasets import load_digits as load_bundled

    bundled = load_bundled()
    images = np.round(bundled.images * (255 / 16)).astype(np.uint8)  # (1797, 8, 8); the original values are 0 to 16
    labels = bundled.target
    order = list(range(len(images)))
    random.Random(0).shuffle(order)
    digest = hashlib.blake2b(digest_size=8)
    splits, start = {}, 0
    for place, (split, (pictures, digits)) in enumerate(_SPLITS.items()):
        own = order[start : start + digits]
        start += digits
        splits[split] = _pictures(images, labels, own, pictures, random.Random(place + 1), digest)
    return DatasetDict(splits), digest.hexdigest()


def _pictures(
    images: np.ndarray, labels: np.ndarray, own: list[int], pictures: int, rng: random.Random, digest: Any
) -> Dataset:
    from datasets import Dataset, Features, Image, List, Value
    from PIL import Image as Pillow

    columns: dict[str, list[Any]] = {"image": [], "caption": [], "digits": [], "boxes": []}
    for _ in range(pictures):
        relation = rng.choice(_RELATIONS)
        placed = _place(own, relation, rng)
        canvas = np.zeros((_CANVAS, _CANVAS), dtype=np.uint8)
        for item in placed:
            scale = _SCALES[item.size]
            ink = images[item.digit].repeat(scale, axis=0).repeat(scale, axis=1)
            canvas[item.top : item.top + len(ink), item.left : item.left + len(ink)] = ink
        phrases = [f"a {item.size} {_NAMES[labels[item.digit]]}" for item in placed]
        caption = f" {relation} ".join(phrases)
        digest.update(canvas.tobytes() + caption.encode())
        columns["image"].append(Pillow.fromarray(canvas))
        columns["caption"].append(caption)
        columns["digits"].append([int(labels[item.digit]) for item in placed])
        sides = [_DIGIT_SIZE * _SCALES[item.size] for item in placed]
        columns["boxes"].append([[i.top, i.left, side, side] for i, side in zip(placed, sides, strict=True)])
    features = Features(
        {
            "image": Image(),
            "caption": Value("string"),
            "digits": List(Value("int64")),
            "boxes": List(List(Value("int64"))),
        }
    )
    return Dataset.from_dict(columns, features=features)


def _place(own: list[int], relation: str, rng: random.Random) -> list[_Placed]:
    """Place digits at random positions.

    Each of two digits has one half of the canvas along the axis of their relation. Their centres are at least 8 pixels
    apart along this axis and at most 4 pixels across it, so that their relation is unambiguous.
    """
    if not relation:
        size = rng.choice(list(_SCALES))
        side = _DIGIT_SIZE * _SCALES[size]
        return [_Placed(rng.choice(own), size, rng.randint(0, _CANVAS - side), rng.randint(0, _CANVAS - side))]
    placed = []
    band = rng.randint(0, _CANVAS // 2)
    for half in (0, _CANVAS // 2):
        size = rng.choice(list(_SCALES))
        room = _CANVAS // 2 - _DIGIT_SIZE * _SCALES[size]
        along = half + rng.randint(0, room)
        across = band + (rng.randint(room // 2 - 2, room // 2 + 2) if room else 0)
        top, left = (along, across) if relation == "above" else (across, along)
        placed.append(_Placed(rng.choice(own), size, top, left))
    return placed
