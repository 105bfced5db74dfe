"""Read the result records of a comparison: `results.jsonl` has one JSON object per line and run.

Entries, datasets and runs have ids. Names are only shown, so names that are equal for different ids are told apart.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError, check_regular
from ..records.kind import kind_of
from ..records.record import FIRST_VERSION, key_of, parse_record
from .names import short_name, told_apart, without_paths

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

UNKNOWN = "unknown"
ALL_LABELS = math.inf
"""The label budget of a run without a limit; it sorts after every number."""


@dataclass(frozen=True)
class Result:
    """One run of an entry.

    Attributes:
        entry: the name of the entry as shown, unique among the results that were read together.
        folder: the run's folder, relative to that of the comparison.
        record: the parsed record.
        parts: the runs of all folds, for a repetition of cross-validation (`statistics/repetitions.py`).
    """

    entry: str
    folder: str
    record: Mapping[str, Any]
    parts: tuple[Result, ...] = ()

    @property
    def entry_id(self) -> str:
        """The id of the entry, which stays when the entry gets another name."""
        record = self.record
        return str(record.get("entry_id") or key_of(["entry", record.get("entry") or record.get("name")]))

    @property
    def dataset_id(self) -> str:
        """The id of the dataset, or of its name in the grid."""
        return str(self.record.get("dataset_id") or key_of(["dataset", self._dataset_name]))

    @property
    def run_id(self) -> str:
        """The id of the run: of its dataset, entry, budget, seed and fold."""
        fold = [] if self.fold is None else [self.fold]
        return key_of([self.dataset_id, self.entry_id, str(self.budget), self.seed, *fold])

    @property
    def verified(self) -> bool:
        """Whether the record has checksums of itself and of its files; those of the first version have none."""
        return self.record.get("schema_version") != FIRST_VERSION

    @property
    def completed(self) -> bool:
        """Whether the run completed with test metrics."""
        return self.record.get("status") == "completed" and bool(self.metrics("test"))

    @property
    def strategy(self) -> str:
        """The name of the strategy: `"scratch"` without transfer, `UNKNOWN` if the run failed early."""
        return str(self.section("strategy").get("name", UNKNOWN))

    @property
    def transfer(self) -> bool:
        """Whether the model was pre-trained before it saw the labels."""
        return kind_of(self.record) not in ("constant", "linear", "word_vectors", "scratch")

    @property
    def budget(self) -> float:
        """The requested number of labels, or of tokens for language models; `ALL_LABELS` without a limit."""
        asked = self.section("budget").get("label_budget") or self.section("budget").get("token_budget")
        return ALL_LABELS if asked is None else float(asked)

    @property
    def seed(self) -> int | None:
        """The seed of the run; None if it failed before the seed was known."""
        return self.record.get("seed")

    @property
    def fold(self) -> int | None:
        """The fold that the run was tested on; None without cross-validation, and for all folds together."""
        return None if self.parts else self.section("arguments").get("fold")

    @property
    def folds(self) -> int | None:
        """The number of folds; None without cross-validation."""
        return self.section("arguments").get("folds")

    @property
    def seed_text(self) -> str:
        """The seed, and the fold if there is one: `1, fold 2`."""
        return f"{self.seed}" if self.fold is None else f"{self.seed}, fold {self.fold}"

    def section(self, name: str) -> Mapping[str, Any]:
        """A section of the record; empty if the run failed before it was known."""
        return self.record.get(name) or {}

    def metrics(self, split: str) -> Mapping[str, float]:
        """Known metric values of a split by metric name; empty without any."""
        values = self.section("metrics").get(split) or {}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def dataset(self) -> str:
        """The name of the run's dataset: from the grid if it has several datasets, otherwise from the record."""
        return short_name(self._dataset_name)

    @property
    def _dataset_name(self) -> str:
        named = self.record.get("grid_dataset") or self.section("dataset").get("name")
        return str(named or self.section("arguments").get("dataset_name") or UNKNOWN)

    @property
    def pretrain_seconds(self) -> float | None:
        """The total time of earlier stages and of a teacher in seconds; None without, or if a time is unknown."""
        seconds = [stage.get("train_seconds") for stage in self.record.get("stages") or ()]
        if teacher := self.section("strategy").get("teacher"):
            seconds.append(teacher.get("train_seconds"))
        return sum(seconds) if seconds and None not in seconds else None

    def label_names(self) -> list[str] | None:
        """Class names in the order of their ids; None for regression and for unnamed classes."""
        labels = self.section("task").get("labels")
        return None if labels is None else [str(label) for label in labels]


