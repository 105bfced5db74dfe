"""Costs in the record of a run: stages, size, inference, energy; and the saved attention."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tl_toolkit.records import energy
from tl_toolkit.records.cost import Stages
from tl_toolkit.records.energy import energy_used

Finetune = Callable[..., dict]
ATTENTIVE = {
    "rnn": "embedding_size=7,hidden_size=13,num_hidden_layers=1,pooling=attention",
    "self_attention": "embedding_size=8,hidden_size=8,num_hidden_layers=2,num_attention_heads=2,pooling=mean",
    "bert": "hidden_size=8,num_hidden_layers=2,num_attention_heads=2,intermediate_size=11",
    "gpt2": "n_embd=8,n_layer=2,n_head=2",
}


def test_stages_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([2.0, 5.0, 10.0, 17.0, 28.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    stages = Stages("data")
    stages.begin("model")
    stages.begin("data")
    stages.begin("train")
    assert stages.seconds() == {"data": 3.0 + 7.0, "model": 5.0, "train": 11.0, "total": 26.0}


def test_a_run_records_stages_size_and_inference_costs(finetune: Finetune, tmp_path: Path) -> None:
    cost = finetune(model_type="rnn", config_overrides=ATTENTIVE["rnn"])["cost"]
    parts = dict(cost["seconds"])
    assert parts.pop("total") == pytest.approx(sum(parts.values()))
    assert set(parts) == {"data", "model", "train", "select", "evaluate", "save", "inference"}
    assert parts["train"] == cost["train_seconds"] and parts["evaluate"] == cost["evaluate_seconds"]
    folder = next(tmp_path.rglob("result.json")).parent
    model = [path for path in folder.iterdir() if path.is_file() and path.suffix != ".parquet"]
    others = {folder / "result.json", folder / "attention.json"}
    assert cost["disk_bytes"] == sum(path.stat().st_size for path in model if path not in others)
    assert cost["disk_bytes"] > 4 * cost["parameters"]["total"]
    inference = cost["inference"]
    assert 0 < inference["latency_seconds"] <= inference["latency_seconds_p95"]
    assert inference["rows_per_second"] > 1 / inference["latency_seconds"]  # a batch is faster than its rows in turn
    assert inference["threads"] == torch.get_num_threads() and inference["device"] == "cpu"


@pytest.mark.parametrize("model_type", ATTENTIVE)
def test_a_run_saves_attention(finetune: Finetune, tmp_path: Path, model_type: str) -> None:
    record = finetune(model_type=model_type, config_overrides=ATTENTIVE[model_type])
    folder = next(tmp_path.rglob("result.json")).parent
    left = json.loads((folder / record["attention"]).read_text())
    texts = pd.read_parquet(folder / record["predictions"]["test"]).set_index("row")["text"]
    assert len(left["rows"]) == 6
    for row in left["rows"]:
        assert sum(row["weights"]) == pytest.approx(1, abs=1e-3) and min(row["weights"]) >= 0
        said = [token for token in row["tokens"] if token in texts[row["row"]]]
        assert len(said) > 0 and len(row["tokens"]) == len(row["weights"])

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager")
    first = left["rows"][0]
    inputs = tokenizer(texts[first["row"]], return_tensors="pt")
    with torch.no_grad():
        weights = model.eval()(**inputs, output_attentions=True).attentions[-1][0]
    expected = {
        "rnn": lambda: weights,
        "self_attention": lambda: weights.mean((0, 1)),
        "bert": lambda: weights.mean(0)[0],
        "gpt2": lambda: weights.mean(0)[-1],
    }[model_type]()
    if len(first["weights"]) == len(expected):  # words of one token each
        np.testing.assert_allclose(first["weights"], expected, atol=1e-4)
    assert sum(first["weights"]) == pytest.approx(float(expected.sum()), abs=1e-3)


def test_a_model_without_attention_saves_none(finetune: Finetune) -> None:
    record = finetune(model_type="rnn", config_overrides=ATTENTIVE["rnn"].replace("attention", "max"))
    assert record["attention"] is None


def _package(folder: Path, name: str, microjoules: int, end: int, called: str = "package-0") -> Path:
    (folder / name).mkdir(exist_ok=True)
    (folder / name / "name").write_text(f"{called}\n")
    (folder / name / "energy_uj").write_text(f"{microjoules}\n")
    (folder / name / "max_energy_range_uj").write_text(f"{end}\n")
    return folder / name / "energy_uj"


def test_energy_is_read_from_counters_that_may_wrap_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(energy, "RAPL", tmp_path)
    first = _package(tmp_path, "intel-rapl:0", 7_000_000, 11_000_000)
    second = _package(tmp_path, "intel-rapl:1", 1_000_000, 11_000_000, "package-1")
    part = _package(tmp_path, "intel-rapl:0:0", 1_000_000, 2_000_000, "core")  # part of the first package
    whole = _package(tmp_path, "intel-rapl:2", 3_000_000, 29_000_000, "psys")  # includes both packages
    with energy_used() as joules:
        first.write_text("2000000")  # 4 J until it wraps around, then 2 J
        second.write_text("4000000")
        part.write_text("1500000")
        whole.write_text("23000000")
    assert joules == {"cpu": pytest.approx(6 + 3)}


def test_unreported_or_shared_energy_is_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(energy, "RAPL", tmp_path)
    with energy_used() as joules:
        pass
    assert joules == {}
    _package(tmp_path, "intel-rapl:0", 1, 5)
    monkeypatch.setenv(energy.SHARED, "2")
    with energy_used() as joules:
        pass
    assert joules == {}
