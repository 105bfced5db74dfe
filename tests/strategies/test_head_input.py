"""The boundary between a frozen body and its head, in models of the toolkit and of transformers."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertConfig,
    GPT2Config,
    RobertaConfig,
)

from tl_toolkit.config.arguments import StrategyArguments
from tl_toolkit.models import AwdLstmConfig, RnnConfig, SelfAttentionConfig
from tl_toolkit.strategies.head_input import head_input
from tl_toolkit.strategies.layer_groups import layer_groups
from tl_toolkit.strategies.probe import Probe, final_linear

LABELS = 5
SIZES = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 17}
BERT = BertConfig(vocab_size=23, pad_token_id=0, num_labels=LABELS, **SIZES)
RNN = RnnConfig(vocab_size=23, embedding_size=7, hidden_size=11, pad_token_id=0, num_labels=LABELS, pooling="attention")
CONFIGS = {
    "bert": BERT,
    "gpt2": GPT2Config(vocab_size=23, n_embd=12, n_layer=2, n_head=3, pad_token_id=0, num_labels=LABELS),
    "rnn": RNN,
    "self_attention": SelfAttentionConfig(
        vocab_size=23, embedding_size=12, hidden_size=12, num_attention_heads=3, pad_token_id=0, num_labels=LABELS
    ),
    "roberta": RobertaConfig(vocab_size=23, pad_token_id=0, num_labels=LABELS, **SIZES),
    "awd_lstm": AwdLstmConfig(
        vocab_size=23, embedding_size=7, hidden_size=11, pad_token_id=0, num_labels=LABELS, num_hidden_layers=1
    ),
}


def _model(config, auto=AutoModelForSequenceClassification, *, probe):
    torch.manual_seed(3)
    model = auto.from_config(config)
    trained = set(layer_groups(model)[-1])
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trained and not probe)
    if probe:
        final_linear(model).requires_grad_(True)
    return model.train()


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


def _batch():
    ids = torch.randint(1, 23, (3, 8), generator=torch.Generator().manual_seed(1))
    mask = torch.tensor([[1] * 8, [1] * 5 + [0] * 3, [1] * 2 + [0] * 6])
    return {"input_ids": ids * mask, "attention_mask": mask}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_linear_layer_on_the_features_returns_the_logits_of_the_model(name):
    model = _model(CONFIGS[name], probe=True)
    head = head_input(model, _batch())
    features, _ = head.run(model, _batch())
    assert model.training  # as before
    logits = torch.nn.functional.linear(features, head.final.weight, head.final.bias)
    torch.testing.assert_close(logits, model.eval()(**_batch()).logits, atol=1e-5, rtol=1e-4)
    assert features.shape == (3, head.final.in_features) and not features.requires_grad


@pytest.mark.parametrize(("name", "boundary"), [("bert", "bert.pooler.dense"), ("gpt2", "transformer.ln_f")])
def test_the_chain_of_frozen_begins_with_the_first_trained_module(name, boundary):
    model = _model(CONFIGS[name], probe=False)
    head = head_input(model, _batch())
    assert head.modules[0] is model.get_submodule(boundary)
    features, expected = head.run(model, _batch())
    model.eval()
    torch.testing.assert_close(head.logits(features), expected, atol=1e-5, rtol=1e-4)


def test_dropout_before_the_head_belongs_to_the_chain():
    model = _model(CONFIGS["self_attention"], probe=False)
    assert head_input(model, _batch()).modules == [model.dropout, model.classifier]


@pytest.mark.parametrize("name", ["roberta", "rnn"])  # a function between two layers; a head with attention
def test_heads_that_are_no_chain_have_no_features(name):
    assert head_input(_model(CONFIGS[name], probe=False), _batch()) is None


@pytest.mark.parametrize("name", ["bert", "self_attention"])
def test_tokens_have_features(name):
    model = _model(CONFIGS[name], AutoModelForTokenClassification, probe=True)
    head = head_input(model, _batch())
    features, _ = head.run(model, _batch())
    assert features.shape == (3, 8, 12)
    torch.testing.assert_close(head.final(features), model.eval()(**_batch()).logits, atol=1e-5, rtol=1e-4)


def test_a_model_whose_logits_are_not_those_of_its_last_layer_has_no_features():
    model = _model(BERT, probe=True)
    forward = model.forward
    model.forward = lambda **inputs: {"logits": 2 * forward(**inputs).logits}
    assert head_input(model, _batch()) is None


@pytest.mark.parametrize(("name", "warned"), [("roberta", "classifier.dense.bias"), ("self_attention", "")])
def test_layers_that_stay_random_are_named(name, warned, caplog):
    Probe(StrategyArguments(strategy="probe")).prepare(AutoModelForSequenceClassification.from_config(CONFIGS[name]))
    assert bool(caplog.messages) == bool(warned) and warned in caplog.text
