"""Delimited text: formats are detected, cells trimmed, types decided over all files, and every line accounted for."""

from __future__ import annotations

import logging

import pytest

from tl_toolkit.config.arguments import DataArguments
from tl_toolkit.data.sources import load_source
from tl_toolkit.errors import UserError

ROWS = {"text": ["a film, good", "b film", "c"], "label": ["pos", "neg", "pos"]}


def read(path, split="train"):
    return load_source(DataArguments(dataset_name=str(path))).dataset[split].to_dict()


def saved(tmp_path, text, name="d.csv"):
    path = tmp_path / name
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('text,label\n"a film, good",pos\nb film,neg\nc,pos\n', "separator ','"),
        ("text;label\na film, good;pos\nb film;neg\nc;pos\n", "separator ';'"),
        ("text\tlabel\na film, good\tpos\nb film\tneg\nc\tpos", "separator '\\t'"),
        ("text|label\na film, good|pos\nb film|neg\nc|pos", "separator '|'"),
        ("sep=;\r\ntext;label\r\na film, good;pos\r\nb film;neg\r\nc;pos\r\n", "separator ';'"),
        ('text, label\n"a film, good", pos\n"b film", neg\n"c", pos\n', "separator ','"),
        ('"text", "label"\n"a film, good", "pos"\n"b film", "neg"\n"c", "pos"\n', "spaces beside quotes"),
        ('"text" , "label"\n"a film, good" , "pos"\n"b film" ,"neg" \n"c", "pos"\n', "spaces beside quotes"),
        ("'text','label'\n'a film, good','pos'\n'b film','neg'\n'c','pos'\n", "quotes '"),
        ('text,label\r"a film, good",pos\rb film,neg\rc,pos\r', "separator ','"),  # line ends of old Macs
        ('\n\ntext,label\n\n"a film, good",pos\nb film,neg\n\nc,pos\n\n', "separator ','"),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_formats_are_detected_and_printed(tmp_path, capsys, text, shown, suffix):
    assert read(saved(tmp_path, text, f"d.{suffix}")) == ROWS
    assert f"Read 3 rows of 3 from '{tmp_path}/d.{suffix}'" in (said := capsys.readouterr().err) and shown in said


def test_escaped_quotes(tmp_path, capsys):
    path = saved(tmp_path, 'text,label\n"she said \\"no, no\\" and left",neg\n"b\\\\c",pos\n')
    assert read(path) == {"text": ['she said "no, no" and left', "b\\c"], "label": ["neg", "pos"]}
    assert "escapes \\" in capsys.readouterr().err


def test_spaces_around_cells_and_names_are_removed_and_reported(tmp_path, caplog):
    path = saved(tmp_path, "text , label\na film, good \nb film ,bad\nc, good\nd,\u00a0bad\n")
    assert read(path) == {"text": ["a film", "b film", "c", "d"], "label": ["good", "bad", "good", "bad"]}
    assert "Spaces around 6 cells" in caplog.text


def test_an_open_quote_swallows_no_lines(tmp_path, caplog):
    lines = [f"text {n},{'good' if n % 2 else 'bad'}" for n in range(20)]
    lines[4], lines[9] = '"opens here,bad', '"opens again,good'
    data = read(saved(tmp_path, "\n".join(["text,label", *lines])))
    assert len(data["text"]) == 20 and data["text"][4] == '"opens here'
    assert "Line 6 of" in caplog.text and "a quote opens here" in caplog.text


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['"a, b",1', '"opens here, and,0', "c,1"], "line 3: a quote opens here and is not closed"),
        (['"a, b",1', '"opens here, and,0', '"closes" here,1'], "line 3: a quote opens here and is not closed"),
        (['"whole",1', '"opens here,0', "c,1"], "line 3: a quote opens here and is not closed"),
        (["a,1", "b,2,3", "c,1"], "line 3: 3 cells, but there are 2 column names"),
        (["a,1", "b\rc,0"], "line 3: a carriage return that does not end the line"),
    ],
)
def test_lines_that_cannot_be_read_are_named(tmp_path, lines, message):
    with pytest.raises(UserError, match=message):
        read(saved(tmp_path, "\n".join(["text,label", *lines])))


