"""A comparison by cross-validation from its grid to its report, and what a stopped one leaves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from tl_toolkit.comparison.execution.scheduler import InProcess, execute
from tl_toolkit.comparison.planning.folds import with_default_folds
from tl_toolkit.comparison.planning.grid import Grid, make_grid
from tl_toolkit.comparison.report.writing import write_report
from tl_toolkit.data.splits import fold_of
from tl_toolkit.evaluation.results import read_results
from tl_toolkit.tasks import make_task
from tl_toolkit.workflows.compare import train

ROWS = 66


@pytest.fixture
def content(dataset_folder: Path, tmp_path: Path) -> dict:
    rows = pd.read_parquet(dataset_folder / "train.parquet")
    rows.loc[::4, "label"] = np.roll(rows.loc[::4, "label"], 1)  # no classifier can be right everywhere
    rows.to_csv(tmp_path / "rows.csv", index=False)
    constant = {"name": "Constant", "model_type": "bag_of_ngrams", "config_overrides": {"max_ngrams": 0}}
    entries = [constant, {"name": "linear", "model_type": "bag_of_ngrams"}]
    return {"dataset_name": str(tmp_path / "rows.csv"), "use_cpu": True, "keep_models": False, "entries": entries}


def _run(content: dict, output: Path, **flags: object) -> tuple[Grid, list[str]]:
    """The grid with the default folds, and the lines that its execution prints."""
    lines: list[str] = []
    grid, _ = with_default_folds(make_grid(content, flags, "the grid"), output)
    execute(grid, output, retry_failed=False, executor=InProcess(train), say=lines.append)
    return grid, lines


def test_the_score_is_that_of_cross_val_score(content: dict, tmp_path: Path) -> None:
    output = tmp_path / "out"
    grid, _ = _run(content, output, seeds=[4])
    page = write_report(output, "Few rows").read_text()
    rows = pd.read_csv(tmp_path / "rows.csv")
    classes = np.unique(rows["label"], return_inverse=True)[1]
    scores = []
    for run in (run for run in grid.runs if run.entry == "linear"):
        record = json.loads((output / run.folder / "result.json").read_text())
        data = run.arguments(output).data
        trained = make_task(data).prepare(run.seed)["train"]["row"][:]
        tested = np.flatnonzero(fold_of(classes, 5, run.seed) == run.fold)
        words = TfidfVectorizer(token_pattern=r"\S+", sublinear_tf=True, ngram_range=(1, 2))
        model = make_pipeline(words, LogisticRegression(C=record["solution"]["regularisation"], max_iter=9999))
        scores += [(len(tested), *cross_val_score(model, rows["text"], rows["label"], cv=[(trained, tested)]))]
    assert len(scores) == 5
    expected = np.average([own[1] for own in scores], weights=[own[0] for own in scores])
    decision = json.loads((output / "decision.json").read_text())
    (budget,), (facts,) = decision["budgets"], decision["panels"]
    linear = next(own for own in budget["entries"] if own["entry"] == "linear")
    assert linear["value"] == pytest.approx(expected, abs=1e-9) and 0.4 < expected < 1
    assert (facts["folds"], facts["repeats"], facts["test_rows"], facts["runs"]) == (5, 1, ROWS, 10)
    said = f"when trained on {budget['labels']} of 66 labels (5-fold cross-validation)"
    assert said in facts["card"]["headline"] and said in page and len(facts["card"]["headline"].split()) <= 30
    for text in (page, (output / "report.md").read_text()):
        assert "66 rows: 5-fold cross-validation; every row is tested." in text
    assert "corrected for overlapping training sets" in page and "rows crossed with seeds" not in page
    frame = pd.read_csv(output / "results.csv")
    assert len(frame) == 10 and sorted(frame["fold"].unique()) == [1, 2, 3, 4, 5]


def test_a_stopped_comparison_goes_on_with_the_missing_folds(content: dict, tmp_path: Path) -> None:
    output = tmp_path / "out"
    grid, _ = _run(content, output, folds=3, repeats=1)
    lost = next(run for run in grid.runs if run.entry == "linear" and run.fold == 2)
    shutil.rmtree(output / lost.folder)
    _, lines = _run(content, output, folds=3, repeats=1)
    assert sum("(cached)" in line for line in lines) == 5
    assert [line for line in lines if "(cached)" not in line][0].count("seed 1, fold 2 of 3") == 1
    assert len(read_results(output / "results.jsonl")) == 6

    records = [line for line in (output / "results.jsonl").read_text().splitlines() if '"linear"' not in line]
    kept = [line for line in (output / "results.jsonl").read_text().splitlines() if line not in records][:2]
    (output / "results.jsonl").write_text("\n".join([*records, *kept, ""]))
    write_report(output, "Stopped")
    (facts,) = json.loads((output / "decision.json").read_text())["panels"]
    assert "not all folds have finished: linear, all labels, seed 1" in facts["notes"][0]
