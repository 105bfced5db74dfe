"""Properties: what pandas writes comes back with the same rows, texts and label spellings, or is refused."""

from __future__ import annotations

import csv

import pandas as pd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tl_toolkit.config.arguments import DataArguments
from tl_toolkit.data.sources import load_source
from tl_toolkit.errors import UserError
from tl_toolkit.tasks.labels import read_named

# Quotes, separators, line breaks, brackets and spaces are frequent; so are texts that look like other types.
_CHARACTERS = st.one_of(
    st.sampled_from(list("\"'\\,;\t|\n\r []{}:#=~ab1")),
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
)
_WORDS = st.sampled_from(["None", "nan", "NA", "null", "TRUE", "1.0", "007", "1E3", "inf", "-", "text", "label"])
TEXTS = st.one_of(st.text(_CHARACTERS, min_size=1, max_size=12), _WORDS, _WORDS.map(lambda word: f"{word}, {word}"))
_KINDS_OF_LABELS = (
    st.sampled_from(["TRUE", "FALSE", "UNSURE", "True", "no"]),
    st.sampled_from(["TRUE", "FALSE"]),
    st.sampled_from(["1.0", "2.0", "4.50"]),
    st.sampled_from(["1.0", "2.0", "10.0"]),
    st.sampled_from(["007", "7", "07"]),
    st.sampled_from(["None", "NaN", "nan", "null", "N/A"]),
    st.sampled_from(["1e3", "1E3", "+5", "-5", "0"]),
    st.integers(-(2**63), 2**63 - 1).map(str),
    st.text(_CHARACTERS, min_size=1, max_size=6),
)
SETTINGS = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@st.composite
def frames(draw):
    rows = draw(st.integers(1, 8))
    labels = draw(st.sampled_from(_KINDS_OF_LABELS))
    columns = {
        "text": draw(st.lists(TEXTS, min_size=rows, max_size=rows)),
        "label": draw(st.lists(labels, min_size=rows, max_size=rows)),
    }
    names = draw(st.permutations([*columns, "other"]))
    columns["other"] = draw(st.lists(st.floats(allow_nan=False), min_size=rows, max_size=rows))
    return pd.DataFrame({name: columns[name] for name in names})


def read(path):
    """The rows of a file, with labels as they are spelt; None if the file is refused, in one paragraph."""
    try:
        source = load_source(DataArguments(dataset_name=str(path)))
    except UserError as error:
        assert str(path.name) in str(error) and "\n" not in str(error)
        return None
    rows = source.dataset["train"]
    spelling = source.spelling.get("train", {}).get("label")
    labels = rows["label"][:] if spelling is None else spelling.to_pylist()
    return rows["text"][:], labels


def trimmed(values):
    """Cells of delimited text as they are read: without spaces around them; empty ones are missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return [cell or None for cell in pc.utf8_trim_whitespace(pa.array(values, pa.string())).to_pylist()]


@SETTINGS
@given(
    frame=frames(),
    suffix=st.sampled_from(["csv", "tsv"]),
    sep=st.sampled_from([None, ";", "|"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    index=st.booleans(),
    lineterminator=st.sampled_from(["\n", "\r\n"]),
)
def test_delimited_text(tmp_path, frame, suffix, sep, quoting, index, lineterminator):
    sep = sep or {"csv": ",", "tsv": "\t"}[suffix]
    path = tmp_path / f"d.{suffix}"
    frame.to_csv(path, sep=sep, quoting=quoting, index=index, lineterminator=lineterminator)
    found = read(path)
    if found is None:
        return
    texts, labels = found
    assert list(map(_as_text, texts)) == list(map(_same_number, trimmed(frame["text"]), texts))
    assert list(map(_as_text, labels)) == list(map(_same_number, trimmed(frame["label"]), labels))


def _as_text(value):
    return None if value is None else str(value)


def _same_number(written, read):
    """The spelling of a value that has a type: a column of texts that are all numbers is read as numbers."""
    if written is None or isinstance(read, str):
        return written
    kind = {"true": True, "false": False}.get(written.lower()) if isinstance(read, bool) else type(read)(written)
    return str(kind)


@SETTINGS
@given(frame=frames(), orient=st.sampled_from(["columns", "index", "records", "split", "table", "values", "lines"]))
def test_json(tmp_path, frame, orient):
    path = tmp_path / ("d.jsonl" if orient == "lines" else "d.json")
    frame.to_json(path, orient="records" if orient == "lines" else orient, lines=orient == "lines")
    found = read(path)
    assert (found is None) == (orient == "values")
    assert found is None or found == (frame["text"].tolist(), frame["label"].tolist())


@SETTINGS
@given(frame=frames(), categories=st.booleans(), arrow=st.booleans())
def test_typed_files(tmp_path, frame, categories, arrow):
    frame = frame.astype({"label": "category"}) if categories else frame
    path = tmp_path / ("d.arrow" if arrow else "d.parquet")
    (frame.to_feather if arrow else frame.to_parquet)(path)
    assert read(path) == (frame["text"].tolist(), frame["label"].tolist())


@SETTINGS
@given(frame=frames(), names=st.sampled_from([("train.csv", "test.csv"), ("train.jsonl", "test.jsonl")]))
def test_splits_agree_on_the_names_of_classes(tmp_path, frame, names):
    """A label has one name, whichever rows each split happens to hold."""
    folder = tmp_path / "d"
    folder.mkdir(exist_ok=True)
    parts = dict(zip(names, (frame, frame.head(1)), strict=True))
    for name, part in parts.items():
        if name.endswith(".csv"):
            part.to_csv(folder / name, index=False)
        else:
            part.to_json(folder / name, orient="records", lines=True)
    try:
        source = load_source(DataArguments(dataset_name=str(folder)))
        named = {
            split: read_named(rows, "label", split, source.spelling.get(split, {}).get("label"))
            for split, rows in source.dataset.items()
        }
    except UserError:
        return
    first = {split: own.names[own.codes[0]] if own.labelled[0] else None for split, own in named.items()}
    assert first["train"] == first["test"]


def test_examples_are_not_all_refused(tmp_path):
    """The properties above allow refusals, so the usual frames must not be among them."""
    frame = pd.DataFrame({"text": ['a "quoted" word', "two\nlines", "a, b"], "label": ["1.0", "2.0", "1.0"]})
    for name, options in (("d.csv", {}), ("d.tsv", {"sep": "\t"}), ("e.csv", {"quoting": csv.QUOTE_ALL})):
        frame.to_csv(tmp_path / name, index=False, **options)
        assert read(tmp_path / name) == (frame["text"].tolist(), frame["label"].tolist())


def test_escapes_of_pandas(tmp_path):
    frame = pd.DataFrame({"text": ['a "quoted" word', "plain, words"], "label": ["x", "y"]})
    for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONE):
        frame.to_csv(tmp_path / "d.csv", index=False, escapechar="\\", doublequote=False, quoting=quoting)
        assert read(tmp_path / "d.csv") == (frame["text"].tolist(), frame["label"].tolist())
