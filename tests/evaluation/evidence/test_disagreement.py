from __future__ import annotations

import math
import time

import numpy as np
import pytest

from tl_toolkit.evaluation.evidence.disagreement import disagreement
from tl_toolkit.evaluation.predictions import PredictionReader
from tl_toolkit.evaluation.results import read_results
from tl_toolkit.evaluation.statistics.cells import make_cells


@pytest.fixture
def disputed(tmp_path, make_record, write_lines, write_parquet):
    """Computes the disagreement of runs (entry, budget, seed, prediction columns) of a task."""

    def find(runs, task, picked=()):
        records = []
        for entry, budget, seed, columns in runs:
            record = make_record(entry, budget, seed, 0.5)
            record["task"] |= task
            records.append(record)
            if columns is not None:
                write_parquet(tmp_path / record["folder"], columns)
        write_lines(tmp_path, records)
        cells = make_cells(read_results(tmp_path / "results.jsonl"))
        return disagreement(cells, PredictionReader(tmp_path), picked)

    return find


def classes(label, prediction, certainty=None, **more):
    columns = {"row": list(range(10, 10 + len(label))), "text": [f"text {row}" for row in range(len(label))]}
    if certainty is not None:
        scores = [[(1 - sure) / 2] * 3 for sure in certainty]
        for row, (own, sure) in enumerate(zip(prediction, certainty, strict=True)):
            scores[row][own] = sure
        more["scores"] = scores
    return {**columns, "label": label, "prediction": prediction, **more}


SINGLE = {"problem_type": "single_label_classification", "labels": ["a", "b", "c"]}
LABEL = [0, 1, 2, 0, 1]


def test_hand_computed_agreement_and_rows_that_only_one_gets_right(disputed):
    runs = [
        ("lstm", 100, 1, classes(LABEL, [0, 1, 0, 1, 2])),
        ("gru", 100, 1, classes(LABEL, [0, 1, 0, 0, 0])),
        ("minilm", 100, 1, classes(LABEL, [0, 2, 2, 1, 0])),
    ]
    found = disputed(runs, SINGLE)
    assert found.entries == ["lstm", "gru", "minilm"] and found.reason == ""
    assert np.array(found.agreement) == pytest.approx(np.array([[1, 0.6, 0.4], [0.6, 1, 0.4], [0.4, 0.4, 1]]))
    assert found.alone == [0, 1, 1]
    assert found.summary == "Not all entries make the same prediction for 4 of 5 test rows."
    # Only gru is right on row 13, only minilm on 12, all but minilm on 11, and none on 14.
    assert [row.row for row in found.rows] == [11, 12, 13, 14]
    assert found.rows[0].text == "text 1" and found.rows[0].label == "b"
    assert [(own.answer, own.right, own.probability) for own in found.rows[2].answers] == [
        ("b", False, None), ("a", True, None), ("b", False, None),
    ]  # fmt: skip


def test_seeds_are_combined_by_majority_and_ties_by_probability(disputed):
    runs = [
        ("lstm", 100, 1, classes(LABEL, [0, 1, 2, 0, 1], [0.9] * 5)),
        ("gru", 100, 1, classes(LABEL, [0, 1, 2, 1, 0], [0.9, 0.9, 0.9, 0.6, 0.95])),
        ("gru", 100, 2, classes(LABEL, [0, 1, 2, 2, 1], [0.9, 0.9, 0.9, 0.7, 0.55])),
        ("minilm", 100, 1, classes(LABEL, [1, 1, 2, 0, 1], [0.9] * 5)),
        ("minilm", 100, 2, classes(LABEL, [1, 1, 2, 0, 1], [0.8] * 5)),
        ("minilm", 100, 3, classes(LABEL, [0, 1, 2, 0, 1], [0.99] * 5)),
    ]
    found = disputed(runs, SINGLE)
    answers = {row.row: {own.entry: own for own in row.answers} for row in found.rows}
    assert sorted(answers) == [10, 13, 14]
    assert answers[13]["gru"].answer == "c" and answers[13]["gru"].probability == pytest.approx((0.7 + 0.2) / 2)
    assert answers[14]["gru"].answer == "a"
    assert answers[10]["minilm"].answer == "b"  # two of three, although the third is more certain
    assert answers[10]["minilm"].probability == pytest.approx((0.9 + 0.8 + 0.005) / 3)


def test_splits_of_the_compared_entries_come_first_and_alternate(disputed):
    label = [0] * 7
    runs = [
        ("lstm", 100, 1, classes(label, [0, 0, 0, 1, 1, 0, 1], [0.9, 0.8, 0.7, 0.6, 0.5, 0.9, 0.9])),
        ("gru", 100, 1, classes(label, [0, 0, 0, 0, 0, 1, 1], [0.9] * 7)),
        ("minilm", 100, 1, classes(label, [1, 1, 1, 0, 0, 0, 1], [0.9] * 7)),
    ]
    found = disputed(runs, SINGLE, picked={"lstm", "minilm"})
    assert [row.row for row in found.rows] == [10, 13, 11, 14, 12, 15]
    assert "the recommended entry and the runner-up" in found.order


def test_the_largest_budget_that_most_entries_share_is_used(disputed):
    runs = [(name, 100, 1, classes(LABEL, LABEL)) for name in ("lstm", "gru", "minilm")]
    runs += [
        (name, 500, 1, classes(LABEL, [0, 0, 0, 0, place])) for place, name in enumerate(("lstm", "gru", "minilm"))
    ]
    runs += [(name, None, 1, classes(LABEL, LABEL)) for name in ("lstm", "gru")]
    found = disputed(runs, SINGLE)
    assert found.budget == 500 and [row.row for row in found.rows] == [14]
    assert disputed(runs[:1], SINGLE) is None
    assert disputed([*runs[:2], *runs[-2:]], SINGLE).budget == math.inf


