"""Select rows for splits, held-out sets and label budgets; the latter two are prefixes of a stratified order."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from functools import partial

import numpy as np

from ..errors import UserError, listing, nearest

SYNONYMS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev", "eval", "development"),
    "test": ("test", "testing"),
}
_QUANTILES = 10
_GROUP_DIVISIONS = 50


def find_split(names: Iterable[str], role: str, named: str | None = None) -> str | None:
    """Return the split for a role ("train", "validation", "test"): `named`, else a common synonym, else None."""
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
    """Return the stratum of each row: its class, its rarest label, or the decile of its number.

    Args:
        labels: class ids `[rows]`, 0/1 indicators `[rows, labels]`, or real numbers `[rows]`.

    Returns:
        Strata numbered from 0, `[rows]`.
    """
    labels = np.asarray(labels)
    if labels.ndim == 2:
        frequency = labels.sum(axis=0)
        # Rows without labels form a separate stratum after those of the labels.
        rarity = np.where(labels > 0, frequency, len(labels) + 1)
        keys = np.where(labels.any(axis=1), rarity.argmin(axis=1), labels.shape[1])
    elif np.issubdtype(labels.dtype, np.floating):
        keys = np.searchsorted(np.quantile(labels, np.linspace(0, 1, _QUANTILES + 1)[1:-1]), labels)
    else:
        keys = labels
    return np.unique(keys, return_inverse=True)[1].reshape(-1)


def _shuffled_positions(groups: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return each row's position in a shuffle of its stratum, and the size of that stratum, both `[rows]`."""
    shuffled = generator.permutation(len(groups))
    by_group = shuffled[np.argsort(groups[shuffled], kind="stable")]
    sizes = np.bincount(groups)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    place = np.empty(len(groups), dtype=np.int64)
    place[by_group] = np.arange(len(groups)) - np.repeat(starts, sizes)
    return place, sizes[groups]


def label_budget(labels: np.ndarray, budget: int, seed: int) -> np.ndarray:
    """Select the rows of a label budget; they are stratified and nested, so that a larger budget only adds rows.

    The budget takes the first rows of an order that depends only on the seed. The row at position j of a stratum with n
    rows is sorted by (j + 1/2) / n, which keeps every prefix in proportion. The first row of each stratum precedes all
    others, largest stratum first, so that a large enough budget contains every class.

    Args:
        labels: see `strata`.
        budget: number of rows, from 1 to the number of labels.
        seed: budgets with the same seed are nested.

    Returns:
        Row indices in ascending order, int64 `[budget]`.
    """
    rows = len(labels)
    if not 1 <= budget <= rows:
        raise UserError(
            f"A budget of {budget:,} labels does not fit the split, which has {rows:,} labelled rows: use a number "
            f"from 1 to {rows:,}, or no budget for all rows."
        )
    generator = np.random.default_rng([seed, 1])
    place, size = _shuffled_positions(strata(labels), generator)
    share = (place + 0.5) / size
    share[place == 0] = -size[place == 0].astype(float)
    order = np.lexsort((generator.permutation(rows), share))
    return np.sort(order[:budget])


def hold_out(labels: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Divide rows into remaining and held-out rows, in proportion over the strata.

    At least one row of every stratum remains, so that no class occurs only in evaluation.

    Args:
        labels: see `strata`.
        fraction: fraction of rows to hold out, between 0 and 1.
        seed: seed of the selection.

    Returns:
        Indices of remaining and of held-out rows, both int64, ascending and not empty.
    """
    rows = len(labels)
    if not 0 < fraction < 1:
        raise UserError(f"--validation_fraction must be between 0 and 1, but is {fraction}.")
    if rows < 2:
        raise UserError(f"A split of {rows} row cannot be divided into training and validation rows.")
    generator = np.random.default_rng([seed, 2])
    place, size = _shuffled_positions(strata(labels), generator)
    share = (place + 0.5) / size
    share[place == size - 1] = 2.0
    order = np.lexsort((generator.permutation(rows), share))
    held = order[: min(max(round(fraction * rows), 1), rows - 1)]
    return np.setdiff1d(np.arange(rows), held), np.sort(held)


def fold_of(
    labels: np.ndarray, folds: int, seed: int, groups: np.ndarray | None = None, name: str = "the dataset"
) -> np.ndarray:
    """Return the fold of each row, from 1 to `folds`: parts of equal size, in proportion over the strata.

    Args:
        labels: see `strata`.
        folds: number of parts.
        seed: seed of the division.
        groups: the group of each row `[rows]`; the rows of a group share a fold.
        name: the name of the rows in errors.

    Returns:
        int64 `[rows]`.
    """
    from sklearn.model_selection import GroupKFold, StratifiedKFold

    parts = len(labels) if groups is None else len(np.unique(groups))
    if parts < folds:
        unit = "labelled rows" if groups is None else "groups (--group_column)"
        raise UserError(f"--folds {folds} needs at least {folds} {unit}, but {name} has {parts}.")
    own = strata(labels)
    if groups is None:
        if np.bincount(own).max() < folds:  # every stratum is smaller than the number of folds
            own = np.zeros_like(own)
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # some strata may be smaller
            return _fold_numbers(StratifiedKFold(folds, shuffle=True, random_state=seed).split(own, own), len(own))
    # StratifiedGroupKFold hardly depends on its seed: of random divisions of the groups, take the most even one.
    seeds = np.random.default_rng([seed, 3]).integers(2**32, size=_GROUP_DIVISIONS)
    splitters = (GroupKFold(folds, shuffle=True, random_state=int(number)) for number in seeds)
    return min((_fold_numbers(each.split(own, own, groups), len(own)) for each in splitters), key=partial(_uneven, own))


def _fold_numbers(split: Iterable[tuple[np.ndarray, np.ndarray]], rows: int) -> np.ndarray:
    found = np.empty(rows, dtype=np.int64)
    for fold, (_, tested) in enumerate(split, 1):
        found[tested] = fold
    return found


def _uneven(groups: np.ndarray, folds: np.ndarray) -> float:
    """The variance over folds of the number of rows of each stratum, summed."""
    counts = np.zeros((folds.max(), groups.max() + 1))
    np.add.at(counts, (folds - 1, groups), 1)
    return float(counts.var(axis=0).sum())
