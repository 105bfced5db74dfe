from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from tl_toolkit.workflows import calibration
from tl_toolkit.workflows.predict import parse_predict_arguments, predict


@pytest.mark.parametrize("strategy", ["scratch", "lora"])
def test_every_use_of_the_model_has_the_calibrated_probabilities(
    finetune: Callable, tmp_path: Path, dataset_folder: Path, tiny_rnn: dict, monkeypatch: pytest.MonkeyPatch,
    strategy: str,
) -> None:  # fmt: skip
    settings = {**tiny_rnn, "num_train_epochs": 3, "learning_rate": 0.01, "per_device_eval_batch_size": 3}
    if strategy == "lora":
        finetune("base", **settings)
        settings = {"model_name_or_path": str(tmp_path / "base"), "strategy": "lora", "num_train_epochs": 1}
    record = finetune("out", **settings)
    found = record["calibration"]
    temperature = found["temperature"]
    assert found["rows"] == 31 and temperature != 1 and "reason" not in found
    monkeypatch.setattr(calibration, "fit_temperature", lambda *_: (1.0, "a test"))
    plain = finetune("plain", **settings)
    assert plain["calibration"]["temperature"] == 1 and plain["calibration"]["reason"] == "a test"

    scores = {}
    for name in ("out", "plain"):
        model = AutoModelForSequenceClassification.from_pretrained(tmp_path / name).eval()
        tokenizer = AutoTokenizer.from_pretrained(tmp_path / name)
        texts = pd.read_parquet(dataset_folder / "test.parquet")["text"].tolist()
        with torch.no_grad():
            logits = torch.stack([model(**tokenizer(text, return_tensors="pt")).logits[0] for text in texts])
        scores[name] = logits
    torch.testing.assert_close(scores["out"], scores["plain"] / temperature, rtol=1e-4, atol=1e-5)
    expected = scores["out"].softmax(-1).numpy()

    saved = pd.read_parquet(tmp_path / "out" / "predictions_test.parquet")
    np.testing.assert_allclose(np.stack(saved["scores"]), expected, atol=1e-5)
    arguments = {
        "model_name_or_path": str(tmp_path / "out"), "dataset_name": str(dataset_folder),
        "output_dir": str(tmp_path / "predicted"), "use_cpu": True, "disable_tqdm": True,
    }  # fmt: skip
    predicted = predict(parse_predict_arguments(arguments))
    np.testing.assert_allclose(np.stack(predicted.predictions["scores"]), expected, atol=1e-5)
    assert predicted.metrics == pytest.approx(record["metrics"]["test"], abs=1e-6)
    validation = predict(parse_predict_arguments({**arguments, "split": "validation"}))
    assert validation.metrics == pytest.approx(record["metrics"]["validation"], abs=1e-6)
    assert record["metrics"]["validation"]["loss"] < plain["metrics"]["validation"]["loss"]
    assert record["metrics"]["test"]["accuracy"] == plain["metrics"]["test"]["accuracy"]
    piped = pipeline("text-classification", model=str(tmp_path / "out"), top_k=None, device="cpu")([texts[0]])[0]
    by_name = {own["label"]: own["score"] for own in piped}
    assert [by_name[name] for name in ("fruit", "metal", "river")] == pytest.approx(expected[0].tolist(), abs=1e-5)

    assert found["test_error_after"] == pytest.approx(calibration.error_of(scores["out"].numpy(), saved["label"]))
    assert found["test_error_before"] == pytest.approx(
        calibration.error_of(scores["plain"].numpy(), saved["label"]), abs=1e-6
    )
    if strategy == "scratch":
        weights = [load_file(tmp_path / name / "model.safetensors") for name in ("out", "plain")]
        changed = {name for name in weights[0] if not torch.equal(weights[0][name], weights[1][name])}
        assert changed == {"classifier.weight", "classifier.bias"}


def test_few_validation_rows_leave_the_model_as_it_is(finetune: Callable, tiny_rnn: dict) -> None:
    record = finetune(**tiny_rnn, validation_budget=19)
    assert record["calibration"]["temperature"] == 1
    assert record["calibration"]["reason"] == "fewer than 20 validation rows"
    assert record["calibration"]["test_error_before"] == record["calibration"]["test_error_after"]