def test_an_entry_without_the_same_rows_is_left_out(disputed):
    other = classes([0, 1], [0, 0])
    runs = [
        ("lstm", 100, 1, classes(LABEL, LABEL)),
        ("gru", 100, 1, other),
        ("minilm", 100, 1, classes(LABEL, [0] * 5)),
    ]
    found = disputed(runs, SINGLE)
    assert found.entries == ["lstm", "minilm"] and found.left_out == ["gru"]
    assert disputed(runs[:2], SINGLE).reason and disputed([("lstm", 1, 1, None), ("gru", 1, 1, None)], SINGLE).reason


def test_label_sets(disputed):
    label = [[1, 0, 0], [0, 1, 1], [0, 0, 0]]
    scores = [[0.9, 0.2, 0.4], [0.1, 0.8, 0.7], [0.2, 0.1, 0.3]]
    runs = [
        ("lstm", 100, 1, classes(label, label) | {"scores": scores}),
        ("minilm", 100, 1, classes(label, [[1, 0, 0], [0, 1, 0], [0, 0, 0]]) | {"scores": scores}),
    ]
    found = disputed(runs, {**SINGLE, "problem_type": "multi_label_classification"})
    (row,) = found.rows
    assert (row.row, row.label, [own.answer for own in row.answers]) == (11, "b, c", ["b, c", "b"])
    assert row.answers[0].probability == pytest.approx(0.7) and row.answers[1].probability == pytest.approx(0.3)
    assert found.agreement[0][1] == pytest.approx(2 / 3) and found.alone == [1, 0]


def test_numbers(disputed):
    label = [1.0, 2.0, 3.0, 4.0]
    runs = [
        ("lstm", 100, 1, classes(label, [1.5, 2.0, 3.0, 3.0])),
        ("lstm", 100, 2, classes(label, [1.5, 2.5, 3.0, 3.0])),
        ("minilm", 100, 1, classes(label, [1.0, 2.0, 5.0, 4.0])),
    ]
    found = disputed(runs, {"problem_type": "regression", "labels": None})
    assert [row.row for row in found.rows] == [12, 13, 10, 11]
    assert [own.answer for own in found.rows[3].answers] == ["2.25", "2"]
    assert found.agreement[0][1] == pytest.approx(np.corrcoef([1.5, 2.25, 3, 3], [1, 2, 5, 4])[0, 1])
    assert found.alone == [1, 3] and found.alone_is == "test rows where this entry is nearest to the label"
    assert "differ by 0.75 or more" in found.summary


def test_tags_are_compared_per_word(disputed):
    words = [["Anna", "sees", "Rome"], ["It", "rains"]]
    label = [["B-PER", "O", "B-LOC"], ["O", "O"]]

    def columns(prediction):
        return {"row": [4, 2], "words": words, "label": label, "prediction": prediction}

    runs = [
        ("lstm", 100, 1, columns([["B-PER", "O", "O"], ["O", "O"]])),
        ("minilm", 100, 1, columns([["B-PER", "O", None], ["O", "B-LOC"]])),
    ]
    found = disputed(runs, {"problem_type": None, "name": "token-classification"})
    assert [(row.row, row.text, row.label) for row in found.rows] == [
        (4, "Anna sees Rome", "Rome B-LOC"), (2, "It rains", "rains O"),
    ][::-1]  # fmt: skip
    assert [own.answer for own in found.rows[1].answers] == ["Rome O", "Rome cut off"]
    assert found.summary.endswith(" for 2 of 3 words that the truth or an entry tags.")
    assert found.alone == [1, 0]  # `rains`; no entry tags Rome right


def test_texts_are_compared_by_sentence_chrf(disputed):
    source, reference = ["eins", "zwei", "drei"], ["a man walks", "two dogs", "three"]

    def columns(prediction):
        return {"row": [0, 1, 2], "source": source, "reference": reference, "prediction": prediction}

    runs = [
        ("lstm", 100, 1, columns(["a man walks", "xyz", "three"])),
        ("minilm", 100, 1, columns(["a man runs", "two dogs", "three"])),
    ]
    found = disputed(runs, {"problem_type": None, "name": "translation"})
    assert [row.row for row in found.rows] == [1, 0] and found.rows[0].text == "zwei"
    assert [own.measure for own in found.rows[0].answers] == ["chrF 0.0", "chrF 100.0"]
    assert [own.right for own in found.rows[0].answers] == [False, True]
    assert found.alone == [1, 1] and found.agreement[0][1] == pytest.approx(1 / 3)


def test_forecasts_are_left_out_with_a_reason(disputed):
    columns = {"row": [1], "label": [[1.0]], "prediction": [[2.0]]}
    runs = [("lstm", 100, 1, columns), ("gru", 100, 1, columns)]
    found = disputed(runs, {"problem_type": "forecasting", "name": "forecasting"})
    assert "Forecasts" in found.reason and not found.rows and not found.entries


def test_many_rows_and_entries_take_little_time(tmp_path, comparison):
    comparison(budgets=(100,), seeds=(3,), rows=5003, skills={f"entry {n}": (0.3 + n / 20,) for n in range(10)})
    cells, reader = make_cells(read_results(tmp_path / "results.jsonl")), PredictionReader(tmp_path)
    began = time.process_time()
    found = disagreement(cells, reader)
    assert len(found.rows) == 12 and time.process_time() - began < 2
