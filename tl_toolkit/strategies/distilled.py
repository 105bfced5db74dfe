"""Distillation: a model learns the logits of a trained teacher, on labelled rows and on texts without labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UserError
from .base import Strategy

if TYPE_CHECKING:
    from ..config.arguments import RunArguments

MASK = "\N{OBJECT REPLACEMENT CHARACTER}"
"""A masked word in `varied`."""
LABEL_WEIGHTS = (0.0, 0.5)
"""The weights of the labels in the loss that are tried on validation rows."""
_MASKED, _CUT, _LONGEST = 0.1, 0.25, 5
_REFUSED = ("label_smoothing_factor", "find_lr", "resume_from_checkpoint")


class Distilled(Strategy):
    """Trains a model on the logits of a teacher (Hinton et al. 2015; Tang et al. 2019).

    Attributes:
        needed: what it needs besides labels, for the record; set when it is known.
    """

    name = "distilled"
    from_scratch = None
    needs_one_class = True
    needs_one_text = True

    needed: dict[str, Any]

    def check(self, args: RunArguments, task: str) -> None:
        if task != "text-classification":
            raise UserError(
                f"The strategy 'distilled' learns the classes that a teacher predicts for texts, but --task is {task!r}"
                ": use --task text-classification, or another strategy."
            )
        if self.arguments.teacher is None:
            raise UserError(
                "The strategy 'distilled' needs --teacher: the folder or Hub id of a classifier that is trained on the "
                "same classes. In a grid, it can be the name of an entry."
            )
        if given := [name for name in _REFUSED if args.as_given.get(name)]:
            raise UserError(f"--{given[0]} does not apply to the strategy 'distilled': leave it out.")
        if args.world_size > 1:
            raise UserError("The strategy 'distilled' trains in one process: start it without a launcher.")

    @property
    def label_weights(self) -> tuple[float, ...]:
        """The weights of the labels in the loss to try."""
        named = self.arguments.label_weight
        return LABEL_WEIGHTS if named is None else (named,)

    def record(self) -> dict[str, Any]:
        settings = {"temperature": self.arguments.distillation_temperature, "label_weights": list(self.label_weights)}
        return {"name": self.name, **settings, **getattr(self, "needed", {})}


def varied(texts: Sequence[str], count: int, seed: int) -> list[str]:
    """At most `count` new texts, made from `texts` by masking and n-gram sampling (Tang et al. 2019, section 3.2).

    Each word is masked with a probability of 0.1, and with a probability of 0.25 only an n-gram of one to five words
    is kept. The paper's replacement by words of the same part of speech is left out, because it needs a tagger.

    Returns:
        Texts with `MASK` for a masked word, without repetitions; fewer than `count` if `texts` have too few words.
    """
    rng = np.random.default_rng(seed)
    words = [text.split() for text in texts]
    found: dict[str, None] = {}
    known = {" ".join(own) for own in words}
    for _ in range(-(-3 * count // max(len(words), 1))):
        for own in words:
            if len(found) == count:
                return list(found)
            changed = [
                MASK if chance < _MASKED else word for word, chance in zip(own, rng.random(len(own)), strict=True)
            ]
            if rng.random() < _CUT and changed:
                start = int(rng.integers(len(changed)))
                changed = changed[start : start + int(rng.integers(1, _LONGEST + 1))]
            text = " ".join(changed)
            if text not in known and set(changed) - {MASK}:
                found[text] = None
    return list(found)
