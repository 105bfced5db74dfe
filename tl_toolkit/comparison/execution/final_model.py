"""The final model of a decision: the recommended entry, trained on all labels with the settings that were compared."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...atomic_files import write_text
from ...hub.card import model_card
from ...hub.contents import CARD
from ...records.artefacts import keeping
from ...records.record import read_record, write_record
from ...strategies import make_strategy
from ..planning.keys import key_of
from .jobs import RunJob, Train, remove_without_record, train_through

FOLDER = "model"


@dataclass(frozen=True)
class FinalModel(RunJob):
    """Trains an entry on the training, validation and test rows; its folder is `FOLDER`.

    Validation rows are kept apart only where the strategy selects a checkpoint on them. Elsewhere the probabilities
    have the temperature of the compared run.

    Attributes:
        compared: the key of the run whose settings it has.
        expected: the expected score of the entry, for the card.
    """

    compared: str = ""
    expected: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return FOLDER

    @property
    def called(self) -> str:
        return f"the final model, {self.planned.entry!r} on all labels"

    @property
    def needs(self) -> tuple[str, ...]:
        return ()

    def _work(self, output_dir: Path, train: Train) -> dict[str, Any]:
        remove_without_record(output_dir / self.name)
        create = functools.partial(self.planned.arguments, output_dir, FOLDER)
        return train_through(self.launch, train, create)

    def _finish(self, record: dict[str, Any], output_dir: Path) -> dict[str, Any]:
        folder = output_dir / self.name
        record = {**record, "key": self.key, "entry": self.planned.entry, "expected": self.expected}
        if record["status"] == "completed":
            dataset = record["dataset"]
            record["dataset"] = {**dataset, "rows": {role: count for role, count in dataset["rows"].items() if count}}
        if self.planned.settings["train_on"] == "all" and record["status"] == "completed":
            record = {**record, "metrics": {}, "predictions": {}}  # they are those of rows it was trained on
            record["budget"] = {**record["budget"], "validation_labels": None}
            (folder / "predictions_validation.parquet").unlink(missing_ok=True)
        self._tidy(folder)
        left = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
        return self._described(keeping(record, left), folder)

    def describe_again(self, output_dir: Path) -> None:
        """Write what is expected now into the record and the card of the model, which is trained already."""
        folder = output_dir / self.name
        self._described({**(read_record(folder) or {}), "expected": self.expected}, folder)

    def _described(self, record: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        written = write_record(folder, record)
        if record["status"] == "completed":
            write_text(folder / CARD, str(model_card(folder)))
        return written


def final_model(job: RunJob, output_dir: Path, expected: Mapping[str, Any]) -> FinalModel:
    """The final model with the settings of `job`, a run on all labels that is recorded in `output_dir`."""
    planned, record = job.planned, read_record(output_dir / job.name) or {}
    arguments = planned.arguments(output_dir)
    settings = dict(planned.settings)
    if planned.taught_by is not None:
        settings["teacher"] = str(output_dir / planned.taught_by.folder)
    if make_strategy(arguments.strategy, arguments.model).fits:
        settings["train_on"] = "all"
        if (temperature := (record.get("calibration") or {}).get("temperature")) is not None:
            settings["temperature"] = temperature
    else:
        settings["train_on"] = "all_but_validation"
    added = {name: settings.get(name) for name in ("train_on", "temperature")}
    key = key_of({"compared": job.key, **added})
    return FinalModel(
        replace(planned, settings=settings, fold=None, folds=None, teacher=None),
        key,
        job.stage_keys,
        True,
        compared=job.key,
        expected=dict(expected),
    )