def folder_name(entry: str) -> str:
    """The name of an entry in a form for folder and file names."""
    return re.sub(r"[^\w.-]+", "_", entry)


@dataclass(frozen=True)
class Store:
    """The runs of a `results.jsonl`, and a sentence on each line that is not a valid record."""

    results: list[Result]
    damaged: list[str]


def read_results(path: Path) -> list[Result]:
    """The runs in a `results.jsonl`, in the order of their first appearance.

    A repeated run (same dataset, entry, label budget, seed and fold) counts once, with its latest record. A last line
    without a line end is a record that is still being written, and is ignored. A line that is not a valid record costs
    its run only, and is logged.

    Raises:
        UserError: the file does not exist, or none of its lines is a valid record.
    """
    store = read_store(path)
    for problem in store.damaged:
        logger.warning("%s It is left out.", problem)
    return store.results


def read_store(path: Path) -> Store:
    """As `read_results`, with the lines that are not valid records."""
    path = Path(path)
    check_regular(path, "The file of records")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"The result records {str(path)!r} cannot be read ({error}). Name the folder of a comparison, with the "
            "results.jsonl that tl-toolkit compare writes."
        ) from error
    whole = content[: content.rfind(b"\n") + 1]
    results: dict[str, Result] = {}
    damaged = []
    for number, line in enumerate(whole.split(b"\n"), start=1):
        if line.strip():
            try:
                result = as_result(parse_record(line))
                results[result.run_id] = result
            except ValueError as error:
                damaged.append(f"Line {number} of {path.name} {error}.")
    if damaged and not results:
        raise UserError(f"{str(path)!r} contains no valid record. {damaged[0]}")
    return Store(with_distinct_names(list(results.values())), damaged)


def with_distinct_names(results: Sequence[Result]) -> list[Result]:
    """The runs, with the shortest names that differ for different entries and for different datasets."""
    raw = {run.entry_id: str(run.record.get("entry") or run.record.get("name")) for run in results}
    entries = told_apart(raw, without_paths)
    known = [run for run in results if run.record.get("grid_dataset") or run.section("dataset")]
    datasets = told_apart({run.dataset_id: run._dataset_name for run in known}, short_name)
    renamed = []
    for run in results:
        record, dataset = run.record, datasets.get(run.dataset_id, run.dataset)
        if dataset != run.dataset:  # another dataset has the same short name
            record = {**record, "grid_dataset": dataset, "dataset_id": run.dataset_id}
        renamed.append(replace(run, entry=entries[run.entry_id], record=record))
    return renamed


Tested = tuple[str | None, ...]
"""Configuration, label column, fingerprint, number of test rows, classes and folds, which identify the test rows."""


def tested_on(result: Result) -> Tested:
    """What identifies the test rows of a run; None for what its record lacks."""
    dataset = result.section("dataset")
    columns = dataset.get("columns") or {}
    target = columns.get("label") or columns.get("target") or columns.get("caption") or columns.get("values")
    classes = result.label_names()
    named = None if classes is None else ", ".join(classes)
    folds = dataset.get("folds") or {}
    rows = folds.get("rows") or (dataset.get("rows") or {}).get("test")
    parts = (dataset.get("config"), target, dataset.get("fingerprint"), rows, named, folds.get("folds"))
    return tuple(None if part is None else str(part) for part in parts)


def names_by_test_rows(name: str, different: Sequence[Tested]) -> dict[Tested, str]:
    """A distinct name for each set of test rows: the dataset's name with the parts that differ."""
    said = ("{}", "label {}", "data {}", "{} test rows", "classes {}", "{} folds")
    differing = [place for place in range(len(said)) if len({tested[place] for tested in different}) > 1]
    return {
        tested: f"{name} ({', '.join(said[place].format((tested[place] or 'unknown')[:60]) for place in differing)})"
        for tested in different
    }


def panels(results: Sequence[Result]) -> dict[str, list[Result]]:
    """The runs by dataset, in the order of first appearance; runs are compared only within a dataset.

    Runs on different test rows under one name are kept apart, with names that say what differs. A run that failed
    before its dataset was loaded is grouped with the runs of the same `dataset_name`.
    """
    called = {
        result.section("arguments").get("dataset_name"): result.dataset
        for result in results
        if result.section("dataset")
    }
    found: dict[str, list[Result]] = {}
    for result in results:
        named = result.record.get("grid_dataset") or result.section("dataset")
        name = result.dataset if named else called.get(result.section("arguments").get("dataset_name"), result.dataset)
        found.setdefault(name, []).append(result)
    if UNKNOWN in found and len(found) > 1:
        lost = found.pop(UNKNOWN)
        next(iter(found.values())).extend(lost)
    return {own: runs for name, group in found.items() for own, runs in _by_test_rows(name, group).items()}


