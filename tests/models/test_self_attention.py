"""The numerics of a self-attention network."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tl_toolkit.models import (
    SelfAttentionConfig,
    SelfAttentionForCausalLM,
    SelfAttentionForSequenceClassification,
    SelfAttentionForTokenClassification,
    SelfAttentionModel,
)
from tl_toolkit.models.self_attention_layers import SelfAttentionLayer, eager_attention

HEADS = [SelfAttentionForSequenceClassification, SelfAttentionForTokenClassification, SelfAttentionForCausalLM]
POSITIONS = ["sinusoidal", "learned"]


def config(**fields: Any) -> SelfAttentionConfig:
    """A tiny configuration with distinct prime sizes; dropout is on, so that a missing `eval` fails."""
    sizes = {"vocab_size": 31, "embedding_size": 13, "hidden_size": 22, "num_hidden_layers": 3}
    sizes |= {"num_attention_heads": 2, "intermediate_size": 17, "max_position_embeddings": 29}
    return SelfAttentionConfig(**{**sizes, **fields})


def build(model_class: Any, implementation: str = "sdpa", **fields: Any) -> Any:
    """A model in evaluation mode with only random parameters: zero biases would hide mistakes."""
    torch.manual_seed(3)
    model = model_class._from_config(config(**fields), attn_implementation=implementation).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def tokens(batch: int = 5, time: int = 7) -> Tensor:
    return torch.randint(1, 31, (batch, time), generator=torch.Generator().manual_seed(11))


def test_attention_by_hand() -> None:
    batch, heads, queries, keys, size = 2, 3, 5, 7, 11
    torch.manual_seed(0)
    query = torch.randn(batch, heads, queries, size, dtype=torch.float64)
    key, value = torch.randn(2, batch, heads, keys, size, dtype=torch.float64)
    mask = torch.rand(batch, 1, queries, keys) > 0.3
    mask[..., 0] = True
    output, weights = eager_attention(nn.Identity().eval(), query, key, value, mask, scaling=1 / math.sqrt(size))
    for b in range(batch):
        for h in range(heads):
            for q in range(queries):
                scores = [query[b, h, q].dot(key[b, h, k]).item() / math.sqrt(size) for k in range(keys)]
                raised = [math.exp(scores[k]) if mask[b, 0, q, k] else 0.0 for k in range(keys)]
                expected = torch.tensor([value_ / sum(raised) for value_ in raised], dtype=torch.float64)
                # The softmax is computed in float32 for all input types.
                torch.testing.assert_close(weights[b, h, q], expected, rtol=1e-6, atol=1e-7)
                torch.testing.assert_close(output[b, q, h], expected @ value[b, h], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["none", "causal", "boolean", "additive"])
def test_attention_equals_torch(kind: str) -> None:
    query, key, value = torch.randn(3, 2, 3, 5, 11)
    boolean = torch.rand(2, 1, 5, 5) > 0.3
    boolean[..., 0] = True
    mask = {"boolean": boolean, "additive": torch.randn(2, 1, 5, 5)}.get(kind)
    causal = kind == "causal"
    output, _ = eager_attention(nn.Identity(), query, key, value, mask, scaling=0.2, is_causal=causal)
    expected = nn.functional.scaled_dot_product_attention(query, key, value, mask, is_causal=causal, scale=0.2)
    torch.testing.assert_close(output.transpose(1, 2), expected)


@pytest.mark.parametrize("norm_position", ["pre", "post"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_layer_equals_torch_encoder_layer(norm_position: str, activation: str) -> None:
    ours_config = config(norm_position=norm_position, hidden_act=activation)
    ours_config._attn_implementation = "eager"
    ours = SelfAttentionLayer(ours_config, layer_idx=0).eval()
    theirs = nn.TransformerEncoderLayer(
        22, 2, 17, activation=activation, batch_first=True, norm_first=norm_position == "pre"
    ).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.copy_(torch.randn_like(parameter) / 3)
        packed = theirs.self_attn
        for index, name in enumerate(["query", "key", "value"]):
            linear = getattr(ours.attention, name)
            linear.weight.copy_(packed.in_proj_weight.chunk(3)[index])
            linear.bias.copy_(packed.in_proj_bias.chunk(3)[index])
        ours.attention.output.load_state_dict(packed.out_proj.state_dict())
        ours.feed_forward.inner.load_state_dict(theirs.linear1.state_dict())
        ours.feed_forward.output.load_state_dict(theirs.linear2.state_dict())
        ours.attention_norm.load_state_dict(theirs.norm1.state_dict())
        ours.feed_forward_norm.load_state_dict(theirs.norm2.state_dict())
    hidden_states = torch.randn(5, 7, 22)
    padding = torch.zeros(5, 7, dtype=torch.bool)
    padding[1, 4:] = padding[2, :3] = True
    expected = theirs(hidden_states, src_key_padding_mask=padding)
    output = ours(hidden_states, attention_mask=~padding[:, None, None, :].expand(-1, 1, 7, -1))
    torch.testing.assert_close(output[~padding], expected[~padding], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm_position", ["pre", "post"])
@pytest.mark.parametrize("position_embedding_type", POSITIONS)
def test_model_equals_its_layers_applied_in_order(norm_position: str, position_embedding_type: str) -> None:
    model = build(SelfAttentionModel, norm_position=norm_position, position_embedding_type=position_embedding_type)
    ids = tokens()
    embedded = model.embeddings.tokens.weight[ids] @ model.embeddings.projection.weight.T * math.sqrt(22)
    if position_embedding_type == "learned":
        embedded = embedded + model.embeddings.positions.weight[:7]
    else:
        angles = torch.arange(7)[:, None] / 10000 ** (torch.arange(0, 22, 2) / 22)
        embedded = embedded + torch.stack([angles.sin(), angles.cos()], dim=-1).reshape(7, 22)
    outputs = model(ids, output_hidden_states=True)
    torch.testing.assert_close(outputs.hidden_states[0], embedded, rtol=1e-4, atol=1e-5)
    hidden_states = embedded
    for layer in model.layers:
        hidden_states = layer(hidden_states)
    if norm_position == "pre":
        hidden_states = model.norm(hidden_states)
    torch.testing.assert_close(outputs.last_hidden_state, hidden_states, rtol=1e-4, atol=1e-4)
    assert len(outputs.hidden_states) == 4
    torch.testing.assert_close(outputs.hidden_states[-1], outputs.last_hidden_state)


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("padded", [False, True])
def test_eager_equals_sdpa_and_gives_attentions(is_causal: bool, padded: bool) -> None:
    mask = torch.ones(5, 7, dtype=torch.long)
    if padded:
        mask[1, 4:] = mask[2, :3] = mask[3, 2] = 0
    fused = build(SelfAttentionModel, "sdpa", is_causal=is_causal)
    eager = build(SelfAttentionModel, "eager", is_causal=is_causal)
    without = fused(tokens(), attention_mask=mask)
    outputs = [model(tokens(), attention_mask=mask, output_attentions=True) for model in (eager, fused)]
    real = mask.bool()
    for output in outputs:
        torch.testing.assert_close(output.last_hidden_state[real], without.last_hidden_state[real])
        assert [weights.shape for weights in output.attentions] == 3 * [(5, 2, 7, 7)]
        for weights in output.attentions:
            rows = weights.transpose(1, 2)[real]  # (real queries, heads, keys)
            torch.testing.assert_close(rows.sum(-1), torch.ones(rows.shape[:-1]))
            seen = mask[:, None, :].expand(-1, 7, -1)
            if is_causal:
                seen = seen.tril()
            assert torch.equal(rows > 0, seen[real].bool()[:, None].expand_as(rows))
    assert without.attentions is None


@pytest.mark.parametrize("model_class", [SelfAttentionModel, *HEADS])
@pytest.mark.parametrize("position_embedding_type", POSITIONS)
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("pooling", ["last", "attention"])
def test_padding_anywhere_does_not_change_results(
    model_class: Any, position_embedding_type: str, implementation: str, pooling: str
) -> None:
    model = build(model_class, implementation, position_embedding_type=position_embedding_type, pooling=pooling)
    ids = tokens()
    expected = model(ids)[0]
    places = torch.tensor(  # 7 real tokens of 11: padding right, left, on both sides, and in gaps
        [
            [0, 1, 2, 3, 4, 5, 6],
            [4, 5, 6, 7, 8, 9, 10],
            [2, 3, 4, 5, 6, 7, 8],
            [0, 2, 3, 5, 7, 9, 10],
            [1, 2, 4, 5, 6, 8, 9],
        ]
    )
    padded = torch.randint(1, 31, (5, 11)).scatter(1, places, ids)
    mask = torch.zeros(5, 11, dtype=torch.long).scatter(1, places, 1)
    output = model(padded, attention_mask=mask)[0]
    assert output.isfinite().all()
    if output.ndim == 3:
        output = output.gather(1, places[..., None].expand(-1, -1, output.shape[2]))
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("is_causal", [False, True])
def test_a_row_of_padding_is_finite(is_causal: bool) -> None:
    mask = torch.ones(5, 7, dtype=torch.long)
    mask[2] = 0
    for implementation in ("eager", "sdpa"):
        model = build(SelfAttentionForSequenceClassification, implementation, is_causal=is_causal)
        output = model(tokens(), attention_mask=mask, labels=torch.tensor([0, 1, -100, 0, 1]))
        output.loss.backward()
        assert output.logits.isfinite().all()
        assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)


@pytest.mark.parametrize("model_class", HEADS)
def test_rows_do_not_see_each_other(model_class: Any) -> None:
    model = build(model_class)
    mask = torch.ones(5, 7, dtype=torch.long)
    mask[1, 4:] = mask[2, :3] = 0
    order = torch.tensor([3, 0, 4, 2, 1])
    expected = model(tokens(), attention_mask=mask).logits[order]
    torch.testing.assert_close(model(tokens()[order], attention_mask=mask[order]).logits, expected)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_future_tokens_do_not_change_results(implementation: str) -> None:
    model = build(SelfAttentionForCausalLM, implementation)
    ids, changed = tokens(), tokens()
    changed[:, 4:] = (changed[:, 4:] + 5) % 30 + 1
    before, after = model(ids).logits, model(changed).logits
    torch.testing.assert_close(before[:, :4], after[:, :4])
    assert ((before[:, 4:] - after[:, 4:]).abs().amax(-1) > 1e-3).all()


def test_a_bidirectional_body_sees_the_future() -> None:
    model = build(SelfAttentionModel)
    changed = tokens()
    changed[:, -1] = changed[:, -1] % 30 + 1
    differences = (model(tokens())[0] - model(changed)[0]).abs().amax(-1)
    assert (differences > 1e-5).all()


def test_a_language_model_is_causal_and_leaves_its_configuration_alone() -> None:
    shared = config()
    assert SelfAttentionForCausalLM(shared).config.is_causal
    assert not shared.is_causal


@pytest.mark.parametrize("pooling", ["last", "mean", "max", "concat"])
def test_a_text_is_pooled_over_its_real_tokens(pooling: str) -> None:
    model = build(SelfAttentionForSequenceClassification, pooling=pooling)
    mask = torch.ones(5, 7, dtype=torch.long)
    mask[1, 4:] = mask[2, :3] = mask[3, 6] = mask[3, 2] = 0
    outputs = model(tokens(), attention_mask=mask, output_hidden_states=True)
    for row in range(5):
        vectors = outputs.hidden_states[-1][row, mask[row].bool()]
        parts = {"last": vectors[-1], "mean": vectors.mean(0), "max": vectors.amax(0)}
        pooled = torch.cat(list(parts.values())) if pooling == "concat" else parts[pooling]
        torch.testing.assert_close(model.classifier(pooled), outputs.logits[row], rtol=1e-4, atol=1e-5)


def test_inputs_embeds_equal_input_ids() -> None:
    for model_class in HEADS:
        model = build(model_class)
        embedded = model.get_input_embeddings()(tokens())
        torch.testing.assert_close(model(inputs_embeds=embedded).logits, model(tokens()).logits)
    with pytest.raises(ValueError, match="exactly one"):
        model(tokens(), inputs_embeds=embedded)
    with pytest.raises(ValueError, match="exactly one"):
        model()


def test_only_learned_positions_are_limited() -> None:
    long = tokens(time=37)
    assert build(SelfAttentionModel)(long)[0].isfinite().all()
    with pytest.raises(ValueError, match=r"37 tokens long.*at most 29"):
        build(SelfAttentionModel, position_embedding_type="learned")(long)


def test_classification_losses() -> None:
    single = build(SelfAttentionForSequenceClassification, num_labels=3)
    labels = torch.tensor([2, -100, 0, 1, 1])
    outputs = single(tokens(), labels=labels)
    kept = labels != -100
    by_hand = -outputs.logits.log_softmax(-1)[kept, labels[kept]].mean()
    torch.testing.assert_close(outputs.loss, by_hand)

    several = build(SelfAttentionForSequenceClassification, num_labels=3, problem_type="multi_label_classification")
    targets = torch.tensor([[0.0, 1, 1], [1, 0, 0], [0, 0, 0], [1, 1, 1], [0, 1, 0]])
    outputs = several(tokens(), labels=targets)
    chance = outputs.logits.sigmoid()
    by_hand = -(targets * chance.log() + (1 - targets) * (1 - chance).log()).mean()
    torch.testing.assert_close(outputs.loss, by_hand)

    number = build(SelfAttentionForSequenceClassification, num_labels=1, problem_type="regression")
    values = torch.tensor([0.5, -1.0, 2.0, 0.0, 3.0])
    outputs = number(tokens(), labels=values)
    torch.testing.assert_close(outputs.loss, (outputs.logits[:, 0] - values).square().mean())


def test_token_losses_skip_ignored_labels_and_divide_by_items() -> None:
    model = build(SelfAttentionForTokenClassification, num_labels=3)
    labels = tokens() % 3
    labels[1, 4:] = labels[3, 2] = -100
    outputs = model(tokens(), labels=labels)
    kept = labels != -100
    total = -outputs.logits.log_softmax(-1)[kept].gather(1, labels[kept][:, None]).sum()
    torch.testing.assert_close(outputs.loss, total / kept.sum())
    torch.testing.assert_close(model(tokens(), labels=labels, num_items_in_batch=97).loss, total / 97)


def test_language_model_loss_predicts_the_next_token() -> None:
    model = build(SelfAttentionForCausalLM)
    labels = tokens().clone()
    labels[1, 4:] = -100
    outputs = model(tokens(), labels=labels)
    targets = labels[:, 1:]
    kept = targets != -100
    total = -outputs.logits[:, :-1].log_softmax(-1)[kept].gather(1, targets[kept][:, None]).sum()
    torch.testing.assert_close(outputs.loss, total / kept.sum())
    torch.testing.assert_close(model(tokens(), labels=labels, num_items_in_batch=97).loss, total / 97)
    shifted = torch.nn.functional.pad(targets, (0, 1), value=-100)
    torch.testing.assert_close(model(tokens(), labels=labels, shift_labels=shifted).loss, outputs.loss)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("embedding_size", [13, 22])
@pytest.mark.parametrize("model_class", [SelfAttentionModel, *HEADS])
def test_layer_groups_partition_the_parameters(model_class: Any, embedding_size: int, tied: bool) -> None:
    model = model_class(
        config(embedding_size=embedding_size, tie_word_embeddings=tied, position_embedding_type="learned")
    )
    groups = model.layer_groups()
    for name, _ in model.named_parameters():
        assert sum(name.startswith(prefix) for group in groups for prefix in group) == 1, name
    for group in groups:
        for prefix in group:
            assert any(name.startswith(prefix) for name, _ in model.named_parameters()), prefix
    has_head = model_class is not SelfAttentionModel
    if model_class is SelfAttentionForCausalLM:
        has_head = not tied or embedding_size != 22
    assert len(groups) == 4 + has_head
    assert "embeddings." in groups[0][0]


def test_initialisation() -> None:
    torch.manual_seed(0)
    model = SelfAttentionForCausalLM(
        config(vocab_size=997, embedding_size=101, hidden_size=102, intermediate_size=211, pad_token_id=0)
    )
    words = model.model.embeddings.tokens.weight
    assert words[0].eq(0).all()
    assert words[1:].std().item() == pytest.approx(model.config.initializer_range, rel=0.05)
    weight = model.model.layers[0].feed_forward.inner.weight
    assert weight.abs().max().item() == pytest.approx(math.sqrt(6 / (102 + 211)), rel=0.01)
    assert model.model.layers[0].attention.query.bias.eq(0).all()
    model(torch.tensor([[0, 5, 7]]), labels=torch.tensor([[0, 5, 7]])).loss.backward()
    assert words.grad is not None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hidden_sise": 8}, "hidden_size"),
        ({"num_attention_heads": 3}, "multiple"),
        ({"hidden_dropout": 1.5}, "hidden_dropout"),
        ({"vocab_size": 0}, "vocab_size"),
        ({"norm_position": "middle"}, "norm_position"),
        ({"num_hidden_layers": "two"}, "num_hidden_layers"),
    ],
)
def test_bad_configurations_raise_an_error(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=message):
        config(**fields)


def test_an_unknown_activation_raises_an_error() -> None:
    with pytest.raises((KeyError, ValueError), match="relux"):
        SelfAttentionModel(config(hidden_act="relux"))


def test_attributes_that_are_not_fields_are_not_saved(tmp_path: Any) -> None:
    changed = config()
    changed.batch_norm_eps = 1.0
    changed.save_pretrained(tmp_path)
    assert SelfAttentionConfig.from_pretrained(tmp_path).to_dict() == config().to_dict()
