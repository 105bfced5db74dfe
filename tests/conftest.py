"""Data that is small enough to train on within a test, and real where the numbers matter."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent))

from small_texts import RNN, make_texts  # noqa: E402
from synthetic_records import (  # noqa: E402
    make_record,
    write_comparison,
    write_lines,
    write_parquet,
    write_rich_comparison,
)

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test waits for a network
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture
def dataset_folder(tmp_path: Path) -> Path:
    """A Hub-style folder with 66 training, 31 validation and 47 test rows of three classes."""
    import pandas as pd

    folder = tmp_path / "data"
    folder.mkdir()
    for seed, (split, rows) in enumerate({"train": 66, "validation": 31, "test": 47}.items()):
        texts, labels = make_texts(rows, seed)
        pd.DataFrame({"text": texts, "label": labels}).to_parquet(folder / f"{split}.parquet")
    return folder


@pytest.fixture
def test_data() -> Path:
    """The folder of real data and weights that TL_TOOLKIT_TEST_DATA names."""
    folder = os.environ.get("TL_TOOLKIT_TEST_DATA")
    if not folder:
        pytest.skip("TL_TOOLKIT_TEST_DATA names no folder with real data")
    return Path(folder)


@pytest.fixture
def finetune(dataset_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict]:
    """Runs a small fine-tuning in this process: `finetune(output, **settings)` returns the result record."""
    from tl_toolkit.config.parsing import arguments_from
    from tl_toolkit.training import feature_store
    from tl_toolkit.workflows import finetune as workflow

    monkeypatch.setattr(feature_store, "cache_folder", lambda: tmp_path / "cache")

    def call(output: str = "out", **settings: object) -> dict:
        base = {
            "dataset_name": str(dataset_folder),
            "output_dir": str(tmp_path / output),
            "use_cpu": True,
            "disable_tqdm": True,
            "per_device_train_batch_size": 11,
            "num_train_epochs": 2,
        }
        return workflow.finetune(arguments_from({**base, **settings}, "the test"))

    return call


@pytest.fixture
def tiny_rnn() -> dict[str, str]:
    """Settings of a model that trains in a second."""
    return dict(RNN)


@pytest.fixture
def comparison(tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """Writes a comparison into `tmp_path`; keywords as in `write_comparison`."""
    return lambda **keywords: write_comparison(tmp_path, **keywords)


@pytest.fixture(name="make_record")
def make_record_fixture() -> Callable[..., dict[str, Any]]:
    return make_record


@pytest.fixture(name="write_parquet")
def write_parquet_fixture() -> Callable[..., None]:
    return write_parquet


@pytest.fixture(name="write_lines")
def write_lines_fixture() -> Callable[..., None]:
    return write_lines


@pytest.fixture
def rich_comparison(tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """Writes a comparison whose records tell all they can into `tmp_path`."""
    return lambda **keywords: write_rich_comparison(tmp_path, **keywords)
