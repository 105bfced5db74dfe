"""The axes of a grid besides its entries: datasets, and the budgets and seeds of each dataset."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ...config.arguments import DataArguments
from ...config.pretrain_arguments import KINDS, LanguageModelArguments
from ...errors import UserError, listing
from .checks import ALL, as_budget, by_name, expect, expect_known, is_budget, is_whole

LABEL_BUDGETS, TOKEN_BUDGETS = "label_budgets", "token_budgets"
AXES = frozenset([LABEL_BUDGETS, TOKEN_BUDGETS, "seeds", "folds", "repeats"])
_OF_ONE_DATASET = ("dataset_name", "dataset_config_name", "dataset_revision")
_OF_ROWS = {
    field.name for kind in (DataArguments, LanguageModelArguments) for field in dataclasses.fields(kind) if field.init
} - {"label_budget", "max_train_tokens", "evaluate_only"}


@dataclass(frozen=True)
class GridDataset:
    """One dataset of a grid, with the label budgets (token budgets for language models) and seeds of its runs.

    Attributes:
        name: its name in the grid; None if the grid has no `datasets`.
        settings: its own settings, which override the keys at the top of the file.
        budgets: in ascending order; None means all.
        seeds: the seeds of each budget.
        language_model: whether its runs train language models.
        folds: parts for cross-validation, 1 for none; None if it is not named.
        seeds_are_named: whether the grid or a flag names the seeds or their number.
    """

    name: str | None
    settings: dict[str, Any]
    budgets: list[int | None]
    seeds: dict[int | None, list[int]]
    language_model: bool
    folds: int | None = None
    seeds_are_named: bool = False

    def seeds_with(self, own: Any, where: str) -> dict[int | None, list[int]]:
        """The seeds of each budget for an entry: its `own` seeds where given, otherwise those of the dataset.

        Raises:
            UserError: `own` is neither a list of whole numbers nor a mapping from budgets to such lists.
        """
        return self.seeds if own is None else _seeds({**self.seeds, **_by_budget(own, self.budgets)}, where)


def grid_datasets(content: Mapping[str, Any], flags: Mapping[str, Any], where: str) -> list[GridDataset]:
    """The datasets in `content`, the mapping of a grid file, after `flags` have replaced values of the file.

    Raises:
        UserError: a dataset without a name or with a duplicate name, an unknown key, an invalid budget or seed, or a
            flag that would give all datasets the same rows.
    """
    axes = {key: value for key, value in flags.items() if key in AXES and value is not None}
    shared = {key: value for key, value in content.items() if key in AXES}
    datasets = []
    for name, own in _named(content.get("datasets"), flags, where).items():
        place = where if name is None else f"the dataset {name!r} of {where}"
        task = flags.get("task") or own.get("task") or content.get("task")
        found = {**shared, **{key: value for key, value in own.items() if key in AXES}, **axes}
        kind, other = (TOKEN_BUDGETS, LABEL_BUDGETS) if task in KINDS else (LABEL_BUDGETS, TOKEN_BUDGETS)
        if other in found:
            models = "language models" if task in KINDS else f"the task {task!r}" if task else "labelled datasets"
            raise UserError(f"Use {kind!r} instead of {other!r} in {place}: that is the budget of {models}.")
        budgets = _budgets(found.get(kind), kind, "the flags" if kind in axes else place)
        folds, seeds = found.get("folds"), _named_seeds([axes, own, shared], place)
        expect(folds is None or is_whole(folds, 0), "folds", folds, place, "a whole number; 1 switches folds off")
        if task in KINDS and folds is not None:
            raise UserError(f"Remove 'folds' from {place}: language models are compared on a test split.")
        by_budget = _by_budget([1, 2, 3] if seeds is None else seeds, budgets)
        seeds = _seeds({budget: by_budget.get(budget) for budget in budgets}, place)
        settings = {key: value for key, value in own.items() if key not in AXES}
        named = not {"seeds", "repeats"}.isdisjoint(found)
        datasets.append(GridDataset(name, settings, budgets, seeds, task in KINDS, folds, named))
    return datasets


def replace_datasets(
    settings: dict[str, dict[str, Any]], datasets: Iterable[str], flag: str, what: str, where: str
) -> None:
    """Replace datasets in `settings` by those that a flag specifies as `NAME=DATASET`.

    The configuration and the revision in the file belong to the replaced dataset, so they are dropped as well.
    """
    for text in datasets:
        name, equals, dataset = text.partition("=")
        if not equals or not dataset or name not in settings:
            raise UserError(
                f"--{flag} must be NAME=DATASET, such as wiki=articles.parquet, but is {text!r}. NAME must be a {what} "
                f"of {where}: {listing(settings) or 'it has none'}."
            )
        kept = {key: value for key, value in settings[name].items() if key not in _OF_ONE_DATASET}
        settings[name] = {**kept, "dataset_name": dataset}


def check_used(seeds: Any, datasets: Iterable[GridDataset], where: str) -> None:
    """Check that a mapping from budgets to seeds names only budgets of the datasets.

    Raises:
        UserError: it names another budget.
    """
    budgets = {budget for dataset in datasets for budget in dataset.budgets}
    if isinstance(seeds, dict) and (unused := [budget for budget in map(as_budget, seeds) if budget not in budgets]):
        raise UserError(f"'seeds' in {where} names {listing(unused)}, which is not one of the budgets.")


def _named(given: Any, flags: Mapping[str, Any], where: str) -> dict[str | None, dict[str, Any]]:
    if given is None:
        if flags.get("grid_datasets"):
            raise UserError(f"--grid_datasets needs a grid with 'datasets', but {where} has no 'datasets'.")
        return {None: {}}
    settings = by_name(given, "datasets", "dataset", where)
    for name, own in settings.items():
        if "=" in name:
            raise UserError(f"Rename the dataset {name!r} of {where}: a dataset name must not contain '='.")
        for key in own:
            hint = " A dataset specifies its rows, how they are read, and its budgets and seeds."
            expect_known(key, _OF_ROWS | AXES, f"the dataset {name!r} of {where}", hint)
    replace_datasets(settings, flags.get("grid_datasets") or (), "grid_datasets", "dataset", where)
    if same := next((key for key in _OF_ONE_DATASET if flags.get(key) is not None), None):
        raise UserError(
            f"--{same} would replace all datasets of {where} by one. Use --grid_datasets NAME=PATH for each of "
            f"{listing(settings)}."
        )
    return {name: own for name, own in settings.items()}


def _budgets(given: Any, key: str, where: str) -> list[int | None]:
    """The budgets in ascending order; numbers from the command line arrive as text."""
    listed = [None] if given is None else given if isinstance(given, (list, tuple)) else []
    read = [as_budget(budget) for budget in listed]
    expect(read and all(map(is_budget, read)), key, given, where, f"a list of positive numbers or {ALL!r}")
    return sorted(dict.fromkeys(read), key=lambda budget: float("inf") if budget is None else budget)


def _by_budget(seeds: Any, budgets: list[int | None]) -> dict[Any, Any]:
    """The seeds by budget, from a mapping or from one list for all budgets."""
    if isinstance(seeds, dict):
        return {as_budget(budget): chosen for budget, chosen in seeds.items()}
    return dict.fromkeys(budgets, seeds)


def _named_seeds(levels: Iterable[Mapping[str, Any]], where: str) -> Any:
    """The `seeds` of the first level that names them or, as `repeats`, their number; None if none does."""
    for level in levels:
        if len(given := {"seeds", "repeats"} & level.keys()) > 1:
            raise UserError(f"Leave out 'seeds' or 'repeats' in {where}: repeats 2 means seeds 1 2.")
        if "repeats" in given:
            repeats = level["repeats"]
            expect(is_whole(repeats, 1), "repeats", repeats, where, "a whole number of 1 or more")
            return list(range(1, repeats + 1))
        if given:
            return level["seeds"]
    return None


def _seeds(by_budget: Mapping[Any, Any], where: str) -> dict[int | None, list[int]]:
    for budget, chosen in by_budget.items():
        if not isinstance(chosen, list) or not chosen or not all(is_whole(seed, 0) for seed in chosen):
            raise UserError(
                f"'seeds' in {where} must be a list of whole numbers, or a mapping with such a list for every budget, "
                f"but is {chosen!r} for the budget {ALL if budget is None else budget}."
            )
    return {budget: list(dict.fromkeys(chosen)) for budget, chosen in by_budget.items()}
