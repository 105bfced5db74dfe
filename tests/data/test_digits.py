"""The captions of `builtin:digits` match the pictures."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tl_toolkit.config.arguments import DataArguments
from tl_toolkit.data.digits import digits_record, load_digits
from tl_toolkit.data.sources import load_source
from tl_toolkit.errors import UserError

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
PHRASE = rf"a (small|large) ({'|'.join(NAMES)})"
CAPTION = re.compile(rf"{PHRASE}(?: (left of|above) {PHRASE})?")


@pytest.fixture(scope="module")
def splits():
    return load_digits()


def patches(row):
    """Every digit as an 8x8 picture, cut out by its box and scaled to its original size."""
    pixels = np.asarray(row["image"])
    for top, left, height, width in row["boxes"]:
        yield pixels[top : top + height, left : left + width][:: height // 8, :: width // 8]


def test_captions_describe_the_pictures(splits):
    from sklearn.datasets import load_digits as load_bundled

    bundled = load_bundled()
    label_of = {
        np.round(image * (255 / 16)).astype(np.uint8).tobytes(): label
        for image, label in zip(bundled.images, bundled.target, strict=True)
    }
    relations = set()
    for row in splits["test"].select(range(211)):
        image = np.asarray(row["image"])
        assert image.shape == (32, 32) and image.dtype == np.uint8
        first_size, first, relation, second_size, second = CAPTION.fullmatch(row["caption"]).groups()
        said = [(first_size, first), (second_size, second)][: 2 if relation else 1]
        boxes = np.array(row["boxes"])
        shown = [
            ("large" if box[2] == 16 else "small", NAMES[label_of[patch.tobytes()]])
            for box, patch in zip(boxes, patches(row), strict=True)
        ]
        assert said == shown and [NAMES[digit] for digit in row["digits"]] == [name for _, name in said]
        relations.add(relation)
        inside = np.zeros_like(image)
        for top, left, height, width in boxes:
            inside[top : top + height, left : left + width] += 1
        assert inside.max() == 1 and not image[inside == 0].any()  # no overlap and nothing outside the boxes
        if relation:
            centres = boxes[:, :2] + boxes[:, 2:] / 2
            down, across = centres[1] - centres[0]
            assert (across >= 8 and abs(down) <= 4) if relation == "left of" else (down >= 8 and abs(across) <= 4)
    assert relations == {None, "left of", "above"}


def test_splits_share_no_digit(splits):
    used = {split: {patch.tobytes() for row in rows for patch in patches(row)} for split, rows in splits.items()}
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 6000, "validation": 500, "test": 1000}
    assert not used["train"] & used["test"] and not used["train"] & used["validation"]
    assert not used["validation"] & used["test"]


def test_it_never_changes(splits):
    assert digits_record()["fingerprint"] == "17edc3a4fc9b43f2"
    assert splits["train"][0]["caption"] == "a small zero"
    source = load_source(DataArguments(dataset_name="builtin:digits"))
    assert source.record["fingerprint"] == "17edc3a4fc9b43f2" and "scikit-learn" in source.record["versions"]
    with pytest.raises(UserError, match="no configuration 'singles', only 'pairs'"):
        load_source(DataArguments(dataset_name="builtin:digits:singles"))
