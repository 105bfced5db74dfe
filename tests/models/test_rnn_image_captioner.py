"""The captioner compared with its equations, and its generation with and without cache, alone and in a batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from tl_toolkit.models import RnnImageCaptionerConfig, RnnImageCaptionerForConditionalGeneration, RnnImageCaptionerModel
from tl_toolkit.models.convolutional_encoder import ConvolutionalEncoder

SIZES = {
    "vocab_size": 29,
    "image_size": [19, 11],
    "num_channels": 1,
    "encoder_channels": [5, 7, 6],
    "encoder_stride": 4,
    "embedding_size": 11,
    "hidden_size": 13,
    "num_decoder_layers": 2,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": 2,
    "decoder_start_token_id": 2,
}
HEIGHT, WIDTH = 5, 3  # size of the grid
KINDS = [
    {"attention": "bahdanau"},
    {"attention": "none", "cell_type": "gru"},
    {"attention": "luong", "attention_score": "concat"},
    {"attention": "luong", "input_feeding": True},
]
kinds = pytest.mark.parametrize("fields", KINDS, ids=["bahdanau", "none", "luong", "input-feeding"])


def captioner(large: bool = False, **fields: Any) -> RnnImageCaptionerForConditionalGeneration:
    torch.manual_seed(5)
    model = RnnImageCaptionerForConditionalGeneration(RnnImageCaptionerConfig(**{**SIZES, **fields})).eval()
    if large:  # with large weights, choices differ between steps and between images
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "encoder" not in name:
                    parameter.uniform_(-1.7, 1.7)
    return model


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.rand(3, 1, 19, 11, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def labels() -> torch.Tensor:
    ids = torch.randint(3, 29, (3, 7), generator=torch.Generator().manual_seed(4))
    ids[0, 5:] = ids[2, 2:] = -100
    return ids


@torch.no_grad()
def test_without_attention_the_image_is_the_initial_state(pixels, labels):
    model = captioner(attention="none", cell_type="lstm", num_decoder_layers=1)
    body = model.captioner
    grid = body.encoder(pixels).last_hidden_state
    assert grid.shape == (3, HEIGHT * WIDTH, 6)
    state = torch.tanh(body.initial_state(grid.mean(dim=1)))
    lstm = body.decoder.layers[0].forward_cell
    inputs = body.embedding(
        torch.cat([torch.full((3, 1), 2), labels[:, :-1].masked_fill(labels[:, :-1] == -100, 0)], 1)
    )
    outputs, _ = lstm(inputs, (state[None, :, :13].contiguous(), state[None, :, 13:].contiguous()))
    found = model(pixels, labels=labels)
    torch.testing.assert_close(found.logits, model.lm_head(outputs))
    expected = functional.cross_entropy(model.lm_head(outputs).flatten(0, 1), labels.flatten())
    torch.testing.assert_close(found.loss, expected)
    of_many = model(pixels, labels=labels, num_items_in_batch=torch.tensor(101)).loss
    torch.testing.assert_close(of_many, expected * (labels != -100).sum() / 101)
    assert model(pixels, labels=labels, output_attentions=True).cross_attentions is None


@torch.no_grad()
def test_attention_is_over_the_grid(pixels, labels):
    model = captioner(attention="bahdanau", num_decoder_layers=1)
    outputs = model(pixels, labels=labels, output_attentions=True, output_hidden_states=True)
    (weights,) = outputs.cross_attentions
    assert weights.shape == (3, 1, 7, HEIGHT * WIDTH)
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 1, 7))
    body, grid = model.captioner, outputs.encoder_last_hidden_state
    score = body.decoder.attention
    before = body.initial_states(grid)[0][0]  # the first step attends from the initial state
    hidden = torch.tanh(score.query_projection(before)[:, None] + score.key_projection(grid))
    torch.testing.assert_close(weights[:, 0, 0], score.energy(hidden).squeeze(-1).softmax(dim=-1))
    assert model.grid_size(weights.shape[-1]) == (HEIGHT, WIDTH)
    assert [tuple(part.shape) for part in outputs.decoder_hidden_states] == [(3, 7, 11), (3, 7, 13)]


def test_uneven_attention_is_penalised_only_in_training(pixels, labels):
    model = captioner(doubly_stochastic_weight=0.7)
    plain = model(pixels, labels=labels, output_attentions=True)
    assert plain.attention_penalty is None
    model.train()
    found = model(pixels, labels=labels)
    weights = plain.cross_attentions[0][:, 0]
    expected = [0.7 * (1 - weights[row, :length].sum(0)).square().sum() for row, length in enumerate((5, 7, 2))]
    torch.testing.assert_close(found.attention_penalty, torch.stack(expected))
    torch.testing.assert_close(found.loss, plain.loss + sum(expected) / 14)
    assert found.cross_attentions is None
    mask = (labels != -100).long()
    ids = model.prepare_decoder_input_ids_from_labels(labels)
    masked = model(pixels, decoder_input_ids=ids, decoder_attention_mask=mask)
    torch.testing.assert_close(masked.attention_penalty, torch.stack(expected))


@torch.no_grad()
def test_positions_of_the_grid_match_positions_in_the_image():
    """A changed pixel changes its position of the grid, and no position beyond the reach of three convolutions."""
    torch.manual_seed(1)
    encoder = ConvolutionalEncoder(1, [11, 13, 17], 4)
    for layer in encoder.layers:
        layer.norm = nn.Identity()  # the norm reads the whole image
    blank = torch.zeros(1, 1, 43, 31)
    for row, column in ((1, 1), (1, 29), (41, 1), (22, 13)):
        drawn = blank.clone()
        drawn[0, 0, row, column] = 5.0
        changed = (encoder(drawn) != encoder(blank)).any(-1).view(11, 8)
        assert changed[row // 4, column // 4]
        down, across = changed.nonzero(as_tuple=True)
        assert (down - row // 4).abs().max() <= 2 and (across - column // 4).abs().max() <= 2


def test_an_image_does_not_depend_on_its_batch(pixels):
    encoder = ConvolutionalEncoder(1, [5, 7, 6], 4).train()
    torch.testing.assert_close(encoder(pixels)[1:2], encoder(pixels[1:2]))


@pytest.mark.parametrize(
    "options",
    [{}, {"num_beams": 3}, {"num_beams": 4, "length_penalty": 2.0, "num_return_sequences": 2}, {"do_sample": True}],
    ids=["greedy", "beam", "n-best", "sample"],
)
@kinds
def test_cached_equals_uncached(fields, options, pixels):
    model = captioner(large=True, **fields)
    written = []
    for use_cache in (True, False):
        torch.manual_seed(11)
        written.append(model.generate(pixel_values=pixels, max_new_tokens=7, use_cache=use_cache, **options))
    assert torch.equal(*written)
    assert (written[0][:, 0] == 2).all() and len({tuple(row) for row in written[0].tolist()}) > 1


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}], ids=["greedy", "beam"])
@kinds
def test_a_batch_equals_single_images(fields, options, pixels):
    model = captioner(large=True, **fields)
    together = model.generate(pixels, max_new_tokens=7, **options)
    for row in range(3):
        alone = model.generate(pixels[row : row + 1], max_new_tokens=7, **options)[0]
        assert together[row, : len(alone)].tolist() == alone.tolist()
        assert (together[row, len(alone) :] == 0).all()


@torch.no_grad()
def test_generation_returns_its_attention(pixels):
    model = captioner(large=True)
    encoded = model.get_encoder()(pixels)
    written = model.generate(
        encoder_outputs=encoded, max_new_tokens=5, min_new_tokens=5, output_attentions=True,
        return_dict_in_generate=True,
    )  # fmt: skip
    assert torch.equal(written.sequences, model.generate(pixels, max_new_tokens=5, min_new_tokens=5))
    stepwise = torch.cat([step[0] for step in written.cross_attentions], dim=2)
    again = model(pixels, decoder_input_ids=written.sequences[:, :-1], output_attentions=True)
    torch.testing.assert_close(stepwise, again.cross_attentions[0])


@torch.no_grad()
def test_body_and_masks(pixels):
    body = RnnImageCaptionerModel(RnnImageCaptionerConfig(**SIZES)).eval()
    assert body(pixels).last_hidden_state.shape == (3, 1, 13)  # after the start token
    ids = torch.randint(3, 29, (3, 5))
    plain = body(pixels, decoder_input_ids=ids).last_hidden_state
    embedded = body(pixels, decoder_inputs_embeds=body.embedding(ids)).last_hidden_state
    assert torch.equal(embedded, plain)
    padded = torch.cat([torch.zeros_like(ids[:, :2]), ids], dim=1)
    mask = torch.tensor([[0, 0, 1, 1, 1, 1, 1]] * 3)
    on_the_left = body(pixels, decoder_input_ids=padded, decoder_attention_mask=mask).last_hidden_state
    torch.testing.assert_close(on_the_left[:, 2:], plain)
    with pytest.raises(ValueError, match="Pass pixel_values or encoder_outputs"):
        body(decoder_input_ids=ids)
    with pytest.raises(ValueError, match=r"must be \(batch, 1, height, width\), got \(3, 3, 19, 11\)"):
        body(pixels.expand(-1, 3, -1, -1))


@kinds
def test_layer_groups_contain_every_parameter_once(fields):
    model = captioner(**fields, tie_word_embeddings=True)
    for own in (model, model.captioner):
        groups = own.layer_groups()
        for name, _ in own.named_parameters():
            assert sum(name.startswith(prefix) for group in groups for prefix in group) == 1, name
        assert len(groups) == (5 if own is model else 4) and all(groups)


def test_a_dot_product_is_in_no_layer_group():
    model = captioner(attention="luong", attention_score="dot", encoder_channels=[5, 7, 13])
    names = [name for name, _ in model.named_parameters()]
    prefixes = [prefix for group in model.layer_groups() for prefix in group]
    assert all(any(name.startswith(prefix) for name in names) for prefix in prefixes)


def test_tied_and_resized():
    model = captioner(tie_word_embeddings=True)
    assert model.lm_head.weight is model.captioner.embedding.weight
    assert model.projection.weight.shape == (11, 13)
    model.resize_token_embeddings(31)
    assert model.lm_head.weight.shape == model.captioner.embedding.weight.shape == (31, 11)
    assert model.lm_head.bias.shape == (31,) and model.config.vocab_size == 31
    assert isinstance(captioner().lm_head, nn.Linear) and captioner().projection is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"encoder_stride": 16}, "encoder_stride must be one of 1, 2, 4, 8"),
        ({"image_size": [3, 5, 7]}, "a height and a width"),
        ({"encoder_channels": []}, "encoder_channels must be one or more numbers"),
        ({"encoder_dropout": 1.0}, "encoder_dropout is a probability"),
        ({"attention": "none", "doubly_stochastic_weight": 1.0}, "0 with attention='none'"),
        ({"input_feeding": True}, "input_feeding=True needs attention='luong'"),
        ({"use_pretrained_backbone": True}, "needs a backbone name"),
        ({"freeze_backbone": True}, "needs a backbone"),
        ({"bakbone": "x"}, "Did you mean 'backbone'"),
    ],
)
def test_invalid_configurations_raise_an_error(fields, message):
    with pytest.raises(Exception, match=message):
        RnnImageCaptionerConfig(**{**SIZES, **fields})
