"""Exported folders predict as the models that they were made from, also without torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tl_toolkit.errors import UserError

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from tl_toolkit.config.arguments import FORMS  # noqa: E402
from tl_toolkit.deployment import memory  # noqa: E402
from tl_toolkit.deployment.graph import OnnxCell  # noqa: E402
from tl_toolkit.hub.card import model_card  # noqa: E402
from tl_toolkit.hub.contents import model_contents  # noqa: E402
from tl_toolkit.hub.loadable import check_loads  # noqa: E402
from tl_toolkit.workflows.export import export, parse_export_arguments  # noqa: E402
from tl_toolkit.workflows.predict import parse_predict_arguments, predict  # noqa: E402

Finetune = Callable[..., dict]
WITHOUT_TORCH = """
import json, runpy, sys
sys.modules.update(dict.fromkeys(["torch", "transformers", "tl_toolkit"]))
model = runpy.run_path(sys.argv[1])["Model"]()
print(json.dumps(model(json.load(sys.stdin))))
"""


def exported(tmp_path: Path, **settings: Any) -> dict[str, Any]:
    base = {"model_name_or_path": str(tmp_path / "out"), "output_dir": str(tmp_path / "onnx"), "disable_tqdm": True}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "memory_of_folder", lambda *_: None)  # starts PyTorch; a test of finetune measures it
        return export(parse_export_arguments({**base, **settings}))


def predicted(folder: Path, dataset: Path, tmp_path: Path) -> Any:
    given = {"model_name_or_path": str(folder), "dataset_name": str(dataset), "output_dir": str(tmp_path / "predicted")}
    return predict(parse_predict_arguments({**given, "use_cpu": True, "disable_tqdm": True}))


def run_alone(folder: Path, inputs: list[Any]) -> list[Any]:
    """What run.py predicts where torch, transformers and the toolkit cannot be imported."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, str(folder / "run.py")],
        input=json.dumps(inputs), capture_output=True, text=True, env=os.environ,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_classifier_predicts_the_same_in_every_form(
    finetune: Finetune, dataset_folder: Path, tmp_path: Path, tiny_rnn: dict[str, str]
) -> None:
    record = finetune(**tiny_rnn, num_train_epochs=5, learning_rate=0.02, measure=list(FORMS))
    assert_forms(record["cost"]["inference"]["forms"], record["metrics"]["test"]["accuracy"])
    assert not [path for path in (tmp_path / "out").rglob("*.onnx")]
    assert "| ONNX, int8 |" in str(model_card(tmp_path / "out"))
    facts = exported(tmp_path, measure=list(FORMS))
    assert facts == json.loads((tmp_path / "onnx" / "export.json").read_text())
    assert facts["rows"]["count"] == 47 and facts["rows"]["agreement"]["onnx"] == 1
    assert facts["rows"]["agreement"]["int8"] > 0.9 and facts["largest_difference"] < 1e-5
    assert facts["cost"].keys() == set(FORMS)

    own, other = (predicted(tmp_path / name, dataset_folder, tmp_path) for name in ("out", "onnx"))
    assert other.metrics["accuracy"] == pytest.approx(own.metrics["accuracy"], abs=0.05)
    texts = [*own.predictions["text"][:5], "", "never seen words"]
    alone = run_alone(tmp_path / "onnx", texts)
    assert [one["label"] for one in alone[:5]] == other.predictions["prediction_name"][:5].tolist()
    assert [one["score"] for one in alone[:5]] == pytest.approx(
        [max(own) for own in other.predictions["scores"][:5]], abs=1e-5
    )

    card = (tmp_path / "onnx" / "README.md").read_text()
    assert "| ONNX, int8 |" in card and "python run.py" in card and "from_pretrained" not in card
    check_loads(tmp_path / "onnx")
    published = {file.path for file in model_contents(tmp_path / "onnx").files}
    assert {"model.onnx", "run.py", "export.json", "config.json", "tokenizer.json", "result.json"} <= published
    assert not any(name.endswith((".safetensors", "modeling_rnn.py")) for name in published)
    with pytest.raises(UserError, match="is an exported model"):
        exported(tmp_path, model_name_or_path=str(tmp_path / "onnx"), output_dir=str(tmp_path / "again"))


def assert_forms(forms: dict[str, Any], accuracy: float) -> None:
    """The record of each form is complete, and plausible."""
    assert forms.keys() == set(FORMS)
    for own in forms.values():
        assert 0 < own["latency_seconds_p25"] <= own["latency_seconds"] <= own["latency_seconds_p75"]
        assert own["rows_per_second"] > 0 and own["threads"] == 1 and own["rows"] == 47
    pytorch, onnx, int8 = forms.values()
    assert pytorch["score"] == onnx["score"] == pytest.approx(accuracy) and onnx["agreement"] == 1
    assert int8["score_lost"] == pytest.approx(accuracy - int8["score"]) and int8["bytes"] < onnx["bytes"]
    assert 2e7 < onnx["memory_bytes"] < pytorch["memory_bytes"] / 2


