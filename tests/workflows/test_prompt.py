"""The strategy `prompt`, from the arguments to the model folder."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel
from transformers import pipeline as make_pipeline

from tl_toolkit.data.tokenizers import build_tokenizer
from tl_toolkit.errors import UserError
from tl_toolkit.strategies.prompt import CONTENT_FREE, in_turn, verbalizers_of
from tl_toolkit.workflows.predict import parse_predict_arguments, predict

Finetune = Callable[..., dict]
_TEMPLATE = (
    "{% for message in messages %}<{{ message.role }}>{{ message.content }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.fixture
def language_model(tmp_path: Path, dataset_folder: Path) -> str:
    """A tiny GPT-2 that reads characters, so that words of classes have several tokens."""
    texts = pd.read_parquet(dataset_folder / "train.parquet")["text"].tolist()
    tokenizer = build_tokenizer("char", [*texts, "Classify the text.\nAnswer with one of: Label"], max_length=1009)
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_embd=24, n_layer=2, n_head=3, n_positions=1009, initializer_range=0.3,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "lm")
    tokenizer.save_pretrained(tmp_path / "lm")
    return str(tmp_path / "lm")


def _run(finetune: Finetune, output: str, checkpoint: str, **settings: object) -> dict:
    base = {"model_name_or_path": checkpoint, "strategy": "prompt", "num_train_epochs": 0, "label_budget": 6}
    return finetune(output, **base | settings)


def _log_probability(folder: str, prompt: str, answer: str) -> float:
    """log p(answer | prompt) by a plain pass."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    start, whole = (tokenizer(text)["input_ids"] for text in (prompt, prompt + answer))
    with torch.no_grad():
        chances = model(torch.tensor([whole])).logits[0].log_softmax(-1)
    return float(sum(chances[place - 1, whole[place]] for place in range(len(start), len(whole))))


def test_the_record_the_folder_and_the_predictions_tell_the_same(
    finetune: Finetune, tmp_path: Path, dataset_folder: Path, language_model: str
) -> None:
    record = _run(finetune, "out", language_model, temperature=1.0)
    strategy = record["strategy"]
    assert record["kind"] == "prompt" and strategy["verbalizers"] == ["fruit", "metal", "river"]
    assert strategy["examples"] == 6 and strategy["context"] == 1009 and not strategy["chat_template"]
    assert record["cost"]["parameters"]["trained"] == 0 and record["cost"]["steps"] == 0
    prompt = json.loads((tmp_path / "out" / "config.json").read_text())["prompt"]
    rows = pd.read_parquet(dataset_folder / "train.parquet")
    shown = prompt.removesuffix("\n\nText:\n{text}\nLabel:").split("\n\n")
    assert shown[0] == strategy["instruction"] and "fruit, metal, river" in shown[0]
    known = {f"Text:\n{text}\nLabel: {label}" for text, label in zip(rows["text"], rows["label"], strict=True)}
    assert len(shown) == 7 and set(shown[1:]) <= known
    assert sorted(own.rpartition(" ")[2] for own in shown[1:]) == ["fruit", "fruit", "metal", "metal", "river", "river"]

    test = pd.read_parquet(dataset_folder / "test.parquet")["text"].tolist()
    words = strategy["verbalizers"]

    def shares(text: str) -> np.ndarray:
        scores = [_log_probability(language_model, prompt.replace("{text}", text), f" {word}") for word in words]
        return np.exp(scores) / np.exp(scores).sum()

    prior = np.mean([shares(text) for text in CONTENT_FREE], axis=0)
    np.testing.assert_allclose(record["solution"]["prior"], prior, rtol=1e-3)
    predictions = pd.read_parquet(tmp_path / "out" / "predictions_test.parquet")
    for text, scores in zip(test[:4], predictions["scores"], strict=False):
        expected = shares(text) / prior
        np.testing.assert_allclose(scores, expected / expected.sum(), rtol=2e-3)

    classify = make_pipeline("text-classification", str(tmp_path / "out"), device="cpu", trust_remote_code=True)
    assert [one["label"] for one in classify(test)] == predictions["prediction_name"].tolist()
    given = {"model_name_or_path": str(tmp_path / "out"), "dataset_name": str(dataset_folder), "use_cpu": True}
    again = predict(parse_predict_arguments({**given, "output_dir": str(tmp_path / "again"), "disable_tqdm": True}))
    assert again.metrics == pytest.approx(record["metrics"]["test"], abs=1e-5)


