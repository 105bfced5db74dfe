"""The arguments of `compare` and `decide`: a grid file, and every flag of a run, which then holds for all entries."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ..config.arguments import DataArguments, ModelArguments, RunArguments, StrategyArguments
from ..config.fields import flag
from ..config.help import Help
from ..config.parsing import Given, command_line, make_parser, read_yaml, unknown_argument
from ..config.pretrain_arguments import LanguageModelArguments
from ..config.shipped import find_config
from ..data.column_contents import roles_by_content
from ..data.sources import load_source
from ..data.splits import find_split
from ..deployment.folder import check_forms
from ..errors import UserError
from .execution.processes import has_fast_bfloat16
from .planning.grid import Grid, make_grid

FOR_ANY_DATASET = "compare.yaml"
"""The shipped grid that a dataset is compared by if no other is named."""
TO_DECIDE = "decide.yaml"
"""As `FOR_ANY_DATASET`, for `decide`."""
_MANY_ROWS, _HELD_OUT = 10_000, {"test_budget": 2000, "validation_budget": 1000}
_GRID_ALONE = ("datasets", "stages", "tuning")  # keys of a grid file that are not flags


@dataclass
class CompareArguments:
    """Comparison"""

    title: str | None = flag("Title of the report.")
    entries: Literal["quick", "ladder", "full"] | None = flag(
        "Compare a ladder of models instead of a grid's entries: a constant answer, TF-IDF, networks from scratch, and "
        "checkpoints as features and fine-tuned; quick has fewer, full also LoRA, pairs of rows, a distilled BiLSTM, a "
        "prompted language model and ULMFiT."
    )
    models: list[str] | None = flag("Checkpoints of the ladder. By default builtin:minilm.")
    language_model: str | None = flag("--entries full: a causal language model to prompt.")
    recurrent_model: str | None = flag(
        "--entries full: the language model that ULMFiT adapts, of pretrain or convert (awd_lstm or rnn). By default "
        "one is trained."
    )
    label_budgets: list[str] | None = flag("Numbers of training labels, or all. By default the grid's.")
    token_budgets: list[str] | None = flag("Language models: numbers of training tokens. They replace the grid's.")
    seeds: list[int] | None = flag("Random seeds (by default the grid's, else 1 2 3).")
    repeats: int | None = flag("The number of seeds, from 1. With --folds, the rows are divided anew for each.")
    stage_datasets: list[str] | None = flag("NAME=DATASET for each stage whose dataset is not the grid's: wiki=PATH.")
    grid_datasets: list[str] | None = flag("NAME=DATASET for each of the grid's datasets that is found elsewhere.")
    dry_run: bool = flag("List the runs and their estimated cost. Nothing is trained.", False)
    from_results: list[str] | None = flag(
        "Report the runs recorded in these folders, without training. They hold comparisons or single runs, which are "
        "merged into --output_dir if that is given."
    )
    margin: float | None = flag(
        "The difference that you would not pay for, in the unit of the main metric. By default 0.02, which is two "
        "points; 2 for BLEU and chrF, and 2 % of the least error for errors."
    )
    target: float | None = flag("Report how many labels each entry needs for this score, such as 0.9.")
    settle: bool = flag("Add the seeds that would settle the comparisons that the last report leaves open.", False)
    report_texts: bool = flag("Quote rows of the dataset in the report. If off, rows are only numbered.", True)
    keep_models: bool = flag("Keep the model folders, not only records (by default as the grid says, else true).", True)
    retry_failed: bool = flag("Rerun failed runs.", False)
    parallel_runs: int = flag("Train N runs at once. They share the processor threads and GPUs.", 1)
    executor: Literal["workers", "ray"] = flag(
        "Where runs are trained. In worker processes on this machine, or on a Ray cluster.",
        "workers",
    )
    ray_address: str | None = flag(
        "The address of the Ray cluster, or auto. Without it, Ray is started on this machine."
    )


@dataclass
class DecideArguments(CompareArguments):
    """Decision"""

    minutes: float = flag("Finish within N minutes. The final model is included.", 10.0)


class ParsedComparison(NamedTuple):
    """A comparison that can be started; `minutes` is the time of a decision, `notes` what it has assumed."""

    grid: Grid
    output_dir: Path
    retry_failed: bool = False
    parallel_runs: int = 1
    executor: str = "workers"
    ray_address: str | None = None
    dry_run: bool = False
    report_texts: bool = True
    margin: float | None = None
    target: float | None = None
    settle: bool = False
    minutes: float | None = None
    notes: tuple[str, ...] = ()


class FromResults(NamedTuple):
    """A report of the runs recorded in `folders`; see `merging.report_from_results`."""

    folders: list[str]
    output_dir: str | None = None
    title: str | None = None
    report_texts: bool = True
    margin: float | None = None
    target: float | None = None


def parse_compare_arguments(given: Given = None, help: Help = Help("compare")) -> ParsedComparison | FromResults:
    """The comparison that was asked for. As a mapping, `given` may also have the keys of a grid file.

    Raises:
        UserError: no grid and no dataset, an unknown flag or key, less than one run at once, or more than one process.
    """
    content, flags, where = _read(given, help, CompareArguments)
    if "from_results" in flags:
        return _from_results(flags)
    return _parsed(content, flags, where, "outputs/comparison")


def parse_decide_arguments(given: Given = None, help: Help = Help("decide")) -> ParsedComparison:
    """As `parse_compare_arguments`, for `decide`: the task and its columns are found by what the columns contain.

    Raises:
        UserError: as `parse_compare_arguments`; `minutes` is not above 0; or no column can be the text or the label.
    """
    content, flags, where = _read(given, help, DecideArguments)
    if other := next((name for name in ("from_results", "settle") if name in flags), None):
        raise UserError(f"--{other} is for tl-toolkit compare: leave it out.")
    if not 0 < (minutes := flags.setdefault("minutes", DecideArguments.minutes)) < math.inf:
        raise UserError(f"--minutes must be a number above 0, but is {minutes:g}.")
    notes = [] if "datasets" in content else _find_roles(content, flags)
    if not {"bf16", "fp16"} & {*content, *flags} and has_fast_bfloat16(bool(flags.get("use_cpu"))):
        flags["bf16"] = True
        notes.append("Runs train in bfloat16, which is faster on this machine. --bf16 false switches it off.")
    return _parsed(content, flags, where, "outputs/decision")._replace(notes=tuple(notes))


def _find_roles(content: Mapping[str, Any], flags: dict[str, Any]) -> list[str]:
    """Set the flags of the task and of its columns, and return what a reader should check."""
    given = {**content, **flags}
    names = ("dataset_name", "dataset_config_name", "dataset_revision", "train_split_name")
    data = DataArguments(**{name: given[name] for name in names if given.get(name) is not None})
    data.stream_rows = int(given["stream_rows"]) if given.get("stream_rows") else None
    dataset = load_source(data).dataset
    notes = _limit_held_out(sum(map(len, dataset.values())), given, flags)
    split = find_split(list(dataset), "train", data.train_split_name)
    if split is None or given.get("text_pair_column"):
        return notes
    task, text, label = (given.get(name) for name in ("task", "text_column", "label_column"))
    found = roles_by_content(dataset[split], task, text, label)
    roles = {"task": found.task, "text_column": found.text, "label_column": found.label}
    flags |= {name: value for name, value in roles.items() if value is not None}
    if not found.others:
        return notes
    others = ", ".join(map(repr, found.others[:5]))
    return [
        *notes,
        f"The label could also be {others}: name it with --label_column to learn that instead of {found.label!r}.",
    ]


def _limit_held_out(rows: int, given: Mapping[str, Any], flags: dict[str, Any]) -> list[str]:
    """Of many rows, test and validate on few, which leaves time for more runs."""
    if rows <= _MANY_ROWS or any(given.get(name) is not None for name in (*_HELD_OUT, "folds")):
        return []
    flags |= _HELD_OUT
    return [
        "At most {test_budget:,} rows are tested and {validation_budget:,} validated, to have time for more runs: "
        "--test_budget and --validation_budget change this.".format(**_HELD_OUT)
    ]


def _read(given: Given, help: Help, verb: type) -> tuple[dict[str, Any], dict[str, Any], str]:
    """The content of the grid, the flags that were given, and the name of the grid for errors.

    Args:
        verb: the dataclass with the flags of the verb alone.
    """
    kinds = (verb, DataArguments, ModelArguments, StrategyArguments, LanguageModelArguments, RunArguments)
    parser = make_parser(help, kinds)
    grid = {}
    if isinstance(given, Mapping):
        own = [key for key in given if key in _GRID_ALONE or key == "entries" and not isinstance(given[key], str)]
        grid = {key: given[key] for key in own if given[key] is not None}
        given = {key: value for key, value in given.items() if key not in own}
    argv = command_line(parser, given)
    parser.parse_known_args(argv)  # shows the help, with defaults, if that was asked for
    for action in parser._actions:  # only what was given is kept, so that the grid's own values are not overridden
        action.default = argparse.SUPPRESS
    namespace, unknown = parser.parse_known_args(argv)
    if unknown:
        raise unknown_argument(parser, unknown[0])
    flags = vars(namespace)
    if not 0 < (margin := flags.get("margin", 1.0)) < math.inf:
        raise UserError(f"--margin must be a number above 0, in the unit of the main metric, but is {margin}.")
    config = flags.pop("config", None)
    if "from_results" in flags:
        return {}, flags | ({} if config is None else {"config": config}), ""
    if config is None and "entries" not in grid:
        if "dataset_name" not in flags:
            raise UserError(
                f"tl-toolkit {help.verb} needs a dataset, such as reviews.csv, or --config GRID.yaml, such as "
                "demo.yaml."
            )
        config = FOR_ANY_DATASET if verb is CompareArguments else TO_DECIDE
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(
            f"tl-toolkit {help.verb} was launched on {os.environ['WORLD_SIZE']} processes, but runs in one. Start it "
            "without accelerate launch, or with --num_processes 1. --parallel_runs trains several runs at once."
        )
    where = "the grid" if config is None else str(config)
    return {**(read_yaml(find_config(config)) if config is not None else {}), **grid}, flags, where


def _from_results(flags: dict[str, Any]) -> FromResults:
    folders = flags.pop("from_results")
    if other := next((name for name in flags if name not in FromResults._fields), None):
        raise UserError(
            f"--from_results reports recorded runs and trains none, so --{other} does not apply. Beside it there can "
            "be --output_dir, --title, --margin, --target and --no_report_texts."
        )
    return FromResults(folders, **flags)


def _parsed(content: dict[str, Any], flags: dict[str, Any], where: str, place: str) -> ParsedComparison:
    places = (flags.pop("output_dir", None), content.pop("output_dir", None), place)
    if "" in places:
        raise UserError("--output_dir is empty: name a folder.")
    check_forms(flags.get("measure") or content.get("measure") or ())
    how = {name: flags.pop(name) for name in ParsedComparison._field_defaults if name in flags}
    if how.get("executor") != "ray" and how.get("ray_address") is not None:
        raise UserError("--ray_address is for --executor ray: give both, or neither.")
    if how.get("parallel_runs", 1) < 1:
        raise UserError(f"--parallel_runs must be a whole number of 1 or more, but is {how['parallel_runs']}.")
    return ParsedComparison(make_grid(content, flags, where), Path(next(filter(None, places))), **how)
