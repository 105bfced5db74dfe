"""The grid of a comparison: from one YAML file to the runs it stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import UserError, listing, nearest
from ..strategies import make_strategy
from ..training.arguments import Arguments
from ..training.parsing import arguments_from, known_keys, make_parser
from ..training.record import changed_arguments
from .keys import key_of, what_counts
from .records import folder_name
from .stages import Stage, in_order, make_stages, named_stages, with_folders

GRID_KEYS = {"label_budgets", "seeds", "entries", "title", "keep_models", "stages"}
_FLAGS = (GRID_KEYS - {"entries", "stages"}) | {"stage_datasets"}
_SET_BY_THE_GRID = {"label_budget", "seed", "output_dir", "name", "resume_from_checkpoint"}

# What decides which rows are tested, and what is asked of them.
_SAME_FOR_ALL = frozenset(
    ["task", "dataset_name", "dataset_config_name", "dataset_revision", "label_column", "test_budget"]
    + ["train_split_name", "validation_split_name", "test_split_name"]
)
_SHARED_WITH_STAGES = ("use_cpu",)  # all else about a stage is said in its own place


@dataclass(frozen=True)
class PlannedRun:
    """One run of the grid: an entry with a label budget (None: all labels) and a seed, after its `stages`, in order."""

    entry: str
    label_budget: int | None
    seed: int
    settings: dict[str, Any] = field(repr=False)
    stages: tuple[str, ...] = ()
    asked: dict[str, Any] = field(default_factory=dict, repr=False)
    """The arguments in `settings` that differ from their defaults, typed."""

    @property
    def folder(self) -> str:
        """The run's folder below that of the comparison."""
        budget = "all" if self.label_budget is None else str(self.label_budget)
        return f"runs/{folder_name(self.entry)}-{budget}-seed{self.seed}"

    def key(self, dataset_fingerprint: str, stage_keys: Sequence[str] = ()) -> str:
        """What the run's result depends on, as 16 hex digits: see `keys`.

        Its arguments, the data, the toolkit's version, local files that it reads, and the keys of its stages. Whatever
        is added here must leave the keys of runs that have none of it as they are.
        """
        asked = what_counts({**self.asked, "label_budget": self.label_budget, "seed": self.seed})
        content = {"arguments": asked, "dataset": dataset_fingerprint, "toolkit": __version__}
        return key_of(content | ({"stages": list(stage_keys)} if stage_keys else {}))

    def arguments(self, output_dir: Path) -> Arguments:
        """The run's arguments; it is silent and keeps no more than it needs to select its best model."""
        quiet = {"disable_tqdm": True, "log_level": "error", "save_only_model": True}
        own = {"name": self.entry, "label_budget": self.label_budget, "seed": self.seed}
        place = {"output_dir": str(output_dir / self.folder), "overwrite_output_dir": True}
        settings = with_folders(self.settings, output_dir)
        return arguments_from({**quiet, **settings, **own, **place}, f"the entry {self.entry!r}")


@dataclass(frozen=True)
class Grid:
    """All runs of a comparison, and the stages before them, in the order in which they are made; and its title."""

    title: str
    keep_models: bool
    runs: list[PlannedRun]
    stages: dict[str, Stage] = field(default_factory=dict)

    @property
    def entries(self) -> list[str]:
        return list(dict.fromkeys(run.entry for run in self.runs))


