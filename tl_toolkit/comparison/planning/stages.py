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
from ...records.record import changed_arguments
from ...strategies import make_strategy
from .axes import replace_datasets
from .checks import expect
from .keys import key_of, what_counts
from .launch_settings import Launch, take_launch

logger = logging.getLogger(__name__)

FOLDER = "stages"
_PREFIX = "stage:"
_MAY_NAME_A_STAGE = ("model_name_or_path", "tokenizer_name")
_SET_BY_THE_GRID = ("name", "output_dir", "overwrite_output_dir", "resume_from_checkpoint")
_REFUSED = {
    **dict.fromkeys(_SET_BY_THE_GRID, "is set by the grid itself"),
    **dict.fromkeys(("evaluate_only", "find_lr"), "leaves no model to start from"),
}


@dataclass(frozen=True)
class Stage:
    """One pre-training run; `sources` are the stages that it starts from, directly or through others, first to last."""

    name: str
    settings: dict[str, Any] = field(repr=False)
    sources: tuple[str, ...] = ()
    launch: Launch = Launch()

    @property
    def folder(self) -> str:
        """The stage's folder below that of the comparison."""
        return f"{FOLDER}/{self.name}"

    def arguments(self, output_dir: Path) -> PretrainArguments:
        """The stage's arguments; it is silent, and goes on from its last complete checkpoint where there is one."""
        quiet = {"disable_tqdm": True, "log_level": "error"}
        place = {"output_dir": str(output_dir / self.folder), "resume_from_checkpoint": "true"}
        settings = {**quiet, **with_folders(self.settings, output_dir), "name": self.name, **place}
        return pretrain_arguments_from(settings, f"the stage {self.name!r}")

    def key(self, dataset_fingerprint: str, source_keys: Sequence[str]) -> str:
        """What the stage's model depends on: its arguments, data, version, local files, and the stages before it."""
        asked = what_counts(changed_arguments(pretrain_arguments_from(self.settings, f"the stage {self.name!r}")))
        content = {"arguments": asked, "dataset": dataset_fingerprint, "toolkit": __version__}
        return key_of({**content, "stages": list(source_keys), **self.launch.counts()})


def named_stages(settings: Mapping[str, Any]) -> list[str]:
    """The stages that settings name as `stage:NAME`, such as `model_name_or_path: stage:wiki`."""
    values = [str(settings.get(key)) for key in _MAY_NAME_A_STAGE]
    return list(dict.fromkeys(value.removeprefix(_PREFIX) for value in values if value.startswith(_PREFIX)))


def with_folders(settings: Mapping[str, Any], output_dir: Path) -> dict[str, Any]:
    """`settings` with the folder of each stage in the place of `stage:NAME`."""
    folders = {f"{_PREFIX}{name}": str(output_dir / FOLDER / name) for name in named_stages(settings)}
    return {
        key: folders.get(str(value), value) if key in _MAY_NAME_A_STAGE else value for key, value in settings.items()
    }


def make_stages(
    content: Any, datasets: Iterable[str], shared: Mapping[str, Any], needed_by: Mapping[str, Sequence[str]], where: str
) -> dict[str, Stage]:
    """The stages that entries need, each behind those it starts from.

    Args:
        content: what the grid file has under `stages`: a mapping from names to settings of `pretrain.py`.
        datasets: `NAME=DATASET` for each stage whose dataset lies elsewhere; the configuration and the revision that
            the file gives belong to its own dataset, and are dropped with it.
        shared: settings that every stage has unless it says otherwise.
        needed_by: for each entry the stages that it names.

    Raises:
        UserError: a stage that does not exist, starts from itself, or has settings that `pretrain.py` would refuse.
    """
    content = {} if content is None else content
    mappings = isinstance(content, dict) and all(isinstance(settings, dict) for settings in content.values())
    expect(mappings, "stages", content, where, "a mapping from names to settings of pretrain.py")
    if wrong := [name for name in content if not re.fullmatch(r"\w[\w.-]*", str(name))]:
        raise UserError(
            f"A stage in {where} is called {wrong[0]!r}. It is the name of a folder: letters, digits, '-', '_' and '.'."
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
        logger.warning("No entry of %s starts from %s: not run.", where, listing(unused))
    launches = {name: take_launch(settings[name], f"the stage {name!r} of {where}") for name in before}
    stages = {name: Stage(name, launches[name][1], sources, launches[name][0]) for name, sources in before.items()}
    for stage in stages.values():  # a wrong stage shows before the first run, not hours later
        arguments = pretrain_arguments_from(stage.settings, f"the stage {stage.name!r} of {where}")
        make_strategy(arguments.strategy, arguments.model)
    return stages


def in_order(names: Iterable[str], stages: Mapping[str, Stage]) -> tuple[str, ...]:
    """Stages with all that they start from, each behind those it needs."""
    return tuple(dict.fromkeys(needed for name in names for needed in (*stages[name].sources, name)))


def _collect(
    name: str, settings: dict[str, dict[str, Any]], before: dict[str, tuple[str, ...]], path: tuple[str, ...], who: str
) -> None:
    """Put into `before`, for a stage and all that it starts from, the stages in front of it."""
    if name in path:
        circle = " -> ".join([*path[path.index(name) :], name])
        raise UserError(f"The stages that {who} needs start from each other in a circle: {circle}.")
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
