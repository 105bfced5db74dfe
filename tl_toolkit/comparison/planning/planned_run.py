"""One run of a grid: where it goes, what its result depends on, and how it is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ... import __version__
from ...config.arguments import Arguments
from ...config.parsing import arguments_from
from ...config.pretrain_arguments import PretrainArguments, pretrain_arguments_from
from ...errors import UserError
from ...evaluation.results import folder_name
from .checks import ALL
from .keys import key_of, what_counts
from .launch_settings import Launch
from .search import Search, with_values
from .stages import with_folders

RUNS, SEARCHES = "runs", "searches"


@dataclass(frozen=True)
class PlannedRun:
    """One run of the grid: an entry with a budget and a seed on a dataset, after its `stages`, in order.

    Attributes:
        label_budget: labelled rows to learn from; None: all of them, or a language model.
        settings: all that the entry is given, as it was written.
        asked: those of them that differ from their defaults, typed.
        dataset: what the grid calls the dataset; None where the grid has no `datasets`.
        language_model: whether it is a language-model training, as `pretrain.py` makes them.
        token_budget: tokens that a language model learns from; None: all of them, or no language model.
        launch: what it asks for of the machine.
        search: what its entry is tuned over; None: it is not.
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
        return f"{RUNS}/{self._cell}-seed{self.seed}"

    @property
    def search_folder(self) -> str | None:
        """The folder of the search that the run takes its values from; None for one that is not tuned."""
        return None if self.search is None else f"{SEARCHES}/{self.tuned_at(self.search)._cell}"

    @property
    def _cell(self) -> str:
        ((_, number),) = self.budget.items()
        dataset = "" if self.dataset is None else f"{folder_name(self.dataset)}/"
        return f"{dataset}{folder_name(self.entry)}-{ALL if number is None else number}"

    def tuned_at(self, search: Search) -> PlannedRun:
        """The run that trials vary: with the budget and the seed that the search has."""
        tuned = replace(self, seed=search.seed)
        return tuned if search.at_each_budget else tuned.with_budget(search.budget)

    def with_budget(self, number: int | None) -> PlannedRun:
        """The run with another budget."""
        return replace(self, token_budget=number) if self.language_model else replace(self, label_budget=number)

    def with_values(self, values: Mapping[str, Any]) -> PlannedRun:
        """The run with values that a search has chosen, whose names are as in `Search.space`."""
        return replace(self, settings=with_values(self.settings, values))

    def key(self, dataset_fingerprint: str, stage_keys: Sequence[str] = ()) -> str:
        """What the run's result depends on, as 16 hex digits: see `keys`.

        Its arguments, the data, the toolkit's version, local files that it reads, and the keys of its stages. Whatever
        is added here must leave the keys of runs that have none of it as they are.
        """
        budget = {"max_train_tokens": self.token_budget} if self.language_model else self.budget
        asked = what_counts({**self.asked, **budget, "seed": self.seed})
        content = {"arguments": asked, "dataset": dataset_fingerprint, "toolkit": __version__}
        content |= {"stages": list(stage_keys)} if stage_keys else {}
        content |= {"search": self.search.record()} if self.search else {}
        return key_of(content | ({"launch": counts} if (counts := self.launch.counts()) else {}))

    def arguments(self, output_dir: Path, folder: str | None = None) -> Arguments | PretrainArguments:
        """The run's arguments; it is silent and keeps no more than it needs to select its best model.

        Args:
            output_dir: of the comparison.
            folder: where the run goes below it, by default its own.
        """
        quiet = {"disable_tqdm": True, "log_level": "error", "save_only_model": True}
        budget = {"max_train_tokens": self.token_budget} if self.language_model else self.budget
        run_name = (folder or self.folder).removeprefix(f"{RUNS}/")  # what trackers call it
        own = {"name": self.entry, "run_name": run_name, **budget, "seed": self.seed}
        place = {"output_dir": str(output_dir / (folder or self.folder)), "overwrite_output_dir": True}
        settings = with_folders(self.settings, output_dir)
        return typed({**quiet, **settings, **own, **place}, self.language_model, f"the entry {self.entry!r}")

    def check_data(self, output_dir: Path) -> None:
        """Prepare the run's rows.

        Raises:
            UserError: as `Task.prepare`; a language model that would have no test texts to be judged on.
        """
        data = self.arguments(output_dir).data
        if not self.language_model:
            from ...tasks import make_task

            make_task(data).prepare(self.seed)
            return
        from ...tasks.language_modeling import LanguageModeling

        if "test" not in LanguageModeling(data, str(data.task)).prepare(self.seed):
            raise UserError(
                f"The dataset {data.dataset_name!r} has no test split, and language models are compared on test texts. "
                "Name one by --test_split_name."
            )


def typed(settings: Mapping[str, Any], language_model: bool, where: str) -> Arguments | PretrainArguments:
    """`settings` as the arguments of `finetune.py`, or of `pretrain.py`."""
    if language_model:
        return pretrain_arguments_from(settings, where)
    return arguments_from(settings, where)
