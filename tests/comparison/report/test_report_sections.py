"""The optional sections of the page: several datasets, side-by-side evidence, and reports without texts."""

from __future__ import annotations

import json
import re

import pytest
from synthetic_records import write_many

from tl_toolkit.comparison.report.writing import write_report

SKILLS = {"lstm": (0.3, 0.4, 0.5), "bilstm-attention": (0.33, 0.43, 0.55), "minilm": (0.5, 0.6, 0.7)}


def words(page):
    body = page[page.index("<body>") : page.index("<script>")]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body)).replace("\u00a0", " ")


@pytest.fixture
def page(tmp_path, rich_comparison):
    rich_comparison(skills=SKILLS, seeds=(3, 2, 2), rows=101)
    return write_report(tmp_path, "Rich").read_text()


def test_all_sections_and_columns_are_present(page, tmp_path):
    said = words(page)
    for section in (
        "Score against cost",
        "Method and all comparisons",
        "Where entries disagree",
        "Scores by class",
        "Calibration",
        "Attention",
    ):
        assert section in said, section
    for column in ("On disk", "Tuning, trials", "Energy, J", "One row, ms", "Rows/s, batch 32", "95 % interval"):
        assert column in said, column
    assert "12 trials (1 failed), 5.7 min in total; chosen: learning_rate = 0.0031." in said
    names = ("learning_curves", "pareto", "reliability")
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {
        f"{n}.{s}" for n in names for s in ("svg", "png")
    }


def test_all_comparisons_are_behind_a_fold(page):
    fold = page[page.index("Method and all comparisons</h2></summary>") :]
    fold = fold[: fold.index("</details>")]
    for heading in ("Every entry against the best", "Kinds of models", "Equivalent labels", "All pairs of entries"):
        assert f">{heading}</h3>" in fold and page.count(f">{heading}</h3>") == 1, heading
    pairs = fold[fold.index("All pairs of entries") :]
    assert len(re.findall("<tr>", pairs)) == 1 + 3 * 3  # a heading, and three pairs at three budgets


def test_the_page_begins_with_the_card(page):
    """The card, one table with a row a budget, at most three sentences; then the pictures."""
    start = page[page.index("<main>") : page.index('id="curves"')]
    assert start.index("Use minilm") < start.index("Runner-up: ") < start.index("Next: ") < start.index("<table")
    assert start.count("<table") == 1 and start.count('<th scope="row"') == 3
    after = start[start.index("</table>") : start.index("<nav")]
    assert len(re.findall("<p>", after)) <= 3


def test_attention_is_readable_without_colour(page):
    tokens = re.findall(r'<span class="token" style="--heat:([\d.]+)" title="([\d.]+)">', page)
    assert len(tokens) > 50 and all(0 <= float(heat) <= 1 for heat, _ in tokens)
    assert "Most weight:" in words(page)


def test_without_texts_rows_are_only_numbered(tmp_path, rich_comparison):
    secret = "Wholly confidential sentence about a patient."
    rich_comparison(skills=SKILLS, rows=53, texts=[secret])
    with_texts = words(write_report(tmp_path, "Rich").read_text())
    page = write_report(tmp_path, "Rich", texts=False).read_text()
    assert secret in with_texts and "This page contains no texts of the dataset." in words(page)
    assert "onfidential" not in page and "patient" not in page
    assert "Attention" not in words(page)
    assert "Where entries disagree" in words(page) and re.search(r"row \d+ · true:", words(page))
    said = (tmp_path / "report.md").read_text()
    assert "onfidential" not in said


def test_several_datasets_are_panels(tmp_path, rich_comparison, write_lines):
    records = rich_comparison(skills=SKILLS, budgets=(100, 500), seeds=(2, 2), rows=53)
    for record in records:
        record["grid_dataset"] = "first" if record["seed"] == 1 else "the <second>"
    write_lines(tmp_path, records)
    page = write_report(tmp_path, "Two").read_text()
    said = words(page)
    assert "2 datasets" in said and said.count("Results on the test rows") >= 2
    levels = [int(level) for level in re.findall(r"<h([1-6])[ >]", page)]
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)
    assert "<second>" not in page and "the &lt;second&gt;" in page
    assert len(list((tmp_path / "figures").glob("*learning_curves.png"))) == 2


