from __future__ import annotations

import json

import pytest

from tl_toolkit.comparison.report.markdown import describe_markdown
from tl_toolkit.comparison.report.panel import Panel
from tl_toolkit.comparison.report.writing import write_report
from tl_toolkit.evaluation.results import read_results


@pytest.fixture
def described(tmp_path):
    """A function that returns the tables of the records in `tmp_path`."""

    def describe():
        return describe_markdown(Panel(read_results(tmp_path / "results.jsonl"), tmp_path))

    return describe


def test_tuning_is_described_by_entry_and_budget(described, make_record, write_lines, tmp_path):
    tuned = make_record("lstm", 100, 1, 0.25)
    tuned["tuning"] = {
        "trials": 8, "failed": 1, "seconds": 33.24, "metric": "accuracy", "best": 0.3,
        "search": {"learning_rate": {"low": 1e-4, "high": 1e-2}}, "chosen": {"learning_rate": 0.00123456},
    }  # fmt: skip
    write_lines(tmp_path, [tuned, make_record("minilm", 100, 1, 0.5)])
    told = described()["tuning"]
    assert told["rows"] == [
        ["lstm", "100", "8 (1 failed)", "33.2", "learning_rate: low 0.0001 high 0.01", "learning_rate: 0.00123"]
    ]
    assert told["untuned"] == "minilm"
    write_lines(tmp_path, [make_record("minilm", 100, 1, 0.5)])
    assert described()["tuning"] is None


def test_costs_have_the_largest_budget_and_known_columns(described, make_record, write_lines, tmp_path):
    records = [make_record("lstm", budget, 1, 0.2) for budget in (100, 500)] + [make_record("minilm", 100, 1, 0.4)]
    records[1]["cost"]["disk_bytes"] = 4_200_000
    write_lines(tmp_path, records)
    told = described()["costs"]
    disk = told["columns"].index("On disk")
    assert told["columns"][:3] == ["Entry", "Labels", "Parameters"]
    assert [[*row[:2], row[disk]] for row in told["rows"]] == [["lstm", "500", "4\u00a0MB"], ["minilm", "100", "–"]]
    assert not any("Energy" in name or "Tuning" in name for name in told["columns"])


def test_the_summary_has_signatures_and_no_text_of_the_dataset(tmp_path, make_record, write_lines, write_parquet):
    records = []
    for entry in ("lstm", "minilm"):
        metrics = {"loss": 2.0, "bleu": 20.0 if entry == "lstm" else 30.0, "chrf": 40.0}
        record = make_record(entry, 100, 1, 0, metrics={"validation": metrics, "test": metrics})
        record["task"] = {"name": "translation", "problem_type": None, "labels": None, "main_metric": "bleu"}
        record["signatures"] = {"bleu": "nrefs:1|case:mixed|version:2.6.0"}
        record["samples"] = [{"row": 0, "source": "geheim", "reference": "secret", "prediction": "covert"}]
        records.append(record)
        columns = {"row": [0, 1], "source": ["geheim"] * 2, "reference": ["secret"] * 2, "prediction": ["covert"] * 2}
        write_parquet(tmp_path / record["folder"], columns)
    write_lines(tmp_path, records)
    write_report(tmp_path, "Translation", notes=["Merged from <two>."])
    summary = (tmp_path / "report.md").read_text()
    assert not [word for word in ("geheim", "secret", "covert") if word in summary]
    assert r"- sacrebleu, BLEU: nrefs:1\|case:mixed\|version:2.6.0" in summary
    assert r"Merged from \<two\>." in summary
    assert "| minilm | transfer: full | 30" in summary
    tables = [line for line in summary.splitlines() if line.startswith("|")]
    heads = [place for place, line in enumerate(tables) if set(line) <= set("|-:")]
    assert heads and all(tables[place].count("|") == tables[place - 1].count("|") for place in heads)
    assert json.loads((tmp_path / "results.jsonl").read_text().splitlines()[0])["samples"]
