"""Datasets whose rows are on disk are those that are read into memory."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from tl_toolkit.config.arguments import DataArguments
from tl_toolkit.data import delimited, files, rows_on_disk
from tl_toolkit.data.sources import load_source
from tl_toolkit.data.tokenizers import build_tokenizer
from tl_toolkit.tasks import make_task


@pytest.mark.parametrize("suffix", ["csv", "parquet", "csv.gz"])
def test_rows_on_disk_are_those_in_memory(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f'review {row}: "{"good" if row % 3 else "bad"}",\n naïve ' + "word " * (row % 7) for row in range(500)]
    frame = pd.DataFrame({"id": range(500), "text": texts, "label": [1.5 * (row % 3 > 0) for row in range(500)]})
    frame["label"] = frame["label"].map({0: "no", 1.5: "yes"})
    path = tmp_path / f"rows.{suffix}"
    frame.to_parquet(path) if suffix == "parquet" else frame.to_csv(path, index=False)
    arguments = DataArguments(dataset_name=str(path), label_budget=40)
    found = []
    for large in (False, True):
        if large:
            monkeypatch.setattr(rows_on_disk, "LARGE", 1000)
            monkeypatch.setattr(files, "_WHOLE", 2000)
            monkeypatch.setattr(files, "_BATCH", 30)
            monkeypatch.setattr(delimited, "_CHUNK", 30)
        source = load_source(arguments)
        task = make_task(arguments)
        splits = task.prepare(3)
        tokenizer = build_tokenizer("word", splits["train"]["text"])
        encoded = task.encode(splits, tokenizer, 12)
        rows = [own[split].to_dict() for own in (source.dataset, splits, encoded) for split in own]
        found.append(json.dumps([source.record, rows], default=str))
    assert len(rows_on_disk._mapped) > 2
    assert found[0] == found[1]
