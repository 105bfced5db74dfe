from __future__ import annotations

import csv
import math
import re
import shutil
import subprocess

import pandas as pd
import pytest

from tl_toolkit.comparison.report.exports import latex_table, latex_text, write_exports
from tl_toolkit.comparison.report.panel import Panel
from tl_toolkit.evaluation.results import panels, read_results
from tl_toolkit.evaluation.statistics.cells import Goal, make_cells

ACCURACY = Goal("accuracy")


@pytest.fixture
def exported(tmp_path, write_lines):
    """A function that exports records and returns the folder."""

    def write(records):
        write_lines(tmp_path, records)
        groups = panels(read_results(tmp_path / "results.jsonl"))
        write_exports({name: Panel(runs, tmp_path) for name, runs in groups.items()}, tmp_path)
        return tmp_path

    return write


def test_one_row_per_run_with_all_known_values(exported, make_record):
    full = make_record("lstm", None, 3, 0.25)
    full["cost"] |= {
        "disk_bytes": 4100,
        "seconds": {"data": 1.5, "model": 0.5, "train": 3.0, "evaluate": 2.0, "save": 0.25, "total": 7.5},
        "inference": {"latency_seconds": 0.002, "latency_seconds_p95": 0.003, "rows_per_second": 900.0},
        "energy_joules": {"cpu": 30.0, "gpu": 12.0},
    }
    full["tuning"] = {"trials": 7, "failed": 1, "seconds": 33.0}
    full["stages"] = [{"name": "wiki", "train_seconds": 100.0}, {"name": "imdb", "train_seconds": 20.5}]
    failed = {
        "schema_version": 1,
        "status": "failed",
        "failure": "killed",
        "error": 'Kil,led\nby "9"',
        "entry": "gpt, small",
    }
    folder = exported([full, failed | {"folder": "r", "arguments": {"dataset_name": "builtin:pydocs"}}])
    with (folder / "results.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["dataset"], first["entry"], first["budget"], first["seed"]) == ("builtin:pydocs", "lstm", "inf", "3")
    assert (first["test.accuracy"], first["validation.loss"], first["completed"]) == ("0.25", "1.3", "True")
    numbers = (
        "disk_bytes",
        "data_seconds",
        "latency_seconds_p95",
        "energy_joules",
        "tuning_trials",
        "pretrain_seconds",
    )
    assert [first[name] for name in numbers] == ["4100", "1.5", "0.003", "42.0", "7", "120.5"]
    assert first["failure"] == first["error"] == "" and first["torch_version"] == "2.13.0"
    assert (second["entry"], second["failure"], second["error"]) == ("gpt, small", "killed", 'Kil,led\nby "9"')
    assert second["test.accuracy"] == second["seed"] == "" and second["dataset"] == "builtin:pydocs"


def test_the_parquet_has_the_same_values_and_fixed_types(exported, make_record):
    folder = exported([make_record("lstm", 100, 1, 0.25), make_record("lstm", None, 2, 0.5)])
    read = pd.read_parquet(folder / "results.parquet")
    text = pd.read_csv(folder / "results.csv")
    assert read["test.accuracy"].tolist() == text["test.accuracy"].tolist() == [0.25, 0.5]
    assert read["budget"].tolist() == [100.0, math.inf] and list(read.columns) == list(text.columns)
    assert str(read["seed"].dtype) == str(read["tuning_trials"].dtype) == "Int64"
    assert str(read["error"].dtype).startswith("str") and read["train_seconds"].dtype == float


def test_without_runs_there_is_only_a_heading(exported):
    folder = exported([])
    assert (folder / "results.csv").read_text().startswith("dataset,fingerprint,entry,")
    assert len(pd.read_parquet(folder / "results.parquet")) == 0


def test_a_latex_table_marks_the_recommended_entries(tmp_path, make_record, write_lines):
    records = []
    for entry, test in (("lstm", 0.2), ("gru_2", 0.3), ("minilm", 0.5)):
        records += [make_record(entry, 100, seed, test + seed / 100) for seed in (1, 2)]
    records.append(make_record("minilm", None, 1, 0.7))
    write_lines(tmp_path, records)
    table = latex_table(
        "50 % & more", make_cells(read_results(tmp_path / "results.jsonl")), ACCURACY, {("minilm", math.inf)}
    )
    lines = table.splitlines()
    assert r"\begin{tabular}{lrr}" in lines and r" & 100 & all 6,920 \\" in lines
    assert r"lstm & 21.5 $\pm$ 0.7 & – \\" in lines
    assert r"gru\_2 & 31.5 $\pm$ 0.7 & – \\" in lines
    assert r"minilm & 51.5 $\pm$ 0.7 & \textbf{70.0} \\" in lines
    assert r"\caption{50 \% \& more: accuracy, \%, on" in table
    places = [table.index(text) for text in ("Networks from scratch", "lstm &", "Pre-trained transformers", "minilm &")]
    assert places == sorted(places)
    assert len(re.findall("(?<!\\\\)&", table)) == 2 * 4  # three entries and the heading
    assert latex_table("none", [], ACCURACY) == ""


def test_names_are_escaped_for_latex():
    evil = '\\input{x} 50% & $a_b^2$ #1 ~ <t> {"q"} −3 ± 2\nnext\x00'
    safe = latex_text(evil)
    assert "\n" not in safe and "\x00" not in safe
    assert re.findall(r"(?<!\\)[%#&_]", safe) == []
    assert safe.startswith(r"\textbackslash{}input\{x\} 50\% \& \$a\_b\textasciicircum{}2\$ \#1")
    assert r"$-$3 $\pm$ 2" in safe


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles_the_table(exported, make_record):
    folder = exported([make_record("lstm & _ % \\ $ #", 100, 1, 0.25), make_record("minilm", None, 1, 0.5)])
    page = "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\\input{results}\\end{document}"
    (folder / "page.tex").write_text(page)
    subprocess.run(["pdflatex", "-halt-on-error", "page.tex"], cwd=folder, check=True, timeout=60)


def test_no_text_of_the_csv_file_is_a_formula_and_numbers_stay_numbers(exported, make_record):
    """A spreadsheet runs a cell that begins with one of these signs."""
    names = ["=1+2", "+cmd|'calc'!A0", "-lora", "@SUM(A1)", "\t=1", "plain = x"]
    records = [make_record(name, 100, 1, 0.25) for name in names]
    for record in records:
        record["metrics"]["test"]["pearson"] = -0.5
    failed = {"schema_version": 1, "status": "failed", "error": "=HYPERLINK(1)", "entry": "lstm", "folder": "r"}
    folder = exported([*records, failed])
    with (folder / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["entry"] for row in rows] == [*(f"'{name}" for name in names[:-1]), names[-1], "lstm"]
    assert rows[-1]["error"] == "'=HYPERLINK(1)"
    assert [row["test.pearson"] for row in rows] == ["-0.5"] * 6 + [""]
    assert pd.read_parquet(folder / "results.parquet")["entry"].tolist() == [*names, "lstm"]
