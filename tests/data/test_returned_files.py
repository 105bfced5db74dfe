"""Files come back byte for byte, and their chunks have the types of the whole file."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tl_toolkit.data import returned_files
from tl_toolkit.data.local_files import read_splits
from tl_toolkit.data.returned_files import returned_file, stream_suffix
from tl_toolkit.errors import UserError

_KINDS = {"p": pa.string(), "q": pa.float64()}


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(returned_files, "CHUNK_ROWS", 2)


def given_back(path: Path, values: list[str | None], columns: dict[str, Any] = _KINDS) -> bytes:
    file, target, rest = returned_file(path), io.BytesIO(), list(values)
    assert file is not None
    file.scan()
    with file.writing(target, columns) as write:
        for chunk in file.chunks():
            own, rest = rest[: len(chunk.table)], rest[len(chunk.table) :]
            added = {"p": own, "q": [0.5] * len(own)}
            write(chunk, {name: added[name] for name in columns})
    assert file.rows == len(values)
    return target.getvalue()


@pytest.mark.parametrize(
    ("name", "text", "values", "expected"),
    [
        ("a.csv", 'id,text,x\n007,"a ""b"", c",\n8, d ,NA\n9,e,1.50', "abc",
         'id,text,x,p,q\n007,"a ""b"", c",,a,0.5\n8, d ,NA,b,0.5\n9,e,1.50,c,0.5'),
        ("a.csv", "text;y\r\na;1\r\n\r\nb;2\r\n\r\n", ["x;y", None],
         'text;y;p;q\r\na;1;"x;y";0.5\r\n\r\nb;2;;0.5\r\n\r\n'),
        ("a.csv", '"text","y"\n"a\nb","1"\n"c","2"\n', "ab",
         '"text","y","p","q"\n"a\nb","1","a","0.5"\n"c","2","b","0.5"\n'),
        ("a.csv", "sep=;\ntext;y\na;1\nb;2\n", "ab", "sep=;\ntext;y;p;q\na;1;a;0.5\nb;2;b;0.5\n"),
        ("a.csv", "text,y,z\na,1\nb,2,3,,\n", "ab", "text,y,z,p,q\na,1,,a,0.5\nb,2,3,b,0.5\n"),
        ("a.csv", "1,a text,no\n2,texts,no\n3,more,no\n", "abc",
         "1,a text,no,a,0.5\n2,texts,no,b,0.5\n3,more,no,c,0.5\n"),
        ("a.tsv", 'text\ty\na "b\t1\nc\t2\n', "ab", 'text\ty\tp\tq\na "b\t1\ta\t0.5\nc\t2\tb\t0.5\n'),
        ("a.csv", "text,y\ra,1\rb,2\r", "ab", "text,y,p,q\ra,1,a,0.5\rb,2,b,0.5\r"),
        ("a.jsonl", '\n{"text": "a", "id": 1.0}\n{"text": "b"}\r\n\n', ["x", None],
         '\n{"text": "a", "id": 1.0, "p": "x", "q": 0.5}\n{"text": "b", "p": null, "q": 0.5}\r\n\n'),
        ("a.jsonl", '{"text":"ä\\u00e4","n":1e3}', "é", '{"text":"ä\\u00e4","n":1e3,"p":"é","q":0.5}'),
        ("a.txt", 'a\n\nb, "c"\r\n\n', "xyz", 'text,p,q\na,x,0.5\n,y,0.5\n"b, ""c""",z,0.5\n'),
    ],
)  # fmt: skip
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "gzip"])
def test_text_comes_back_as_it_was(
    tmp_path: Path, name: str, text: str, values: Any, expected: str, encoding: str
) -> None:
    def encoded(own: str) -> bytes:
        if encoding == "gzip":
            return own.encode()
        return ("\ufeff" if encoding == "utf-16-be" else "").encode("utf-16-be") + own.encode(encoding)

    path = tmp_path / (f"{name}.gz" if encoding == "gzip" else name)
    path.write_bytes(gzip.compress(encoded(text)) if encoding == "gzip" else encoded(text))
    found = given_back(path, list(values))
    found = gzip.decompress(found) if encoding == "gzip" else found
    assert found == encoded(expected)


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": ["a", None, "c"], "kind": pd.Categorical(["x", "y", "x"]), "n": [1, 2, 3]})
    table = pa.Table.from_pandas(frame.astype({"n": "int16"}))
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd")
    (tmp_path / "b.parquet").write_bytes(given_back(tmp_path / "a.parquet", ["u", None, "v"]))
    found = pq.read_table(tmp_path / "b.parquet")
    assert found.drop_columns(["p", "q"]).equals(pq.read_table(tmp_path / "a.parquet"))
    assert found["p"].to_pylist() == [
        "u",
        None,
        "v",
    ]
    assert pq.ParquetFile(tmp_path / "b.parquet").metadata.row_group(0).column(0).compression == "ZSTD"
    assert pd.read_parquet(tmp_path / "b.parquet")["kind"].dtype == "category"


