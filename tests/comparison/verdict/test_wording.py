from __future__ import annotations

import re

import numpy as np
import pytest
from markupsafe import Markup

from tl_toolkit.comparison.report.writing import write_report
from tl_toolkit.evaluation.formatting import in_unit, unit_of
from tl_toolkit.evaluation.results import read_results
from tl_toolkit.evaluation.statistics.cells import make_cells


def test_labels_become_tokens_except_in_commands():
    said = 'With 100 labels at every label budget. <td data-label="Labels" class="label">Label budgets</td>'
    assert in_unit(said, "tokens") == (
        'With 100 tokens at every token budget. <td data-label="Tokens" class="label">Token budgets</td>'
    )
    assert in_unit(said, "labels") is said
    code = "<pre>--label_budget 7 # labels\nlabels</pre> labels <code>labels</code>"
    assert in_unit(code, "tokens") == code.replace("> labels <", "> tokens <")
    assert type(in_unit(Markup("<b>labels</b>"), "tokens")) is Markup
    assert in_unit("figures/label_equivalence.png id-labels_3", "tokens") == "figures/label_equivalence.png id-labels_3"


@pytest.fixture
def language_models(tmp_path, make_record, write_lines, write_parquet):
    generator, records = np.random.default_rng(3), []
    task = {"name": "causal-language-modeling", "problem_type": None, "labels": None}
    for entry, loss in (("lstm", 5.0), ("minilm", 4.0)):
        for tokens in (10_007, None):
            for seed in (1, 2):
                metrics = {"loss": loss - (tokens is None) / 2 + seed / 100, "perplexity": 90.0}
                record = make_record(entry, None, seed, 0, folder=f"{entry}{tokens}{seed}")
                record["metrics"] = {"validation": metrics, "test": metrics}
                record["task"] = task | {"main_metric": "loss", "greater_is_better": False}
                record["budget"] = {"label_budget": None, "train_labels": 0, "validation_labels": 0}
                record["budget"] |= {"token_budget": tokens, "train_tokens": tokens or 200_003}
                records.append(record)
                counts = generator.integers(20, 60, 101)
                losses = counts * (metrics["loss"] + generator.normal(0, 0.1, 101))
                columns = {"row": np.arange(101), "loss_sum": losses, "tokens": counts, "bytes": counts * 4}
                write_parquet(tmp_path / record["folder"], columns)
    write_lines(tmp_path, records)
    return tmp_path


def test_language_models_are_compared_by_training_tokens(language_models):
    results = read_results(language_models / "results.jsonl")
    assert unit_of(results) == "tokens"
    assert [cell.train_labels for cell in make_cells(results)] == [10_007, 10_007, 200_003, 200_003]
    page = write_report(language_models, "Language models").read_text()
    summary = (language_models / "report.md").read_text()
    assert "at every token budget tried, from 10,007 to all 200,003" in summary
    assert "| Entry | Approach | 10,007 | all 200,003 |" in summary and "labels" not in summary.lower()
    shown = re.sub(r"<(style|script|pre|code)\b.*?</\1>|<[^>]+>", " ", page, flags=re.DOTALL)
    assert "at every token budget tried" in shown and not re.search(r"\blabels\b", shown, flags=re.IGNORECASE)