def _by_test_rows(name: str, results: list[Result]) -> dict[str, list[Result]]:
    different = list(dict.fromkeys(tested_on(run) for run in results if run.section("dataset") and run.completed))
    if len(different) < 2:
        return {name: results}
    names = names_by_test_rows(name, different)
    found: dict[str, list[Result]] = {own: [] for own in names.values()}
    for run in results:  # a run that failed early may lack what identifies its rows
        found[names.get(tested_on(run), names[different[0]])].append(run)
    return found


def as_result(record: Mapping[str, Any]) -> Result:
    """A run from its record: of a comparison, or of a single finetune or pretrain run, with a name but no entry.

    Raises:
        ValueError: the record has neither.
    """
    named = record.get("entry") or record.get("name")
    if not named:
        raise ValueError("is not a result record: it must be a mapping with the key 'entry' or 'name'")
    return Result(entry=without_paths(str(named)), folder=str(record.get("folder") or "."), record=record)


TEXT_COLUMNS = ("dataset", "fingerprint", "entry", "model", "strategy", "failure", "error") + (
    "device", "device_name", "toolkit_version", "python_version", "torch_version", "transformers_version",
    "key", "folder",
)  # fmt: skip
"""The text columns of `table`; `transfer` and `completed` are boolean, and all others numbers."""


def table(results: Sequence[Result]) -> pd.DataFrame:
    """One row per run, including failed ones, indexed by the position in `results`: the columns of `results.csv`.

    docs/comparison.md describes the columns. `budget` is infinite for all labels; each metric has a column
    `<split>.<metric>`. Unknown values are NaN, or None in text columns.
    """
    import pandas as pd

    rows = [_row(result) for result in results]
    frame = pd.DataFrame(rows, columns=None if rows else list(_row(Result("", "", {}))))
    metrics = [name for name in frame.columns if "." in name]
    frame = frame[[name for name in frame.columns if name not in metrics] + metrics]
    for column in frame.columns.difference([*TEXT_COLUMNS, "transfer", "completed"]):
        frame[column] = pd.to_numeric(frame[column])
    return frame


def _row(result: Result) -> dict[str, Any]:
    record, dataset, model, budget = result.record, *map(result.section, ("dataset", "model", "budget"))
    cost, hardware, tuning, versions = map(result.section, ("cost", "hardware", "tuning", "versions"))
    parameters, inference = cost.get("parameters") or {}, cost.get("inference") or {}
    energy, seconds = cost.get("energy_joules") or {}, cost.get("seconds") or {}

    def own(section: Mapping[str, Any], *names: str, prefix: str = "", suffix: str = "") -> dict[str, Any]:
        return {f"{prefix}{name}{suffix}": section.get(name) for name in names}

    row: dict[str, Any] = {
        "dataset": result.dataset,
        "fingerprint": dataset.get("fingerprint"),
        "entry": result.entry,
        "model": model.get("model_name_or_path") or model.get("model_type"),
        "strategy": result.strategy,
        "transfer": result.transfer,
        "budget": result.budget,
        **own(budget, "train_labels", "train_tokens", "validation_labels"),
        "test_rows": (dataset.get("rows") or {}).get("test"),
        "seed": result.seed,
        "fold": result.fold,
        "completed": result.completed,
        "failure": None if result.completed else record.get("failure") or "error",
        "error": None if result.completed else record.get("error"),
        "parameters": parameters.get("total"),
        "trained_parameters": parameters.get("trained"),
        "disk_bytes": cost.get("disk_bytes"),
        **own(tuning, "trials", "failed", "seconds", prefix="tuning_"),
        "pretrain_seconds": result.pretrain_seconds,
        "train_seconds": cost.get("train_seconds"),
        **own(seconds, "data", "model", "select", "evaluate", "save", "total", suffix="_seconds"),
        **own(cost, "steps", "epochs", "examples_per_second", "tokens_per_second", "peak_memory_bytes"),
        "energy_joules": sum(energy.values()) if energy else None,
        **own(energy, "cpu", "gpu", prefix="energy_", suffix="_joules"),
        **own(inference, "latency_seconds", "latency_seconds_p95", "rows_per_second"),
        **own(hardware, "device", "device_name", "world_size", "threads"),
        **own(record, "toolkit_version"),
        **own(versions, "python", "torch", "transformers", suffix="_version"),
        **own(record, "key"),
        "folder": result.folder,
    }
    for split in ("validation", "test"):
        row |= {f"{split}.{name}": value for name, value in result.metrics(split).items()}
    return row
