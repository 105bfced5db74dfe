"""The grid of a comparison: one YAML file, expanded into runs."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...config.arguments import ModelArguments
from ...config.parsing import known_keys, make_parser
from ...config.pretrain_arguments import LanguageModelArguments
from ...errors import UserError, listing
from ...loading.pooled_encoder import check_pooling
from ...records.record import changed_arguments
from ...strategies import make_strategy
from ...tasks import make_task
from .axes import AXES, GridDataset, check_used, grid_datasets
from .checks import by_name, expect, expect_known
from .ladder import expand
from .launch_settings import LAUNCH_KEYS, take_launch
from .planned_run import PlannedRun, in_folds, typed
from .search import Search, Tuning, parse_space, parse_tuning
from .stages import Stage, in_order, make_stages, named_stages
from .teachers import with_teachers

logger = logging.getLogger(__name__)

GRID_KEYS = {"entries", "title", "keep_models", "stages", "datasets", "tuning", *AXES}
_FLAGS = {"title", "keep_models", *AXES, "stage_datasets", "grid_datasets"}
_OF_ENTRIES = {"name", "search", "seeds", *LAUNCH_KEYS}
_SET_BY_THE_GRID = frozenset(
    ["label_budget", "max_train_tokens", "seed", "fold", "output_dir", "name", "resume_from_checkpoint", "skip_test"]
)
_INSTEAD = "is set by the grid: use label_budgets (token_budgets for language models) and seeds"
_REFUSED = {
    **dict.fromkeys(_SET_BY_THE_GRID, _INSTEAD),
    "find_lr": "trains no model to compare: use tl-toolkit finetune",
    "evaluate_only": "trains no model to compare: use tl-toolkit pretrain",
    "push_to_hub": "would publish every run. Publish selected runs afterwards: tl-toolkit publish takes a run's "
    "folder, or the whole comparison with --repo_type dataset",
}

# The settings that determine the test rows, the task and its main metric.
_SAME_FOR_ALL = frozenset(
    ["task", "dataset_name", "dataset_config_name", "dataset_revision", "label_column", "group_column", "test_budget"]
    + ["folds", "stream_rows", "train_split_name", "validation_split_name", "test_split_name", "max_eval_tokens"]
    + ["main_metric"]
)
_SHARED_WITH_STAGES = ("use_cpu",)  # all other settings of a stage are in its own mapping
_DATASET = "{dataset}"


@dataclass(frozen=True)
class Grid:
    """The title of a comparison, all its runs, and the stages before them, in execution order.

    `open_folds` are the datasets whose folds are not named, with whether their seeds are. `is_ladder` says that the
    entries are those of a ladder.
    """

    title: str
    keep_models: bool
    runs: list[PlannedRun]
    stages: dict[str, Stage] = field(default_factory=dict)
    open_folds: dict[str | None, bool] = field(default_factory=dict)
    is_ladder: bool = False

    @property
    def entries(self) -> list[str]:
        return list(dict.fromkeys(run.entry for run in self.runs))


def make_grid(content: Mapping[str, Any], flags: Mapping[str, Any], where: str) -> Grid:
    """The grid in `content`, the mapping of a YAML file.

    Keys at the top are shared by all entries. The keys of a dataset override them, those of an entry override both, and
    `flags` override all. Runs are ordered by dataset, ascending budget, seed, fold and entry, so that a
    comparison that is stopped early already has comparable results.

    Stages inherit only `use_cpu` from the keys at the top and the flags. The flags `stage_datasets` and
    `grid_datasets`, lists of `NAME=DATASET`, replace the datasets of stages and of the grid.

    Raises:
        UserError: an unknown or missing key, an entry without a name or with a duplicate name, an invalid dataset,
            budget, seed, search or stage.
    """
    is_ladder = isinstance(flags.get("entries") or content.get("entries"), str)
    content, flags = expand(content, flags, where)
    language_models = {field.name for field in dataclasses.fields(LanguageModelArguments)}
    known = (known_keys(make_parser()) | language_models) - _SET_BY_THE_GRID
    _check_keys(content, known | GRID_KEYS | LAUNCH_KEYS, where)
    _check_keys(flags, known | _FLAGS | LAUNCH_KEYS, "the flags")
    entries = _entries(content.get("entries"), known, where)
    places = {name: f"the entry {name!r} of {where}" for name in entries}
    datasets = grid_datasets(content, flags, where)
    if not {"label_budgets", "token_budgets"} & flags.keys():
        for place, given in ((where, content), *((places[name], entry) for name, entry in entries.items())):
            check_used(given.get("seeds"), datasets, place)
    tuning = _tuning(content.get("tuning"), entries, datasets, where)
    runs: list[PlannedRun] = []
    named: dict[str, list[str]] = {}
    shared = {key: value for key, value in content.items() if key not in GRID_KEYS}
    own_flags = {key: value for key, value in flags.items() if key not in _FLAGS}
    for dataset in datasets:
        templates: list[tuple[PlannedRun, dict[int | None, list[int]]]] = []
        for name, entry in entries.items():
            given = {**shared, **dataset.settings, **entry, **own_flags}
            template = _template(name, given, dataset, tuning, set(own_flags), known, places[name])
            named.setdefault(name, []).extend(named_stages(template.settings))
            own_seeds = None if {"seeds", "repeats"} & flags.keys() else entry.get("seeds")
            templates.append((template, dataset.seeds_with(own_seeds, places[name])))
        runs += [
            dataclasses.replace(template, seed=seed).with_budget(budget)
            for budget in dataset.budgets
            for seed in dict.fromkeys(seed for _, seeds in templates for seed in seeds[budget])
            for template, seeds in templates
            if seed in seeds[budget]
        ]
    for_stages = {key: value for key, value in {**shared, **own_flags}.items() if key in _SHARED_WITH_STAGES}
    stages = make_stages(content.get("stages"), flags.get("stage_datasets") or (), for_stages, named, where)
    runs = [dataclasses.replace(run, stages=in_order(named_stages(run.settings), stages)) for run in runs]
    runs = with_teachers(runs, where)
    keep_models = flags.get("keep_models", content.get("keep_models", True))
    expect(isinstance(keep_models, bool), "keep_models", keep_models, where, "true or false")
    title = flags.get("title") or content.get("title") or "Comparison"
    expect(not isinstance(title, (list, dict)), "title", title, where, "a text, in quotation marks")
    own_seeds = any("seeds" in entry for entry in entries.values())
    undecided = {
        dataset.name: dataset.seeds_are_named or own_seeds
        for dataset in datasets
        if dataset.folds is None and not dataset.language_model and tuning is None
    }
    runs = in_folds(runs, {dataset.name: dataset.folds or 1 for dataset in datasets})
    return Grid(str(title), keep_models, runs, stages, undecided, is_ladder)


def _entries(given: Any, known: set[str], where: str) -> dict[str, dict[str, Any]]:
    """The entries by name; the name itself is removed from each."""
    entries = by_name(given, "entries", "entry", where)
    for name, entry in entries.items():
        if own := next((key for key in ("trials", "tuning") if key in entry), None):
            raise UserError(
                f"Move {own!r} of the entry {name!r} to 'tuning' at the top of {where}: all entries are tuned with the "
                "same number of trials. An entry only has a 'search', which lists the arguments to tune."
            )
        _check_keys(entry, known | _OF_ENTRIES, f"the entry {name!r} of {where}")
        if own_rows := sorted(_SAME_FOR_ALL & entry.keys()):
            raise UserError(
                f"Move {own_rows[0]!r} of the entry {name!r} to the top of {where}, or to one of its datasets. All "
                f"entries are evaluated on the same rows, so an entry must not set {listing(sorted(_SAME_FOR_ALL))}."
            )
    return entries


def _tuning(
    content: Any, entries: Mapping[str, Mapping[str, Any]], datasets: list[GridDataset], where: str
) -> Tuning | None:
    searching = [name for name, entry in entries.items() if entry.get("search") is not None]
    if content is None and not searching:
        return None
    kinds = {dataset.language_model for dataset in datasets}
    tuning = parse_tuning(content, "token_budget" if kinds == {True} else "label_budget", where)
    if not tuning.at_each_budget and len(kinds) > 1:
        raise UserError(f"Remove the budget of 'tuning' in {where}: its datasets count labels and tokens.")
    if not searching:
        logger.warning("No entry of %s has a 'search', so nothing is tuned.", where)
    return tuning


def _template(
    name: str,
    given: dict[str, Any],
    dataset: GridDataset,
    tuning: Tuning | None,
    flags: set[str],
    known: set[str],
    where: str,
) -> PlannedRun:
    """An entry on a dataset, without a budget and with seed 0. Checks its settings before any run starts."""
    launch, given = take_launch(given, where)
    settings = {key: value for key, value in given.items() if key not in ("search", "seeds")}
    if dataset.name is not None:
        for key in ("model_name_or_path", "tokenizer_name"):
            if isinstance(settings.get(key), str):
                settings[key] = settings[key].replace(_DATASET, dataset.name)

    def check(settings: Mapping[str, Any]) -> dict[str, Any]:
        try:
            arguments = typed(settings, dataset.language_model, where)
            task = arguments.data.task or "causal-lm"
            make_strategy(arguments.strategy, arguments.model).check(arguments.run, task)
            check_pooling(arguments.model, task)
            if not dataset.language_model:
                make_task(arguments.data)
            _check_overrides(arguments.model)
        except UserError as error:  # written for a single run: name the entry
            if where in str(error):
                raise
            raise UserError(f"In {where}: {error}", command=error.command) from error
        return changed_arguments(arguments)

    asked = check(settings)
    search = None
    if (space := given.get("search")) is not None:
        assert tuning is not None
        if fixed := sorted(flags & set(space)):
            raise UserError(f"Leave out --{fixed[0]}, or remove {fixed[0]!r} from 'search' in {where}.")
        space = parse_space(space, settings, known - _SAME_FOR_ALL, check, where)
        search = Search(**dataclasses.asdict(tuning), space=space)
    return PlannedRun(
        name, None, 0, settings, asked=asked, dataset=dataset.name, language_model=dataset.language_model,
        launch=launch, search=search,
    )  # fmt: skip


def _check_overrides(model: ModelArguments) -> None:
    """Check that an architecture has the overridden fields. Checkpoints are not checked: they would have to be read."""
    if model.model_type and model.config_overrides:
        from ...config.overrides import parse_overrides
        from ...loading.model import load_config

        parse_overrides(model.config_overrides, type(load_config(model)))


def _check_keys(mapping: Mapping[str, Any], known: set[str], where: str) -> None:
    for key in mapping:
        if key in _REFUSED:
            raise UserError(f"The key {key!r} in {where} {_REFUSED[key]}.")
        expect_known(key, known, where)
