"""Small datasets for tasks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from tl_toolkit.config.arguments import DataArguments
from tl_toolkit.tasks import Task, make_task

NAMES = ["neg", "pos"]


def task_of(path, **arguments):
    return make_task(DataArguments(dataset_name=str(path), **arguments))


def csv(path: Path, rows: int = 211, labels: tuple = ("pos", "neg", "neutral")) -> Path:
    frame = pd.DataFrame(
        {"text": [f"text number {i}" for i in range(rows)], "label": [labels[i % len(labels)] for i in range(rows)]}
    )
    frame.to_csv(path, index=False)
    return path


def folder(path: Path, **splits: list[int]) -> Path:
    """A saved dataset with ClassLabel splits of the given labels."""
    features = Features({"sentence": Value("string"), "label": ClassLabel(names=NAMES)})
    DatasetDict(
        {
            name: Dataset.from_dict(
                {"sentence": [f"{name} {i}" for i in range(len(ids))], "label": ids}, features=features
            )
            for name, ids in splits.items()
        }
    ).save_to_disk(path)
    return path


@pytest.fixture(name="task_of")
def task_of_fixture() -> Callable[..., Task]:
    return task_of


@pytest.fixture(name="csv")
def csv_fixture() -> Callable[..., Path]:
    return csv


@pytest.fixture(name="folder")
def folder_fixture() -> Callable[..., Path]:
    return folder
