from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer, pipeline

from tl_toolkit.config.pretrain_arguments import parse_pretrain_arguments
from tl_toolkit.data.tokenizers import build_tokenizer
from tl_toolkit.errors import UserError

Pretrain = Callable[..., dict]
SIZES = {
    "rnn": "embedding_size=7,hidden_size=13,num_hidden_layers=2,tie_word_embeddings=false",
    "awd_lstm": "embedding_size=7,hidden_size=13,num_hidden_layers=2",
    "self_attention": "embedding_size=8,hidden_size=8,num_hidden_layers=1,num_attention_heads=2",
    "gpt2": "n_embd=8,n_layer=1,n_head=2",
    "bert": "hidden_size=8,num_hidden_layers=1,num_attention_heads=2,intermediate_size=11",
}


def settings_of(model_type: str, more: str = "", **settings: object) -> dict:
    return {"model_type": model_type, "config_overrides": SIZES[model_type] + more, **settings}


def token_ids(folder: Path, split: str, dataset_folder: Path) -> list[int]:
    """The token ids of a split, each text followed by the end token."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = pd.read_parquet(dataset_folder / f"{split}.parquet")["text"]
    return [token for text in texts for token in [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]]


def check_documents(record: dict, folder: Path, dataset_folder: Path, each: list[float]) -> None:
    """Check that the saved rows are the test documents with the sums of their token losses in `each`."""
    assert record["predictions"] == {"test": "predictions_test.parquet"}
    rows = pd.read_parquet(folder / "predictions_test.parquet")
    texts = pd.read_parquet(dataset_folder / "test.parquet")["text"]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    lengths = [len(tokenizer(text)["input_ids"]) + 1 for text in texts]
    sums = [sum(each[end - length : end]) for end, length in zip(np.cumsum(lengths), lengths, strict=True)]
    assert rows["row"].tolist() == list(range(len(texts))) and rows["tokens"].tolist() == lengths
    assert rows["bytes"].tolist() == [len(text.encode()) for text in texts]
    assert rows["loss_sum"].tolist() == pytest.approx(sums, abs=1e-4)


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("model_type", ["rnn", "awd_lstm"])
def test_a_recurrent_model_is_scored_as_in_one_long_forward_pass(
    pretrain: Pretrain,
    tmp_path: Path,
    dataset_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    model_type: str,
    direction: str,
) -> None:
    """The state is carried from window to window, and every test token counts once."""
    monkeypatch.setattr("tl_toolkit.training.language_model_trainer._MOST_LOGITS", 1000)  # windows of a few tokens
    record = pretrain(**settings_of(model_type, f",direction={direction}"), per_device_eval_batch_size=1)
    assert record == json.loads((tmp_path / "out" / "result.json").read_text())
    assert record["task"]["name"] == "causal-language-modeling"
    ids = token_ids(tmp_path / "out", "test", dataset_folder)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    eos = AutoTokenizer.from_pretrained(tmp_path / "out").eos_token_id
    if direction == "forward":
        inputs, targets = [eos, *ids[:-1]], ids
    else:
        inputs, targets = [*ids[1:], eos], ids  # in reading order, the token before each position
    with torch.no_grad():
        logits = model(torch.tensor([inputs])).logits[0]
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(targets)).item()
    text_bytes = sum(len(text.encode()) for text in pd.read_parquet(dataset_folder / "test.parquet")["text"])
    metrics = record["metrics"]["test"]
    assert metrics["loss"] == pytest.approx(loss, abs=1e-5)
    assert metrics["perplexity"] == pytest.approx(math.exp(loss), rel=1e-5)
    assert metrics["bits_per_byte"] == pytest.approx(loss * len(ids) / math.log(2) / text_bytes, rel=1e-5)
    assert metrics["unknown_share"] == ids.count(1) / len(ids)
    assert record["dataset"]["tokens"]["test"] == len(ids) and record["dataset"]["rows"]["test"] == 47
    assert record["task"]["main_metric"] == "bits_per_byte" and not record["task"]["greater_is_better"]
    assert record["budget"]["token_budget"] is None
    assert record["budget"]["train_tokens"] == record["dataset"]["tokens"]["train"]
    each = torch.nn.functional.cross_entropy(logits, torch.tensor(targets), reduction="none")
    check_documents(record, tmp_path / "out", dataset_folder, each.tolist())


@pytest.mark.parametrize("model_type", ["gpt2", "self_attention"])
def test_other_models_are_scored_by_the_mean_over_blocks(
    pretrain: Pretrain, tmp_path: Path, dataset_folder: Path, model_type: str
) -> None:
    record = pretrain(**settings_of(model_type), block_size=14, per_device_eval_batch_size=5)
    ids = token_ids(tmp_path / "out", "test", dataset_folder)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    ids = [AutoTokenizer.from_pretrained(tmp_path / "out").eos_token_id, *ids]
    each: list[float] = []
    for begin in range(0, len(ids) - 1, 13):
        block = torch.tensor([ids[begin : begin + 14]])
        with torch.no_grad():
            logits = model(block).logits[0, :-1]
        each += torch.nn.functional.cross_entropy(logits, block[0, 1:], reduction="none").tolist()
    assert record["metrics"]["test"]["loss"] == pytest.approx(np.mean(each), abs=1e-5)
    check_documents(record, tmp_path / "out", dataset_folder, each)


@pytest.mark.parametrize("model_type", ["rnn", "awd_lstm", "gpt2"])
def test_a_model_learns_an_easy_text(pretrain: Pretrain, dataset_folder: Path, model_type: str) -> None:
    for path in dataset_folder.glob("*.parquet"):
        pd.DataFrame({"text": ["red green blue black white"] * 31}).to_parquet(path)
    more = ",dropout_multiplier=0" if model_type == "awd_lstm" else ""
    record = pretrain(**settings_of(model_type, more), num_train_epochs=60, learning_rate=0.03, block_size=13)
    assert record["metrics"]["test"]["perplexity"] < 1.5


def test_an_encoder_fills_in_masked_tokens(pretrain: Pretrain, tmp_path: Path, dataset_folder: Path) -> None:
    tokenizer = build_tokenizer("word", pd.read_parquet(dataset_folder / "train.parquet")["text"])
    tokenizer.add_special_tokens({"mask_token": "<mask>"})
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    settings = settings_of("bert", tokenizer_name=str(tmp_path / "tokenizer"), block_size=17, learning_rate=0.01)
    record = pretrain(**settings)
    assert record["task"]["name"] == "masked-language-modeling"
    assert set(record["metrics"]["test"]) == {"loss", "perplexity", "unknown_share"}
    rows = pd.read_parquet(tmp_path / "out" / "predictions_test.parquet")
    assert rows["loss_sum"].sum() / rows["tokens"].sum() == pytest.approx(record["metrics"]["test"]["loss"], abs=1e-5)
    assert 0 < rows["tokens"].sum() < 0.5 * record["dataset"]["tokens"]["test"]  # the masked tokens
    assert type(AutoModelForMaskedLM.from_pretrained(tmp_path / "out")).__name__ == "BertForMaskedLM"
    again = pretrain("again", model_name_or_path=str(tmp_path / "out"), evaluate_only=True, block_size=17, seed=7)
    for split, metrics in record["metrics"].items():
        assert again["metrics"][split] == pytest.approx(metrics)  # the masked tokens do not depend on the seed
    causal = pretrain("causal", **settings, task="causal-lm")
    assert causal["model"]["class"] == "BertLMHeadModel"
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "causal").config.is_decoder  # it does not see later tokens


@pytest.mark.parametrize("model_type", ["rnn", "self_attention"])
def test_the_families_fill_in_masked_tokens(
    pretrain: Pretrain, finetune: Callable[..., dict], tmp_path: Path, dataset_folder: Path, model_type: str
) -> None:
    """Learn to fill in masks from scratch, continue, fill in, and classify with the same body."""
    for path in dataset_folder.glob("*.parquet"):
        pd.DataFrame({"text": ["red green blue black white"] * 310, "label": [0, 1] * 155}).to_parquet(path)
    learning = {"num_train_epochs": 4, "learning_rate": 0.03, "block_size": 12, "task": "masked-lm"}
    more = ",embedding_dropout=0,hidden_dropout=0"
    record = pretrain("first", **settings_of(model_type, more), **learning)
    assert record["task"]["name"] == "masked-language-modeling"
    assert record["metrics"]["test"]["perplexity"] < 2
    fill = pipeline("fill-mask", model=str(tmp_path / "first"))
    assert fill("red green <mask> black white")[0]["token_str"].strip() == "blue"
    # It knows what it was trained for, and what it reads.
    again = pretrain("again", model_name_or_path=str(tmp_path / "first"), evaluate_only=True, block_size=12)
    assert again["metrics"]["test"] == pytest.approx(record["metrics"]["test"])
    finetune("classifier", model_name_or_path=str(tmp_path / "first"), learning_rate=1e-12, num_train_epochs=1)
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("first", "classifier"))
    body = {name for name in before if name.startswith(("rnn.", "model."))}
    assert body and all(torch.allclose(before[name], after[name], atol=1e-6) for name in body)
    assert not any(name.startswith(("lm_head.", "projection.")) for name in after)


def test_training_continues_from_a_model_folder(pretrain: Pretrain, tmp_path: Path) -> None:
    first = pretrain("first", **settings_of("awd_lstm"))
    second = pretrain("second", model_name_or_path=str(tmp_path / "first"), learning_rate=1e-9, weight_decay=0)
    assert second["strategy"]["name"] == "full"
    assert second["metrics"]["test"]["loss"] == pytest.approx(first["metrics"]["test"]["loss"], abs=1e-4)
    only = pretrain("only", model_name_or_path=str(tmp_path / "first"), evaluate_only=True)
    assert only["metrics"]["test"] == pytest.approx(first["metrics"]["test"])
    assert only["cost"]["steps"] == 0 and not list((tmp_path / "only").glob("*.safetensors"))


def test_known_words_keep_their_embeddings(pretrain: Pretrain, tmp_path: Path, dataset_folder: Path) -> None:
    pretrain("first", **settings_of("awd_lstm"))
    for path in dataset_folder.glob("*.parquet"):
        pd.DataFrame({"text": ["the old canal of iron and steel"] * 17}).to_parquet(path)
    settings = {"tokenizer_name": "word", "learning_rate": 1e-12, "weight_decay": 0, "num_train_epochs": 1}
    record = pretrain("second", model_name_or_path=str(tmp_path / "first"), **settings)
    assert record["metrics"]["test"]["unknown_share"] == 0
    tables = []
    for name in ("first", "second"):
        weight = AutoModelForCausalLM.from_pretrained(tmp_path / name).get_input_embeddings().weight.detach()
        vocabulary = AutoTokenizer.from_pretrained(tmp_path / name).get_vocab()
        tables.append({word: weight[index] for word, index in vocabulary.items()})
    new = {"canal", "steel"}
    assert tables[1].keys() == tables[0].keys() | new and record["model"]["vocab_size"] == len(tables[1])
    for word in tables[1].keys() - new:
        torch.testing.assert_close(tables[1][word], tables[0][word])
    mean = torch.stack(list(tables[0].values())).mean(0)
    torch.testing.assert_close(tables[1]["canal"], mean)
    torch.testing.assert_close(tables[1]["steel"], mean)


def test_a_head_that_was_never_trained_is_not_evaluated(
    pretrain: Pretrain, tmp_path: Path, finetune: Callable[..., dict], tiny_rnn: dict
) -> None:
    finetune("classifier", **tiny_rnn)
    with pytest.raises(UserError, match="would be random"):
        pretrain(model_name_or_path=str(tmp_path / "classifier"), evaluate_only=True)


def test_validation_and_test_texts_are_never_trained_on(pretrain: Pretrain, dataset_folder: Path) -> None:
    (dataset_folder / "validation.parquet").unlink()
    texts = [f"text number {i}" for i in range(20)]
    pd.DataFrame({"text": texts}).to_parquet(dataset_folder / "unsupervised.parquet")
    splits = "".join(f"  - split: {name}\n    path: {name}.parquet\n" for name in ("train", "test", "unsupervised"))
    readme = f"---\nconfigs:\n- config_name: default\n  data_files:\n{splits}---\n"
    (dataset_folder / "README.md").write_text(readme)
    record = pretrain(**settings_of("rnn"), train_split_name="train, unsupervised", validation_fraction=0.25)
    assert record["dataset"]["splits"] == {"train": ["train", "unsupervised"], "test": ["test"]}
    rows = record["dataset"]["rows"]
    assert rows["validation"] == 22 and rows["train"] + rows["validation"] == 86  # 66 and 20
    assert record["dataset"]["validation_from"] == "train"
    with pytest.raises(UserError, match="'test' is used for train and test"):
        pretrain("other", **settings_of("rnn"), train_split_name="train,test")
    (dataset_folder / "README.md").unlink()
    (dataset_folder / "test.parquet").unlink()
    assert set(pretrain("third", **settings_of("rnn"))["metrics"]) == {"validation"}


def test_texts_can_be_limited_and_shuffled(pretrain: Pretrain, tmp_path: Path, dataset_folder: Path) -> None:
    limits = {"max_train_tokens": 101, "max_eval_tokens": 50}
    record = pretrain(**settings_of("rnn"), **limits)
    tokens = record["dataset"]["tokens"]
    assert tokens["train"] == 101 and 50 <= tokens["test"] < 62 and tokens["validation"] >= 50
    words = {*" ".join(pd.read_parquet(dataset_folder / "train.parquet")["text"][:20]).split()}
    learned = set(AutoTokenizer.from_pretrained(tmp_path / "out").get_vocab())
    assert len(learned - words) == 4  # the special tokens: no words of texts outside the training limit
    shuffled = pretrain("shuffled", **settings_of("rnn"), **limits, shuffle_documents=True)
    assert shuffled["metrics"] != record["metrics"]
    again = pretrain("again", **settings_of("rnn"), **limits, shuffle_documents=True)
    assert shuffled["metrics"] == again["metrics"]


@pytest.mark.parametrize("model_type", ["rnn", "gpt2"])
def test_gradient_accumulation_equals_larger_batches(pretrain: Pretrain, tmp_path: Path, model_type: str) -> None:
    more = ",resid_pdrop=0,embd_pdrop=0,attn_pdrop=0" if model_type == "gpt2" else ""
    common = settings_of(model_type, more, optim="sgd", learning_rate=0.5, load_best_model_at_end=False, block_size=9)
    pretrain("whole", **common, per_device_train_batch_size=6)
    pretrain("parts", **common, per_device_train_batch_size=2, gradient_accumulation_steps=3)
    whole, parts = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    for weight in whole:
        torch.testing.assert_close(parts[weight], whole[weight], atol=1e-5, rtol=1e-4)


def test_an_update_is_plain_sgd_scaled_to_its_window(
    pretrain: Pretrain, tmp_path: Path, dataset_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equals truncated back-propagation through time: carried states, mean loss, rates by window length."""
    from tl_toolkit.data.streams import window_lengths

    settings = settings_of("rnn", optim="sgd", load_best_model_at_end=False, max_grad_norm=0, weight_decay=0)
    pretrain("start", **settings, learning_rate=1e-30, num_train_epochs=1)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "start").train()
    trained = pretrain(**settings, learning_rate=0.7, lr_scheduler_type="constant", num_train_epochs=1)
    ids = token_ids(tmp_path / "out", "train", dataset_folder)
    eos = AutoTokenizer.from_pretrained(tmp_path / "out").eos_token_id
    length = -(-len(ids) // 3)
    targets = torch.tensor(ids + [-100] * (3 * length - len(ids))).view(3, length)
    inputs = torch.tensor([eos, *ids, *[eos] * (3 * length - len(ids))][:-1]).view(3, length)
    lengths = np.random.default_rng([42, 5, 0]).permutation(window_lengths(length, 11, seed=42, random=True))
    assert trained["cost"]["steps"] == len(lengths)
    state, begin = None, 0
    for window in lengths:
        part = slice(begin, begin + window)
        out = model(inputs[:, part], past_key_values=state, use_cache=True)
        loss = torch.nn.functional.cross_entropy(out.logits.flatten(0, 1), targets[:, part].flatten())
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter -= 0.7 * window / 11 * gradient
        state, begin = out.past_key_values.detach(), begin + window
    for name, weight in load_file(tmp_path / "out" / "model.safetensors").items():
        torch.testing.assert_close(weight, model.state_dict()[name], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("model_type", ["awd_lstm", "gpt2"])
def test_evaluations_do_not_change_training(pretrain: Pretrain, tmp_path: Path, model_type: str) -> None:
    common = settings_of(model_type, load_best_model_at_end=False, learning_rate=0.01, block_size=9)
    pretrain("often", **common, eval_strategy="steps", eval_steps=2)
    pretrain("never", **common, eval_strategy="no")
    often, never = (load_file(tmp_path / name / "model.safetensors") for name in ("often", "never"))
    assert all(torch.equal(often[name], never[name]) for name in often)


def test_nt_asgd_averages_once_the_loss_rises(pretrain: Pretrain) -> None:
    settings = {"optim": "nt_asgd", "nt_asgd_interval": 1, "learning_rate": 30.0, "lr_scheduler_type": "constant"}
    record = pretrain(**settings_of("awd_lstm"), **settings, num_train_epochs=6)
    assert math.isfinite(record["metrics"]["test"]["loss"])
    evaluations = [entry["eval_loss"] for entry in record["history"] if "eval_loss" in entry]
    assert record["metrics"]["validation"]["loss"] == pytest.approx(min(evaluations), rel=1e-6)


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, ["--model_name_or_path", "--model_type"]),
        ({"model_type": "rnn", "task": "regression"}, ["regression", "causal-lm", "masked-lm"]),
        ({"model_type": "rnn", "label_budget": 100}, ["label_budget", "max_train_tokens"]),
        ({"model_type": "rnn", "max_length": 100}, ["max_length", "window_length"]),
        ({"model_type": "rnn", "window_length": 0}, ["window_length", "0"]),
        ({"model_type": "rnn", "mlm_probability": 1.5}, ["mlm_probability", "1.5"]),
        ({"model_type": "rnn", "label_smoothing_factor": 0.1}, ["label_smoothing_factor"]),
        ({"model_type": "rnn", "ignore_data_skip": True}, ["ignore_data_skip", "state"]),
        ({"model_type": "rnn", "per_device_train_batch_size": 5000}, ["lanes", "per_device_train_batch_size"]),
        ({"model_type": "rnn", "text_column": "txet"}, ["txet", "text"]),
        ({"model_type": "rnn", "train_split_name": "train,trian"}, ["trian", "train"]),
        ({"model_type": "rnn", "separator": "<sep>"}, ["<sep>"]),
        ({"model_type": "awd_lstm", "task": "masked-lm"}, ["AwdLstmConfig"]),
        ({"model_type": "awd_lstm", "config_overrides": "direction=both"}, ["direction"]),
        ({"model_type": "t5"}, ["encoder-decoder"]),
        ({"model_type": "rnm"}, ["rnm", "rnn"]),
        ({"model_type": "rnn", "evaluate_only": True}, ["evaluate_only", "model_name_or_path"]),
        ({"model_type": "gpt2", "block_size": 1}, ["block_size", "2"]),
    ],
)
def test_bad_input_is_named_and_leaves_nothing(
    pretrain: Pretrain, tmp_path: Path, settings: dict, names: list[str]
) -> None:
    with pytest.raises(UserError) as caught:
        pretrain(**settings)
    assert all(name in str(caught.value) for name in names), caught.value
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("out/*"))


def test_defaults_are_those_of_language_models() -> None:
    arguments = parse_pretrain_arguments(["--model_type", "rnn", "--output_dir", "out"])
    assert arguments.data.max_length is None and arguments.run.per_device_eval_batch_size == 32
    assert arguments.language_model.window_length == 70 and arguments.language_model.random_window_lengths
    fixed = parse_pretrain_arguments(["--model_type", "rnn", "--output_dir", "out", "--random_window_lengths", "false"])
    assert not fixed.language_model.random_window_lengths