def test_a_quote_that_closes_by_chance_causes_a_warning(tmp_path, caplog):
    lines = [f"text {n},{'good' if n % 2 else 'bad'}" for n in range(20)]
    lines[4], lines[7] = '"opens here,bad', 'ends with a quote",good'
    assert len(read(saved(tmp_path, "\n".join(["text,label", *lines])))["text"]) == 17
    assert "Lines 6 to 9 of" in caplog.text and "look like 4 rows" in caplog.text


def test_texts_of_several_lines_cause_no_warning(tmp_path, caplog):
    texts = ["Dear Sir,\nI bought this, and it broke\nBye", "one\n\ntwo, three"] * 9
    rows = [f'"{text}",{"good" if n % 2 else "bad"}' for n, text in enumerate(texts)]
    assert read(saved(tmp_path, "\n".join(["text,label", *rows])))["text"] == texts
    assert not caplog.text


def test_cells_too_few_and_empty_ones_too_many(tmp_path, caplog):
    data = read(saved(tmp_path, "text,label\na,1\nb\nc,0,,\n"))
    assert data == {"text": ["a", "b", "c"], "label": [1, None, 0]}
    assert "Line 3 of" in caplog.text and "1 such lines" in caplog.text and "Line 4 of" in caplog.text


@pytest.mark.parametrize("separator", ["\u2028", "\x85", "\x0b", "\x0c", "\x1d"])
def test_odd_line_separators_stay_in_their_cell(tmp_path, separator):
    text = f"a{separator}b"
    assert read(saved(tmp_path, f"text,label\n{text},1\nc,0\n"))["text"] == [text, "c"]


def test_files_without_column_names(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        data = read(saved(tmp_path, "a fine film,good\na dull film,bad\nanother,good\nlast,good\n"))
    assert data["column_2"] == ["good", "bad", "good", "good"] and len(data["column_1"]) == 4
    assert "looks like a row, not like column names" in caplog.text
    assert read(saved(tmp_path, "review words,3\nother words,4\nmore,5\n"))["column_2"] == [3, 4, 5]
    # Conventional names, and numbers as names of numbers, are names.
    assert read(saved(tmp_path, "text,label\nlabel,label\nx,label\n"))["label"] == ["label", "label"]
    assert read(saved(tmp_path, "2019,2020\n1,2\n3,4\n")) == {"2019": [1, 3], "2020": [2, 4]}


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["1", "-2", "", "+3"], [1, -2, None, 3]),
        (["1", "2.5", "", "1e3"], [1.0, 2.5, None, 1000.0]),
        (["True", "", "FALSE"], [True, None, False]),
        (["1", "True"], ["1", "True"]),
        (["18446744073709551615", "1"], [18446744073709551615, 1]),
        (["99999999999999999999", "1"], ["99999999999999999999", "1"]),
        (["1_000", "2"], ["1_000", "2"]),
        (["1,5", "2"], ["1,5", "2"]),
        (["None", "NaN", "NA"], ["None", "NaN", "NA"]),
        (["007", "1"], ["007", "1"]),
    ],
)
def test_types_of_cells(tmp_path, cells, values):
    assert read(saved(tmp_path, "\n".join(["text;x", *(f"t{cell};{cell}" for cell in cells)])))["x"] == values


def test_a_type_holds_for_all_files_and_splits(tmp_path):
    saved(tmp_path, "text,x,y,z\na,1,TRUE,1\n", "train-1.csv")
    saved(tmp_path, "text,x,y,z\na,1.5,MAYBE,2\n", "train-2.csv")
    saved(tmp_path, "text,x,y,z\na,2,FALSE,\n", "test.csv")
    assert read(tmp_path) == {"text": ["a", "a"], "x": [1.0, 1.5], "y": ["TRUE", "MAYBE"], "z": [1, 2]}
    assert read(tmp_path, "test") == {"text": ["a"], "x": [2.0], "y": ["FALSE"], "z": [None]}
