"""JSON files: every layout is read as the same table, or refused by name."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from tl_toolkit.config.arguments import DataArguments
from tl_toolkit.data.sources import load_source
from tl_toolkit.errors import UserError

FRAME = pd.DataFrame({"text": ["a", "b", "c"], "label": [1, 0, 1]})


def read(path):
    return load_source(DataArguments(dataset_name=str(path))).dataset["train"].to_dict()


@pytest.mark.parametrize("orient", ["columns", "index", "records", "split", "table"])
def test_layouts_of_pandas(tmp_path, orient, capsys):
    for frame in (FRAME, FRAME.set_axis([7, 3, 5])):
        frame.to_json(tmp_path / "d.json", orient=orient)
        assert read(tmp_path / "d.json") == FRAME.to_dict("list")
    assert "Read 3 rows of 3" in capsys.readouterr().err


@pytest.mark.parametrize(
    "document",
    [
        FRAME.to_dict("list"),
        {"version": 1, "data": FRAME.to_dict("records")},
        {"version": 1.5, "meta": {"by": "x"}, "rows": FRAME.to_dict("records")},
    ],
)
def test_other_layouts(tmp_path, document):
    (tmp_path / "d.json").write_text(json.dumps(document))
    assert read(tmp_path / "d.json") == FRAME.to_dict("list")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([["a", 1], ["b", 0]], "a list of rows without column names .orient='values' of pandas"),
        ({"text": ["a", "b"], "label": [1]}, "lists of different lengths by column: 'text' has 2, 'label' has 1"),
        ({"train": [{"text": "a"}], "test": [{"text": "b"}]}, "several lists of objects .'train', 'test'"),
        ({"x": {"p": 1, "q": 2}, "z": {"p": 1, "q": 2}}, "neither its keys .'x', 'z'. nor the inner ones .'p', 'q'"),
        ({"text": {"0": "a", "1": "b"}, "label": {"0": 1}}, "'label' has no entry '1'"),
    ],
)
def test_layouts_that_are_refused(tmp_path, document, message):
    (tmp_path / "d.json").write_text(json.dumps(document))
    with pytest.raises(UserError, match=message):
        read(tmp_path / "d.json")


def test_a_key_that_occurs_twice_is_refused(tmp_path):
    (tmp_path / "d.jsonl").write_text('{"text": "a", "label": 1}\n{"text": "a", "label": 1, "label": 0}\n')
    with pytest.raises(UserError, match="Line 2 .* two values of 'label'"):
        read(tmp_path / "d.jsonl")


def test_nested_values_keep_their_types(tmp_path):
    rows = [{"tokens": ["a", "b"], "tags": [1, 0], "more": {"x": 1.5, "y": [True, None]}}]
    (tmp_path / "d.json").write_text(json.dumps(rows))
    assert read(tmp_path / "d.json") == {name: [value] for name, value in rows[0].items()}


def test_a_column_of_different_types_in_two_files_is_refused(tmp_path):
    (tmp_path / "train.jsonl").write_text('{"text": "a", "label": "TRUE"}\n')
    (tmp_path / "test.jsonl").write_text('{"text": "a", "label": true}\n')
    with pytest.raises(
        UserError, match="column 'label' has different types: .*bool in .*test.jsonl.*string in .*train"
    ):
        read(tmp_path)
