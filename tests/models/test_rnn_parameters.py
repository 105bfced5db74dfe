"""The recurrent family's parameters and configuration: initialisation, groups, saving, loading, and errors."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification

from tl_toolkit.models import (
    RnnConfig,
    RnnForCausalLM,
    RnnForSequenceClassification,
    RnnForTokenClassification,
    RnnModel,
)

BATCH, TIME, VOCAB, EMBEDDING, HIDDEN, LAYERS, LABELS = 5, 11, 23, 7, 13, 2, 3
HEADS = [RnnModel, RnnForSequenceClassification, RnnForTokenClassification, RnnForCausalLM]


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def config(**fields: Any) -> RnnConfig:
    sizes = {"vocab_size": VOCAB, "embedding_size": EMBEDDING, "hidden_size": HIDDEN, "num_hidden_layers": LAYERS}
    return RnnConfig(**{**sizes, "num_labels": LABELS, **fields})


def token_ids() -> torch.Tensor:
    return torch.randint(0, VOCAB, (BATCH, TIME))


def test_initialisation() -> None:
    model = RnnModel(config(num_hidden_layers=1, bidirectional=True))
    for cell in (model.layers[0].forward_cell, model.layers[0].backward_cell):
        for gate in cell.weight_hh_l0.split(HIDDEN):
            torch.testing.assert_close(gate @ gate.T, torch.eye(HIDDEN), atol=1e-5, rtol=0)
        bound = math.sqrt(6 / (EMBEDDING + HIDDEN))
        assert 0.9 * bound < cell.weight_ih_l0.abs().max() <= bound
        i, f, g, o = (cell.bias_ih_l0 + cell.bias_hh_l0).chunk(4)
        assert (f == 1).all() and not (i.any() or g.any() or o.any())
    assert 0.09 < model.embedding.weight.abs().max() <= 0.1
    one_hot = RnnModel(config(embedding_type="one_hot", bidirectional=True))
    assert torch.equal(one_hot.layers[0].backward_cell.weight_ih_l0, torch.eye(4 * HIDDEN))
    bound = math.sqrt(6 / (VOCAB + HIDDEN))
    assert 0.9 * bound < one_hot.embedding.weight.abs().max() <= bound
    uniform = RnnModel(config(initialization="uniform", embedding_type="one_hot")).layers[0].forward_cell
    assert torch.equal(uniform.weight_ih_l0, torch.eye(4 * HIDDEN))
    for tensor in (uniform.weight_hh_l0, uniform.bias_ih_l0, uniform.bias_hh_l0):
        assert 0.8 * HIDDEN**-0.5 < tensor.abs().max() <= HIDDEN**-0.5


VARIANTS = [
    {},
    {"cell_type": "gru", "bidirectional": True, "pooling": "attention"},
    {"cell_type": "rnn_relu", "embedding_type": "one_hot"},
    {"direction": "backward", "freeze_embeddings": True},
    {"embedding_size": HIDDEN, "tie_word_embeddings": True},
]


@pytest.mark.parametrize("head, fields", itertools.product(HEADS, VARIANTS))
@torch.no_grad()
def test_round_trip_is_exact(head: Any, fields: dict[str, Any], tmp_path: Path) -> None:
    if head is RnnForCausalLM and fields.get("bidirectional"):
        pytest.skip("not a causal language model, see test_bidirectional_language_model_raises_an_error")
    model = head(config(**fields)).eval()
    model.save_pretrained(tmp_path)
    loaded, info = head.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    expected = {name: (tensor, tensor.requires_grad) for name, tensor in model.named_parameters()}
    for name, tensor in loaded.named_parameters():
        assert torch.equal(tensor, expected[name][0]) and tensor.requires_grad == expected[name][1], name
    assert len(dict(loaded.named_parameters())) == len(expected)
    assert not list(loaded.buffers()) and not any(tensor.is_meta for tensor in loaded.parameters())
    ids = token_ids()
    assert torch.equal(model(ids)[0], loaded(ids)[0])
    assert AutoConfig.from_pretrained(tmp_path).to_dict() == loaded.config.to_dict()


def test_any_head_from_any_folder(tmp_path: Path) -> None:
    model = RnnForCausalLM(config())
    model.save_pretrained(tmp_path)
    classifier = AutoModelForSequenceClassification.from_pretrained(tmp_path, num_labels=4)
    assert isinstance(classifier, RnnForSequenceClassification) and classifier.classifier.out_features == 4
    for name, tensor in AutoModel.from_pretrained(tmp_path).named_parameters():
        assert torch.equal(tensor, model.get_parameter(f"rnn.{name}"))
        assert torch.equal(tensor, classifier.get_parameter(f"rnn.{name}"))


def test_auto_classes_build_the_family() -> None:
    assert type(AutoModelForCausalLM.from_config(config())) is RnnForCausalLM
    assert AutoModel._model_mapping[RnnConfig] == RnnModel
    assert type(AutoConfig.for_model("rnn", hidden_size=5)) is RnnConfig


def test_no_tensor_outside_parameters_and_buffers() -> None:
    for fields in VARIANTS:
        for module in RnnForSequenceClassification(config(**fields)).modules():
            assert not [name for name, value in vars(module).items() if isinstance(value, torch.Tensor)]


def test_frozen_embeddings_do_not_change() -> None:
    model = RnnForSequenceClassification(config(freeze_embeddings=True))
    vectors = torch.randn(VOCAB, EMBEDDING)
    with torch.no_grad():
        model.get_input_embeddings().weight.copy_(vectors)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, weight_decay=0.1)
    model(token_ids(), labels=torch.tensor([0, 1, 2, 0, 1])).loss.backward()
    optimizer.step()
    assert torch.equal(model.get_input_embeddings().weight, vectors)


def test_layer_groups_cover_every_parameter_once() -> None:
    for head in HEADS:
        model = head(config(pooling="attention"))
        groups = model.layer_groups()
        assert len(groups) == 1 + LAYERS + (head is not RnnModel)
        for name, _ in model.named_parameters():
            assert sum(name.startswith(prefix) for group in groups for prefix in group) == 1, name
        for prefix in itertools.chain(*groups):
            assert any(name.startswith(prefix) for name, _ in model.named_parameters()), prefix


def test_resize_keeps_embeddings() -> None:
    for fields in VARIANTS:
        if fields.get("bidirectional"):
            continue
        model = RnnForCausalLM(config(**fields))
        before = model.get_input_embeddings().weight.clone()
        model.resize_token_embeddings(VOCAB + 4)
        assert torch.equal(model.get_input_embeddings().weight[:VOCAB], before)
        assert model(token_ids() + 4).logits.shape == (BATCH, TIME, VOCAB + 4)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"hiden_size": 3}, "Did you mean 'hidden_size'"),
        ({"hidden_size": "3"}, "expected int"),
        ({"hidden_size": 0}, "hidden_size must be at least 1"),
        ({"cell_type": "lstn"}, "lstn"),
        ({"pooling": "first"}, "first"),
        ({"hidden_dropout": 1.0}, "hidden_dropout is a probability"),
        ({"bidirectional": "yes"}, "expected bool"),
        ({"bidirectional": True, "direction": "backward"}, "reads both ways"),
        ({"tie_word_embeddings": True}, "embedding_size == hidden_size"),
        ({"embedding_type": "one_hot", "freeze_embeddings": True}, "one_hot"),
        ({"model_type": "bert"}, "'bert'"),
    ],
)
def test_bad_configuration(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=message):
        config(**fields)


def test_unknown_field_when_loading(tmp_path: Path) -> None:
    config().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="hiden_size"):
        RnnConfig.from_pretrained(tmp_path, hiden_size=3)
    assert RnnConfig.from_pretrained(tmp_path, hidden_size=3).hidden_size == 3
    with pytest.raises(ValueError, match="hiden_size"):
        config().update({"hiden_size": 3})
    with pytest.raises(TypeError, match="hiden_size"):
        RnnModel(config()).save_pretrained(tmp_path)
        RnnModel.from_pretrained(tmp_path, hiden_size=3)


def test_arguments_of_transformers_are_not_unknown_fields(tmp_path: Path) -> None:
    model = RnnForSequenceClassification(config(problem_type="multi_label_classification", dtype="float32"))
    model.config.id2label = {0: "red", 1: "green", 2: "blue"}
    model.save_pretrained(tmp_path)
    again = RnnConfig.from_dict(model.config.to_dict())
    assert again.to_dict() == model.config.to_dict()
    again = AutoConfig.from_pretrained(
        tmp_path,
        trust_remote_code=True,
        revision="main",
        token=None,
        output_attentions=True,
        attn_implementation="eager",
    )
    assert again.output_attentions and again.id2label == model.config.id2label and type(again) is RnnConfig
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path, trust_remote_code=True, dtype=torch.float64)
    assert loaded.dtype == torch.float64
    assert RnnConfig(torch_dtype="float32", num_labels=5).num_labels == 5


def test_stray_attribute_is_not_saved(tmp_path: Path) -> None:
    stray = config()
    stray.hiden_size = 3
    stray.save_pretrained(tmp_path)
    assert RnnConfig.from_pretrained(tmp_path).to_dict() == config().to_dict()
