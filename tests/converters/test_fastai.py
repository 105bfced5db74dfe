"""fastai's AWD-LSTM compared with a plain computation from its state dict, variants of its files, and round trips."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from tl_toolkit.converters.fastai import convert_fastai, to_fastai
from tl_toolkit.data.fastai_tokenizer import SPECIAL_TOKENS
from tl_toolkit.errors import UserError
from tl_toolkit.models import AwdLstmConfig, AwdLstmForCausalLM, AwdLstmForSequenceClassification
from tl_toolkit.workflows.convert import ConvertArguments, convert

WORDS = ["the", "a", ".", "film", "was", "good", "bad"]
VOCABULARY = [*SPECIAL_TOKENS, *WORDS, "xxfake", "xxfake", "xxfake"]
EMBEDDING, HIDDEN, DEPTH, UNITS, LABELS = 5, 7, 3, 11, 3
SIZES = [EMBEDDING, HIDDEN, HIDDEN, EMBEDDING]
DIRECTIONS = pytest.mark.parametrize("direction", ["forward", "backward"])


def body(prefix: str) -> dict[str, Tensor]:
    """An encoder in the format of fastai 2."""
    torch.manual_seed(5)
    embedding = torch.randn(len(VOCABULARY), EMBEDDING)
    weights = {f"{prefix}encoder.weight": embedding, f"{prefix}encoder_dp.emb.weight": embedding}
    for layer, (size, units) in enumerate(zip(SIZES[:-1], SIZES[1:], strict=True)):
        lstm = nn.LSTM(size, units).state_dict()
        weights[f"{prefix}rnns.{layer}.weight_hh_l0_raw"] = lstm.pop("weight_hh_l0")
        weights |= {f"{prefix}rnns.{layer}.module.{name}": tensor for name, tensor in lstm.items()}
    return weights


def language_model() -> dict[str, Tensor]:
    weights = body("0.")
    return {**weights, "1.decoder.weight": weights["0.encoder.weight"], "1.decoder.bias": torch.randn(len(VOCABULARY))}


def classifier() -> dict[str, Tensor]:
    weights = body("0.module.")
    for block, (size, units) in enumerate([(3 * EMBEDDING, UNITS), (UNITS, LABELS)]):
        norm = {"weight": torch.rand(size) + 0.5, "bias": torch.randn(size), "running_mean": torch.randn(size)}
        norm |= {"running_var": torch.rand(size) + 0.5, "num_batches_tracked": torch.tensor(17)}
        weights |= {f"1.layers.{block}.0.{name}": tensor for name, tensor in norm.items()}
        weights[f"1.layers.{block}.2.weight"] = torch.randn(units, size)
    return weights


def run_body(weights: dict[str, Tensor], prefix: str, ids: Tensor) -> Tensor:
    """The encoder's output for a text in reading order: (time,) -> (time, EMBEDDING)."""
    hidden = weights[f"{prefix}encoder.weight"][ids]
    for layer, (size, units) in enumerate(zip(SIZES[:-1], SIZES[1:], strict=True)):
        lstm = nn.LSTM(size, units)
        names = ("weight_ih_l0", "bias_ih_l0", "bias_hh_l0")
        state = {name: weights[f"{prefix}rnns.{layer}.module.{name}"] for name in names}
        lstm.load_state_dict({**state, "weight_hh_l0": weights[f"{prefix}rnns.{layer}.weight_hh_l0_raw"]})
        hidden = lstm(hidden)[0]
    return hidden


def run_head(weights: dict[str, Tensor], hidden: Tensor) -> Tensor:
    """The formula of fastai's classifier head."""
    pooled = torch.cat([hidden[-1], hidden.amax(0), hidden.mean(0)])
    for block in (0, 1):
        norm = {name: weights[f"1.layers.{block}.0.{name}"] for name in ("weight", "bias")}
        mean, variance = (weights[f"1.layers.{block}.0.running_{name}"] for name in ("mean", "var"))
        pooled = (pooled - mean) / (variance + 1e-5).sqrt() * norm["weight"] + norm["bias"]
        pooled = weights[f"1.layers.{block}.2.weight"] @ pooled
        pooled = pooled.relu() if block == 0 else pooled
    return pooled


def files(folder: Path, weights: object, vocabulary: object = VOCABULARY) -> dict[str, str]:
    torch.save(weights, folder / "w.pth")
    (folder / "v.pkl").write_bytes(pickle.dumps(vocabulary))
    return {"source": "fastai", "weights": str(folder / "w.pth"), "vocab": str(folder / "v.pkl")}


def some_ids(time: int = 13) -> Tensor:
    return torch.randint(len(VOCABULARY), (time,), generator=torch.Generator().manual_seed(2))


