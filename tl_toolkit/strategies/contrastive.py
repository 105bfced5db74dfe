"""Contrastive tuning: pairs of labelled rows tune the encoder, then a probe is solved on its features."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ..errors import UserError
from .probe import Probe

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel

    from ..config.arguments import RunArguments

MOST_PAIRS = 16_000
"""1,000 updates of 16 pairs: the number of all pairs grows with the square of the rows."""


class Contrastive(Probe):
    """Tunes the encoder so that texts of a class are alike, then solves the head (Tunstall et al. 2022, "SetFit").

    Attributes:
        pairs: (pairs, 2) positions of training rows, and whether they have the same class (pairs,); set by `adapt`.
    """

    name = "contrastive"
    needs_one_class = True
    of_updates: ClassVar[tuple[str, ...]] = (
        *("min_train_steps", "label_smoothing_factor", "find_lr", "early_stopping_patience", "resume_from_checkpoint"),
    )
    pairs: tuple[np.ndarray, np.ndarray]

    def check(self, args: RunArguments, task: str) -> None:
        if task != "text-classification":
            raise UserError(
                f"The strategy 'contrastive' compares texts of the same and of different classes, which --task {task} "
                "does not have: use the strategy 'full' or 'probe'."
            )
        super().check(args, task)

    def adapt(self, model: PreTrainedModel, rows: Dataset) -> None:
        self.pairs = pairs_of(np.asarray(rows["labels"]))


def pairs_of(labels: np.ndarray, seed: int = 0, most: int = MOST_PAIRS) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of rows (pairs, 2), and 1 for pairs of the same class and 0 for others (pairs,), in float32.

    All pairs of different rows are used, and those of the rarer kind are repeated until there are as many of both, as
    in the paper's library. Of more than `most` pairs, a random part is used.

    Args:
        labels: the class of each row (rows,).
    """
    rng = np.random.default_rng(seed)
    rows = len(labels)
    if rows**2 <= 16 * most:
        drawn = rng.permutation(np.column_stack(np.triu_indices(rows, 1)))
    else:
        drawn = rng.integers(rows, size=(8 * most, 2))
        drawn = drawn[drawn[:, 0] != drawn[:, 1]]
    same = labels[drawn[:, 0]] == labels[drawn[:, 1]]
    kinds = [(drawn[chosen], value) for chosen, value in ((same, 1.0), (~same, 0.0)) if chosen.any()]
    if not kinds:
        raise UserError("The strategy 'contrastive' compares labelled rows, but there is only one: use more labels.")
    each = min(max(len(pairs) for pairs, _ in kinds), most // 2)
    pairs = np.concatenate([np.resize(pairs, (each, 2)) for pairs, _ in kinds])
    return pairs, np.repeat(np.array([value for _, value in kinds], dtype=np.float32), each)
