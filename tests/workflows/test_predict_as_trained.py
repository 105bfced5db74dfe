"""Prediction reads the columns, labels and length that the model was trained with, unless flags name others."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tl_toolkit.errors import UserError
from tl_toolkit.records.identity import IDENTITY_NAME
from tl_toolkit.workflows.predict import parse_predict_arguments, predict

Finetune = Callable[..., dict]


@pytest.fixture
def rows(dataset_folder: Path) -> pd.DataFrame:
    """The test rows; in all splits the text that the model is trained on is `remark`, and `text` is another."""
    for path in dataset_folder.glob("*.parquet"):
        frame = pd.read_parquet(path)
        numbers = frame["label"].map({"fruit": 1, "metal": 2, "river": 3})
        pd.DataFrame({"text": "nothing to see", "remark": frame["text"], "grade": numbers}).to_parquet(path)
    return pd.read_parquet(dataset_folder / "test.parquet")


@pytest.fixture
def model(finetune: Finetune, rows: pd.DataFrame, tiny_rnn: dict) -> dict:
    return finetune("model", **tiny_rnn, text_column="remark", label_column="grade", max_length=5, num_train_epochs=8)


@pytest.fixture
def predicted(model: dict, tmp_path: Path) -> Callable[..., Any]:
    def call(frame: pd.DataFrame, **flags: Any) -> Any:
        frame.to_parquet(tmp_path / "new.parquet")
        given = {"model_name_or_path": str(tmp_path / "model"), "dataset_name": str(tmp_path / "new.parquet")}
        given |= {"output_dir": str(tmp_path / "answers"), "use_cpu": True, "disable_tqdm": True, **flags}
        return predict(parse_predict_arguments(given))

    return call


def test_the_trained_columns_are_read(predicted: Callable, rows: pd.DataFrame, model: dict) -> None:
    found = predicted(rows)
    assert found.predictions["text"].tolist() == rows["remark"].tolist()
    assert found.metrics == pytest.approx(model["metrics"]["test"])
    assert found.metrics["accuracy"] > 0.5


def test_truncated_texts_are_counted(predicted: Callable, rows: pd.DataFrame, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        predicted(rows.assign(remark="iron"))
    assert "Texts cut to" not in caplog.text
    with caplog.at_level(logging.WARNING):
        predicted(rows, max_length=1)
    assert f"Texts cut to 1 tokens: {len(rows)} of {len(rows)} in split 'train'." in caplog.text


def test_a_flag_beats_what_was_trained(predicted: Callable, rows: pd.DataFrame) -> None:
    found = predicted(rows.assign(mark=3), text_column="text", label_column="mark")
    assert set(found.predictions["text"]) == {"nothing to see"} and set(found.predictions["label_name"]) == {"3"}


def test_a_model_of_the_first_version_has_its_columns_in_its_record(
    predicted: Callable, rows: pd.DataFrame, tmp_path: Path
) -> None:
    (tmp_path / "model" / IDENTITY_NAME).unlink()
    path = tmp_path / "model" / "result.json"
    record = json.loads(path.read_text())
    record = {key: value for key, value in record.items() if key not in ("identity", "artefacts", "checksum")}
    record["schema_version"] = 1
    path.write_text(json.dumps(record))
    assert predicted(rows).predictions["text"].tolist() == rows["remark"].tolist()


def test_a_checkpoint_knows_its_columns(predicted: Callable, rows: pd.DataFrame, tmp_path: Path) -> None:
    checkpoint = next((tmp_path / "model").glob("checkpoint-*"))
    found = predicted(rows, model_name_or_path=str(checkpoint))
    assert found.predictions["text"].tolist() == rows["remark"].tolist()


def test_without_the_trained_column(predicted: Callable, rows: pd.DataFrame, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(
        UserError, match="trained on the text column 'remark'.*--text_column.*'text'.*'words'"
    ) as caught:
        predicted(rows.rename(columns={"remark": "words"}))
    assert "\n" not in str(caught.value)
    with caplog.at_level(logging.WARNING):
        found = predicted(rows[["remark", "grade"]].rename(columns={"remark": "words"}).assign(line=range(len(rows))))
    assert "no column 'remark'" in caplog.text and "'words', is used instead" in caplog.text
    assert found.predictions["text"].tolist() == rows["remark"].tolist()


def test_without_the_trained_label(
    predicted: Callable, rows: pd.DataFrame, caplog: pytest.LogCaptureFixture, model: dict
) -> None:
    assert predicted(rows[["remark", "text"]]).metrics == {} and "compared" not in caplog.text
    with caplog.at_level(logging.WARNING):
        found = predicted(rows.rename(columns={"grade": "label"}))
    assert "no column 'grade'" in caplog.text and "'label' instead" in caplog.text
    assert found.metrics == pytest.approx(model["metrics"]["test"])


@pytest.mark.parametrize("kind", ["str", "float", "spelt float", "category"])
def test_labels_typed_otherwise_are_scored(predicted: Callable, rows: pd.DataFrame, model: dict, kind: str) -> None:
    grades = {
        "str": rows["grade"].astype(str),
        "float": rows["grade"].astype(float),
        "spelt float": rows["grade"].astype(float).astype(str),
        "category": rows["grade"].astype(str).astype("category"),
    }[kind]
    assert predicted(rows.assign(grade=grades)).metrics == pytest.approx(model["metrics"]["test"])


def test_labels_of_other_values_are_named(predicted: Callable, rows: pd.DataFrame) -> None:
    with pytest.raises(UserError, match="unknown labels: '4'; the known labels are '1', '2', '3'"):
        predicted(rows.assign(grade=rows["grade"] + 1))
    with pytest.raises(UserError, match="unknown labels: 'False'"):
        predicted(rows.assign(grade=rows["grade"] > 1))
    with pytest.raises(UserError, match="1.5"):
        predicted(rows.assign(grade=rows["grade"] + 0.5))


def test_the_trained_length_is_read(predicted: Callable, rows: pd.DataFrame, tmp_path: Path) -> None:
    expected = predicted(rows).metrics
    path = tmp_path / "model" / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({**settings, "model_max_length": 512}))  # as tokenizers do that store their own
    assert predicted(rows).metrics == expected
    assert predicted(rows, max_length=2).metrics != expected