def test_failed_runs_with_the_same_error_are_one_row(tmp_path, make_record, write_lines):
    failed = {"status": "failed", "metrics": {}, "failure": "out_of_memory", "error": "x" * 900}
    records = [make_record("minilm", 100, seed, 0, **failed) for seed in (1, 2, 3)]
    write_lines(tmp_path, [make_record("lstm", 100, 1, 0.3), *records])
    said = words(write_report(tmp_path, "Failed").read_text())
    assert "minilm 100 1, 2, 3 out of memory xxx" in said and "300 more characters" in said


def test_the_size_of_a_page_is_linear_in_the_runs(tmp_path):
    """Twice the seeds hardly change the size; twice the entries at most double it."""
    sizes, files = {}, {}
    for name, entries, seeds in (("small", 5, 2), ("seeds", 5, 4), ("entries", 10, 2)):
        runs = write_many(tmp_path / name, entries, 3, seeds, 97)
        sizes[name] = write_report(tmp_path / name, name).stat().st_size
        files[name] = runs
    assert files == {"small": 30, "seeds": 60, "entries": 60}
    assert sizes["seeds"] < 1.05 * sizes["small"]
    assert sizes["entries"] < 2.1 * sizes["small"]
    assert sizes["entries"] / files["entries"] < 12_000


def test_each_prediction_file_is_read_only_a_few_times(tmp_path, monkeypatch):
    """Reading files dominates the time with many runs: a report must not read a file for every pair of entries."""
    import pyarrow.parquet as pq

    runs = write_many(tmp_path, 7, 2, 2, 31)
    read, parquet_file = [], pq.ParquetFile

    def counted(path, *arguments, **keywords):
        read.append(str(path))
        return parquet_file(path, *arguments, **keywords)

    monkeypatch.setattr(pq, "ParquetFile", counted)
    write_report(tmp_path, "Counted")
    assert runs == 28 and len(set(read)) == 28
    assert len(read) <= 6 * runs


def test_numbers_that_are_not_finite_sort_last(tmp_path, make_record, write_lines):
    records = [make_record("lstm", 100, 1, 0.3), make_record("elman", 100, 1, 0.2)]
    records[1]["metrics"]["test"]["accuracy"] = None
    lines = [json.dumps(record) for record in records]
    (tmp_path / "results.jsonl").write_text("\n".join(lines) + "\n")
    page = write_report(tmp_path, "Not a number").read_text()
    table = page[page.index('id="results-table"') :]
    names = re.findall(
        r'<tr data-budget="100"[^>]*><th scope="row" class="name">(\w+)', table[: table.index("</table>")]
    )
    assert names == ["lstm", "elman"]


def test_findings_on_the_data_are_those_of_the_run_with_most_labels(make_record, write_lines, tmp_path):
    few, many, old = (make_record("lstm", labels, 1, 0.25) for labels in (100, 1000, 5000))
    few["dataset"]["data_look"] = {"most_frequent": {"label": "scipy", "share": 0.75}}
    many["dataset"]["data_look"] = {
        "most_frequent": {"label": "numpy", "share": 0.25},
        "in_test": {"count": 3, "rows": [11, 13, 17]},
        "missing": {"train": {"count": 1, "classes": ["<b>"]}},
    }
    write_lines(tmp_path, [few, many, old])
    write_report(tmp_path, "A title", texts=False)
    lines = (tmp_path / "report.md").read_text(encoding="utf-8").splitlines()
    assert "- Most frequent label: 'numpy' (25.0% of the training rows)" in lines
    assert "- Duplicate training texts: 3 also in test" in lines
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<dt>Also found</dt><dd>missing classes (training has no &#39;&lt;b&gt;&#39;)</dd>" in page
    write_lines(tmp_path, [old])
    write_report(tmp_path, "A title")
    assert "Most frequent label" not in (tmp_path / "report.md").read_text(encoding="utf-8")
