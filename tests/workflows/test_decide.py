from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from small_texts import RNN, make_texts

from tl_toolkit.comparison.arguments import parse_decide_arguments
from tl_toolkit.comparison.execution.scheduler import InProcess
from tl_toolkit.config.parsing import arguments_from
from tl_toolkit.errors import UserError
from tl_toolkit.records.record import read_record
from tl_toolkit.tasks import make_task
from tl_toolkit.workflows import decide as workflow
from tl_toolkit.workflows.compare import train

LINEAR = {"name": "linear", "model_type": "bag_of_ngrams", "config_overrides": {"min_rows": 1}}
NETWORK = {"name": "network", **RNN, "num_train_epochs": 1}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    texts, labels = make_texts(180, 0)
    frame = pd.DataFrame({"nr": range(180), "sorte": labels, "quelle": "web", "was": texts})
    frame.loc[[5, 17], "sorte"] = "river"  # wrong
    frame.to_csv(tmp_path / "odd.csv", index=False)
    return tmp_path / "odd.csv"


def decide(table: Path, output_dir: Path, **settings: Any) -> Path | None:
    given = {"dataset_name": str(table), "output_dir": str(output_dir), "use_cpu": True, "seeds": [1, 2], **settings}
    return workflow.decide(parse_decide_arguments({"entries": [LINEAR], **given}))


def test_from_a_csv_to_a_decision_and_a_model(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(workflow, "make_executor", lambda *how: InProcess(train))
    monkeypatch.setattr(workflow, "measure_entries", functools.partial(workflow.measure_entries, seconds=600.0))
    out = tmp_path / "out"
    assert decide(table, out, dry_run=True, entries=[LINEAR, NETWORK]) is None
    said = capsys.readouterr().out
    assert "text: was · label: sorte (fruit, metal, river)" in said and not out.exists()
    assert "linear " in said and "network " in said and "unknown" not in said

    page = decide(table, out, minutes=10)
    said = capsys.readouterr().out
    decision = json.loads((out / "decision.json").read_text())
    assert page == out / "report.html" and decision["recommended"] == "linear"
    record = read_record(out / "model")
    assert record is not None and record["status"] == "completed" and record["metrics"] == {}
    assert record["budget"]["train_labels"] == 180 and "predictions" in record
    expected, top = record["expected"], decision["budgets"][-1]
    assert expected["low"] < expected["value"] == top["expected"]["value"]
    assert expected["text"] in (out / "model" / "README.md").read_text() and expected["text"] in said
    assert f"{out / 'model'} holds linear" in said and "suspicious_labels.csv" in page.read_text()
    found = pd.read_csv(out / "suspicious_labels.csv")
    assert list(found) == ["split", "row", "text", "label", "predicted", "confidence"]

    from tl_toolkit.api import Trained

    assert Trained(out / "model", record).predict(["the old apple and plum", "iron and zinc"]) == ["fruit", "metal"]

    stamp = (out / "model" / "model.safetensors").stat().st_mtime_ns
    decide(table, out, minutes=10)  # the same command repeats nothing
    said = capsys.readouterr().out
    assert said.count("(cached)") == len((out / "results.jsonl").read_text().splitlines()) and "holds linear" in said
    assert (out / "model" / "model.safetensors").stat().st_mtime_ns == stamp


def test_folds_of_unequal_sizes_are_measured(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    pd.read_csv(table).head(173).to_csv(table, index=False)
    assert decide(table, tmp_path / "out", dry_run=True) is None
    assert "unknown" not in capsys.readouterr().out


def test_what_no_entry_can_do_is_said(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*given: Any) -> Any:
        raise UserError("This cannot be measured.")

    monkeypatch.setattr(workflow, "measure", broken)
    with pytest.raises(UserError, match="This cannot be measured"):
        decide(table, tmp_path / "out", dry_run=True)


def test_too_little_time_says_so(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow, "make_executor", lambda *how: InProcess(train))
    with pytest.raises(UserError, match="No run ended within the time"):
        decide(table, tmp_path / "out", minutes=0.05)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"minutes": 0}, "--minutes must be a number above 0"),
        ({"from_results": ["x"]}, "--from_results is for tl-toolkit compare"),
        ({"label_column": "nope"}, "no column 'nope'"),
        ({"dataset_name": None}, "tl-toolkit decide needs a dataset"),
    ],
)
def test_arguments(given: dict[str, Any], problem: str, table: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=problem):
        workflow.decide(parse_decide_arguments({"dataset_name": str(table), "output_dir": str(tmp_path / "o")} | given))


def test_training_on_all_rows(dataset_folder: Path, finetune: Any) -> None:
    data = {"dataset_name": str(dataset_folder), "model_type": "rnn", "output_dir": "x"}
    for train_on, rows in (("train", 66), ("all_but_validation", 66 + 47), ("all", 66 + 47 + 31)):
        task = make_task(arguments_from({**data, "train_on": train_on}, "the test").data)
        splits = task.prepare(1)
        assert len(splits["train"]) == rows == task.record()["budget"]["train_labels"]
    whole = sorted(splits["train"]["text"])
    assert whole == sorted(text for seed, n in enumerate((66, 31, 47)) for text in make_texts(n, seed)[0])
    record = finetune("kept", **RNN, train_on="all_but_validation", temperature=2.0)
    assert set(record["metrics"]) == {"validation"} and record["calibration"]["temperature"] == 2.0
