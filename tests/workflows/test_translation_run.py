from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from tl_toolkit.metrics.generation import text_scores
from tl_toolkit.workflows.predict import parse_predict_arguments, predict

Finetune = Callable[..., dict]
DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
MODELS = {
    "rnn_encoder_decoder": "embedding_size=11,hidden_size=13,attention=bahdanau,bidirectional_encoder=true",
    "bart": "d_model=8,encoder_layers=1,decoder_layers=1,encoder_attention_heads=2,decoder_attention_heads=2,"
    "encoder_ffn_dim=11,decoder_ffn_dim=11",
    "marian": "d_model=8,encoder_layers=1,decoder_layers=1,encoder_attention_heads=2,decoder_attention_heads=2,"
    "encoder_ffn_dim=11,decoder_ffn_dim=11",
    "t5": "d_model=8,d_kv=4,d_ff=11,num_layers=1,num_heads=2",
}


@pytest.fixture
def numbers_folder(tmp_path: Path) -> Path:
    """Numbers in digits and in words: 97 training, 17 validation and 23 test rows."""
    folder = tmp_path / "numbers"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for split, rows in {"train": 97, "validation": 17, "test": 23}.items():
        numbers = [rng.integers(0, 10, rng.integers(1, 5)) for _ in range(rows)]
        figures = ["".join(map(str, number)) for number in numbers]
        words = [" ".join(DIGITS[digit] for digit in number) for number in numbers]
        pd.DataFrame({"source": figures, "target": words}).to_parquet(folder / f"{split}.parquet")
    return folder


def settings(numbers_folder: Path, model_type: str = "rnn_encoder_decoder", **more: object) -> dict:
    return {
        "task": "translation", "dataset_name": str(numbers_folder), "model_type": model_type,
        "config_overrides": MODELS[model_type], "tokenizer_name": "bpe", "tokenizer_vocab_size": 290,
        "learning_rate": 0.01, "num_train_epochs": 1, **more,
    }  # fmt: skip


@pytest.mark.parametrize("model_type", MODELS)
def test_the_saved_model_repeats_the_predictions(
    finetune: Finetune, tmp_path: Path, numbers_folder: Path, model_type: str
) -> None:
    record = finetune(**settings(numbers_folder, model_type, generation_num_beams=3))
    assert record == json.loads((tmp_path / "out" / "result.json").read_text())
    assert record["task"]["name"] == "translation" and "tok:13a" in record["signatures"]["bleu"]
    saved = pd.read_parquet(tmp_path / "out" / "predictions_test.parquet")
    test = pd.read_parquet(numbers_folder / "test.parquet")
    assert saved["source"].tolist() == test["source"].tolist()
    assert saved["reference"].tolist() == test["target"].tolist()
    assert record["samples"] == saved.head(10).to_dict("records")
    scores = text_scores(saved["prediction"].tolist(), test["target"].tolist())
    assert record["metrics"]["test"] == pytest.approx({**scores, "loss": record["metrics"]["test"]["loss"]})

    model = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "out").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert model.generation_config.num_beams == 3
    longest = max(
        len(ids) for ids in tokenizer(pd.read_parquet(numbers_folder / "train.parquet")["target"].tolist())["input_ids"]
    )
    assert model.generation_config.max_length == longest + 1
    loss, tokens = 0.0, 0
    for row, (source, target) in enumerate(zip(test["source"], test["target"], strict=True)):
        inputs = tokenizer(source, return_tensors="pt")
        labels = tokenizer(text_target=target, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            loss += model(**inputs, labels=labels).loss.item() * labels.numel()
        tokens += labels.numel()
        if row < 5:  # one text at a time: padding and row order did not change the output
            written = tokenizer.decode(model.generate(**inputs)[0], skip_special_tokens=True)
            assert written == saved["prediction"][row]
    assert record["metrics"]["test"]["loss"] == pytest.approx(loss / tokens, rel=1e-4)


def test_separate_vocabularies_and_prediction(finetune: Finetune, tmp_path: Path, numbers_folder: Path) -> None:
    given = settings(numbers_folder, tokenizer_name="char", num_train_epochs=12, learning_rate=0.02)
    record = finetune(**given, validation_budget=11)
    assert record["metrics"]["test"]["chrf"] > 20  # it has learned the names of digits
    model = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "out")
    assert (model.config.vocab_size, model.config.decoder_vocab_size) == (14, 4 + len({*"".join(DIGITS), " "}))
    command = ["--model_name_or_path", str(tmp_path / "out"), "--use_cpu", "--disable_tqdm", "--output_dir"]
    found = predict(parse_predict_arguments([*command, str(tmp_path / "p"), "--dataset_name", str(numbers_folder)]))
    assert found.metrics == pytest.approx(record["metrics"]["test"])
    new = tmp_path / "new.txt"
    new.write_text("12\n345\n")
    assert predict(parse_predict_arguments([*command, str(tmp_path / "q"), "--dataset_name", str(new)])).metrics == {}
    saved = pd.read_parquet(tmp_path / "q" / "predictions.parquet")
    assert saved["source"].tolist() == ["12", "345"] and set(saved.columns) == {"row", "source", "prediction"}


