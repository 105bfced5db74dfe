"""Sources: all file types are read correctly, fingerprints depend only on content, errors are one paragraph."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from tl_toolkit.config.arguments import DataArguments
from tl_toolkit.data.sources import fingerprint, load_source
from tl_toolkit.errors import UserError

ROWS = [("a good film", "pos"), ("null", "neg"), ("NA, they said", "neg"), ('she said "no"\nand left', "pos")]


def load(path, **arguments):
    return load_source(DataArguments(dataset_name=str(path), **arguments))


def rows_of(path, **arguments):
    data = load(path, **arguments).dataset["train"]
    return list(zip(data["text"], data["label"], strict=True))


def write(folder: Path, kind: str) -> Path:
    path = folder / f"rows.{kind}"
    frame = Dataset.from_dict({"text": [text for text, _ in ROWS], "label": [label for _, label in ROWS]}).to_pandas()
    if kind in ("csv", "tsv"):
        frame.to_csv(path, index=False, sep="\t" if kind == "tsv" else ",")
    elif kind == "parquet":
        frame.to_parquet(path)
    elif kind == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        path.write_text(json.dumps(frame.to_dict("records")))
    return path


@pytest.mark.parametrize("kind", ["csv", "tsv", "json", "jsonl", "parquet"])
def test_every_kind_of_file_gives_the_same_rows_and_fingerprint(tmp_path, kind):
    path = write(tmp_path, kind)
    assert rows_of(path) == ROWS  # "null" and "NA" are words, not missing values
    assert load(path).record["fingerprint"] == load(write(tmp_path, "parquet")).record["fingerprint"]


def test_plain_text_has_one_text_per_line(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("first\n\nthird\n", encoding="utf-8")
    assert list(load(path).dataset["train"]["text"]) == ["first", "", "third"]


def test_byte_order_mark_semicolons_utf16_and_gzip(tmp_path):
    (tmp_path / "bom.csv").write_bytes("text;label\nsch\u00f6n, sehr;pos\n".encode("utf-8-sig"))
    assert rows_of(tmp_path / "bom.csv") == [("sch\u00f6n, sehr", "pos")]
    (tmp_path / "wide.csv").write_bytes("text,label\nsch\u00f6n,pos\n".encode("utf-16"))
    assert rows_of(tmp_path / "wide.csv") == [("sch\u00f6n", "pos")]
    (tmp_path / "rows.csv.gz").write_bytes(gzip.compress(write(tmp_path, "csv").read_bytes()))
    assert rows_of(tmp_path / "rows.csv.gz") == ROWS


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_codes_with_leading_zeros_are_unchanged(tmp_path, kind):
    rows = ["text label id size share", "a 00 _1 -5 0.5", "b 01 007 0 0", "c 10  30 10.05"]
    (tmp_path / f"d.{kind}").write_text("\n".join(rows).replace(" ", "," if kind == "csv" else "\t").replace("_", " "))
    assert load(tmp_path / f"d.{kind}").dataset["train"].to_dict() == {
        "text": ["a", "b", "c"], "label": ["00", "01", "10"], "id": ["1", "007", None], "size": [-5, 0, 30],
        "share": [0.5, 0.0, 10.05],
    }  # fmt: skip


def test_tsv_with_a_stray_quote_keeps_all_lines(tmp_path):
    (tmp_path / "quotes.tsv").write_text('text\tlabel\n"so it begins\t1\nan end" of sorts\t0\nplain\t1\n')
    assert rows_of(tmp_path / "quotes.tsv") == [('"so it begins', 1), ('an end" of sorts', 0), ("plain", 1)]


def test_json_document_with_one_list_and_records_with_other_keys(tmp_path):
    (tmp_path / "data.json").write_text('{"version": 1, "data": [{"text": "a"}, {"text": "b", "label": 1}]}')
    assert rows_of(tmp_path / "data.json") == [("a", None), ("b", 1)]
    (tmp_path / "lines.json").write_text('{"text": "a", "label": 0}\n{"text": "b", "label": 1}\n')
    assert rows_of(tmp_path / "lines.json") == [("a", 0), ("b", 1)]


def test_local_folder_with_configurations(tmp_path):
    for config in ("small", "large"):
        (tmp_path / f"{config}.csv").write_text(f"text,label\n{config},1\n")
    configs = "".join(f"- config_name: {name}\n  data_files: {name}.csv\n" for name in ("small", "large"))
    (tmp_path / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    assert rows_of(tmp_path, dataset_config_name="large") == [("large", 1)]
    with pytest.raises(UserError, match="no configuration 'smal'.*'small', 'large'.*Did you mean 'small'"):
        load(tmp_path, dataset_config_name="smal")
    with pytest.raises(UserError, match="several configurations.*'small', 'large'"):
        load(tmp_path)


def test_folder_of_csv_files_keeps_words_such_as_null(tmp_path):
    for name in ("train", "test"):
        (tmp_path / f"{name}.csv").write_text("text,label\nnull,1\nNA,0\n")
    assert rows_of(tmp_path) == [("null", 1), ("NA", 0)]


def test_folder_of_csv_files_keeps_leading_zeros(tmp_path):
    (tmp_path / "train.csv").write_text("text,label,id\na,007,1\nb,,2\n")
    (tmp_path / "test.csv").write_text("text,label,id\nc,10,3\n")
    data = load(tmp_path).dataset
    assert data["train"].to_dict() == {"text": ["a", "b"], "label": ["007", None], "id": [1, 2]}
    assert data["test"].to_dict() == {"text": ["c"], "label": ["10"], "id": [3]}


def test_saved_to_disk(tmp_path):
    DatasetDict({"train": Dataset.from_dict({"text": ["a"], "label": [1]})}).save_to_disk(tmp_path / "saved")
    assert rows_of(tmp_path / "saved") == [("a", 1)]


def test_record_has_the_name_as_given_and_no_absolute_path(tmp_path, monkeypatch):
    write(tmp_path, "csv")
    monkeypatch.chdir(tmp_path)
    record = load("rows.csv").record
    assert record | {"fingerprint": ""} == {
        "name": "rows.csv", "config": None, "revision": None, "fingerprint": "", "versions": None,
    }  # fmt: skip
    assert len(record["fingerprint"]) == 16 and int(record["fingerprint"], 16) >= 0


def base() -> Dataset:
    features = Features({"text": Value("string"), "label": ClassLabel(names=["n", "y"]), "x": Value("float32")})
    columns = {"text": ["a", "bc", None, "", "d"], "label": [0, 1, 1, -1, 0], "x": [0.5, None, 2.0, 3.0, 4.0]}
    return Dataset.from_dict(columns, features=features)


def test_fingerprint_ignores_layout():
    rows = base()
    reference = fingerprint(DatasetDict({"train": rows}))
    from datasets import concatenate_datasets

    twice = concatenate_datasets([rows, rows])
    shuffled = rows.select([4, 3, 2, 1, 0]).select([4, 3, 2, 1, 0])
    for same in (
        twice.select(range(5, 10)),
        concatenate_datasets([rows.select([0, 1]), rows.select([2, 3, 4])]),
        shuffled,
    ):
        assert fingerprint(DatasetDict({"train": same})) == reference
    large = rows.cast_column("text", Value("large_string"))
    assert fingerprint(DatasetDict({"train": large})) == reference


def test_fingerprint_changes_with_content():
    rows = base()
    changed = [
        rows.select([1, 0, 2, 3, 4]),
        rows.select([0, 1, 2, 3]),
        rows.rename_column("x", "y"),
        rows.cast_column("label", ClassLabel(names=["y", "n"])),
        Dataset.from_dict({**rows.to_dict(), "text": ["ab", "c", None, "", "d"]}, features=rows.features),
        Dataset.from_dict({**rows.to_dict(), "text": ["a", "bc", "", None, "d"]}, features=rows.features),
        Dataset.from_dict({**rows.to_dict(), "x": [0.5, 0.0, 2.0, 3.0, 4.0]}, features=rows.features),
        Dataset.from_dict({**rows.to_dict(), "label": [0, 1, 0, -1, 0]}, features=rows.features),
    ]
    prints = [fingerprint(DatasetDict({"train": one})) for one in (rows, *changed)]
    prints.append(fingerprint(DatasetDict({"test": rows})))
    assert len(set(prints)) == len(prints)


def test_fingerprint_of_nested_columns():
    def of(tags):
        return fingerprint(DatasetDict({"train": Dataset.from_dict({"tags": tags})}))

    assert of([["a"], ["b", "c"]]) == of([["a"], ["b", "c"]]) != of([["a", "b"], ["c"]])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("latin.csv", "text,label\nb\xe4r,1\n".encode("latin-1"), "not UTF-8 text: byte 0xe4 in line 2.*iconv"),
        ("empty.csv", b"", "is empty"),
        ("head.csv", b"text,label\n", "has no rows"),
        ("ragged.csv", b"text,label\na,1\nb,2,3\n", "cannot be read as a table.*line 3"),
        ("wide.csv", b"text,label\na,1,9\nb,2,9\n", "cannot be read as a table"),
        ("bad.parquet", b"nothing of the kind", "cannot be read as parquet"),
        ("bad.json", b'[{"text": "a"},', "not valid JSON"),
        ("bad.jsonl", b'{"text": "a"}\n{"text": \n', "Line 2 .* not valid JSON"),
        ("list.jsonl", b'{"text": "a"}\n[1]\n', "line 2 is a JSON list"),
        ("mixed.jsonl", b'{"text": "a"}\n{"text": 7}\n', "column 'text'.*mixes types.*row 1 holds 7"),
        ("bad.csv.gz", b"not compressed", "cannot be read"),
        ("five.json", b"5", "contains a JSON int, but must contain a list of objects"),
        ("null.json", b"null", "contains a JSON NoneType"),
        ("huge.json", b'[{"text": "a", "label": %d}]' % 10**20, "'label' .* does not fit into 64 bits"),
        ("twice.csv", b"text,label,,text,\na,1,2,3,4\n", "two columns named 'text'"),
        ("binary.csv", b"text,label\na,1\nb\0,2\n", "is not a text file: line 3 contains a zero byte"),
        ("sheet.xlsx", b"PK", "type '.xlsx' is not supported.*'.csv'"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as raised:
        load(tmp_path / name)
    assert "\n" not in str(raised.value) and name in str(raised.value)


def test_parquet_with_two_columns_of_one_name(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table([["a"], ["b"], ["c"]], names=["text", "label", "text"]), tmp_path / "d.parquet")
    with pytest.raises(UserError, match="two columns named 'text'"):
        load(tmp_path / "d.parquet")


def test_csv_columns_without_a_name_may_be_several(tmp_path):
    (tmp_path / "d.csv").write_text("text,label,,\na,1,,\nb,2,,\n")
    assert rows_of(tmp_path / "d.csv") == [("a", 1), ("b", 2)]


def test_csv_column_without_values_has_no_type(tmp_path):
    (tmp_path / "d.csv").write_text("text,label\na,\nb,\n")
    assert load(tmp_path / "d.csv").dataset["train"].features["label"] == Value("null")


def test_unusable_names_are_refused(tmp_path):
    write(tmp_path, "csv")
    with pytest.raises(UserError, match="No dataset was specified"):
        load_source(DataArguments())
    with pytest.raises(UserError, match="was not found.*Did you mean 'rows.csv'"):
        load(tmp_path / "row.csv")
    with pytest.raises(UserError, match="no built-in dataset 'pydoc'.*Did you mean 'pydocs'"):
        load("builtin:pydoc")
    with pytest.raises(UserError, match="two configurations"):
        load("builtin:pydocs:classification", dataset_config_name="unlabelled")
    with pytest.raises(UserError, match="revision 'main' only applies to datasets on the Hub"):
        load(tmp_path / "rows.csv", dataset_revision="main")
    with pytest.raises(UserError, match="does not apply to a single file"):
        load(tmp_path / "rows.csv", dataset_config_name="x")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UserError, match="dataset .*nothing' contains no data files.*'.csv'"):
        load(tmp_path / "nothing")
    (tmp_path / "half").mkdir()
    frame = Dataset.from_dict({"text": ["a"]}).to_pandas()
    for name, rows in (("train", 1), ("test", 0)):  # with an empty row group, as written by pandas
        frame[:rows].to_parquet(tmp_path / "half" / f"{name}.parquet")
    with pytest.raises(UserError, match="half' has an empty split .'.*test.parquet' has no rows"):
        load(tmp_path / "half")
    (tmp_path / "corrupt").mkdir()
    (tmp_path / "corrupt" / "train.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(UserError, match="cannot be loaded"):
        load(tmp_path / "corrupt")


def test_hub_out_of_reach(monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="'nobody/nothing-of-this-name' is neither a local path.*cannot be reached"):
        load("nobody/nothing-of-this-name")


def test_real_folder_reads_like_the_hub():
    root = os.environ.get("TL_TOOLKIT_TEST_DATA")
    if not root:
        pytest.skip("TL_TOOLKIT_TEST_DATA names no folder with datasets")
    source = load(Path(root) / "data" / "sst2")
    assert {name: len(split) for name, split in source.dataset.items()} == {
        "train": 6920,
        "validation": 872,
        "test": 1821,
    }
    # A fixed value, because the hash depends only on the rows.
    assert source.record["fingerprint"] == "24640466d6009169"
