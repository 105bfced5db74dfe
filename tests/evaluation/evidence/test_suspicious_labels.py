from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from synthetic_records import make_record, write_lines

from tl_toolkit.evaluation.evidence.suspicious_labels import suspicious, suspicious_rows
from tl_toolkit.evaluation.results import read_results


def test_confident_learning_by_hand() -> None:
    scores = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.3, 0.7], [0.1, 0.9], [0.55, 0.45]])
    labels = np.array([0, 0, 0, 1, 1, 1])
    # thresholds: (0.9 + 0.7 + 0.2) / 3 = 0.6 and (0.7 + 0.9 + 0.45) / 3 = 0.683
    assert suspicious(scores, labels).tolist() == [False, False, True, False, False, False]
    absent = np.concatenate([scores, np.zeros((6, 1))], axis=1)  # a class that no row has is never confident
    assert suspicious(absent, labels).tolist() == suspicious(scores, labels).tolist()


def test_flipped_labels_are_found() -> None:
    rng = np.random.default_rng(0)
    true = rng.integers(0, 3, 3000)
    logits = rng.normal(size=(3000, 3)) + 4 * np.eye(3)[true]
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    flipped = rng.random(3000) < 0.05
    given = np.where(flipped, (true + 1) % 3, true)
    found = suspicious(scores, given)
    assert (found & flipped).sum() / flipped.sum() > 0.8 and (found & ~flipped).sum() / found.sum() < 0.3


def test_each_of_several_labels_is_checked_by_itself(tmp_path: Path) -> None:
    labels = np.array([[1, 1], [1, 0], [0, 1], [0, 0], [0, 1], [1, 0], [1, 1]])
    scores = np.where(labels == 1, 0.9, 0.2)
    scores[4] = 0.95, 0.8  # the first label is missing
    names = [[name for name, own in zip(("dog", "cat"), row, strict=True) if own] for row in labels]
    record = make_record("a", None, 1, 0.8)
    record["task"] |= {"problem_type": "multi_label_classification", "labels": ["dog", "cat"]}
    (folder := tmp_path / "a").mkdir()
    told = {"row": range(7), "text": [f"text {row}" for row in range(7)], "label": list(labels), "label_name": names}
    pd.DataFrame(told | {"scores": list(scores)}).to_parquet(folder / "test.parquet")
    record |= {"folder": "a", "predictions": {"test": "test.parquet"}}
    write_lines(tmp_path, [record])
    found = suspicious_rows(read_results(tmp_path / "results.jsonl"), tmp_path)
    assert found is not None and len(found) == 1
    row = found.iloc[0]
    assert (row["row"], row["label"], row["predicted"], row["confidence"]) == (4, "cat", "dog, cat", 0.95)