_COLUMNS = {
    "whole": ["1", "", "3", "-4", "5"], "real": ["1", "2", "3", ".5", "5"], "codes": ["1", "2", "3", "04", "5"],
    "flags": ["true", "FALSE", "True", "", "false"], "mixed": ["1", "2", "true", "false", "x"], "empty": [""] * 5,
    "flags and numbers": ["true", "false", "0", "1", "1"], "late": ["", "", "", "", "7"], "text": list("abcde"),
}  # fmt: skip


def test_chunks_have_the_types_of_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    pd.DataFrame(_COLUMNS).to_csv(path, index=False)
    file = returned_file(path)
    assert file is not None
    file.scan()
    whole = read_splits(str(path), {"train": [path]})[0]["train"].data.table
    chunks = [chunk.table for chunk in file.chunks()]
    assert [len(chunk) for chunk in chunks] == [2, 2, 1]
    assert pa.concat_tables(chunks).equals(whole)
    assert file.missing["whole"] == (1, 1) and file.missing["late"] == (4, 0) and file.missing["text"][0] == 0
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps(own) for own in [{"a": 1}, {"a": 2}, {"b": "x"}, {"a": 0.5}, {"b": "y"}]))
    file = returned_file(path)
    assert file is not None
    file.scan()
    assert file.types == {"a": pa.float64(), "b": pa.string()} and file.missing == {"a": (2, 2), "b": (3, 0)}
    assert pa.concat_tables([chunk.table for chunk in file.chunks()])["a"].to_pylist() == [1, 2, None, 0.5, None]


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.csv", b'text,y\na,1\nb,2\n"c,3\nd\n', "line 4: a quote opens"),
        ("a.csv", b"text,y\na,1\nb,2\nc,3,4\n", "line 4: 3 cells"),
        ("a.csv", b"text,y\na,1\nb,2\n\xe4,3\n", "0xe4 in line 4"),
        ("a.csv", b"text,y\na,1\nb,\x00\n", "line 3 contains a zero byte"),
        ("a.csv", b"text,y\n", "no rows"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "b"}\n{"text": \n', "Line 3 .* not valid JSON"),
        ("a.jsonl", b'{"a": 1}\n{"a": 1}\n{"a": [1]}\n', "'a' .* different types"),
    ],
)
def test_what_cannot_be_read_is_an_error_of_the_first_pass(
    tmp_path: Path, name: str, content: bytes, problem: str
) -> None:
    (tmp_path / name).write_bytes(content)
    file = returned_file(tmp_path / name)
    assert file is not None
    with pytest.raises(UserError, match=problem):
        file.scan()


def test_the_type_of_a_stream() -> None:
    names = ["review", "text"]
    assert stream_suffix('{"review": "x"}\n', names) == ".jsonl"
    assert stream_suffix("id;Review\n1;x\n", names) == stream_suffix("\ufefftext\r\nx\n", names) == ".csv"
    assert stream_suffix("id\ttext\n1\tx\n", names) == ".tsv"
    assert stream_suffix("A good film, with a fine text\n", names) == stream_suffix("", names) == ".txt"