@DIRECTIONS
@torch.no_grad()
def test_language_model(tmp_path, direction):
    weights = language_model()
    given = files(tmp_path, {"model": weights, "opt": {"state": [{"step": 3}], "hypers": []}})
    convert(ConvertArguments(str(tmp_path / "out"), direction=direction, **given))
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert (tmp_path / "out" / "modeling_awd_lstm.py").exists()
    assert type(model) is AwdLstmForCausalLM and model.config.tie_word_embeddings
    assert (
        (model.config.pad_token_id, model.config.bos_token_id)
        == (1, 2)
        == tuple(tokenizer.convert_tokens_to_ids(["xxpad", "xxbos"]))
    )
    assert len(tokenizer) == model.config.vocab_size == len(VOCABULARY)
    ids = some_ids()
    turn = (lambda tensor: tensor.flip(0)) if direction == "backward" else (lambda tensor: tensor)
    expected = run_body(weights, "0.", turn(ids)) @ weights["1.decoder.weight"].T + weights["1.decoder.bias"]
    torch.testing.assert_close(model(ids[None]).logits[0], turn(expected), atol=1e-5, rtol=0)


@DIRECTIONS
@torch.no_grad()
def test_classifier(tmp_path, direction):
    weights = classifier()
    given = files(tmp_path, weights, [VOCABULARY, ["neg", "neutral", "pos"]])
    convert(ConvertArguments(str(tmp_path / "out"), direction=direction, **given))
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    assert model.config.id2label == {0: "neg", 1: "neutral", 2: "pos"}
    assert (model.config.weight_dropout, model.config.output_dropout) == (0.5, 0.4)
    ids = some_ids()
    read = ids.flip(0) if direction == "backward" else ids
    expected = run_head(weights, run_body(weights, "0.module.", read))
    torch.testing.assert_close(model(ids[None]).logits[0], expected, atol=1e-5, rtol=0)
    padded = torch.cat([ids, torch.ones(4, dtype=torch.long)])[None]  # fastai pads with 1 and masks it
    logits = model(padded, attention_mask=(torch.arange(17) < 13).long()[None]).logits[0]
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_classifier_can_start_from_an_encoder(tmp_path):
    weights = body("")
    convert(ConvertArguments(str(tmp_path / "out"), **files(tmp_path, weights)))
    hidden = AutoModel.from_pretrained(tmp_path / "out")(some_ids()[None]).last_hidden_state[0]
    torch.testing.assert_close(hidden, run_body(weights, "", some_ids()), atol=1e-6, rtol=0)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out", num_labels=2)
    assert torch.equal(model.awd_lstm.forward_body.embedding.weight, weights["encoder.weight"])


def test_older_files_have_other_names():
    weights = language_model()
    old = {name: tensor for name, tensor in weights.items() if name != "0.encoder.weight"}
    for layer in range(DEPTH):  # the copy with dropped weights, before and after the raw weights
        dropped = torch.zeros_like(weights[f"0.rnns.{layer}.weight_hh_l0_raw"])
        name = f"0.rnns.{layer}.module.weight_hh_l0"
        old = {name: dropped, **old} if layer else {**old, name: dropped}
    expected = convert_fastai(weights).state_dict()
    for given in (old, {f"module.{name}": tensor for name, tensor in weights.items()}):
        got = convert_fastai(given).state_dict()
        assert got.keys() == expected.keys() and all(torch.equal(got[name], expected[name]) for name in got)
    half = convert_fastai({name: tensor.half() for name, tensor in weights.items()})
    assert half.dtype == torch.float32
    without = convert_fastai({name: tensor for name, tensor in classifier().items() if "l0_raw" not in name} | {
        f"0.module.rnns.{i}.module.weight_hh_l0": classifier()[f"0.module.rnns.{i}.weight_hh_l0_raw"] for i in range(3)
    })  # fmt: skip
    assert type(without) is AwdLstmForSequenceClassification


def test_a_head_without_dropout_has_its_matrix_at_another_place():
    moved = {name.replace("1.layers.0.2.", "1.layers.0.1."): tensor for name, tensor in classifier().items()}
    expected, got = convert_fastai(classifier()).state_dict(), convert_fastai(moved).state_dict()
    assert all(torch.equal(got[name], expected[name]) for name in expected)


@DIRECTIONS
@pytest.mark.parametrize("make", [language_model, classifier, lambda: body("")])
def test_round_trip(tmp_path, make, direction):
    weights, vocabulary = make(), VOCABULARY
    if make is classifier:
        vocabulary = [VOCABULARY, ["neg", "neutral", "pos"]]
    given = files(tmp_path, weights, vocabulary)
    convert(ConvertArguments(str(tmp_path / "ours"), direction=direction, **given))
    convert(ConvertArguments(str(tmp_path / "back"), target="fastai", model_name_or_path=str(tmp_path / "ours")))
    back = torch.load(tmp_path / "back" / "weights.pth", weights_only=True)
    assert list(back) == list(weights)  # learn.load_pretrained depends on the order
    assert all(torch.equal(back[name], weights[name]) for name in weights)
    assert pickle.loads((tmp_path / "back" / "vocab.pkl").read_bytes()) == vocabulary


