"""The recurrent encoder-decoder: encoder and bridge, padding, losses, and scheduled sampling."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tl_toolkit.models import RnnEncoderDecoderConfig, RnnEncoderDecoderForConditionalGeneration, RnnEncoderDecoderModel
from tl_toolkit.models.rnn_layers import CELLS

VOCAB, TARGET_VOCAB, EMBEDDING, HIDDEN = 29, 23, 7, 11
PAD, EOS, START = 0, 1, 2
KINDS: dict[str, dict[str, Any]] = {
    "none": {},
    "reversed": {"reverse_source": True},
    "bahdanau": {"attention": "bahdanau", "bidirectional_encoder": True},
    "luong": {"attention": "luong", "reverse_source": True},
    "feeding": {"attention": "luong", "input_feeding": True, "bidirectional_encoder": True},
    "local": {"attention": "luong", "attention_window": "local_p", "attention_window_size": 2},
}


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def config(**fields: Any) -> RnnEncoderDecoderConfig:
    sizes = {"vocab_size": VOCAB, "decoder_vocab_size": TARGET_VOCAB, "embedding_size": EMBEDDING}
    special = {"pad_token_id": PAD, "eos_token_id": EOS, "decoder_start_token_id": START}
    return RnnEncoderDecoderConfig(**{**sizes, "hidden_size": HIDDEN, **special, **fields})


def model(kind: str = "none", **fields: Any) -> RnnEncoderDecoderForConditionalGeneration:
    made = RnnEncoderDecoderForConditionalGeneration(config(**{**KINDS[kind], **fields})).eval()
    with torch.no_grad():  # initial values are small: unused weights would hardly be noticed
        for parameter in made.parameters():
            parameter.uniform_(-0.7, 0.7)
    return made


def labels(rows: int = 3, length: int = 5) -> Tensor:
    made = torch.randint(3, TARGET_VOCAB, (rows, length))
    made[1:, -2:] = -100
    return made


# --- Padding ----------------------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("cell_type", list(CELLS))
@pytest.mark.parametrize("kind", list(KINDS))
def test_padding_and_order_of_a_batch_do_not_change_results(kind: str, cell_type: str) -> None:
    network = model(kind, cell_type=cell_type, num_encoder_layers=2, num_decoder_layers=2)
    sources, targets = [torch.randint(3, VOCAB, (1, length)) for length in (5, 3, 2)], labels()
    alone = [
        network(source, decoder_input_ids=targets[row, None].clamp(min=0), output_attentions=True)
        for row, source in enumerate(sources)
    ]
    places = [[0, 1, 2, 3, 4], [3, 4, 6], [1, 5]]  # padding on the right, on the left, inside
    ids, mask = torch.randint(3, VOCAB, (3, 7)), torch.zeros(3, 7, dtype=torch.long)
    for row, source in enumerate(sources):
        ids[row, places[row]], mask[row, places[row]] = source[0], 1
    order = [2, 0, 1]
    together = network(ids[order], mask[order], decoder_input_ids=targets[order].clamp(min=0), output_attentions=True)
    for place, row in enumerate(order):
        torch.testing.assert_close(together.logits[place], alone[row].logits[0])
        if network.config.attention == "none":
            assert together.cross_attentions is None
            continue
        (weights,) = together.cross_attentions
        assert weights.shape == (3, 1, 5, 7)
        torch.testing.assert_close(weights[place, 0][:, places[row]], alone[row].cross_attentions[0][0, 0])
        assert (weights[place, 0][:, mask[row] == 0] == 0).all()


@torch.no_grad()
def test_source_without_tokens_raises_no_error() -> None:
    for kind in KINDS:
        network = model(kind)
        logits = network(torch.full((1, 3), 5), torch.zeros(1, 3), decoder_input_ids=torch.tensor([[4, 5]])).logits
        assert logits.isfinite().all()


@torch.no_grad()
def test_a_token_does_not_see_later_tokens() -> None:
    for kind in KINDS:
        network, ids = model(kind), torch.randint(3, VOCAB, (1, 4))
        target = torch.randint(3, TARGET_VOCAB, (1, 6))
        before = network(ids, decoder_input_ids=target).logits
        target[0, 3] = 3 + (target[0, 3] - 2) % (TARGET_VOCAB - 3)
        after = network(ids, decoder_input_ids=target).logits
        assert torch.equal(before[:, :3], after[:, :3]) and not torch.allclose(before[:, 3:], after[:, 3:])


# --- Encoder and bridge -----------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("cell_type", list(CELLS))
@pytest.mark.parametrize("masked", [False, True])
def test_bidirectional_encoder_is_torchs_module(masked: bool, cell_type: str) -> None:
    network = model("bahdanau", cell_type=cell_type, num_encoder_layers=2)
    encoder = network.get_encoder()
    stacked = CELLS[cell_type](EMBEDDING, HIDDEN, num_layers=2, batch_first=True, bidirectional=True)
    for name, parameter in stacked.named_parameters():
        place, _, reverse = name.rpartition("_l")[2].partition("_")
        cell = encoder.layers[int(place)].backward_cell if reverse else encoder.layers[int(place)].forward_cell
        parameter.copy_(getattr(cell, name.split("_l")[0] + "_l0"))
    ids, length = torch.randint(3, VOCAB, (1, 6)), 4 if masked else 6
    mask = (torch.arange(6) < length).long()[None]
    found = encoder(ids, mask if masked else None)
    outputs, final = stacked(encoder.embedding(ids[:, :length]))
    torch.testing.assert_close(found.last_hidden_state[:, :length], outputs)
    assert (found.last_hidden_state[:, length:] == 0).all()
    for part, state in enumerate(final if isinstance(final, tuple) else (final,)):
        expected = state.view(2, 2, 1, HIDDEN).transpose(1, 2).flatten(2)  # layers, rows, both directions
        torch.testing.assert_close(found.final_state[:, :, part].transpose(0, 1), expected)


@torch.no_grad()
def test_reversed_source_is_the_reversed_text() -> None:
    """The encoder reads the source from its end, and returns its outputs in the original order."""
    reversing, network = model("reversed", attention="luong"), model(attention="luong")
    network.load_state_dict(reversing.state_dict())
    ids, target = torch.randint(3, VOCAB, (2, 6)), labels(2)
    found = reversing(ids, labels=target, output_attentions=True)
    expected = network(ids.flip(1), labels=target, output_attentions=True)
    torch.testing.assert_close(found.logits, expected.logits)
    torch.testing.assert_close(found.cross_attentions[0], expected.cross_attentions[0].flip(-1))
    torch.testing.assert_close(found.encoder_last_hidden_state, expected.encoder_last_hidden_state.flip(1))


@torch.no_grad()
@pytest.mark.parametrize("cell_type", ["lstm", "gru"])
@pytest.mark.parametrize(
    "encoder_layers, decoder_layers, sources", [(3, 2, [1, 2]), (2, 3, [0, 1, 1]), (1, 2, [0, 0]), (3, 1, [2])]
)
def test_bridge_between_depths(encoder_layers: int, decoder_layers: int, sources: list[int], cell_type: str) -> None:
    network = model(cell_type=cell_type, num_encoder_layers=encoder_layers, num_decoder_layers=decoder_layers)
    bridge = network.model.bridge
    final = network.get_encoder()(torch.randint(3, VOCAB, (2, 5))).final_state
    states = bridge(final)
    assert len(states) == decoder_layers
    parts = 2 if cell_type == "lstm" else 1
    for layer, source in enumerate(sources):
        for part in range(parts):
            projection = bridge.projections[parts * layer + part]
            expected = final[:, source, part] @ projection.weight.T + projection.bias
            torch.testing.assert_close(states[layer][part], expected if part else expected.tanh())


@torch.no_grad()
def test_states_of_equal_shape_are_passed_on_unchanged() -> None:
    network = model(num_encoder_layers=2, num_decoder_layers=2)
    assert not list(network.model.bridge.parameters())
    encoded = network.get_encoder()(torch.randint(3, VOCAB, (2, 5)))
    for layer, state in enumerate(network.model.bridge(encoded.final_state)):
        assert torch.equal(torch.stack(state), encoded.final_state[:, layer].transpose(0, 1))
    wide = model("bahdanau", num_encoder_layers=2, num_decoder_layers=2)
    assert [tuple(p.weight.shape) for p in wide.model.bridge.projections] == 4 * [(HIDDEN, 2 * HIDDEN)]


@torch.no_grad()
def test_inputs_can_be_vectors_or_encoder_outputs() -> None:
    network, ids, target = model("feeding"), torch.randint(3, VOCAB, (2, 6)), labels(2)
    mask = torch.tensor([[1] * 6, [0, 1, 1, 0, 1, 1]])
    expected = network(ids, mask, labels=target, output_hidden_states=True)
    assert [tuple(h.shape) for h in expected.encoder_hidden_states] == [(2, 6, EMBEDDING), (2, 6, 2 * HIDDEN)]
    assert [tuple(h.shape) for h in expected.decoder_hidden_states] == [(2, 5, EMBEDDING), (2, 5, HIDDEN)]
    embeds = network.get_input_embeddings()(ids)
    shifted = network.prepare_decoder_input_ids_from_labels(target)
    decoder_embeds = network.model.get_decoder_embeddings()(shifted)
    encoded = network.get_encoder()(ids, mask)
    for source in ({"inputs_embeds": embeds}, {"encoder_outputs": encoded}, {"encoder_outputs": encoded.to_tuple()}):
        found = network(**source, attention_mask=mask, decoder_inputs_embeds=decoder_embeds, labels=target)
        torch.testing.assert_close(found.logits, expected.logits)
        torch.testing.assert_close(found.loss, expected.loss)


# --- Losses -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(KINDS))
def test_loss_and_gradients_with_and_without_logits(kind: str) -> None:
    network, ids, target = model(kind, tie_word_embeddings=True), torch.randint(3, VOCAB, (3, 4)), labels()
    outputs = network(ids, labels=target)
    shifted = torch.cat([torch.full((3, 1), START), target[:, :-1]], dim=1)
    shifted[1:, 4] = PAD
    torch.testing.assert_close(outputs.logits, network(ids, decoder_input_ids=shifted).logits)
    by_token = functional.cross_entropy(outputs.logits.transpose(1, 2), target, reduction="none")
    mean = by_token.sum() / (target != -100).sum()
    torch.testing.assert_close(outputs.loss, mean)
    torch.testing.assert_close(network(ids, labels=target, num_items_in_batch=7).loss, by_token.sum() / 7)
    mean.backward()
    expected = {name: parameter.grad.clone() for name, parameter in network.named_parameters()}
    assert all(grad.isfinite().all() and grad.any() for grad in expected.values())
    network.zero_grad()
    network.train()
    training = network(ids, labels=target)
    assert training.logits is None
    torch.testing.assert_close(training.loss, mean)
    torch.testing.assert_close(network(ids, labels=target, num_items_in_batch=torch.tensor(7)).loss, by_token.sum() / 7)
    assert network(ids, labels=target, skip_logits=False).logits.shape == (3, 5, TARGET_VOCAB)
    training.loss.backward()
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], msg=name)


@torch.no_grad()
def test_logits_to_keep() -> None:
    network, ids, target = model("bahdanau"), torch.randint(3, VOCAB, (2, 6)), labels(2).clamp(min=0)
    every = network(ids, decoder_input_ids=target).logits
    torch.testing.assert_close(network(ids, decoder_input_ids=target, logits_to_keep=2).logits, every[:, -2:])


# --- Scheduled sampling -----------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("kind", ["none", "bahdanau", "feeding"])
def test_scheduled_sampling_from_teacher_forcing_to_its_own_predictions(kind: str) -> None:
    network = model(kind).train()
    ids, target = torch.randint(3, VOCAB, (3, 4)), labels(length=6)
    target[target == -100] = 3
    given = network.prepare_decoder_input_ids_from_labels(target)
    forced = network(ids, labels=target).loss

    own = torch.full((3, 1), START)
    for _ in range(5):
        own = torch.cat([own, network(ids, decoder_input_ids=own, use_cache=False).logits[:, -1:].argmax(-1)], dim=1)
    by_itself = network(ids, decoder_input_ids=own, labels=target).loss
    assert not torch.allclose(forced, by_itself)
    network.config.scheduled_sampling = 1.0
    torch.testing.assert_close(network(ids, labels=target).loss, by_itself)
    # With a separate loss function, Trainer removes the labels and keeps the decoder's inputs.
    logits = network(ids, decoder_input_ids=given).logits
    torch.testing.assert_close(functional.cross_entropy(logits.flatten(0, 1), target.flatten()), by_itself)
    network.eval()
    torch.testing.assert_close(network(ids, labels=target).loss, forced)  # the evaluation loss uses teacher forcing

    network.train()
    network.config.scheduled_sampling = 0.5
    inputs = network._scheduled_inputs({"input_ids": ids, "attention_mask": None}, None, given, None)
    network.config.scheduled_sampling = 0.0
    assert torch.equal(inputs[:, 0], given[:, 0]) and not torch.equal(inputs, given)
    for row, position in ((row, position) for row in range(3) for position in range(1, 6)):
        predicted = network(ids[row, None], decoder_input_ids=inputs[row, None, :position], use_cache=False).logits
        assert inputs[row, position] in (given[row, position], predicted[0, -1].argmax())


# --- Bad input --------------------------------------------------------------------------------------------------------


def test_bad_input() -> None:
    network, ids = model(), torch.tensor([[4, 5]])
    with pytest.raises(ValueError, match="exactly one of decoder_input_ids and decoder_inputs_embeds"):
        network(ids)
    with pytest.raises(ValueError, match="exactly one of input_ids and inputs_embeds"):
        network(decoder_input_ids=ids)
    with pytest.raises(ValueError, match="attention_mask must be"):
        network(ids, torch.ones(1, 1), decoder_input_ids=ids)
    with pytest.raises(ValueError, match=r"labels must have the shape of the decoder inputs, \(1, 2\), got \(1, 3\)"):
        network.train()(ids, decoder_input_ids=ids, labels=torch.tensor([[4, 5, 6]]))
    network.config.decoder_start_token_id = None
    with pytest.raises(ValueError, match="decoder_start_token_id must be set"):
        network(ids, labels=ids)


def test_body_alone() -> None:
    body = RnnEncoderDecoderModel(config(**KINDS["luong"])).eval()
    outputs = body(torch.tensor([[4, 5, 6]]), decoder_input_ids=torch.tensor([[2, 3]]), output_attentions=True)
    assert outputs.last_hidden_state.shape == (1, 2, HIDDEN) and outputs.cross_attentions[0].shape == (1, 1, 2, 3)
    assert body.train()(torch.tensor([[4]]), decoder_input_ids=torch.tensor([[2]])).past_key_values is None


@torch.no_grad()
@pytest.mark.parametrize("kind", list(KINDS))
def test_autocast(kind: str) -> None:
    network, ids, target = model(kind), torch.randint(3, VOCAB, (3, 4)), labels()
    expected = network(ids, labels=target)
    with torch.autocast("cpu", torch.bfloat16):
        found = network(ids, labels=target)
        with torch.enable_grad():
            network.train()(ids, labels=target).loss.backward()
    torch.testing.assert_close(found.loss, expected.loss, rtol=0.1, atol=0.1)
    assert all(parameter.grad.dtype == torch.float32 for parameter in network.parameters())
