from __future__ import annotations

import json

import pytest

from tl_toolkit.evaluation.evidence.attention import attentions, read_attention
from tl_toolkit.evaluation.results import read_results
from tl_toolkit.evaluation.statistics.cells import make_cells

ROWS = [
    {"row": 3, "tokens": ["a", "<b>", "film"], "weights": [0.1, 0.2, 0.7]},
    {"row": 7, "tokens": ["x"], "weights": [0.0]},
]


@pytest.fixture
def written(tmp_path, make_record, write_lines):
    """Writes the attention file of each run; returns the parsed runs."""

    def write(texts, budgets=None):
        records = []
        for place, text in enumerate(texts):
            budget = budgets[place] if budgets else 100
            record = make_record("lstm", budget, place, 0.5, attention="attention.json")
            records.append(record)
            (tmp_path / record["folder"]).mkdir(parents=True)
            if text is not None:
                (tmp_path / record["folder"] / "attention.json").write_text(text)
        write_lines(tmp_path, records)
        return read_results(tmp_path / "results.jsonl")

    return write


def test_the_first_run_with_attention_at_the_largest_budget_is_used(tmp_path, written):
    whole = json.dumps({"what": "pooling weights", "rows": ROWS})
    results = written([whole, None, whole], budgets=[100, 500, 500])
    (found,) = attentions(make_cells(results), tmp_path)
    assert (found.entry, found.budget, found.seed, found.what) == ("lstm", 500, 2, "pooling weights")
    assert [row.row for row in found.rows] == [3, 7]
    assert found.rows[0].tokens == ["a", "<b>", "film"] and found.rows[0].strength == [0.143, 0.286, 1.0]
    assert found.rows[1].strength == [0.0]


def test_long_rows_are_cut(tmp_path, written):
    long = {"row": 1, "tokens": ["a"] * 97, "weights": [0.01] * 97}
    (result,) = written([json.dumps({"what": "w", "rows": [long]})])
    _, (row,) = read_attention(result, tmp_path)
    assert len(row.tokens) == len(row.weights) == len(row.strength) == 80 and row.cut == 17


@pytest.mark.parametrize(
    "text",
    [None, "", '{"what": "w", "rows": [{"row', "[]", "{}", '{"rows": 7}', '{"what": "w", "rows": []}'],
)
def test_missing_and_broken_files_give_none(tmp_path, written, text):
    (result,) = written([text])
    assert read_attention(result, tmp_path) is None
    assert attentions(make_cells([result]), tmp_path) == []


@pytest.mark.parametrize(
    "row",
    [
        {"row": 1, "tokens": ["a", "b"], "weights": [0.5]},
        {"row": 1, "tokens": [], "weights": []},
        {"row": 1, "tokens": ["a"], "weights": [float("nan")]},
        {"row": 1, "tokens": ["a"], "weights": [-0.1]},
        {"row": 1, "tokens": ["a"], "weights": ["x"]},
        {"tokens": ["a"], "weights": [0.1]},
        "row",
        None,
    ],
)
def test_an_invalid_row_is_left_out(tmp_path, written, row):
    (result,) = written([json.dumps({"what": "w", "rows": [row, ROWS[0]]})])
    read = read_attention(result, tmp_path)
    assert read is not None and [own.row for own in read[1]] == [3]


def test_a_record_without_attention_gives_none(tmp_path, make_record, write_lines):
    write_lines(tmp_path, [make_record("lstm", 100, 1, 0.5)])
    assert read_attention(read_results(tmp_path / "results.jsonl")[0], tmp_path) is None
