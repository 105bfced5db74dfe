"""The splits and rows for training, validation and test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..data.splits import find_split, fold_of, hold_out, label_budget
from ..errors import UserError, listing

if TYPE_CHECKING:
    from ..config.arguments import DataArguments

ROLES = ("train", "validation", "test")
# Test rows are the same for every seed; only training and validation rows vary with the run's seed.
_TEST_SEED = 0
_TEST_FRACTION = 0.2


@dataclass(frozen=True)
class Part:
    """The rows of one role.

    Attributes:
        split: name of the source split of the rows.
        rows: indices in that split, int64.
        origin: the role of that split: "validation" rows may come from "train".
    """

    split: str
    rows: np.ndarray
    origin: str


def named_splits(names: list[str], arguments: DataArguments) -> dict[str, str]:
    """The split of each role that has one: the split named in the arguments, or one with a common name."""
    found = {role: find_split(names, role, getattr(arguments, f"{role}_split_name")) for role in ROLES}
    if found["train"] is None:
        raise UserError(
            f"The dataset {arguments.dataset_name!r} has no split to train on; name one of {listing(names)} with "
            f"--train_split_name."
        )
    splits = {role: name for role, name in found.items() if name is not None}
    for name in splits.values():
        if len(roles := [role for role in splits if splits[role] == name]) > 1:
            raise UserError(f"The split {name!r} is used for {' and '.join(roles)}: each needs its own rows.")
    return splits


def assign_parts(
    splits: Mapping[str, str], labels: Mapping[str, np.ndarray], labelled: Mapping[str, np.ndarray],
    arguments: DataArguments, seed: int, groups: Mapping[str, np.ndarray],
) -> dict[str, Part]:  # fmt: skip
    """Assign rows to every role, holding out rows of the training split for roles without a split.

    With `folds`, the test rows are a fold of the training split. Otherwise, without a test split, the validation split
    becomes the test split, unless `validation_split_name` names it. Then each role that still has no rows gets held-out
    rows of the training split.

    Args:
        splits: the labelled split of each role that has one, including "train".
        labels: labels of each split in the form of `strata`.
        labelled: indices of the labelled rows of each split.
        arguments: uses `folds`, `fold`, `validation_fraction` and `validation_split_name`.
        seed: seed of the folds and of the validation rows; other test rows do not depend on it.
        groups: the groups of each split, whose rows share a fold; empty without groups.
    """
    parts = {role: Part(name, labelled[name], role) for role, name in splits.items()}
    if arguments.folds is not None:
        train = parts["train"]
        own = groups[train.split][train.rows] if groups else None
        name = f"the split {train.split!r} of {arguments.dataset_name!r}"
        in_fold = fold_of(labels[train.split][train.rows], arguments.folds, seed, own, name) == arguments.fold
        parts["train"], parts["test"] = (
            replace(train, rows=train.rows[~in_fold]),
            replace(train, rows=train.rows[in_fold]),
        )
    elif "test" not in parts and "validation" in parts and not arguments.validation_split_name:
        parts["test"] = parts.pop("validation")
    cuts = {"test": (_TEST_FRACTION, _TEST_SEED), "validation": (arguments.validation_fraction, seed)}
    for role, (fraction, cut_seed) in cuts.items():
        if role not in parts:
            train = parts["train"]
            kept, held = hold_out(labels[train.split][train.rows], fraction, cut_seed)
            parts["train"], parts[role] = replace(train, rows=train.rows[kept]), replace(train, rows=train.rows[held])
    return {role: parts[role] for role in ROLES}


def within_budgets(
    parts: Mapping[str, Part], labels: Mapping[str, np.ndarray], arguments: DataArguments, seed: int
) -> dict[str, Part]:
    """Keep the rows that the budgets allow. The training budget is exact; the others are upper limits."""
    kept = dict(parts)
    for role, flag in zip(ROLES, ("label_budget", "validation_budget", "test_budget"), strict=True):
        if (budget := getattr(arguments, flag)) is None:
            continue
        if budget < 1:
            raise UserError(f"--{flag} must be 1 row or more, but is {budget}.")
        part = parts[role]
        if role != "train":
            budget = min(budget, len(part.rows))
        chosen = label_budget(labels[part.split][part.rows], budget, _TEST_SEED if role == "test" else seed)
        kept[role] = replace(part, rows=part.rows[chosen])
    return kept
