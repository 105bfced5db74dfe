from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from tl_toolkit.comparison.report.writing import write_report
from tl_toolkit.evaluation.evidence.mistakes import heat_map
from tl_toolkit.evaluation.formatting import markdown_text
from tl_toolkit.evaluation.predictions import Predictions

VOID = {"meta", "br", "use", "path"}


class Outline(HTMLParser):
    """Checks that elements are closed, and collects headings, ids, references and attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.headings: list[int] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.bare_header_cells = 0

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.add(tag)
        self.attributes += attrs
        self.ids += [given["id"]] if "id" in given else []
        self.references += [given["aria-labelledby"]] if "aria-labelledby" in given else []
        self.bare_header_cells += tag == "th" and given.get("scope") not in ("row", "col", "colgroup")
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.stack.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.stack and self.stack.pop() == tag, f"</{tag}> closes something else"


def report(folder):
    page = write_report(folder, "Which library?").read_text()
    outline = Outline()
    outline.feed(page)
    assert outline.stack == []
    assert outline.headings.count(1) == 1 and outline.headings[0] == 1
    assert all(after <= before + 1 for before, after in zip(outline.headings, outline.headings[1:], strict=False))
    assert len(outline.ids) == len(set(outline.ids)) and set(outline.references) <= set(outline.ids)
    assert outline.bare_header_cells == 0
    assert not {"link", "iframe", "object"} & outline.tags
    assert page.count("<script") == 1  # the page's own, which its policy names by its hash
    fetched = [value for name, value in outline.attributes if name in ("src", "srcset", "href", "xlink:href")]
    assert all(value.startswith(("#", "data:")) for value in fetched), fetched
    assert not re.search(r"@import|url\((?!#)", page)
    return page, (folder / "report.md").read_text(), outline


def words(page):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)).replace("\u00a0", " ")


def test_the_whole_report(tmp_path, comparison):
    comparison()
    page, summary, outline = report(tmp_path)
    said = words(page)
    assert "Use minilm: expect 6" in said and "**Use minilm: expect 6" in summary
    assert "Next: " in said and "On average over the 3 numbers of labels, pre-trained transformers" in said
    decision = json.loads((tmp_path / "decision.json").read_text())
    assert decision["recommended"] == "minilm" and decision["headline"] in summary and not decision["verified"]
    assert "(validation): 100 + 100, 500 + 500 and 2,000 + 1,000." in said
    assert "0123456789abcdef" in said and "torch 2.13.0, numpy 2.4.6" in said
    assert len(re.findall(r"Confusion matrix, 2,000 labels", said)) == 8
    assert len(re.findall(r"Most confident mistakes, 2,000 labels, seed 1", said)) == 8
    assert r"tl-toolkit finetune \ --config lstm.yaml \ --seed 1 \ --label_budget 2000 \ " in said
    assert "config_overrides: hidden_size: 128" in said
    assert "![Learning curves: Accuracy, %, of each entry over budgets](figures/learning_curves.png)" in summary
    assert re.search(
        r"\| minilm \| transfer: full \| [\d.]+ ± [\d.]+.● \| [\d.]+ ± [\d.]+.● \| [\d.]+ ± [\d.]+.● \|", summary
    )
    assert "| 100 | 500 | 2,000 |" in summary and "figures/pareto.png" in summary
    assert {"svg", "details", "figcaption"} <= outline.tags
    assert (tmp_path / "figures" / "learning_curves.png").exists()
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]


def test_the_page_fits_a_phone(tmp_path, comparison):
    """Both sizes of figures, labels for the cells of stacked tables, marks that stay next to their names."""
    comparison(rows=101)
    page, _, _ = report(tmp_path)
    assert page.count('class="wide"') == page.count('class="narrow"') == 3
    assert page.count('data-label="Difference (95 %)"') == 3 and page.count('<table class="contest">') == 1
    marks = re.findall(r'(.{6})<span class="mark" role="img" aria-label="recommended', page)
    assert len(marks) == 3 and all(before == "&nbsp;" for before in marks)
    style = page[page.index("<style>") : page.index("</style>")]
    assert re.search(r"pre \{[^}]*white-space: pre-wrap", style) and "min-width: calc" not in style


def test_the_tables_contain_means_and_deviations(tmp_path, comparison):
    records = comparison(predictions=False)
    values = [
        r["metrics"]["test"]["accuracy"] for r in records if (r["entry"], r["budget"]["label_budget"]) == ("lstm", 100)
    ]
    page, summary, _ = report(tmp_path)
    expected = f"{100 * np.mean(values):.1f} ± {100 * np.std(values, ddof=1):.1f}"
    assert expected in words(page)
    assert f"| lstm | from scratch | {expected} |" in summary


def test_markup_in_texts_names_and_errors_stays_text(tmp_path, make_record, write_lines, write_parquet):
    evil = "<script>alert('x')</script><img src=x onerror=alert(1)> | `a` [b](javascript:c)"
    record = make_record(f"lstm {evil}", 100, 1, 0.2)
    record["task"]["labels"] = [evil, "b"]
    record["dataset"]["name"] = record["arguments"]["dataset_name"] = evil
    failed = make_record(f"minilm {evil}", 100, 1, 0, status="failed", metrics={}, error=evil)
    write_lines(tmp_path, [record, failed])
    columns = {"row": [0, 1], "text": [evil, evil], "text_pair": [evil, evil], "label": [0, 1], "prediction": [1, 0]}
    write_parquet(tmp_path / record["folder"], columns | {"scores": [[0.1, 0.9], [0.8, 0.2]]})
    page, summary, outline = report(tmp_path)
    assert "img" not in outline.tags and "onerror" not in [name for name, _ in outline.attributes]
    assert "&lt;script&gt;" in page
    assert "<" not in summary.replace("\\<", "")
    rows = [line for line in summary.splitlines() if line.startswith("| lstm")]
    assert rows and len(re.findall(r"(?<!\\)\|", rows[0])) == 4


def test_one_budget_one_seed_without_predictions(tmp_path, make_record, write_lines):
    write_lines(tmp_path, [make_record("lstm", None, 1, 0.25), make_record("minilm", None, 1, 0.5)])
    page, summary, _ = report(tmp_path)
    said = words(page)
    assert "(validation): 6,920 + 1,000." in said and "Scores by entry" in said
    assert "Filled: transfer. Hollow: from scratch." in said and "Dashed" not in said and "Solid" not in said
    assert "25.0 23.1" not in said  # each score has its own cell
    assert "| minilm | transfer: full | 50.0 |" in summary  # one seed has no deviation
    assert "No decision: the predictions of these runs are missing." in said
    assert said.count("The predictions of these runs are not available.") == 2


def test_a_run_whose_labels_are_unknown_is_left_out_of_the_decision(tmp_path, comparison, write_lines):
    records = comparison(skills={"lstm": (0.3,), "minilm": (0.5,)}, budgets=(None,), seeds=(2,), rows=101)
    write_lines(tmp_path, [{**record, "budget": {}} for record in records])
    page, summary, _ = report(tmp_path)
    assert "No decision: these runs leave nothing to compare." in words(page)
    assert "4 runs are left out of the decision, because the number of labels is unknown: " in words(page)
    assert "| minilm | transfer: full |" in summary


def test_a_report_of_failed_runs_only(tmp_path, write_lines):
    bare = {"schema_version": 1, "status": "failed", "error": "Loss is nan at step 7.", "entry": "gpt", "folder": "r"}
    write_lines(tmp_path, [bare])
    page, summary, _ = report(tmp_path)
    assert "The only run failed." in words(page) and "Loss is nan at step 7." in words(page)
    assert "| gpt | – | – | – | Loss is nan at step 7. |" in summary
    assert "strategy unknown" in words(page)


def test_an_entry_whose_first_run_failed_is_described_by_the_next(tmp_path, make_record, write_lines):
    bare = {"schema_version": 1, "status": "failed", "error": "Killed.", "entry": "lstm", "folder": "r", "seed": 0}
    write_lines(tmp_path, [bare, make_record("lstm", 100, 1, 0.25)])
    page, _, _ = report(tmp_path)
    said = words(page)
    assert "lstm from scratch RnnForSequenceClassification, rnn, tokenizer word of 9,000" in said
    assert r"--config lstm.yaml \ --seed 1 \ " in said
    assert "Dataset builtin:pydocs Entries" in said  # and no unknown dataset


def test_an_entry_is_described_by_the_run_that_is_shown(tmp_path, make_record, write_lines):
    """Vocabulary and schedule are those of one run, with the largest budget, not of runs with different budgets."""
    small, large = (make_record("lstm + attention", budget, 3, 0.25) for budget in (100, 500))
    small["model"]["vocab_size"], large["model"]["vocab_size"] = 159, 1097
    for record, epochs in ((small, 15), (large, 12)):
        record["arguments"] |= {"num_train_epochs": 12, "min_train_steps": 60}
        record["resolved"] = {"learning_rate": 0.003, "num_train_epochs": epochs}
        record["cost"] |= {"steps": 16 * epochs, "epochs": float(epochs)}
    write_lines(tmp_path, [small, large])
    said = words(report(tmp_path)[0])
    assert "tokenizer word of 1,097" in said and "of 159" not in said
    assert "(500 labels, seed 3; 12 epochs (192 updates), learning rate 0.003)" in said
    assert "Save the configuration below as lstm_attention.yaml" in said
    assert r"--config lstm_attention.yaml \ --seed 3 \ --label_budget 500 \ --output_dir outputs/lstm_attention" in said
    assert "num_train_epochs: 12 " in said and "min_train_steps: 60 " in said


def test_nothing_recorded_yet(tmp_path, write_lines):
    write_lines(tmp_path, [])
    page, _, _ = report(tmp_path)
    assert "No run has finished yet." in words(page)


def test_a_grid_half_way(tmp_path, comparison):
    records = comparison(rows=101)
    lines = [json.dumps(record) for record in records[: len(records) // 2]]
    (tmp_path / "results.jsonl").write_text("\n".join(lines) + "\n" + lines[0][:40])
    (tmp_path / records[3]["folder"] / "predictions_test.parquet").unlink()
    page, _, _ = report(tmp_path)
    assert f"{len(lines)} finished" in words(page)


def test_regression(tmp_path, make_record, write_lines, write_parquet):
    generator = np.random.default_rng(2)
    label = generator.uniform(0, 5, 103)
    records = []
    for entry, noise in (("lstm", 1.5), ("minilm", 0.6)):
        for seed in (1, 2):
            prediction = label + generator.normal(0, noise, 103)
            metrics = {
                "loss": 1.0,
                "pearson": float(np.corrcoef(label, prediction)[0, 1]),
                "mse": float(((label - prediction) ** 2).mean()),
            }
            task = {
                "name": "regression", "problem_type": "regression", "labels": None,
                "main_metric": "pearson", "greater_is_better": True,
            }  # fmt: skip
            record = make_record(entry, 100, seed, 0, task=task, metrics={"validation": metrics, "test": metrics})
            records.append(record)
            columns = {"row": np.arange(103), "text": ["a film"] * 103, "label": label, "prediction": prediction}
            write_parquet(tmp_path / record["folder"], columns)
    write_lines(tmp_path, records)
    page, summary, outline = report(tmp_path)
    said = words(page)
    assert "expect a Pearson correlation of 0." in said
    assert "Largest errors" in said and "off by " in said and "Confusion matrix" not in said
    assert page.count("Scatter plot of predictions") == 2
    assert "## Pearson correlation on the test rows" in summary and "| Entry | Mean squared error |" in summary


def test_multi_label(tmp_path, make_record, write_lines, write_parquet):
    generator = np.random.default_rng(4)
    label = generator.integers(2, size=(31, 3))
    task = {
        "name": "text-classification", "problem_type": "multi_label_classification", "labels": ["toxic", "spam", "ad"],
        "main_metric": "micro_f1", "greater_is_better": True,
    }  # fmt: skip
    metrics = {"accuracy": 0.5, "micro_f1": 0.7, "macro_f1": 0.6}
    record = make_record("lstm", 100, 1, 0, task=task, metrics={"validation": metrics, "test": metrics})
    write_lines(tmp_path, [record])
    prediction = np.where(generator.random((31, 3)) < 0.8, label, 1 - label).astype(np.int8)
    columns = {
        "row": np.arange(31),
        "text": ["some text"] * 31,
        "label": list(label.astype(np.int8)),
        "prediction": list(prediction),
        "scores": list(generator.random((31, 3)).astype(np.float32)),
    }
    write_parquet(tmp_path / record["folder"], columns)
    page, _, _ = report(tmp_path)
    said = words(page)
    hits = int((label & prediction)[:, 1].sum())
    alarms, misses = (
        int((~label.astype(bool) & (prediction == 1))[:, 1].sum()),
        int((label & (1 - prediction))[:, 1].sum()),
    )
    assert f"spam {hits} {alarms} {misses} {100 * hits / (hits + alarms):.0f} %" in said
    assert "Most confident mistakes" in said and "micro-F1" in said


def test_many_classes_are_combined():
    label = np.repeat(np.arange(150), 4)
    prediction = label.copy()
    prediction[:8] = [1, 1, 1, 0, 0, 0, 2, 1]  # classes 0 and 1 are mixed up, and 2 is predicted once
    heat = heat_map([Predictions(np.arange(600), label, prediction)], None, most=3)
    assert heat.names == ["class 0", "class 1", "class 2", "147 others"] and heat.hidden == 147
    assert [[count for count, _ in row] for _, row, _ in heat.rows] == [
        [1, 3, 0, 0], [2, 1, 1, 0], [0, 0, 4, 0], [0, 0, 0, 588],
    ]  # fmt: skip
    assert [recall.replace("\u00a0", " ") for _, _, recall in heat.rows] == ["25 %", "25 %", "100 %", "100 %"]


@pytest.mark.parametrize(
    ("text", "expected"), [("a|b", "a\\|b"), ("a\n\nb", "a b"), ("_x_ <b>", "\\_x\\_ \\<b\\>"), (3, 3)]
)
def test_markdown_text(text, expected):
    assert markdown_text(text) == expected
