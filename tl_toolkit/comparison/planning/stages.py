"""The stages of a comparison: named pre-training runs that its entries, or other stages, start from."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ... import __version__
from ...config.pretrain_arguments import PretrainArguments, pretrain_arguments_from
from ...errors import UserError, listing, nearest
from ...loading.pooled_encoder import check_pooling
from ...records.record import changed_arguments
from ...strategies import make_strategy
from .axes import replace_datasets
from .checks import expect
from .keys import key_arguments, key_of
from .launch_settings import Launch, take_launch

logger = logging.getLogger(__name__)

FOLDER = "stages"
_PREFIX = "stage:"
_MAY_NAME_A_STAGE = ("model_name_or_path", "tokenizer_name")
_SET_BY_THE_GRID = ("name", "output_dir", "overwrite_output_dir", "resume_from_checkpoint")
_REFUSED = {
    **dict.fromkeys(_SET_BY_THE_GRID, "is set by the grid"),
    **dict.fromkeys(("evaluate_only", "find_lr"), "leaves no model to start from"),
}


@dataclass(frozen=True)
class Stage:
    """One pre-training run; `sources` are all stages that it depends on, directly or indirectly, in order."""

    name: str
    settings: dict[str, Any] = field(repr=False)
    sources: tuple[str, ...] = ()
    launch: Launch = Launch()

    @property
    def folder(self) -> str:
        """The stage's folder below that of the comparison."""
        return f"{FOLDER}/{self.name}"

    def arguments(self, output_dir: Path) -> PretrainArguments:
        """The stage's arguments. The stage is silent and resumes from its last complete checkpoint, if any."""
        quiet = {"disable_tqdm": True, "log_level": "error"}
        place = {"output_dir": str(output_dir / self.folder), "resume_from_checkpoint": "true"}
        settings = {**quiet, **with_folders(self.settings, output_dir), "name": self.name, **place}
        return pretrain_arguments_from(settings, f"the stage {self.name!r}")

    def key(self, dataset_fingerprint: str, source_keys: Sequence[str]) -> str:
        """The stage's key, from its arguments, data, version, local files, and the stages before it."""
        asked = key_arguments(changed_arguments(pretrain_arguments_from(self.settings, f"the stage {self.name!r}")))
        content = {"arguments": asked, "dataset": dataset_fingerprint, "toolkit": __version__}
        return key_of({**content, "stages": list(source_keys), **self.launch.counts()})


def named_stages(settings: Mapping[str, Any]) -> list[str]:
    """The stages that settings refer to as `stage:NAME`, such as `model_name_or_path: stage:wiki`."""
    values = [str(settings.get(key)) for key in _MAY_NAME_A_STAGE]
    return list(dict.fromkeys(value.removeprefix(_PREFIX) for value in values if value.startswith(_PREFIX)))


def with_folders(settings: Mapping[str, Any], output_dir: Path) -> dict[str, Any]:
    """`settings` with each `stage:NAME` replaced by the stage's folder."""
    folders = {f"{_PREFIX}{name}": str(output_dir / FOLDER / name) for name in named_stages(settings)}
    return {
        key: folders.get(str(value), value) if key in _MAY_NAME_A_STAGE else value for key, value in settings.items()
    }


def make_stages(
    content: Any, datasets: Iterable[str], shared: Mapping[str, Any], needed_by: Mapping[str, Sequence[str]], where: str
) -> dict[str, Stage]:
    """The stages that entries need, each after its dependencies.

    Args:
        content: `stages` of the grid file: a mapping from names to settings of `tl-toolkit pretrain`.
        datasets: `NAME=DATASET` for each stage whose dataset is replaced; the configuration and the revision in the
            file belong to the replaced dataset and are dropped.
        shared: default settings of every stage.
        needed_by: the stages that each entry names.

    Raises:
        UserError: a stage that does not exist, depends on itself, or has settings that `tl-toolkit pretrain` refuses.
    """
    content = {} if content is None else content
    mappings = isinstance(content, dict) and all(isinstance(settings, dict) for settings in content.values())
    expect(mappings, "stages", content, where, "a mapping from names to settings of tl-toolkit pretrain")
    if wrong := [name for name in content if not re.fullmatch(r"\w[\w.-]*", str(name))]:
        raise UserError(
            f"Rename the stage {wrong[0]!r} in {where}: a stage name must consist of letters, digits, '-', '_' and '.'."
        )
    settings = {str(name): {**shared, **own} for name, own in content.items()}
    replace_datasets(settings, datasets, "stage_datasets", "stage", where)
    for name, own in settings.items():
        if taken := next((key for key in _REFUSED if key in own), None):
            raise UserError(f"The key {taken!r} of the stage {name!r} in {where} {_REFUSED[taken]}: leave it out.")
    before: dict[str, tuple[str, ...]] = {}
    for entry, names in needed_by.items():
        for name in names:
            _collect(name, settings, before, (), f"the entry {entry!r} of {where}")
    if unused := [name for name in settings if name not in before]:
        logger.warning("Skipping %s: no entry of %s starts from it.", listing(unused), where)
    launches = {name: take_launch(settings[name], f"the stage {name!r} of {where}") for name in before}
    stages = {name: Stage(name, launches[name][1], sources, launches[name][0]) for name, sources in before.items()}
    for stage in stages.values():  # report a wrong stage before the first run
        arguments = pretrain_arguments_from(stage.settings, f"the stage {stage.name!r} of {where}")
        task = arguments.data.task or "causal-lm"
        make_strategy(arguments.strategy, arguments.model).check(arguments.run, task)
        check_pooling(arguments.model, task)
    return stages


def in_order(names: Iterable[str], stages: Mapping[str, Stage]) -> tuple[str, ...]:
    """The named stages and all their dependencies, each after its dependencies."""
    return tuple(dict.fromkeys(needed for name in names for needed in (*stages[name].sources, name)))


def _collect(
    name: str, settings: dict[str, dict[str, Any]], before: dict[str, tuple[str, ...]], path: tuple[str, ...], who: str
) -> None:
    """Add a stage and all its dependencies to `before`, each with the stages that must precede it."""
    if name in path:
        circle = " -> ".join([*path[path.index(name) :], name])
        raise UserError(f"The stages that {who} needs depend on each other in a cycle: {circle}.")
    if name not in settings:
        there = f"the stages are {listing(settings)}" if settings else "there are no stages"
        raise UserError(
            f"{who[0].upper()}{who[1:]} starts from the stage {name!r}, but {there}.{nearest(name, settings)}"
        )
    if name in before:
        return
    needed = named_stages(settings[name])
    for source in needed:
        _collect(source, settings, before, (*path, name), f"the stage {name!r}")
    before[name] = tuple(dict.fromkeys(stage for source in needed for stage in (*before[source], source)))
