"""`builtin:recall`: what must be remembered over a distance, generated without downloads.

A language is named, filler words follow, and the end asks for the language:

    She grew up with Marathi and often near under always ... so now she reads

The label is the language. The filler words are random, so nothing else in a text predicts it: chance is one in
`len(LANGUAGES)`. The configuration is the number of filler words, exactly. After the long-distance example of
Hochreiter and Schmidhuber 1997, "Long short-term memory".
"""

from __future__ import annotations

import random
from itertools import islice
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from .built_in import digest

if TYPE_CHECKING:
    from datasets import DatasetDict

LANGUAGES = ("Finnish", "Hindi", "Marathi", "Swahili")
FILLERS = (
    "about", "after", "again", "all", "almost", "also", "always", "and", "around", "as", "at", "behind", "but", "by",
    "early", "enough", "ever", "few", "from", "in", "just", "later", "many", "near", "of", "often", "on", "over",
    "perhaps", "quite", "rather", "since", "some", "soon", "still", "then", "there", "under", "very", "with",
)  # fmt: skip
SIZES = {"train": 4_000, "validation": 500, "test": 500}
DISTANCES = range(2, 1001)
"""Numbers of filler words; with one, there are not enough different texts."""
DEFAULT = 10


def load_recall(config_name: str | None = None) -> DatasetDict:
    """Return the splits train, validation and test with the columns `text` and `label` (`ClassLabel`).

    The configuration is the number of filler words, by default 10. Every language has the same number of rows in a
    split, and no text occurs twice.

    Raises:
        UserError: the configuration is not a whole number in `DISTANCES`.
    """
    from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

    distance = _distance(config_name)
    features = Features({"text": Value("string"), "label": ClassLabel(names=list(LANGUAGES))})
    return DatasetDict({split: Dataset.from_list(own, features) for split, own in splits(distance).items()})


def recall_record() -> dict[str, Any]:
    """Return the versions that the rows depend on: none."""
    return {"versions": None}


def splits(distance: int) -> dict[str, list[dict[str, Any]]]:
    """The rows of each split in order; `text` has `distance` filler words."""
    made: dict[str, int] = {}
    draw = random.Random(f"recall {distance}").random  # `random.choice` may change between versions of Python
    while len(made) < sum(SIZES.values()):
        label = len(made) % len(LANGUAGES)
        fillers = " ".join(FILLERS[int(draw() * len(FILLERS))] for _ in range(distance))
        made.setdefault(f"She grew up with {LANGUAGES[label]} {fillers} so now she reads", label)
    texts = iter(made)
    own = {split: sorted(islice(texts, size), key=digest) for split, size in SIZES.items()}  # mixes the languages
    return {split: [{"text": text, "label": made[text]} for text in rows] for split, rows in own.items()}


def _distance(config: str | None) -> int:
    if config is None:
        return DEFAULT
    if not config.isascii() or not config.isdigit() or int(config) not in DISTANCES:
        raise UserError(
            f"The dataset 'builtin:recall' has no configuration {config!r}: name the number of filler words, from "
            f"{DISTANCES[0]} to {DISTANCES[-1]}, such as builtin:recall:50."
        )
    return int(config)
