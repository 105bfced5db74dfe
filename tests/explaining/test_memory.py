"""The view memory: accuracies by distance, and its sentences."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tl_toolkit import UserError, explain
from tl_toolkit.explaining.memory import by_distance, read_accuracies


def results(**changed: object) -> pd.DataFrame:
    rows = [("recall-7", "A", 1, 0.99), ("recall-7", "A", 2, 0.97), ("recall-53", "A", 1, 0.96),
            ("recall-7", "B", 1, 1.0), ("recall-53", "B", 1, 0.22), ("recall-53", "B", 2, 0.26),
            ("recall-53", "B", 3, None)]  # fmt: skip
    return pd.DataFrame(rows, columns=["dataset", "entry", "seed", "test.accuracy"]).assign(**changed)


def test_a_comparison_is_read_and_told(tmp_path: Path) -> None:
    results().to_csv(tmp_path / "results.csv", index=False)
    means = by_distance(read_accuracies(str(tmp_path)))
    assert means.round(6).to_numpy().tolist() == [
        ["A", 7, 0.98, 0.97, 0.99, 2], ["A", 53, 0.96, 0.96, 0.96, 1],
        ["B", 7, 1.0, 1.0, 1.0, 1], ["B", 53, 0.24, 0.22, 0.26, 2],
    ]  # fmt: skip
    found = explain(views=["memory"], from_results=str(tmp_path), output_dir=tmp_path / "out")
    assert found.sentences["memory"] == [
        "Over 53 words, the language is recalled by A 96%; at chance (25%): B 24%.",
        "The longest distance in words with 95% or more: A 53 and B 7.",
    ]
    assert "<h1" in found.page.read_text() and "Memory over a distance" in found.page.read_text()
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "out" / "memory_by_distance.parquet"), means)


def test_results_that_say_nothing_about_distances(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="needs results"):
        explain(views=["memory"], output_dir=tmp_path / "out")
    with pytest.raises(UserError, match="cannot be read"):
        read_accuracies(str(tmp_path))
    results(dataset="sst2x").to_csv(tmp_path / "other.csv", index=False)
    with pytest.raises(UserError, match="without a number: 'sst2x'"):
        read_accuracies(str(tmp_path / "other.csv"))
    results().drop(columns="seed").to_csv(tmp_path / "other.csv", index=False)
    with pytest.raises(UserError, match="no column 'seed'"):
        read_accuracies(str(tmp_path / "other.csv"))
