"""One run of a grid: its folder, its key and its arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from ... import __version__
from ...config.arguments import Arguments
from ...config.parsing import arguments_from
from ...config.pretrain_arguments import PretrainArguments, pretrain_arguments_from
from ...errors import UserError
from ...evaluation.results import folder_name
from .checks import ALL
from .keys import key_arguments, key_of
from .launch_settings import Launch
from .search import Search, with_values
from .stages import with_folders

RUNS, SEARCHES = "runs", "searches"


@dataclass(frozen=True)
class PlannedRun:
    """One run of the grid: an entry with a budget and a seed on a dataset.

    Attributes:
        label_budget: number of labelled training rows; None for all of them, or for a language model.
        settings: all settings of the entry, as written in the file.
        stages: the stages that must complete before it, in order.
        asked: the settings that differ from their defaults, parsed.
        dataset: the dataset's name in the grid; None if the grid has no `datasets`.
        language_model: whether it trains a language model, like `tl-toolkit pretrain`.
        token_budget: number of training tokens of a language model; None for all of them, or for other tasks.
        launch: the resources that it requests.
        search: the search of its entry; None if it is not tuned.
        fold: the fold of `folds` that it is tested on; None without cross-validation.
        teacher: a run of the entry that it learns from; None without one.
    """

    entry: str
    label_budget: int | None
    seed: int
    settings: dict[str, Any] = field(repr=False)
    stages: tuple[str, ...] = ()
    asked: dict[str, Any] = field(default_factory=dict, repr=False)
    dataset: str | None = None
    language_model: bool = False
    token_budget: int | None = None
    launch: Launch = Launch()
    search: Search | None = field(default=None, repr=False)
    fold: int | None = None
    folds: int | None = None
    teacher: PlannedRun | None = field(default=None, repr=False)

    @property
    def taught_by(self) -> PlannedRun | None:
        """The run of the teacher with the same budget, seed and fold."""
        if self.teacher is None:
            return None
        return replace(self.teacher, label_budget=self.label_budget, seed=self.seed, fold=self.fold, folds=self.folds)

    @property
    def budget(self) -> dict[str, int | None]:
        """The budget by its name in records."""
        return {"token_budget": self.token_budget} if self.language_model else {"label_budget": self.label_budget}

    @property
    def budget_text(self) -> str:
        """The budget in words, such as `100 labels`."""
        ((name, number),) = self.budget.items()
        return f"{ALL if number is None else format(number, ',')} {name.removesuffix('_budget')}s"

    @property
    def folder(self) -> str:
        """The run's folder below that of the comparison."""
        return f"{RUNS}/{self._cell}-seed{self.seed}{self._fold_name}"

    @property
    def seed_text(self) -> str:
        """The seed and the fold in words: `1, fold 2 of 5`."""
        return f"{self.seed}" if self.fold is None else f"{self.seed}, fold {self.fold} of {self.folds}"

    @property
    def _fold_name(self) -> str:
        return "" if self.fold is None else f"-fold{self.fold}of{self.folds}"

    @property
    def search_folder(self) -> str | None:
        """The folder of the search that supplies the run's values; None if the run is not tuned."""
        if self.search is None:
            return None
        own = "" if self.fold is None else f"-seed{self.seed}{self._fold_name}"
        return f"{SEARCHES}/{self.tuned_at(self.search)._cell}{own}"

    @property
    def _cell(self) -> str:
        ((_, number),) = self.budget.items()
        dataset = "" if self.dataset is None else f"{folder_name(self.dataset)}/"
        return f"{dataset}{folder_name(self.entry)}-{ALL if number is None else number}"

    def tuned_at(self, search: Search) -> PlannedRun:
        """The run that the trials vary: this one, with the budget and the seed of the search.

        With folds it keeps its seed, which divides the rows: trials must not see the rows that it is tested on.
        """
        tuned = self if self.fold is not None else replace(self, seed=search.seed)
        return tuned if search.at_each_budget else tuned.with_budget(search.budget)

    @property
    def _fold(self) -> dict[str, int | None]:
        return {} if self.fold is None else {"folds": self.folds, "fold": self.fold}

    def with_budget(self, number: int | None) -> PlannedRun:
        """The run with another budget."""
        return replace(self, token_budget=number) if self.language_model else replace(self, label_budget=number)

    def with_values(self, values: Mapping[str, Any]) -> PlannedRun:
        """The run with the values that a search has chosen; names as in `Search.space`."""
        return replace(self, settings=with_values(self.settings, values))

    def key(self, dataset_fingerprint: str, earlier_keys: Sequence[str] = ()) -> str:
        """The run's key, 16 hex digits: see `keys`.

        It covers the arguments, the data, the toolkit's version, local files, and `earlier_keys`: those of the stages
        and of the teacher. Any addition must not change the keys of runs that do not use it.
        """
        budget = {"max_train_tokens": self.token_budget} if self.language_model else self.budget
        asked = key_arguments({**self.asked, **budget, **self._fold, "seed": self.seed})
        content = {"arguments": asked, "dataset": dataset_fingerprint, "toolkit": __version__}
        content |= {"stages": list(earlier_keys)} if earlier_keys else {}
        content |= {"search": self.search.record()} if self.search else {}
        return key_of(content | ({"launch": counts} if (counts := self.launch.counts()) else {}))

    def arguments(self, output_dir: Path, folder: str | None = None) -> Arguments | PretrainArguments:
        """The run's arguments. The run is silent, and its checkpoints hold only the model.

        Args:
            output_dir: the comparison's folder.
            folder: the run's folder below `output_dir`; by default `self.folder`.
        """
        quiet = {"disable_tqdm": True, "log_level": "error", "save_only_model": True}
        budget = {"max_train_tokens": self.token_budget} if self.language_model else self.budget
        run_name = (folder or self.folder).removeprefix(f"{RUNS}/")  # its name in trackers
        own = {"name": self.entry, "run_name": run_name, **budget, **self._fold, "seed": self.seed}
        place = {"output_dir": str(output_dir / (folder or self.folder)), "overwrite_output_dir": True}
        settings = with_folders(self.settings, output_dir)
        if self.taught_by is not None:
            settings["teacher"] = str(output_dir / self.taught_by.folder)
        return typed({**quiet, **settings, **own, **place}, self.language_model, f"the entry {self.entry!r}")

    def check_data(self, output_dir: Path) -> None:
        """Prepare the run's rows.

        Raises:
            UserError: as `Task.prepare`, or if the dataset of a language model has no test split.
        """
        data = self.arguments(output_dir).data
        if not self.language_model:
            from ...tasks import make_task

            make_task(data).prepare(self.seed)
            return
        from ...tasks.language_modeling import LanguageModeling

        if "test" not in LanguageModeling(data, str(data.task)).prepare(self.seed):
            raise UserError(
                f"Name a test split with --test_split_name: the dataset {data.dataset_name!r} has no test split, and "
                "language models are compared on test texts."
            )

    def check_checkpoint(self, output_dir: Path) -> None:
        """Read the configuration of the run's checkpoint, and the headers of its weights if it is a local folder.

        Raises:
            UserError: there is no such checkpoint, or a file of it is missing or damaged.
        """
        from ...loading.model import load_config
        from ...loading.names import location_of
        from ...records.checkpoints import is_whole_safetensors

        if self.stages:  # its checkpoint is made by a stage
            return
        model = self.arguments(output_dir).model
        try:
            load_config(model)
            folder = Path(location_of(model.model_name_or_path)) if model.model_name_or_path else Path()
            if not model.model_name_or_path or not folder.is_dir():
                return
            weights = list(folder.glob("*.safetensors"))
            if broken := next((path for path in weights if not is_whole_safetensors(path)), None):
                raise UserError(f"The file {str(broken)!r} is damaged: its size does not match its header.")
            if not weights and not (folder / "modules.json").exists():
                raise UserError(f"The checkpoint {model.model_name_or_path!r} has no weights (*.safetensors).")
        except UserError as error:
            raise UserError(f"In the entry {self.entry!r}: {error}") from error


def in_folds(runs: Sequence[PlannedRun], folds: Mapping[str | None, int]) -> list[PlannedRun]:
    """The runs, each in all folds of its dataset (less than 2: none); a fold of all entries comes before the next."""
    found: list[PlannedRun] = []
    for (dataset, *_), members in groupby(runs, lambda run: (run.dataset, *run.budget.values(), run.seed)):
        own, parts = list(members), folds.get(dataset, 1)
        numbers = range(1, parts + 1) if parts > 1 else ()
        found += [replace(run, fold=fold, folds=parts) for fold in numbers for run in own] or own
    return found


def typed(settings: Mapping[str, Any], language_model: bool, where: str) -> Arguments | PretrainArguments:
    """`settings` as the arguments of `tl-toolkit finetune`, or of `tl-toolkit pretrain`."""
    if language_model:
        return pretrain_arguments_from(settings, where)
    return arguments_from(settings, where)
