"""The store of features: what is found again, by whom, and how large it becomes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tl_toolkit.training import feature_store
from tl_toolkit.training.feature_store import FeatureStore


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(feature_store, "cache_folder", lambda: tmp_path)
    return tmp_path


def _keys(*numbers: int) -> list[bytes]:
    return [bytes([number]) * feature_store.KEY_BYTES for number in numbers]


def _store(body: str = "body") -> FeatureStore:
    store = FeatureStore(body)
    with store.locked():  # creates the folder
        return store


def test_rows_are_found_by_their_key_and_body() -> None:
    store = _store()
    store.add(_keys(1, 2), [np.full(3, 1, np.float32), np.full(3, 2, np.float32)], seconds=8.0)
    store.add(_keys(5), [np.full(3, 5, np.float32)], seconds=1.0)
    found, seconds = store.find(_keys(2, 5, 7))
    assert {key: own.tolist() for key, own in found.items()} == {_keys(2)[0]: [2.0] * 3, _keys(5)[0]: [5.0] * 3}
    assert seconds == 8.0 / 2 + 1.0
    assert _store("other").find(_keys(1)) == ({}, 0.0)


def test_rows_of_tokens_keep_their_lengths() -> None:
    arrays = [np.arange(2 * length, dtype=np.float32).reshape(length, 2) for length in (3, 1, 5)]
    _store().add(_keys(1, 2, 3), arrays, seconds=1.0)
    found, _ = _store().find(_keys(1, 2, 3))
    for key, own in zip(_keys(1, 2, 3), arrays, strict=True):
        np.testing.assert_array_equal(found[key], own)


def test_a_damaged_file_is_no_features(cache: Path) -> None:
    store = _store()
    store.add(_keys(1), [np.ones(3, np.float32)], seconds=1.0)
    (path,) = cache.rglob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-2])
    assert store.find(_keys(1)) == ({}, 0.0)


def test_a_folder_that_cannot_be_written_costs_only_time(cache: Path) -> None:
    (cache / "features").write_text("a file where the folder should be")
    store = FeatureStore("body")
    with store.locked():
        store.add(_keys(1), [np.ones(3, np.float32)], seconds=1.0)
        assert store.find(_keys(1)) == ({}, 0.0)


def test_the_files_that_were_not_used_for_longest_are_removed(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setattr(feature_store, "LIMIT_BYTES", 3000)
    for number in range(4):
        _store(f"body{number}").add(_keys(number), [np.ones(200, np.float32)], seconds=1.0)  # about 1,000 bytes
        for path in cache.rglob("*.safetensors"):
            os.utime(path, (os.stat(path).st_mtime - 100,) * 2)  # older with each addition
        _store("body0").find(_keys(0))  # used now
    found = [bool(_store(f"body{number}").find(_keys(number))[0]) for number in range(4)]
    assert found[0] and found[3] and not found[1]
    assert sum(path.stat().st_size for path in cache.rglob("*.safetensors")) <= 3000
