"""Exported language models and encoder-decoders write what `generate` writes, with run.py alone."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from tl_toolkit import models
from tl_toolkit.data.tokenizers import build_tokenizer
from tl_toolkit.errors import UserError
from tl_toolkit.hub.contents import model_contents
from tl_toolkit.tasks.pair_processing import PairProcessing, with_end

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from tl_toolkit.deployment import memory  # noqa: E402
from tl_toolkit.workflows.export import export, parse_export_arguments  # noqa: E402
from tl_toolkit.workflows.generate import generate, parse_generate_arguments  # noqa: E402
from tl_toolkit.workflows.predict import parse_predict_arguments, predict  # noqa: E402

TEXTS = ["the old cat sat on the mat", "a dog saw the cat", "the third of march"]
IDS = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
SIZES = {"embedding_size": 7, "hidden_size": 11, **IDS}


def drawn(model: Any) -> Any:
    """`model` with random weights that are large enough for different tokens at each step."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-1.5, 1.5)
    return model.eval()


def exported(folder: Path, **settings: Any) -> tuple[dict[str, Any], Any]:
    """What an export returns, and the model of its run.py."""
    target = folder.with_name("onnx")
    given = {"model_name_or_path": str(folder), "output_dir": str(target), "disable_tqdm": True, **settings}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "memory_of_folder", lambda *_: None)  # starts PyTorch
        facts = export(parse_export_arguments(given))
    return facts, runpy.run_path(str(target / "run.py"))["Model"](target)


def predicted(folder: Path, **settings: Any) -> Any:
    return predict(
        parse_predict_arguments({"model_name_or_path": str(folder), "use_cpu": True, "disable_tqdm": True, **settings})
    )


def generated(folder: Path, text: str, **settings: Any) -> Any:
    given = {"model_name_or_path": str(folder), "text": [text], "use_cpu": True, **settings}
    return next(generate(parse_generate_arguments(given)))


LANGUAGE_MODELS = {
    "AWD-LSTM": lambda size: models.AwdLstmForCausalLM(models.AwdLstmConfig(vocab_size=size, **SIZES)),
    "self-attention": lambda size: models.SelfAttentionForCausalLM(
        models.SelfAttentionConfig(
            vocab_size=size,
            hidden_size=12,
            num_attention_heads=3,
            num_hidden_layers=2,
            max_position_embeddings=61,
            **IDS,
        )
    ),
}


@pytest.mark.parametrize("kind", LANGUAGE_MODELS)
def test_a_language_model_continues_texts_from_its_state(kind: str, tmp_path: Path) -> None:
    tokenizer = build_tokenizer("word", TEXTS, min_frequency=1)
    model = drawn(LANGUAGE_MODELS[kind](len(tokenizer)))
    model.save_pretrained(tmp_path / "lm")
    tokenizer.save_pretrained(tmp_path / "lm")
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS * 3))
    facts, alone = exported(tmp_path / "lm", dataset_name=str(tmp_path / "texts.txt"), test_split_name="train")
    assert facts["largest_difference"] < 1e-4 and facts["inputs"][1] == "past_0_0"
    rows = facts["rows"]
    assert rows["count"] == 9 and rows["agreement"] == {"onnx": 1} and rows["metrics"]["pytorch"]["loss"] > 1
    assert rows["metrics"]["onnx"]["loss"] == pytest.approx(rows["metrics"]["pytorch"]["loss"], abs=1e-4)
    ids = tokenizer("the old cat", return_tensors="pt")["input_ids"]
    written = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=50, do_sample=False)[0]
    assert alone(["the old cat"]) == [tokenizer.decode(written, skip_special_tokens=True)]
    own, other = (generated(tmp_path / name, "the old cat", json=True) for name in ("lm", "onnx"))
    assert other.generated == own.generated and other.log_probability == pytest.approx(own.log_probability, abs=1e-3)
    with pytest.raises(UserError, match="most probable token at each step: leave out --num_beams"):
        generated(tmp_path / "onnx", "the old cat", num_beams=2)
    assert len(set(written.tolist())) > 3


@pytest.mark.parametrize("settings", [{"attention": "luong", "bidirectional_encoder": True, "input_feeding": True},
                                      {"attention": "none", "reverse_source": True, "cell_type": "gru"}],
                         ids=str)  # fmt: skip
def test_an_encoder_decoder_translates_in_steps(settings: dict[str, Any], tmp_path: Path) -> None:
    source, target = (
        with_end(build_tokenizer("word", own, min_frequency=1)) for own in (TEXTS, ["un deux trois vier"])
    )
    processing = PairProcessing(source, target)
    config = models.RnnEncoderDecoderConfig(
        vocab_size=len(source), decoder_vocab_size=len(target), decoder_start_token_id=2, num_decoder_layers=2,
        num_encoder_layers=2, **SIZES, **settings,
    )  # fmt: skip
    model = drawn(models.RnnEncoderDecoderForConditionalGeneration(config))
    model.generation_config.max_length = 13
    model.save_pretrained(tmp_path / "pairs")
    processing.save_pretrained(tmp_path / "pairs")
    pd.DataFrame({"source": TEXTS, "target": ["un deux", "trois", "vier un"]}).to_csv(tmp_path / "new.csv", index=False)
    rows = {"dataset_name": str(tmp_path / "new.csv")}
    facts, alone = exported(tmp_path / "pairs", **rows, quantize="int8" if settings["attention"] == "none" else None)
    assert facts["largest_difference"] < 1e-4 and facts["rows"]["agreement"]["onnx"] == 1
    assert facts["rows"]["metrics"]["onnx"]["loss"] == pytest.approx(facts["rows"]["metrics"]["pytorch"]["loss"], 1e-4)
    assert facts["cost"]["onnx" if facts["quantize"] is None else "int8"]["memory_bytes"] > 2e7
    if facts["quantize"]:
        return
    own, other = (predicted(tmp_path / name, **rows, output_dir=str(tmp_path / "found")) for name in ("pairs", "onnx"))
    assert other.predictions["prediction"].tolist() == own.predictions["prediction"].tolist()
    assert other.metrics == pytest.approx(own.metrics, abs=1e-4)
    assert generated(tmp_path / "onnx", TEXTS[0]) == generated(tmp_path / "pairs", TEXTS[0])
    for text in TEXTS:
        inputs = source(text, return_tensors="pt")
        written = model.generate(inputs["input_ids"], attention_mask=inputs["attention_mask"], do_sample=False)
        assert alone([text]) == target.batch_decode(written, skip_special_tokens=True)
    assert {"encoder.onnx", "model.onnx"} <= {file.path for file in model_contents(tmp_path / "onnx").files}


def test_texts_that_are_read_from_their_end_are_refused(tmp_path: Path) -> None:
    tokenizer = build_tokenizer("word", TEXTS, min_frequency=1)
    models.RnnForCausalLM(models.RnnConfig(vocab_size=len(tokenizer), direction="backward", **SIZES)).save_pretrained(
        tmp_path / "lm"
    )
    tokenizer.save_pretrained(tmp_path / "lm")
    with pytest.raises(UserError, match="reads texts from their end"):
        exported(tmp_path / "lm")
    with pytest.raises(UserError, match="--measure needs a model that answers rows"):
        exported(tmp_path / "lm", measure=["onnx"])