def test_a_wrong_graph_is_recorded_by_a_run_and_refused_by_an_export(
    finetune: Finetune, tmp_path: Path, tiny_rnn: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OnnxCell, "_in_onnx_order", lambda self, weight: weight)
    monkeypatch.setattr(memory, "_peak", lambda *_: None)
    forms = finetune(**tiny_rnn, num_train_epochs=1, measure=["pytorch", "onnx"])["cost"]["inference"]["forms"]
    assert "does not compute what the model computes" in forms["onnx"]["problem"] and len(forms["onnx"]) == 1
    assert forms["pytorch"]["latency_seconds"] > 0 and forms["pytorch"]["memory_bytes"] is None
    with pytest.raises(UserError, match=r"does not compute what the model computes: logits differs.*Nothing was writ"):
        exported(tmp_path)
    assert not [path for path in (tmp_path / "onnx").rglob("*") if path.is_file()]

    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text("{}")
    with pytest.raises(UserError, match="contains another model"):
        exported(tmp_path, output_dir=str(tmp_path / "other"))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"pip install 'tl-toolkit\[export\]'"):
        exported(tmp_path)


def test_tags_of_words_and_numbers(finetune: Finetune, tmp_path: Path) -> None:
    rows = [{"tokens": ["Anna", "saw", "the", "Rhine"], "ner_tags": ["B-PER", "O", "O", "B-LOC"]},
            {"tokens": ["the", "Elbe", "\t", "x"], "ner_tags": ["O", "B-LOC", "O", "O"]}] * 9  # fmt: skip
    for folder, table in (
        ("tags", pd.DataFrame(rows)),
        ("numbers", pd.DataFrame({"text": ["a b", "c"] * 9, "label": [0.5, 2] * 9})),
    ):
        (tmp_path / folder).mkdir()
        for split in ("train", "validation", "test"):
            table.to_parquet(tmp_path / folder / f"{split}.parquet")
    tagger = "embedding_size=7,hidden_size=13,bidirectional=true,crf=true,character_encoder=cnn"
    finetune(
        dataset_name=str(tmp_path / "tags"), task="token-classification", model_type="rnn", config_overrides=tagger
    )
    facts = exported(tmp_path)
    assert facts["inputs"] == ["input_ids", "attention_mask", "character_ids"]
    expected = predicted(tmp_path / "out", tmp_path / "tags", tmp_path).predictions["prediction"]
    assert (
        predicted(tmp_path / "onnx", tmp_path / "tags", tmp_path).predictions["prediction"].tolist()
        == expected.tolist()
    )
    assert run_alone(tmp_path / "onnx", [row["tokens"] for row in rows[:2]]) == [list(own) for own in expected[:2]]

    finetune("numbers_out", dataset_name=str(tmp_path / "numbers"), task="regression", model_type="bag_of_ngrams",
             num_train_epochs=0, tokenizer_name="word")  # fmt: skip
    exported(
        tmp_path,
        model_name_or_path=str(tmp_path / "numbers_out"),
        output_dir=str(tmp_path / "numbers_onnx"),
        quantize="int8",
    )
    assert run_alone(tmp_path / "numbers_onnx", ["a b", "c"]) == pytest.approx(
        predicted(tmp_path / "numbers_out", tmp_path / "numbers", tmp_path).predictions["prediction"][:2].tolist(),
        abs=0.05,
    )


def test_a_lora_run_on_pairs_with_several_labels(finetune: Finetune, tmp_path: Path, tiny_rnn: dict[str, str]) -> None:
    rows = [
        {"text": "tin and iron", "other": "old pear", "label": ["fruit", "metal"]},
        {"text": "tin", "other": "the Rhine", "label": ["metal"]},
        {"text": "pear", "other": "tin", "label": []},
    ]
    (tmp_path / "pairs").mkdir()
    for split in ("train", "validation", "test"):
        pd.DataFrame(rows * 7).to_parquet(tmp_path / "pairs" / f"{split}.parquet")
    base = {"dataset_name": str(tmp_path / "pairs"), "text_pair_column": "other", "learning_rate": 0.05}
    finetune("base", **tiny_rnn, **base)
    finetune(model_name_or_path=str(tmp_path / "base"), strategy="lora", **base)
    exported(tmp_path)
    found = predicted(tmp_path / "out", tmp_path / "pairs", tmp_path).predictions
    alone = run_alone(tmp_path / "onnx", [[row["text"], row["other"]] for row in rows])
    assert [[own["label"] for own in each] for each in alone] == [list(own) for own in found["prediction_name"][:3]]
    assert any(alone)


def test_arguments_that_cannot_be_are_refused() -> None:
    with pytest.raises(UserError, match="tl-toolkit export needs a model"):
        parse_export_arguments({"output_dir": "x"})
    with pytest.raises(UserError, match="--measure takes pytorch, onnx, int8, but not 'gpu'"):
        parse_export_arguments({"output_dir": "x", "model_name_or_path": "y", "measure": ["gpu"]})


def test_an_8_bit_pytorch_folder_loads_and_predicts(finetune: Finetune, tmp_path: Path) -> None:
    pytest.importorskip("torchao")
    small = "hidden_size=16,num_attention_heads=2,num_hidden_layers=1"
    finetune(model_type="self_attention", config_overrides=small, tokenizer_name="word", num_train_epochs=4)
    with pytest.raises(UserError, match="add --quantize int8"):
        exported(tmp_path, format="pytorch")
    facts = exported(tmp_path, format="pytorch", quantize="int8")
    assert facts["rows"]["agreement"]["pytorch_int8"] > 0.8
    assert facts["bytes"]["pytorch_int8"] < facts["bytes"]["pytorch"]