@pytest.mark.parametrize(("model_type", "kind"), [("rnn_encoder_decoder", "word"), ("bart", "bpe")])
def test_training_continues_from_a_model_folder(
    finetune: Finetune, tmp_path: Path, numbers_folder: Path, model_type: str, kind: str
) -> None:
    given = settings(numbers_folder, model_type, tokenizer_name=kind)
    first = finetune("first", **given)
    for name in ("model_type", "config_overrides", "tokenizer_name", "tokenizer_vocab_size"):
        given.pop(name)
    second = finetune("second", **given, model_name_or_path=str(tmp_path / "first"), label_smoothing_factor=0.1)
    assert second["model"]["class"] == first["model"]["class"] and second["strategy"]["name"] == "full"
    assert second["metrics"]["validation"]["loss"] < first["metrics"]["validation"]["loss"]
    before, after = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("first", "second"))
    assert before.get("decoder_vocab_size") == after.get("decoder_vocab_size")
    assert (tmp_path / "second" / "target_tokenizer").is_dir() == (kind == "word")


def test_validation_in_training_is_greedy_and_the_report_is_not(
    finetune: Finetune, numbers_folder: Path, monkeypatch
) -> None:
    from tl_toolkit.models import RnnEncoderDecoderForConditionalGeneration as Model

    beams = []
    generate = Model.generate

    def watched(self: Model, **kwargs: object) -> torch.Tensor:
        beams.append(kwargs.get("num_beams", self.generation_config.num_beams))
        return generate(self, **kwargs)

    monkeypatch.setattr(Model, "generate", watched)
    finetune(**settings(numbers_folder, num_train_epochs=2, generation_num_beams=2, per_device_eval_batch_size=64))
    assert beams[:5] == [1, 1, 1, 2, 2]  # the trial, two epochs, then validation and test
    assert set(beams[5:]) == {2}  # the inference cost is measured with the reported beams


def test_a_reused_folder_keeps_no_target_tokenizer(finetune: Finetune, tmp_path: Path, numbers_folder: Path) -> None:
    finetune(**settings(numbers_folder, tokenizer_name="char"))
    assert (tmp_path / "out" / "target_tokenizer").is_dir()
    record = finetune(**settings(numbers_folder))
    assert not (tmp_path / "out" / "target_tokenizer").exists()
    command = ["--model_name_or_path", str(tmp_path / "out"), "--use_cpu", "--disable_tqdm", "--output_dir"]
    found = predict(parse_predict_arguments([*command, str(tmp_path / "p"), "--dataset_name", str(numbers_folder)]))
    assert found.metrics == pytest.approx(record["metrics"]["test"])
