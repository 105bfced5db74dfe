"""The dropouts, AR and TAR, the chunked loss and batch norm of the AWD-LSTM."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from tl_toolkit.models import AwdLstmConfig, AwdLstmForCausalLM, AwdLstmForSequenceClassification
from tl_toolkit.models.awd_lstm_layers import AwdLstmBody, LockedDropout, WeightDropLstm
from tl_toolkit.models.chunked_cross_entropy import chunked_cross_entropy

SIZES = {"vocab_size": 23, "embedding_size": 5, "hidden_size": 7, "num_hidden_layers": 2}
OFF = {"dropout_multiplier": 0.0, "classifier_dropout": 0.0}
IDS = torch.randint(0, 23, (3, 11), generator=torch.Generator().manual_seed(1))


def language_model(**changes: object) -> AwdLstmForCausalLM:
    torch.manual_seed(0)
    return AwdLstmForCausalLM(AwdLstmConfig(**{**SIZES, **OFF, **changes})).train()


def test_weight_drop_is_an_lstm_with_a_dropped_matrix() -> None:
    torch.manual_seed(0)
    layer, inputs = WeightDropLstm(5, 7, weight_dropout=0.4).train(), torch.randn(3, 11, 5)
    torch.manual_seed(1)
    outputs, _ = layer(inputs)
    torch.manual_seed(1)
    mask = nn.functional.dropout(torch.ones(28, 7), 0.4)
    plain = nn.LSTM(5, 7, batch_first=True)
    plain.load_state_dict(layer.state_dict())
    with torch.no_grad():
        plain.weight_hh_l0.mul_(mask)
    expected, _ = plain(inputs)
    torch.testing.assert_close(outputs, expected)
    outputs.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(layer.weight_hh_l0.grad, plain.weight_hh_l0.grad * mask)
    torch.testing.assert_close(layer.weight_ih_l0.grad, plain.weight_ih_l0.grad)
    whole, _ = layer.eval()(inputs)  # the dropped matrix only exists during the call
    assert not torch.allclose(whole, outputs)
    assert torch.equal(whole, layer(inputs)[0])


def test_weight_drop_in_packed_windows() -> None:
    torch.manual_seed(0)
    layer, inputs = WeightDropLstm(5, 7, weight_dropout=0.4).train(), torch.randn(3, 11, 5)
    packed = nn.utils.rnn.pack_padded_sequence(inputs, torch.tensor([11, 4, 7]), True, enforce_sorted=False)
    torch.manual_seed(1)
    outputs, _ = nn.utils.rnn.pad_packed_sequence(layer(packed)[0], batch_first=True)
    torch.manual_seed(1)
    torch.testing.assert_close(outputs[0], layer(inputs)[0][0])


def test_weight_drop_acts_on_weights_that_peft_adapts() -> None:
    torch.manual_seed(0)
    model = AwdLstmForSequenceClassification(AwdLstmConfig(**SIZES, **{**OFF, "num_labels": 3}))
    layer = model.awd_lstm.forward_body.layers[0]
    lora = LoraConfig(r=2, target_modules=[], target_parameters=["layers.0.weight_hh_l0"], init_lora_weights=False)
    adapted = get_peft_model(model, lora).train()
    without = adapted(IDS).logits
    layer.weight_dropout = 0.9
    assert not torch.allclose(adapted(IDS).logits, without)
    with adapted.disable_adapter():
        layer.weight_dropout = 0.0
        assert not torch.allclose(adapted(IDS).logits, without)


def test_locked_dropout_has_one_mask_per_row() -> None:
    torch.manual_seed(0)
    outputs = LockedDropout(0.4).train()(torch.ones(3, 11, 101))
    assert torch.equal(outputs, outputs[:, :1].expand_as(outputs))  # over time
    assert not torch.equal(outputs[0], outputs[1])
    torch.testing.assert_close(outputs.unique(), torch.tensor([0, 1 / 0.6]))


def test_embedding_dropout_drops_words() -> None:
    config = AwdLstmConfig(**{**SIZES, "vocab_size": 997, "embedding_dropout": 0.4, "input_dropout": 0.0})
    body = AwdLstmBody(config, "forward").train()
    words = torch.arange(997).repeat(2, 1)
    torch.manual_seed(1)
    vectors = body.embed(words)
    torch.manual_seed(1)
    mask = nn.functional.dropout(torch.ones(997), 0.4)
    torch.testing.assert_close(vectors, nn.functional.embedding(words, body.embedding.weight * mask[:, None]))
    assert torch.equal(vectors[0], vectors[1])  # dropped at all its positions in the window
    assert 0.35 < (mask == 0).float().mean() < 0.45


def test_each_dropout_is_scaled_and_off_in_evaluation() -> None:
    for name in ("input", "hidden", "output", "embedding", "weight"):
        zeros = {f"{other}_dropout": 0.0 for other in ("input", "hidden", "output", "embedding", "weight")}
        model = language_model(**{**zeros, f"{name}_dropout": 0.25, "dropout_multiplier": 2.0})
        assert model.config.dropout(name) == 0.5
        loss = model(IDS, labels=IDS).loss
        assert loss != model(IDS, labels=IDS).loss, name
        model.config.dropout_multiplier = 0.0
        assert model.eval()(IDS, labels=IDS).loss == model(IDS, labels=IDS).loss


@pytest.mark.parametrize("masked", [False, True])
def test_ar_and_tar_by_hand(masked: bool) -> None:
    """AR applies to the outputs after dropout, as the head reads them; TAR to the outputs before dropout."""
    mask = torch.ones_like(IDS)
    if masked:
        mask[1, 7:] = 0
        mask[2, :3] = 0
    labels = IDS.masked_fill(mask == 0, -100)
    model = language_model(
        dropout_multiplier=1.0,
        output_dropout=0.5,
        activation_regularization=3.0,
        temporal_activation_regularization=5.0,
    )
    arguments = {"attention_mask": mask} if masked else {}
    torch.manual_seed(1)
    loss = model(IDS, labels=labels, **arguments).loss
    torch.manual_seed(1)
    raw = model.awd_lstm(IDS, **arguments).last_hidden_state
    dropped = model.output_dropout(raw)
    plain = nn.functional.cross_entropy(model.lm_head(dropped[:, :-1]).transpose(1, 2), labels[:, 1:])
    ar, tar, tokens, pairs = 0.0, 0.0, 0, 0
    for row in range(3):
        real = mask[row].bool()
        ar, tokens = ar + dropped[row][real].square().sum(), tokens + real.sum() * raw.shape[-1]
        steps = raw[row][real].diff(dim=0)
        tar, pairs = tar + steps.square().sum(), pairs + steps.numel()
    torch.testing.assert_close(loss, plain + 3 * ar / tokens + 5 * tar / pairs)


def test_no_activation_regularisation_in_evaluation() -> None:
    model = language_model(activation_regularization=3.0, temporal_activation_regularization=5.0).eval()
    outputs = model(IDS, labels=IDS)
    plain = nn.functional.cross_entropy(outputs.logits[:, :-1].transpose(1, 2), IDS[:, 1:])
    torch.testing.assert_close(outputs.loss, plain)


def test_parts_of_a_batch_add_up_to_the_whole() -> None:
    model = language_model()
    model(IDS, labels=IDS).loss.backward()
    whole = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    for part in IDS.split(1):
        model(part, labels=part, num_items_in_batch=30).loss.backward()  # 3 rows of 10 targets
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, whole[name])


def test_loss_in_training_and_evaluation_is_cross_entropy() -> None:
    model = language_model(activation_regularization=0.0, temporal_activation_regularization=0.0)
    outputs = model.eval()(IDS, labels=IDS)
    expected = nn.functional.cross_entropy(outputs.logits[:, :-1].reshape(-1, 23), IDS[:, 1:].reshape(-1))
    torch.testing.assert_close(outputs.loss, expected)
    trained = model.train()(IDS, labels=IDS)
    torch.testing.assert_close(trained.loss, expected)
    assert trained.logits is None  # training never stores all of them at once
    torch.testing.assert_close(model(IDS, labels=IDS, skip_logits=False).logits, outputs.logits)


@pytest.mark.parametrize("chunk_size", [1, 5, 100])
@pytest.mark.parametrize("with_bias", [True, False])
def test_chunked_cross_entropy_is_torchs(chunk_size: int, with_bias: bool) -> None:
    torch.manual_seed(0)
    hidden, weight, bias = torch.randn(13, 5), torch.randn(17, 5), torch.randn(17)
    targets = torch.randint(0, 17, (13,))
    targets[[2, 7]] = -100
    leaves = [
        tensor.double().requires_grad_() for tensor in ((hidden, weight, bias) if with_bias else (hidden, weight))
    ]
    arguments = leaves if with_bias else [*leaves, None]
    loss = chunked_cross_entropy(*arguments, targets, chunk_size)
    (3 * loss).backward()
    grads = [leaf.grad.clone() for leaf in leaves]
    for leaf in leaves:
        leaf.grad = None
    logits = nn.functional.linear(*arguments)
    expected = nn.functional.cross_entropy(logits, targets, reduction="sum")
    (3 * expected).backward()
    torch.testing.assert_close(loss.double(), expected, atol=1e-5, rtol=1e-6)
    for grad, leaf in zip(grads, leaves, strict=True):
        torch.testing.assert_close(grad, leaf.grad, atol=1e-5, rtol=1e-5)  # softmax is computed in float32


def test_chunked_cross_entropy_only_computes_required_gradients() -> None:
    hidden, weight = torch.randn(3, 5, requires_grad=True), torch.randn(7, 5)
    chunked_cross_entropy(hidden, weight, None, torch.tensor([1, 2, 6])).backward()
    assert hidden.grad is not None and weight.grad is None


def test_one_row_can_train_under_batch_norm() -> None:
    torch.manual_seed(0)
    model = AwdLstmForSequenceClassification(AwdLstmConfig(**SIZES, **OFF, num_labels=3)).train()
    model(IDS, labels=torch.tensor([0, 1, 2]))
    before = model.forward_head.pooled_norm.running_mean.clone()
    loss = model(IDS[:1], labels=torch.tensor([0])).loss
    loss.backward()
    assert torch.isfinite(loss) and torch.equal(model.forward_head.pooled_norm.running_mean, before)
