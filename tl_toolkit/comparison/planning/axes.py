"""The axes of a grid beside its entries: datasets, and for each of them budgets and seeds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...config.arguments import DataArguments
from ...config.pretrain_arguments import KINDS, LanguageModelArguments
from ...errors import UserError, listing, nearest
from ...evaluation.results import folder_name

LABEL_BUDGETS, TOKEN_BUDGETS = "label_budgets", "token_budgets"
AXES = frozenset([LABEL_BUDGETS, TOKEN_BUDGETS, "seeds"])
ALL = "all"
_OF_ONE_DATASET = ("dataset_name", "dataset_config_name", "dataset_revision")
_OF_ROWS = {
    field.name for kind in (DataArguments, LanguageModelArguments) for field in dataclasses.fields(kind) if field.init
} - {"label_budget", "max_train_tokens", "evaluate_only"}


@dataclass(frozen=True)
class GridDataset:
    """One dataset of a grid, with the label budgets (token budgets for language models) and seeds of its runs.

    Attributes:
        name: what the grid calls it; None where the grid has no `datasets`.
        settings: what it has of its own, which beats the keys at the top.
        budgets: smallest first; None stands for all.
        seeds: for each budget.
        language_model: whether its runs are language-model trainings.
    """

    name: str | None
    settings: dict[str, Any]
    budgets: list[int | None]
    seeds: dict[int | None, list[int]]
    language_model: bool


def grid_datasets(content: Mapping[str, Any], flags: Mapping[str, Any], where: str) -> list[GridDataset]:
    """The datasets in `content`, the mapping of a grid file whose entries were checked, less what `flags` replace.

    Raises:
        UserError: a dataset without a name or with one that is taken, an unknown key, a wrong budget or seed, or a flag
            that would give all datasets the same rows.
    """
    given = content.get("datasets")
    mappings = _named(given, flags, where)
    axes = {key: value for key, value in flags.items() if key in AXES and value is not None}
    shared = {key: value for key, value in content.items() if key in AXES}
    datasets = []
    for name, own in mappings.items():
        place = where if name is None else f"the dataset {name!r} of {where}"
        task = flags.get("task") or own.get("task") or content.get("task")
        found = {**shared, **{key: value for key, value in own.items() if key in AXES}, **axes}
        kind = TOKEN_BUDGETS if task in KINDS else LABEL_BUDGETS
        if other := next((key for key in (LABEL_BUDGETS, TOKEN_BUDGETS) if key != kind and key in found), None):
            models = "Language models learn from text alone" if task in KINDS else f"The task is {task or 'labelled'}"
            raise UserError(f"{other!r} in {place}: {models}. Their budgets are called {kind!r}.")
        budgets = as_budgets(found.get(kind), kind, place)
        seeds = _seeds(found.get("seeds"), budgets, place)
        settings = {key: value for key, value in own.items() if key not in AXES}
        datasets.append(GridDataset(name, settings, budgets, seeds, task in KINDS))
    if not any(kind in axes for kind in (LABEL_BUDGETS, TOKEN_BUDGETS)):
        check_used(content.get("seeds"), datasets, where)
    return datasets


def replace_datasets(
    settings: dict[str, dict[str, Any]], datasets: Iterable[str], flag: str, what: str, where: str
) -> None:
    """Put in the place of datasets those that a flag gives as `NAME=DATASET`.

    The configuration and the revision that the file gives belong to its own dataset, and are dropped with it.
    """
    for text in datasets:
        name, equals, dataset = text.partition("=")
        if not equals or not dataset or name not in settings:
            raise UserError(
                f"--{flag} was given {text!r}; NAME=DATASET is expected, such as wiki=articles.parquet, with a {what} "
                f"of {where}: {listing(settings) or 'it has none'}."
            )
        kept = {key: value for key, value in settings[name].items() if key not in _OF_ONE_DATASET}
        settings[name] = {**kept, "dataset_name": dataset}


def as_budgets(budgets: Any, key: str, where: str) -> list[int | None]:
    """Budgets in their order; numbers from the command line come as text.

    Raises:
        UserError: no list of positive numbers and `all`.
    """
    budgets = [None] if budgets is None else budgets
    valid = isinstance(budgets, Sequence) and not isinstance(budgets, str) and budgets
    read = [as_budget(budget) for budget in budgets] if valid else []
    if not valid or not all(budget is None or (is_whole(budget) and budget > 0) for budget in read):
        raise UserError(f"{key!r} in {where} is {budgets!r}; a list of positive numbers is expected ({ALL}: all).")
    return sorted(dict.fromkeys(read), key=lambda budget: float("inf") if budget is None else budget)


def as_budget(value: Any) -> Any:
    """`all` and null as None, the digits of a text as their number, anything else as it is."""
    if isinstance(value, str):
        return None if value.lower() in (ALL, "none", "null") else int(value) if value.isdecimal() else value
    return value


def is_whole(value: Any) -> bool:
    """Whether `value` is a whole number, and no truth value."""
    return isinstance(value, int) and not isinstance(value, bool)


def _named(given: Any, flags: Mapping[str, Any], where: str) -> dict[str | None, dict[str, Any]]:
    if given is None:
        if flags.get("grid_datasets"):
            raise UserError(f"--grid_datasets is for grids with several datasets, and {where} has no 'datasets'.")
        return {None: {}}
    if not isinstance(given, list) or not given or not all(isinstance(own, dict) for own in given):
        raise UserError(f"'datasets' in {where} is {given!r}; a list of mappings is expected, each with a 'name'.")
    settings: dict[str, dict[str, Any]] = {}
    for number, own in enumerate(given, 1):
        name = own.get("name")
        if not isinstance(name, str) or not name.strip() or "=" in name:
            raise UserError(f"Dataset {number} in {where} needs a 'name' of its own, without '='; it is {name!r}.")
        if taken := next((other for other in settings if folder_name(other) == folder_name(name)), None):
            raise UserError(f"The datasets {taken!r} and {name!r} of {where} would share a folder: rename one of them.")
        settings[name] = {key: value for key, value in own.items() if key != "name"}
        if unknown := next((key for key in settings[name] if key not in _OF_ROWS | AXES), None):
            raise UserError(
                f"Unknown key {unknown!r} in the dataset {name!r} of {where}.{nearest(str(unknown), _OF_ROWS | AXES)} "
                "A dataset says which rows there are, how they are read, and its budgets and seeds."
            )
    replace_datasets(settings, flags.get("grid_datasets") or (), "grid_datasets", "dataset", where)
    if same := next((key for key in _OF_ONE_DATASET if flags.get(key) is not None), None):
        raise UserError(
            f"--{same} would make the datasets of {where} one: --grid_datasets NAME=PATH says where each of "
            f"{listing(settings)} lies."
        )
    return {name: own for name, own in settings.items()}


def _seeds(seeds: Any, budgets: list[int | None], where: str) -> dict[int | None, list[int]]:
    seeds = [1, 2, 3] if seeds is None else seeds
    by_budget = _by_budget(seeds) if isinstance(seeds, dict) else dict.fromkeys(budgets, seeds)
    for budget in budgets:
        chosen = by_budget.get(budget)
        if not isinstance(chosen, list) or not chosen or not all(is_whole(s) and s >= 0 for s in chosen):
            raise UserError(
                f"'seeds' in {where} gives {chosen!r} for the budget {ALL if budget is None else budget}; a list of "
                "whole numbers is expected, or a mapping with such a list for every budget."
            )
    return {budget: list(dict.fromkeys(by_budget[budget])) for budget in budgets}


def seeds_of(own: Any, dataset: GridDataset, where: str) -> dict[int | None, list[int]]:
    """The seeds of an entry at each budget of a dataset: where it has some of its own, those.

    Raises:
        UserError: no list of whole numbers, or mapping from budgets to such lists.
    """
    if own is None:
        return dataset.seeds
    by_budget = _by_budget(own) if isinstance(own, dict) else dict.fromkeys(dataset.budgets, own)
    return _seeds({**dataset.seeds, **by_budget}, dataset.budgets, where)


def _by_budget(seeds: Mapping[Any, Any]) -> dict[Any, Any]:
    return {as_budget(budget): chosen for budget, chosen in seeds.items()}


def check_used(seeds: Any, datasets: Iterable[GridDataset], where: str) -> None:
    """See that a mapping from budgets to seeds names no budget that no dataset has.

    Raises:
        UserError: it does.
    """
    budgets = {budget for dataset in datasets for budget in dataset.budgets}
    if isinstance(seeds, dict) and (unused := [budget for budget in _by_budget(seeds) if budget not in budgets]):
        raise UserError(f"'seeds' in {where} names {listing(unused)}, which is none of the budgets.")
