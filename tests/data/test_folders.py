"""Folders and several files: splits by name, any characters in paths, nothing read twice or left out silently."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tl_toolkit.config.arguments import DataArguments
from tl_toolkit.data.sources import load_source
from tl_toolkit.errors import UserError

FRAME = pd.DataFrame({"text": ["a", "b"], "label": ["good", "bad"]})


def sizes(name) -> dict[str, int]:
    return {split: len(rows) for split, rows in load_source(DataArguments(dataset_name=str(name))).dataset.items()}


def write(path: Path, copies: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = pd.concat([FRAME] * copies, ignore_index=True)
    {
        ".csv": lambda: frame.to_csv(path, index=False),
        ".tsv": lambda: frame.to_csv(path, index=False, sep="\t"),
        ".jsonl": lambda: frame.to_json(path, orient="records", lines=True),
        ".json": lambda: frame.to_json(path),
        ".parquet": lambda: frame.to_parquet(path),
        ".arrow": lambda: frame.to_feather(path, compression="uncompressed"),
        ".txt": lambda: path.write_text("\n".join(frame["text"])),
    }[path.suffix]()
    return path


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "json", "parquet", "arrow"])
@pytest.mark.parametrize(
    "names",
    [
        {"train": "train.{}", "validation": "dev.{}", "test": "test.{}"},
        {"train": "my_train_1.{}", "test": "my-test.{}"},
        {"train": "train/part.{}", "test": "test/part.{}"},
        {"train": "data/train-00000-of-00001.{}", "test": "data/test-00000-of-00001.{}"},
        {"train": "reviews.{}"},
    ],
)
def test_splits_by_name(tmp_path, suffix, names):
    for copies, name in enumerate(names.values(), 1):
        write(tmp_path / name.format(suffix), copies)
    (tmp_path / "README.md").write_text("Some rows.")
    (tmp_path / ".hidden.csv").write_text("x")
    expected = {split: 2 * copies for copies, split in enumerate(names, 1)}
    assert sizes(tmp_path) == expected


@pytest.mark.parametrize("name", ["my data [v2]", "~x", "a=b", "ümlaut *?", "percent%20", "train {1}", "a,b"])
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_any_characters_in_paths(tmp_path, name, suffix, monkeypatch):
    write(tmp_path / name / f"train.{suffix}")
    write(tmp_path / name / f"test [1].{suffix}", 2)
    assert sizes(tmp_path / name) == {"train": 2, "test": 4}
    assert sizes(tmp_path / name / f"test [1].{suffix}") == {"train": 4}
    monkeypatch.chdir(tmp_path)
    assert sizes(name) == {"train": 2, "test": 4}


def test_links_are_followed(tmp_path):
    write(tmp_path / "there" / "train.csv")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "data").symlink_to(tmp_path / "there")
    (tmp_path / "here" / "test.csv").symlink_to(write(tmp_path / "rows.csv", 2))
    (tmp_path / "there" / "loop").symlink_to(tmp_path / "here")
    (tmp_path / "linked").symlink_to(tmp_path / "here")
    assert sizes(tmp_path / "here") == sizes(tmp_path / "linked") == {"train": 2, "test": 4}


def test_several_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(Path("train.csv"))
    write(Path("test.jsonl"), 2)
    write(Path("more.csv"), 3)
    assert sizes("train.csv, test.jsonl") == {"train": 2, "test": 4}
    write(Path("more2.csv"))
    write(tmp_path / "test" / "train.csv")
    write(tmp_path / "test" / "dev.csv", 2)
    assert sizes(f"{tmp_path}/test/train.csv,{tmp_path}/test/dev.csv") == {"train": 2, "validation": 4}
    assert sizes("more.csv,more2.csv") == {"train": 8}
    with pytest.raises(UserError, match="names 2 files, but 'tset.jsonl' is not a file.*Did you mean 'test.jsonl'"):
        sizes("train.csv,tset.jsonl")


def test_files_that_may_repeat_rows_are_refused(tmp_path):
    for name, names in enumerate((["a.csv", "b.parquet"], ["train.csv", "train.jsonl"], ["x.csv", "x.tsv"])):
        for file in names:
            write(tmp_path / str(name) / file)
        with pytest.raises(UserError, match="'train' of .* consists of .*may hold the same rows"):
            sizes(tmp_path / str(name))


def test_files_that_are_left_out_are_named(tmp_path, caplog):
    for name in ("train.csv", "test.csv", "sample_submission.csv", "licence.txt"):
        write(tmp_path / name)
    assert sizes(tmp_path) == {"train": 2, "test": 2}
    assert "belong to no split are not read: 'sample_submission.csv'" in caplog.text
    assert "beside tables are not read: 'licence.txt'" in caplog.text


def test_files_of_one_split_need_the_same_columns(tmp_path):
    write(tmp_path / "train-1.csv")
    (tmp_path / "train-2.csv").write_text("text,stars\na,1\n")
    with pytest.raises(UserError, match="train-1.csv' and .*train-2.csv' belong to one split .*'label', 'stars'"):
        sizes(tmp_path)


def test_a_test_split_without_labels(tmp_path):
    write(tmp_path / "train.csv")
    (tmp_path / "test.csv").write_text("text,more\na,1\n")
    dataset = load_source(DataArguments(dataset_name=str(tmp_path))).dataset
    assert dataset["test"].to_dict() == {"text": ["a"], "label": [None], "more": [1]}
    assert dataset["test"].features["label"] == dataset["train"].features["label"]


def test_images_beside_tables(tmp_path):
    from PIL import Image

    write(tmp_path / "train.csv")
    write(tmp_path / "test.csv")
    Image.new("RGB", (4, 4)).save(tmp_path / "plot.png")
    assert sizes(tmp_path) == {"train": 2, "test": 2}
    for number in range(3):
        (tmp_path / "pictures").mkdir(exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / "pictures" / f"{number}.png")
    names = ["file_name,text", *(f"{number}.png,words" for number in range(3))]
    (tmp_path / "pictures" / "metadata.csv").write_text("\n".join(names))
    dataset = load_source(DataArguments(dataset_name=str(tmp_path / "pictures"))).dataset["train"]
    assert set(dataset.column_names) == {"image", "text"} and len(dataset) == 3


def test_categories_become_text(tmp_path):
    frame = FRAME.astype({"label": "category"})
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        frame.to_parquet(tmp_path / folder / "train.parquet")
    frame.to_feather(tmp_path / "two" / "test.arrow")
    for name in ("one", "one/train.parquet", "two", "two/test.arrow"):
        rows = load_source(DataArguments(dataset_name=str(tmp_path / name))).dataset["train"]
        assert rows["label"][:] == ["good", "bad"]