def make_grid(content: Mapping[str, Any], flags: Mapping[str, Any], where: str) -> Grid:
    """The grid in `content`, the mapping of a YAML file.

    Keys at the top are shared by all entries; an entry's own keys beat them, and `flags` beat both. `seeds` is a list,
    or a mapping from label budget to a list. The smallest budgets come first, and within one budget each seed goes
    through all entries, so that a comparison that is stopped early has compared something.

    Of the keys at the top and of the flags, stages are given `use_cpu` alone; the flag `stage_datasets`, a list of
    `NAME=DATASET`, says where their datasets lie.

    Raises:
        UserError: an unknown or missing key, an entry without a name or with one that is taken, a wrong budget, seed or
            stage.
    """
    known = known_keys(make_parser(None)) - _SET_BY_THE_GRID
    _check_keys(content, known | GRID_KEYS, where)
    _check_keys(flags, known | _FLAGS, "the flags")
    entries = content.get("entries")
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise UserError(f"{where} needs 'entries': a list of mappings, each with a 'name' and what to train.")
    shared = {key: value for key, value in content.items() if key not in GRID_KEYS}
    own_flags = {key: value for key, value in flags.items() if key not in _FLAGS}
    budgets = _budgets(flags.get("label_budgets", content.get("label_budgets")), where)
    seeds = _seeds(flags.get("seeds", content.get("seeds")), budgets, where)

    settings: dict[str, dict[str, Any]] = {}
    asked: dict[str, dict[str, Any]] = {}
    for number, entry in enumerate(entries, 1):
        name = entry.get("name")
        if not isinstance(name, str) or not name.strip() or name in settings:
            problem = "has no name" if not name else f"has the name {name!r}, which is taken or is no text"
            raise UserError(f"Entry {number} in {where} {problem}; reports tell entries apart by their names.")
        _check_keys({k: v for k, v in entry.items() if k != "name"}, known, f"the entry {name!r} of {where}")
        if own_rows := sorted(_SAME_FOR_ALL & entry.keys()):
            raise UserError(
                f"The entry {name!r} of {where} has its own {own_rows[0]!r}. Entries are judged on the same rows, so "
                f"{listing(sorted(_SAME_FOR_ALL))} belong at the top of the file."
            )
        if taken := next((other for other in settings if folder_name(other) == folder_name(name)), None):
            raise UserError(f"The entries {taken!r} and {name!r} of {where} would share a folder: rename one of them.")
        settings[name] = {**shared, **{k: v for k, v in entry.items() if k != "name"}, **own_flags}
        arguments = arguments_from(settings[name], f"the entry {name!r} of {where}")
        asked[name] = changed_arguments(arguments)
        make_strategy(arguments.strategy, arguments.model)  # a wrong entry shows before the first run, not hours later
    named = {name: named_stages(own) for name, own in settings.items()}
    for_stages = {key: value for key, value in {**shared, **own_flags}.items() if key in _SHARED_WITH_STAGES}
    stages = make_stages(content.get("stages"), flags.get("stage_datasets") or (), for_stages, named, where)
    runs = [
        PlannedRun(name, budget, seed, settings[name], in_order(named[name], stages), asked[name])
        for budget in budgets
        for seed in seeds[budget]
        for name in settings
    ]
    keep_models = flags.get("keep_models", content.get("keep_models", True))
    if not isinstance(keep_models, bool):
        raise UserError(f"'keep_models' in {where} is {keep_models!r}, where true or false is expected.")
    title = str(flags.get("title") or content.get("title") or "Comparison")
    return Grid(title, keep_models, runs, stages)


def _check_keys(mapping: Mapping[str, Any], known: set[str], where: str) -> None:
    for key in mapping:
        if key in _SET_BY_THE_GRID:
            raise UserError(f"The key {key!r} in {where} is set by the grid itself: use label_budgets and seeds.")
        if key == "find_lr":
            raise UserError(f"The key 'find_lr' in {where} trains nothing that could be compared: use finetune.py.")
        if key not in known:
            raise UserError(f"Unknown key {key!r} in {where}.{nearest(str(key), known)}")


def _budgets(budgets: Any, where: str) -> list[int | None]:
    budgets = [None] if budgets is None else budgets
    valid = isinstance(budgets, Sequence) and not isinstance(budgets, str) and budgets
    if not valid or not all(b is None or (_is_whole(b) and b > 0) for b in budgets):
        raise UserError(
            f"'label_budgets' in {where} is {budgets!r}; a list of positive numbers is expected (null: all)."
        )
    return sorted(dict.fromkeys(budgets), key=lambda b: float("inf") if b is None else b)


def _seeds(seeds: Any, budgets: list[int | None], where: str) -> dict[int | None, list[int]]:
    seeds = [1, 2, 3] if seeds is None else seeds
    by_budget = seeds if isinstance(seeds, dict) else dict.fromkeys(budgets, seeds)
    if unused := [budget for budget in by_budget if budget not in budgets]:
        raise UserError(f"'seeds' in {where} names {listing(unused)}, which is none of the label budgets.")
    for budget in budgets:
        chosen = by_budget.get(budget)
        if not isinstance(chosen, list) or not chosen or not all(_is_whole(s) and s >= 0 for s in chosen):
            raise UserError(
                f"'seeds' in {where} gives {chosen!r} for the label budget {budget}; a list of whole numbers is "
                "expected, or a mapping with such a list for every label budget."
            )
    return {budget: list(dict.fromkeys(by_budget[budget])) for budget in budgets}


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
