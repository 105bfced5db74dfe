"""Groups of test rows: from a column of the dataset to the predictions."""

from __future__ import annotations

import pandas as pd
import pytest

from tl_toolkit.config.arguments import DataArguments
from tl_toolkit.errors import UserError
from tl_toolkit.tasks import make_task


@pytest.fixture
def authors(dataset_folder):
    """The folder of the dataset, with a column of authors that a row's text does not tell."""
    for path in dataset_folder.glob("*.parquet"):
        frame = pd.read_parquet(path)
        frame.assign(author=[f"author {(place * 7) % 5}" for place in range(len(frame))]).to_parquet(path)
    return dataset_folder


def test_predictions_have_the_group_of_each_row(authors, finetune, tiny_rnn, tmp_path):
    record = finetune(dataset_name=str(authors), text_column="text", group_column="author", test_budget=31, **tiny_rnn)
    assert record["dataset"]["columns"]["group"] == "author"
    made = pd.read_parquet(tmp_path / "out" / record["predictions"]["test"])
    source = pd.read_parquet(authors / "test.parquet")
    assert len(made) == 31 and made["group"].tolist() == source["author"][made["row"]].tolist()
    assert made["text"].tolist() == source["text"][made["row"]].tolist()


def test_without_the_flag_there_are_no_groups(authors, finetune, tiny_rnn, tmp_path):
    record = finetune(dataset_name=str(authors), text_column="text", **tiny_rnn)
    assert "group" not in record["dataset"]["columns"]
    assert "group" not in pd.read_parquet(tmp_path / "out" / record["predictions"]["test"])


def test_the_column_must_exist(authors):
    arguments = DataArguments(dataset_name=str(authors), text_column="text", group_column="writer")
    with pytest.raises(
        UserError, match="--group_column 'writer' is not a column of the split 'train'; its columns are"
    ):
        make_task(arguments).prepare(1)


@pytest.mark.parametrize("task", ["forecasting"])
def test_tasks_without_rows_have_no_groups(task):
    with pytest.raises(UserError, match=f"--group_column does not apply to --task {task}: leave it out"):
        make_task(DataArguments(task=task, dataset_name="builtin:stocks", group_column="writer"))