def test_seeds_vary_the_examples_and_their_order(finetune: Finetune, tmp_path: Path, language_model: str) -> None:
    prompts = []
    for seed in (1, 2, 1):
        _run(finetune, "out", language_model, seed=seed, overwrite_output_dir=True, skip_test=True)
        prompts.append(json.loads((tmp_path / "out" / "config.json").read_text())["prompt"])
    assert prompts[0] == prompts[2] != prompts[1]


def test_the_context_bounds_the_examples_which_is_said(
    finetune: Finetune, tmp_path: Path, language_model: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        record = _run(finetune, "out", language_model, label_budget=66, skip_test=True)
    examples = record["strategy"]["examples"]
    assert 6 < examples < 30 and f"The prompt has {examples} of 66 labelled rows" in caplog.text
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    longest = max(map(len, config["verbalizer_ids"]))
    assert 900 < len(config["before"]) + len(config["after"]) + longest + 60 <= 1009 + 60
    assert _run(finetune, "few", language_model, prompt_examples=2, skip_test=True)["strategy"]["examples"] == 2


def test_a_chat_template_is_used(finetune: Finetune, tmp_path: Path, language_model: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(language_model)
    tokenizer.chat_template = _TEMPLATE
    tokenizer.save_pretrained(language_model)
    record = _run(finetune, "out", language_model, prompt_examples=1, verbalizers={"fruit": "sweet"}, skip_test=True)
    prompt = json.loads((tmp_path / "out" / "config.json").read_text())["prompt"]
    assert record["strategy"]["chat_template"] and record["strategy"]["verbalizers"] == ["sweet", "metal", "river"]
    assert prompt.startswith(f"<user>{record['strategy']['instruction']}\n\nText:\n")
    assert prompt.count("<assistant>") == 2 and prompt.endswith("<user>Text:\n{text}<assistant>")


def test_the_real_language_model(finetune: Finetune, tmp_path: Path, test_data: Path) -> None:
    folder = str(test_data / "weights" / "llama-stories15m")
    record = _run(finetune, "out", folder, instruction="What is it about?", label_budget=4, temperature=1.0)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["before"][0] == 1 and config["before"].count(1) == 1  # <s> begins the prompt, and no text
    assert all(len(ids) <= 3 for ids in config["verbalizer_ids"])
    assert record["metrics"]["test"]["loss"] < 3
    assert AutoTokenizer.from_pretrained(tmp_path / "out")("great")["input_ids"] == [2107]


def test_classes_take_turns_among_the_examples() -> None:
    labels = np.array([0] * 7 + [1] * 2 + [2] * 5)
    order = in_turn(labels, 3)
    assert sorted(order) == list(range(14))
    assert all(sorted(labels[order[start : start + 3]]) == [0, 1, 2] for start in (0, 3))
    assert order.tolist() != in_turn(labels, 4).tolist()


def test_verbalizers_are_names_or_given(caplog: pytest.LogCaptureFixture) -> None:
    assert verbalizers_of(["very_good", "bad"], None) == ["very good", "bad"]
    assert verbalizers_of(["0", "1"], "1=great, 0=awful") == ["awful", "great"]
    assert verbalizers_of(["a,b", "c"], '{"a,b": "first"}') == ["first", "c"]
    with pytest.raises(UserError, match="'2'; the classes are '0', '1'"):
        verbalizers_of(["0", "1"], "2=great")
    with pytest.raises(UserError, match="class=word"):
        verbalizers_of(["0", "1"], "great")
    verbalizers_of(["0", "1"], None)
    assert "name words with --verbalizers" in caplog.text


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"learning_rate": 1e-3}, "--learning_rate 0.001 does not apply to the strategy 'prompt'"),
        ({"instruction": "word " * 300}, "leave no room"),
        ({"verbalizers": "fruit=metal"}, "different words"),
        ({"task": "regression"}, "chooses one of the classes"),
    ],
)
def test_what_cannot_work_is_refused(finetune: Finetune, language_model: str, settings: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        _run(finetune, "out", language_model, **settings)


def test_a_masked_language_model_is_refused(finetune: Finetune, tmp_path: Path, language_model: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(language_model)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=12, num_hidden_layers=1, num_attention_heads=3, intermediate_size=17
    )
    BertForMaskedLM(config).save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    with pytest.raises(UserError, match="causal language model"):
        _run(finetune, "out", str(tmp_path / "bert"))
