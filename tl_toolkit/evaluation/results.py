"""Read the result records of a comparison: `results.jsonl` has one JSON object per line and run."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 1
UNKNOWN = "unknown"
ALL_LABELS = math.inf
"""The label budget of a run without a limit; it sorts after every number."""


@dataclass(frozen=True)
class Result:
    """One run of an entry; `folder` is relative to the comparison's folder, `record` is the parsed record."""

    entry: str
    folder: str
    record: Mapping[str, Any]

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
        return self.strategy != "scratch"

    @property
    def budget(self) -> float:
        """The requested number of labels, or of tokens for language models; `ALL_LABELS` without a limit."""
        asked = self.section("budget").get("label_budget") or self.section("budget").get("token_budget")
        return ALL_LABELS if asked is None else float(asked)

    @property
    def seed(self) -> int | None:
        """The seed of the run; None if it failed before the seed was known."""
        return self.record.get("seed")

    def section(self, name: str) -> Mapping[str, Any]:
        """A section of the record; empty if the run failed before it was known."""
        return self.record.get(name) or {}

    def metrics(self, split: str) -> Mapping[str, float]:
        """Metric values of a split by metric name; empty without any."""
        return self.section("metrics").get(split) or {}

    @property
    def dataset(self) -> str:
        """The name of the run's dataset: from the grid if it has several datasets, otherwise from the record."""
        named = self.record.get("grid_dataset") or self.section("dataset").get("name")
        return short_name(str(named or self.section("arguments").get("dataset_name") or UNKNOWN))

    @property
    def pretrain_seconds(self) -> float | None:
        """The total time of earlier stages in seconds; None without stages, or if a time is unknown."""
        seconds = [stage.get("train_seconds") for stage in self.record.get("stages") or ()]
        return sum(seconds) if seconds and None not in seconds else None

    def label_names(self) -> list[str] | None:
        """Class names in the order of their ids; None for regression and for unnamed classes."""
        labels = self.section("task").get("labels")
        return None if labels is None else [str(label) for label in labels]


def short_name(name: str) -> str:
    """Return a Hub id or plain name unchanged, and a local path as its last part, because reports hide local paths."""
    local = name.startswith(("/", "./", "../", "~", "\\")) or (name.count("/") > 1 and "://" not in name)
    return (Path(name).name or name) if local else name


def folder_name(entry: str) -> str:
    """The name of an entry in a form for folder and file names."""
    return re.sub(r"[^\w.-]+", "_", entry)


def read_results(path: Path) -> list[Result]:
    """The runs in a `results.jsonl`, in the order of their first appearance.

    A repeated run (same dataset, entry, label budget and seed) counts once, with its latest record. A last line without
    a line end is a record that is still being written, and is ignored.

    Raises:
        UserError: the file does not exist, or a line is not a result record of this schema version.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"The result records {str(path)!r} cannot be read ({error}). Name the folder of a comparison, with the "
            "results.jsonl that tl-toolkit compare writes."
        ) from error
    whole = text[: text.rfind("\n") + 1]
    results: dict[tuple[str, str, float, int | None], Result] = {}
    for number, line in enumerate(whole.split("\n"), start=1):
        if line.strip():
            where = f"Line {number} of {str(path)!r}"
            try:
                result = as_result(json.loads(line), where)
            except json.JSONDecodeError as error:
                raise UserError(f"{where} is not JSON ({error}). Each line must be one result record.") from error
            results[(result.dataset, result.entry, result.budget, result.seed)] = result
    return list(results.values())


def panels(results: Sequence[Result]) -> dict[str, list[Result]]:
    """The runs by dataset, in the order of first appearance; runs are compared only within a dataset.

    A run that failed before its dataset was loaded is grouped with the runs of the same `dataset_name`.
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
    return found


def as_result(record: Any, where: str) -> Result:
    """A run from its record: of a comparison, or of a single finetune or pretrain run, with a name but no entry.

    Raises:
        UserError: it is not a result record, or has another schema version; `where` is its place for the message.
    """
    named = isinstance(record, dict) and (record.get("entry") or record.get("name"))
    if not named:
        raise UserError(f"{where} is not a result record: it must be a mapping with the key 'entry' or 'name'.")
    if record.get("schema_version") != SCHEMA_VERSION:
        raise UserError(
            f"{where} has schema_version {record.get('schema_version')!r}, but this version of the toolkit reads "
            f"{SCHEMA_VERSION}."
        )
    return Result(entry=str(named), folder=str(record.get("folder", ".")), record=record)


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
