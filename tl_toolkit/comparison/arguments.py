"""What `compare.py` understands: a grid file, and every flag of a run, which then counts for all entries."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from ..config.arguments import DataArguments, ModelArguments, RunArguments, StrategyArguments
from ..config.fields import flag
from ..config.parsing import make_parser, read_yaml
from ..config.pretrain_arguments import LanguageModelArguments
from ..errors import UserError, nearest
from .planning.grid import Grid, make_grid


@dataclass
class CompareArguments:
    """The comparison as a whole."""

    title: str | None = flag("The report's heading.")
    label_budgets: list[str] | None = flag("Instead of the grid's label budgets: numbers, and all.")
    token_budgets: list[str] | None = flag("For language models: instead of the grid's token budgets.")
    seeds: list[int] | None = flag("Instead of the grid's seeds.")
    stage_datasets: list[str] | None = flag(
        "NAME=DATASET for each stage that reads another dataset than the grid says: wiki=PATH."
    )
    grid_datasets: list[str] | None = flag(
        "NAME=DATASET for each of the grid's datasets that lies elsewhere than the grid says."
    )
    dry_run: bool = flag("Train nothing: list the runs, and what they will cost, from the records.", False)
    from_results: list[str] | None = flag(
        "Train nothing: report what is recorded in these folders, of comparisons or of single runs, merged into "
        "--output_dir if it is given."
    )
    report_texts: bool = flag("Quote rows of the dataset in the report; without, they are numbered only.", True)
    keep_models: bool = flag("Keep each run's model folder, not its record alone.", True)
    retry_failed: bool = flag("Repeat runs that are recorded as failed.", False)
    parallel_runs: int = flag("Make so many runs at once, which share this machine's processor threads and GPUs.", 1)
    executor: Literal["workers", "ray"] = flag(
        "Where runs are made: in worker processes on this machine, or on a Ray cluster.",
        "workers",
    )
    ray_address: str | None = flag(
        "The Ray cluster: an address, or auto; without one, Ray is started here for the comparison."
    )


class ParsedComparison(NamedTuple):
    """A comparison that can be started."""

    grid: Grid
    output_dir: Path
    retry_failed: bool = False
    parallel_runs: int = 1
    executor: str = "workers"
    ray_address: str | None = None
    dry_run: bool = False
    report_texts: bool = True


class FromResults(NamedTuple):
    """A report of what is recorded in `folders`; see `merging.report_from_results`."""

    folders: list[str]
    output_dir: str | None = None
    title: str | None = None
    report_texts: bool = True


def parse_compare_arguments(
    argv: Sequence[str] | None = None, description: str | None = None
) -> ParsedComparison | FromResults:
    """The comparison that a command line asks for.

    Raises:
        UserError: no grid file, an unknown flag or key, less than one run at once, or more than one process.
    """
    kinds = (CompareArguments, DataArguments, ModelArguments, StrategyArguments, LanguageModelArguments, RunArguments)
    parser = make_parser(description, kinds, "The grid as a YAML file")
    argv = list(sys.argv[1:] if argv is None else argv)
    if {"-h", "--help"} & set(argv):
        parser.parse_args(["--help"])
    for action in parser._actions:  # only what was given is kept, so that the grid's own values are not overridden
        action.default = argparse.SUPPRESS
    namespace, unknown = parser.parse_known_args(argv)
    if unknown:
        flags = [option for action in parser._actions for option in action.option_strings]
        raise UserError(f"Unknown argument {unknown[0]!r}.{nearest(unknown[0], flags)} See --help for all of them.")
    given = vars(namespace)
    if (folders := given.pop("from_results", None)) is not None:
        if other := next((name for name in given if name not in ("output_dir", "title", "report_texts")), None):
            raise UserError(
                "--from_results reports what is recorded and makes no run: beside it there can be --output_dir, "
                f"--title and --no_report_texts, not --{other}."
            )
        return FromResults(folders, **given)
    config = given.pop("config", None)
    if config is None:
        raise UserError("compare.py needs --config GRID.yaml, such as recipes/configs/demo.yaml.")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(
            f"compare.py was launched on {os.environ['WORLD_SIZE']} processes, but makes its runs in one. Start it "
            "with python, or with accelerate launch --num_processes 1."
        )
    content = read_yaml(Path(config))
    places = (given.pop("output_dir", None), content.pop("output_dir", None), "outputs/comparison")
    how = {name: given.pop(name) for name in ParsedComparison._field_defaults if name in given}
    if how.get("executor") != "ray" and how.get("ray_address") is not None:
        raise UserError("--ray_address is for --executor ray: give both, or neither.")
    if how.get("parallel_runs", 1) < 1:
        raise UserError(f"--parallel_runs is {how['parallel_runs']}, where a whole number of 1 or more is expected.")
    return ParsedComparison(make_grid(content, given, str(config)), Path(next(filter(None, places))), **how)
