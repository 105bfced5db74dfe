"""Which rows: held-out parts and label budgets, both as prefixes of one stratified order."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..errors import UserError, listing, nearest

SYNONYMS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev", "eval", "development"),
    "test": ("test", "testing"),
}
_QUANTILES = 10


def find_split(names: Iterable[str], role: str, named: str | None = None) -> str | None:
    """The split that plays a role ("train", "validation", "test"): the one named, else a usual synonym, else None."""
    names = list(names)
    if named is not None:
        if named not in names:
            raise UserError(
                f"There is no split {named!r} (--{role}_split_name); the splits are {listing(names)}."
                f"{nearest(named, names)}"
            )
        return named
    lower = {name.lower(): name for name in reversed(names)}
    return next((lower[name] for name in SYNONYMS[role] if name in lower), None)


def strata(labels: np.ndarray) -> np.ndarray:
    """The stratum of each row: its class, the rarest of its labels, or the tenth that its number falls into.

    Args:
        labels: class ids `[rows]`, 0/1 indicators `[rows, labels]`, or real numbers `[rows]`.

    Returns:
        Strata numbered from 0, `[rows]`.
    """
    labels = np.asarray(labels)
    if labels.ndim == 2:
        frequency = labels.sum(axis=0)
        # A row without any label is in a stratum of its own, after those of the labels.
        rarity = np.where(labels > 0, frequency, len(labels) + 1)
        keys = np.where(labels.any(axis=1), rarity.argmin(axis=1), labels.shape[1])
    elif np.issubdtype(labels.dtype, np.floating):
        keys = np.searchsorted(np.quantile(labels, np.linspace(0, 1, _QUANTILES + 1)[1:-1]), labels)
    else:
        keys = labels
    return np.unique(keys, return_inverse=True)[1].reshape(-1)


def _shuffled_positions(groups: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """For each row its place in a shuffle of its own stratum, and the size of that stratum, both `[rows]`."""
    shuffled = generator.permutation(len(groups))
    by_group = shuffled[np.argsort(groups[shuffled], kind="stable")]
    sizes = np.bincount(groups)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    place = np.empty(len(groups), dtype=np.int64)
    place[by_group] = np.arange(len(groups)) - np.repeat(starts, sizes)
    return place, sizes[groups]


def label_budget(labels: np.ndarray, budget: int, seed: int) -> np.ndarray:
    """The rows that a budget of labels buys: stratified, and nested, so that more labels only add rows.

    Rows are put into one order that depends on the seed alone, and the budget takes its first rows. The row at place
    j of its stratum of n rows sorts by (j + 1/2) / n, which keeps every prefix in proportion; the first row of each
    stratum goes before all of them, the largest stratum first, so that a budget with room for it holds every class.

    Args:
        labels: as `strata` takes them.
        budget: how many rows, from 1 to the number there are.
        seed: the same seed gives nested budgets.

    Returns:
        Row indices in ascending order, int64 `[budget]`.
    """
    rows = len(labels)
    if not 1 <= budget <= rows:
        raise UserError(
            f"A budget of {budget:,} labels was asked for, and the split has {rows:,} labelled rows: give a number "
            f"from 1 to {rows:,}, or leave --label_budget out to use them all."
        )
    generator = np.random.default_rng([seed, 1])
    place, size = _shuffled_positions(strata(labels), generator)
    share = (place + 0.5) / size
    share[place == 0] = -size[place == 0].astype(float)
    order = np.lexsort((generator.permutation(rows), share))
    return np.sort(order[:budget])


def hold_out(labels: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Part rows into those that stay and those held out, in proportion over the strata.

    The last row of a stratum always stays, so that no class is only ever seen in evaluation.

    Args:
        labels: as `strata` takes them.
        fraction: of the rows to hold out, between 0 and 1.
        seed: of the choice.

    Returns:
        Indices that stay and indices held out, each int64 and ascending; both have at least one row.
    """
    rows = len(labels)
    if not 0 < fraction < 1:
        raise UserError(f"--validation_fraction is {fraction}, where a number between 0 and 1 is expected.")
    if rows < 2:
        raise UserError(f"A split of {rows} row cannot be parted into rows to train on and rows to evaluate on.")
    generator = np.random.default_rng([seed, 2])
    place, size = _shuffled_positions(strata(labels), generator)
    share = (place + 0.5) / size
    share[place == size - 1] = 2.0
    order = np.lexsort((generator.permutation(rows), share))
    held = order[: min(max(round(fraction * rows), 1), rows - 1)]
    return np.setdiff1d(np.arange(rows), held), np.sort(held)
