"""The weights of classes in the training loss, from `--class_weight` and the labels of the training rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..config.class_weight import BALANCED, parse_class_weight
from ..errors import UserError, listing, nearest


def class_weights(text: str, labels: Sequence[str], counts: np.ndarray, rows: int | None = None) -> np.ndarray:
    """Return the weight of each class (classes,).

    Args:
        text: the argument.
        labels: the names of the classes.
        counts: the number of training labels of each class (classes,).
        rows: the number of training rows, for a multi-label problem: weights are then those of a label's presence.

    Raises:
        UserError: an unknown class.
    """
    given = parse_class_weight(text)
    if isinstance(given, dict):
        if unknown := [name for name in given if name not in labels]:
            raise UserError(
                f"--class_weight names the class {unknown[0]!r}, which does not occur; the classes are "
                f"{listing(labels)}.{nearest(unknown[0], labels)}"
            )
        return np.array([given.get(name, 1.0) for name in labels])
    assert given == BALANCED
    return balanced(counts) if rows is None else balanced_presence(counts, rows)


def balanced(counts: np.ndarray) -> np.ndarray:
    """Return weights by which all classes have the same total weight: n / (classes · count), as in scikit-learn.

    A class without training labels is not one of these classes, and has the weight 1.
    """
    found = counts > 0
    return np.divide(counts.sum(), found.sum() * counts, out=np.ones(len(counts)), where=found)


def balanced_presence(counts: np.ndarray, rows: int) -> np.ndarray:
    """Return for each label the balanced weight of its presence divided by that of its absence.

    A label that no row or every row has gets the weight 1.
    """
    return np.divide(rows - counts, counts, out=np.ones(len(counts)), where=(counts > 0) & (counts < rows))
