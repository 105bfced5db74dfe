from __future__ import annotations

import datetime

import pytest

from tl_toolkit.evaluation.evidence.mistakes import gather, mistakes_heading
from tl_toolkit.evaluation.predictions import PredictionReader
from tl_toolkit.evaluation.results import read_results
from tl_toolkit.evaluation.statistics.cells import make_cells


@pytest.fixture
def evidence(tmp_path, make_record, write_lines, write_parquet):
    def find(name, columns):
        record = make_record("lstm", 100, 1, 0.5)
        record["task"] |= {"name": name, "problem_type": "forecasting" if name == "forecasting" else None}
        write_lines(tmp_path, [record])
        if columns:
            write_parquet(tmp_path / record["folder"], columns)
        (cell,) = make_cells(read_results(tmp_path / "results.jsonl"))
        found = gather(cell, PredictionReader(tmp_path))
        assert found.heat is None and found.numbers is None and found.labels == []
        return found.mistakes, mistakes_heading(cell.results[0])

    return find


def test_sentences_with_the_most_wrong_tags(evidence):
    columns = {
        "row": [3, 5, 7],
        "words": [["Anna", "left"], ["In", "Rome", "today"], ["Hm"]],
        "label": [["B-PER", "O"], ["O", "B-LOC", "O"], ["O"]],
        "prediction": [["O", "O"], ["B-LOC", "I-LOC", None], ["O"]],
    }
    mistakes, heading = evidence("token-classification", columns)
    assert "wrong tags" in heading and [own.row for own in mistakes] == [5, 3]
    assert mistakes[0].text == "In Rome today" and mistakes[0].measure == "3 of 3 words wrong"
    assert mistakes[0].label == "In O, Rome B-LOC, today O"
    assert mistakes[0].prediction == "In B-LOC, Rome I-LOC, today cut off"


def test_the_worst_translations_by_chrf(evidence):
    columns = {
        "row": [1, 2, 3],
        "source": ["ein Mann", "zwei Hunde", "drei"],
        "reference": ["a man", "two dogs", "three"],
        "prediction": ["a men", "xxx", "three"],
    }
    mistakes, heading = evidence("translation", columns)
    assert "chrF" in heading and [own.row for own in mistakes] == [2, 1]
    assert (mistakes[0].text, mistakes[0].label, mistakes[0].prediction) == ("zwei Hunde", "two dogs", "xxx")
    assert mistakes[0].measure == "chrF 0.0" and 20 < float(mistakes[1].measure.removeprefix("chrF ")) < 90


def test_captions_are_scored_against_the_nearest_reference(evidence):
    columns = {
        "row": [1, 2],
        "reference": [["a cat", "the cat"], ["a dog", "one dog"]],
        "prediction": ["the cat", "cow"],
    }
    mistakes, _ = evidence("captioning", columns)
    assert [(own.row, own.text, own.label) for own in mistakes] == [(2, "", "a dog / one dog")]


def test_the_worst_windows_do_not_overlap(evidence):
    start = datetime.datetime(2020, 1, 1)
    columns = {
        "row": [0, 1, 2, 3],
        "time": [start + datetime.timedelta(days=day) for day in range(4)],
        "label": [[1.0, 2.0], [2.0, 3.0], [3.0, None], [None, None]],
        "prediction": [[1.5, 2.0], [4.0, -3.0], [5.0, 5.0], [1.0, 1.0]],
    }
    mistakes, heading = evidence("forecasting", columns)
    assert heading == "Worst windows" and [own.row for own in mistakes] == [1]
    assert mistakes[0].measure == "mean absolute error 4"
    assert (mistakes[0].label, mistakes[0].prediction) == ("2, 3", "4, −3")
    assert mistakes[0].text.startswith("From 2020-01-02")


def test_several_variables(evidence):
    columns = {"row": [0], "label": [[[1.0, None], [2.0, 3.0]]], "prediction": [[[0.0, 1.0], [2.0, 4.0]]]}
    mistakes, _ = evidence("forecasting", columns)
    assert (mistakes[0].label, mistakes[0].prediction) == ("(1, unknown), (2, 3)", "(0, 1), (2, 4)")
    assert mistakes[0].measure == "mean absolute error 0.667"


@pytest.mark.parametrize("name", ["token-classification", "translation", "captioning", "forecasting"])
def test_without_predictions_there_are_no_mistakes(evidence, name):
    assert evidence(name, None)[0] == []