@torch.no_grad()
def test_fastai_uses_0_for_unknown_and_1_for_padding(tmp_path):
    from tl_toolkit.data.tokenizers import build_tokenizer

    tokenizer = build_tokenizer("word", ["a film was bad"], min_frequency=1)  # <pad> 0, <unk> 1
    config = AwdLstmConfig(
        vocab_size=11, embedding_size=EMBEDDING, hidden_size=HIDDEN, num_hidden_layers=DEPTH, pad_token_id=0
    )
    model = AwdLstmForCausalLM(config).eval()
    model.lm_head.bias.copy_(torch.arange(11.0))
    model.save_pretrained(tmp_path / "ours")
    tokenizer.save_pretrained(tmp_path / "ours")
    convert(ConvertArguments(str(tmp_path / "back"), target="fastai", model_name_or_path=str(tmp_path / "ours")))
    weights = torch.load(tmp_path / "back" / "weights.pth", weights_only=True)
    tokens = pickle.loads((tmp_path / "back" / "vocab.pkl").read_bytes())
    assert tokens == ["xxunk", "xxpad", "xxbos", "<eos>", "a", "bad", "film", "was", *["xxfake"] * 3]
    ours = tokenizer("a strange film")["input_ids"]
    theirs = torch.tensor([tokens.index(word) if word in tokens else 0 for word in ("a", "strange", "film")])
    logits = run_body(weights, "0.", theirs) @ weights["1.decoder.weight"].T + weights["1.decoder.bias"]
    expected = model(torch.tensor([ours])).logits[0][:, [1, 0, *range(2, 11)]]
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)


def test_a_bidirectional_model_becomes_two_files(tmp_path):
    config = AwdLstmConfig(
        vocab_size=len(VOCABULARY), embedding_size=EMBEDDING, hidden_size=HIDDEN, direction="both", num_labels=LABELS
    )
    model = AwdLstmForSequenceClassification(config).eval()
    states = to_fastai(model)
    assert states.keys() == {"forward", "backward"}
    for direction, state in states.items():
        member = convert_fastai(state, direction)
        for name, tensor in member.state_dict().items():
            assert torch.equal(tensor, model.state_dict()[name])


def test_unsupported_input_is_refused(tmp_path):
    weights = language_model()
    with pytest.raises(UserError, match="have 19 tokens, but the vocabulary .* has 18"):
        convert(ConvertArguments(str(tmp_path / "out"), **files(tmp_path, weights, VOCABULARY[:-1])))
    with pytest.raises(UserError, match="does not contain a model's state dict"):
        convert(ConvertArguments(str(tmp_path / "out"), **files(tmp_path, {"epoch": 3})))
    with pytest.raises(UserError, match="have 3 labels, but the vocabulary has 2"):
        convert(ConvertArguments(str(tmp_path / "out"), **files(tmp_path, classifier(), [VOCABULARY, ["no", "yes"]])))
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="AWD-QRNN"):
        convert_fastai({"0.layers.0.weight": torch.ones(3, 3)})
    with pytest.raises(UserError, match=r"weight_ih_l0_reverse.*bidir=True"):
        convert_fastai({**weights, "0.rnns.0.module.weight_ih_l0_reverse": torch.ones(28, 5)})
    with pytest.raises(UserError, match=r"missing: 'rnns\.1\.bias_ih_l0'; unknown: none"):
        convert_fastai({name: tensor for name, tensor in weights.items() if "1.module.bias_ih" not in name})
    with pytest.raises(UserError, match="do not match.*size mismatch"):
        convert_fastai({**weights, "1.decoder.bias": torch.ones(3)})
    deeper = {**classifier(), "1.layers.2.2.weight": torch.ones(2, 3)}
    with pytest.raises(UserError, match="one hidden layer.*save_encoder"):
        convert_fastai(deeper)
    for arguments, reason in (
        ({}, "give either --source"),
        ({"source": "fastai", "target": "fastai"}, "give either --source"),
        ({"source": "fastai", "weights": "w"}, "--source fastai needs --vocab"),
        ({"target": "fastai"}, "--target fastai needs --model_name_or_path"),
    ):
        with pytest.raises(ValueError, match=reason):
            ConvertArguments("out", **arguments)
    with pytest.raises(UserError, match="nowhere' is not a folder"):
        target = {"target": "fastai", "model_name_or_path": str(tmp_path / "nowhere")}
        convert(ConvertArguments(str(tmp_path / "back"), **target))
