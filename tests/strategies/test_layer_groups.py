from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, BertConfig, DistilBertConfig, GPT2Config, PreTrainedModel

from tl_toolkit.errors import UserError
from tl_toolkit.models import RnnConfig, SelfAttentionConfig
from tl_toolkit.strategies.layer_groups import head_parameters, layer_groups
from tl_toolkit.strategies.optimisation import parameter_groups

CONFIGS = {
    "bert": BertConfig(vocab_size=31, hidden_size=8, num_hidden_layers=3, num_attention_heads=2, intermediate_size=11),
    "distilbert": DistilBertConfig(vocab_size=31, dim=8, n_layers=3, n_heads=2, hidden_dim=11),
    "gpt2": GPT2Config(vocab_size=31, n_embd=8, n_layer=3, n_head=2, pad_token_id=0),
    "rnn": RnnConfig(vocab_size=31, embedding_size=7, hidden_size=5, num_hidden_layers=3, bidirectional=True),
    "self_attention": SelfAttentionConfig(
        vocab_size=31, embedding_size=8, hidden_size=8, num_hidden_layers=3, num_attention_heads=2
    ),
}
HEADS = {
    "bert": {"bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias"},
    "distilbert": {"pre_classifier.weight", "pre_classifier.bias", "classifier.weight", "classifier.bias"},
    "gpt2": {"transformer.ln_f.weight", "transformer.ln_f.bias", "score.weight"},
}


def build(name: str) -> PreTrainedModel:
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_config(CONFIGS[name])


@pytest.mark.parametrize("name", CONFIGS)
def test_groups_have_every_parameter_once_from_embedding_to_head(name: str) -> None:
    model = build(name)
    groups = layer_groups(model)
    held = [parameter for group in groups for parameter in group]
    assert sorted(held) == sorted(n for n, _ in model.named_parameters())
    assert any(model.get_input_embeddings().weight is model.get_parameter(n) for n in groups[0])
    assert len(groups) == 5  # embedding, three layers, head


@pytest.mark.parametrize("name", HEADS)
def test_the_head_of_foreign_models(name: str) -> None:
    assert head_parameters(build(name)) == HEADS[name]


def test_a_parameter_without_a_group_is_an_error() -> None:
    model = build("bert")
    model.layer_groups = lambda: [["bert.embeddings"], ["bert.encoder", "bert.pooler"]]
    with pytest.raises(ValueError, match="classifier"):
        layer_groups(model)


def test_a_learning_rate_for_the_head() -> None:
    from tl_toolkit.config.arguments import ModelArguments, StrategyArguments
    from tl_toolkit.strategies import make_strategy

    model = build("bert")
    checkpoint = ModelArguments(model_name_or_path="x")
    strategy = make_strategy(StrategyArguments(strategy="full", head_learning_rate=0.25), checkpoint)
    groups = parameter_groups(model, 0.3, strategy.learning_rates(model, 0.125))
    rates = {id(p): group.get("lr") for group in groups for p in group["params"]}
    assert len(rates) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        assert rates[id(parameter)] == (0.25 if name in HEADS["bert"] else None)
    with pytest.raises(UserError, match="head_learning_rate.*frozen"):
        make_strategy(StrategyArguments(strategy="frozen", head_learning_rate=0.25), checkpoint)


@pytest.mark.parametrize("name", CONFIGS)
def test_no_decay_for_biases_norms_and_embeddings(name: str) -> None:
    model = build(name)
    next(model.parameters()).requires_grad_(False)
    groups = parameter_groups(model, 0.3)
    assert [group["weight_decay"] for group in groups] == [0.3, 0.0]
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))  # including frozen ones
    spared = {id(p) for p in groups[1]["params"]}
    for module in model.modules():
        for kind, parameter in module.named_parameters(recurse=False):
            expected = isinstance(module, (nn.Embedding, nn.LayerNorm)) or "bias" in kind
            assert (id(parameter) in spared) == expected, (type(module), kind)
