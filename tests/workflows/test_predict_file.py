"""`predict` gives a file back with predictions as columns, in chunks, as it predicts the whole dataset."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import DataCollatorWithPadding

from tl_toolkit.data import returned_files
from tl_toolkit.data.encoding import PaddedRows, TextCollator
from tl_toolkit.data.sources import load_source
from tl_toolkit.data.tokenizers import build_tokenizer
from tl_toolkit.errors import UserError
from tl_toolkit.workflows.predict import Predictor, parse_predict_arguments, predict, write_predictions

Finetune = Callable[..., dict]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(returned_files, "CHUNK_ROWS", 17)


@pytest.fixture
def rows(dataset_folder: Path) -> pd.DataFrame:
    """The test rows with a number that must not change."""
    rows = pd.read_parquet(dataset_folder / "test.parquet")
    return rows.assign(number=[f"{row:03}" for row in range(len(rows))])


@pytest.fixture
def arguments(tmp_path: Path) -> Callable[..., Any]:
    def make(file: str, **flags: Any) -> Any:
        given = {"model_name_or_path": str(tmp_path / "model"), "dataset_name": file, "use_cpu": True}
        return parse_predict_arguments(
            {"output_dir": str(tmp_path / "answers"), "disable_tqdm": True, **given, **flags}
        )

    return make


def test_chunks_give_the_predictions_of_the_whole(
    finetune: Finetune, tiny_rnn: dict, rows: pd.DataFrame, tmp_path: Path, arguments: Callable
) -> None:
    record = finetune("model", **tiny_rnn, max_length=5, num_train_epochs=8)
    path, out = tmp_path / "new.csv", tmp_path / "answers"
    rows.to_csv(path, index=False)
    given = arguments(str(path))
    whole = Predictor(given)(load_source(given.data))
    probabilities = np.stack(whole.predictions["scores"])
    middle = float(np.median(probabilities.max(axis=1)))
    given = arguments(str(path), scores=True, min_confidence=middle)
    found = predict(given)
    assert found.metrics == pytest.approx(record["metrics"]["test"])
    assert whole.metrics == pytest.approx(record["metrics"]["test"])
    assert found.predictions["row"].tolist() == list(range(len(rows)))
    same = ["row", "text", "label", "label_name", "prediction", "prediction_name"]
    assert found.predictions[same].equals(whole.predictions[same])
    assert np.allclose(np.stack(found.predictions["scores"]), probabilities, atol=1e-6)
    assert json.loads((out / "metrics.json").read_text())["dataset"]["rows"] == len(rows)

    back = pd.read_csv(out / "predictions.csv", dtype=str, keep_default_na=False)
    assert back[rows.columns].equals(rows.astype(str).astype(back["text"].dtype))
    assert back.columns[3:].tolist() == ["prediction", "confidence", "score_fruit", "score_metal", "score_river"]
    sure = np.stack(found.predictions["scores"]).astype(float).max(axis=1) >= middle
    assert 0 < sure.sum() < len(rows) == len(back)
    assert back["prediction"].tolist() == list(whole.predictions["prediction_name"].where(sure, ""))
    assert np.allclose(back["confidence"].astype(float), probabilities.max(axis=1), atol=1e-6)
    assert np.allclose(back["score_metal"].astype(float), probabilities[:, 1], atol=1e-6)
    assert write_predictions(given).abstained == (~sure).sum()
    assert sorted(own.name for own in out.iterdir()) == ["metrics.json", "predictions.csv", "predictions.parquet"]

    rows.to_parquet(tmp_path / "new.parquet")
    assert predict(arguments(str(tmp_path / "new.parquet"))).metrics == pytest.approx(found.metrics)
    typed = pd.read_parquet(out / "predicted.parquet")
    assert typed[rows.columns].equals(rows)
    assert typed["prediction"].tolist() == list(whole.predictions["prediction_name"])


def test_what_is_refused_and_what_is_no_label(
    finetune: Finetune, tiny_rnn: dict, rows: pd.DataFrame, tmp_path: Path, arguments: Callable,
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, capsysbinary: Any,
) -> None:  # fmt: skip
    finetune("model", **tiny_rnn)
    path, out = tmp_path / "new.csv", tmp_path / "answers"

    def problem(frame: pd.DataFrame, **flags: Any) -> str:
        frame.to_csv(path, index=False)
        with pytest.raises(UserError) as caught:
            write_predictions(arguments(str(path), **flags))
        assert not out.exists() or not any(out.iterdir())
        return str(caught.value)

    assert "column 'confidence'" in problem(rows.assign(confidence=1))
    assert "'score_metal'" in problem(rows.assign(score_metal=1), scores=True)
    assert "--threshold 0.3 is for models with several labels" in problem(rows, threshold=0.3)
    assert "--min_confidence must be between 0 and 1, but is 80" in problem(rows, min_confidence=80)
    assert "'text' is empty" in problem(rows.assign(text=None))
    assert "unknown labels: 'tree'" in problem(rows.assign(label=rows["label"].where(rows.index != 40, "tree")))
    with pytest.raises(UserError, match="--scores is about the file"):
        write_predictions(arguments("builtin:pydocs", scores=True))
    out.mkdir(exist_ok=True)
    rows.to_csv(out / "predictions.csv", index=False)
    with pytest.raises(UserError, match="choose another --output_dir"):
        write_predictions(arguments(str(out / "predictions.csv")))

    # Columns that nobody named are labels only if they can be, and none is needed.
    caplog.set_level(logging.WARNING)
    for frame, warns in ((rows.drop(columns="label"), False), (rows.rename(columns={"label": "topic"}), False),
                         (rows.drop(columns="label").assign(category=["a", "b"] * 23 + ["c"]), True),
                         (rows.assign(label=rows["label"].where(rows.index != 40)), True)):  # fmt: skip
        caplog.clear()
        frame.to_csv(path, index=False)
        metrics = write_predictions(arguments(str(path))).metrics
        assert bool(metrics) == ("topic" in frame)
        assert ("no metrics are computed" in caplog.text) == warns

    def piped(content: bytes) -> str:
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(content)))
        given = parse_predict_arguments({"model_name_or_path": str(tmp_path / "model"), "dataset_name": "-",
                                         "use_cpu": True, "disable_tqdm": True})  # fmt: skip
        capsysbinary.readouterr()
        write_predictions(given)
        return capsysbinary.readouterr().out.decode()

    rows.to_csv(path, index=False)
    write_predictions(arguments(str(path)))
    assert piped(path.read_bytes()) == (out / "predictions.csv").read_text()
    texts = pd.read_csv(io.StringIO(piped("\n".join(rows["text"]).encode())))
    assert texts["text"].tolist() == rows["text"].tolist()
    assert texts["prediction"].tolist() == pd.read_csv(out / "predictions.csv")["prediction"].tolist()
    with pytest.raises(UserError, match="is empty"):
        piped(b"")


def test_rows_without_text_have_no_prediction(
    finetune: Finetune, tiny_rnn: dict, rows: pd.DataFrame, tmp_path: Path, arguments: Callable,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    finetune("model", **tiny_rnn)
    path, out = tmp_path / "new.csv", tmp_path / "answers"
    there = ~rows.index.isin([3, *range(17, 34)])  # also a chunk without any
    rows.assign(text=rows["text"].where(there)).to_csv(path, index=False)
    found = write_predictions(arguments(str(path)))
    assert "18 of 47 rows of" in caplog.text and "The first one is row 3." in caplog.text
    back = pd.read_csv(out / "predictions.csv", keep_default_na=False, dtype=str)
    rows[there].to_csv(path, index=False)
    whole = predict(arguments(str(path)))
    assert back["prediction"][there].tolist() == whole.predictions["prediction_name"].tolist()
    assert (back.loc[~there, ["prediction", "confidence"]] == "").all(axis=None)
    assert found.metrics == pytest.approx(whole.metrics) and found.abstained == 0


def test_several_labels(
    finetune: Finetune, tiny_rnn: dict, rows: pd.DataFrame, dataset_folder: Path, tmp_path: Path, arguments: Callable
) -> None:
    for path in dataset_folder.glob("*.parquet"):
        frame = pd.read_parquet(path)
        frame.assign(label=[[own] if "the" in text else [own, "the"] for own, text in
                            zip(frame["label"], frame["text"], strict=True)]).to_parquet(path)  # fmt: skip
    finetune("model", **tiny_rnn, num_train_epochs=8)
    path, out = tmp_path / "new.jsonl", tmp_path / "answers"
    rows[["text", "number"]].to_json(path, orient="records", lines=True)
    found = predict(arguments(str(path), threshold=0.3)).predictions
    back = pd.read_json(out / "predictions.jsonl", lines=True, dtype=False)
    scores = np.stack(found["scores"])
    names = np.array(["fruit", "metal", "river", "the"])
    assert back["prediction"].tolist() == [names[own >= 0.3].tolist() for own in scores]
    decided = np.where(scores >= 0.3, scores, 1 - scores).min(axis=1)
    assert np.allclose(back["confidence"], decided, atol=1e-6)
    assert found["prediction_name"].map(list).tolist() == [names[own > 0.5].tolist() for own in scores]
    rows[["text"]].to_csv(tmp_path / "new.csv", index=False)
    write_predictions(arguments(str(tmp_path / "new.csv"), threshold=0.3))
    joined = pd.read_csv(out / "predictions.csv", keep_default_na=False)["prediction"].tolist()
    assert joined == [",".join(names[own >= 0.3]) for own in scores]


def test_numbers_and_tags(
    finetune: Finetune, tiny_rnn: dict, rows: pd.DataFrame, dataset_folder: Path, tmp_path: Path, arguments: Callable
) -> None:
    path, out = tmp_path / "new.jsonl", tmp_path / "answers"
    original = {path: pd.read_parquet(path) for path in dataset_folder.glob("*.parquet")}
    for own, frame in original.items():
        frame.assign(label=frame["text"].str.len() / 7).to_parquet(own)
    finetune("model", **tiny_rnn, task="regression")
    rows.drop(columns="label").to_csv(tmp_path / "new.csv", index=False)
    found = predict(arguments(str(tmp_path / "new.csv"))).predictions
    back = pd.read_csv(out / "predictions.csv", dtype={"number": str})
    assert back.columns.tolist() == ["text", "number", "prediction"]
    assert np.allclose(back["prediction"], found["prediction"])
    with pytest.raises(UserError, match="--scores does not apply to regression"):
        write_predictions(arguments(str(tmp_path / "new.csv"), scores=True))

    for own, frame in original.items():
        words = frame["text"].str.split()
        pd.DataFrame({"words": words, "tags": words.map(lambda ws: [w[0] for w in ws])}).to_parquet(own)
    record = finetune("model", **tiny_rnn, task="token-classification", max_length=7, overwrite_output_dir=True)
    tagged = pd.read_parquet(dataset_folder / "test.parquet")
    tagged.to_json(path, orient="records", lines=True)
    given = arguments(str(path))
    found = predict(given)
    assert found.metrics == pytest.approx(record["metrics"]["test"])
    whole = Predictor(given)(load_source(given.data)).predictions
    expected = [list(own) for own in whole["prediction"]]
    assert [list(own) for own in found.predictions["prediction"]] == expected
    lines = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    assert [line["prediction"] for line in lines] == expected and any(None in own for own in expected)
    assert lines[0].keys() == {"words", "tags", "prediction"}


@pytest.mark.parametrize("side", ["right", "left"])
def test_padding_is_that_of_the_collator(side: str) -> None:
    from datasets import Dataset

    tokenizer = build_tokenizer("word", ["a b c d e f g"] * 2, max_length=11)
    tokenizer.padding_side = side
    ids = [[5, 6, 7], [8], [4, 5, 6, 7, 8], [9, 4]]
    encoded = Dataset.from_list([
        {"input_ids": own, "attention_mask": [1] * len(own), "length": len(own), "labels": len(own)} for own in ids
    ])  # fmt: skip
    names = ["input_ids", "attention_mask", "labels"]
    chosen = [3, 0, 1]
    expected = DataCollatorWithPadding(tokenizer)([encoded.select_columns(names)[row] for row in chosen])
    collator = TextCollator(tokenizer)
    ours = collator([encoded.select_columns(names)[row] for row in chosen])
    for found in (PaddedRows(encoded, collator, names).__getitems__(chosen), ours):
        assert found.keys() == set(expected)
        assert all(torch.equal(found[name], expected[name]) for name in names)
