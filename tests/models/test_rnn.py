"""The recurrent family: numerics, padding, state and losses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tl_toolkit.models import (
    RnnConfig,
    RnnForCausalLM,
    RnnForSequenceClassification,
    RnnForTokenClassification,
    RnnModel,
)
from tl_toolkit.models.rnn_cache import RnnCache

BATCH, TIME, VOCAB, EMBEDDING, HIDDEN, LAYERS, LABELS = 5, 11, 23, 7, 13, 2, 3
CELLS = ["lstm", "gru", "rnn_tanh", "rnn_relu"]


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def config(**fields: Any) -> RnnConfig:
    sizes = {"vocab_size": VOCAB, "embedding_size": EMBEDDING, "hidden_size": HIDDEN, "num_hidden_layers": LAYERS}
    return RnnConfig(**{**sizes, "num_labels": LABELS, **fields})


def token_ids(time: int = TIME) -> torch.Tensor:
    return torch.randint(0, VOCAB, (BATCH, time))


def ragged_mask() -> torch.Tensor:
    """Masks: right padding, left padding, gaps, a single token, all tokens."""
    mask = torch.ones(BATCH, TIME, dtype=torch.long)
    mask[0, 7:] = 0
    mask[1, :4] = 0
    mask[2, [0, 3, 4, 8, 10]] = 0
    mask[3] = 0
    mask[3, 5] = 1
    return mask


# --- Numerics ---------------------------------------------------------------------------------------------------------


def step(cell_type: str, cell: nn.RNNBase, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> tuple[Any, Any]:
    """One step of the published equations: x (input), h and c (hidden)."""
    from_input = cell.weight_ih_l0 @ x + cell.bias_ih_l0
    from_state = cell.weight_hh_l0 @ h + cell.bias_hh_l0
    if cell_type == "lstm":  # Hochreiter and Schmidhuber 1997, Gers et al. 2000
        i, f, g, o = (from_input + from_state).chunk(4)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c
    if cell_type == "gru":  # Cho et al. 2014, with the reset gate after the product
        (r_x, z_x, n_x), (r_h, z_h, n_h) = from_input.chunk(3), from_state.chunk(3)
        r, z = torch.sigmoid(r_x + r_h), torch.sigmoid(z_x + z_h)
        return (1 - z) * torch.tanh(n_x + r * n_h) + z * h, c
    return (torch.tanh if cell_type == "rnn_tanh" else torch.relu)(from_input + from_state), c  # Elman 1990


def unroll(cell_type: str, cell: nn.RNNBase, xs: list[torch.Tensor]) -> list[torch.Tensor]:
    h = c = torch.zeros(cell.hidden_size, dtype=xs[0].dtype)
    outputs = []
    for x in xs:
        h, c = step(cell_type, cell, x, h, c)
        outputs.append(h)
    return outputs


@pytest.mark.parametrize("direction, bidirectional", [("forward", False), ("backward", False), ("forward", True)])
@pytest.mark.parametrize("cell_type", CELLS)
@torch.no_grad()
def test_equations_step_by_step(cell_type: str, direction: str, bidirectional: bool) -> None:
    """Each text unrolled by hand over only its real tokens, in float64."""
    model = RnnModel(config(cell_type=cell_type, direction=direction, bidirectional=bidirectional)).double().eval()
    ids, mask = token_ids(), ragged_mask()
    outputs = model(ids, attention_mask=mask).last_hidden_state
    for row in range(BATCH):
        real = mask[row].bool()
        xs = list(model.embedding(ids[row][real]))
        for layer in model.layers:
            if bidirectional:
                forward = unroll(cell_type, layer.forward_cell, xs)
                backward = unroll(cell_type, layer.backward_cell, xs[::-1])[::-1]
                xs = [torch.cat(pair) for pair in zip(forward, backward, strict=True)]
            elif direction == "backward":
                xs = unroll(cell_type, layer.forward_cell, xs[::-1])[::-1]
            else:
                xs = unroll(cell_type, layer.forward_cell, xs)
        torch.testing.assert_close(outputs[row][real], torch.stack(xs))
        assert (outputs[row][~real] == 0).all()


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell_type", CELLS)
@torch.no_grad()
def test_equals_stacked_torch_module(cell_type: str, bidirectional: bool) -> None:
    model = RnnModel(config(cell_type=cell_type, bidirectional=bidirectional)).eval()
    kinds = {"lstm": nn.LSTM, "gru": nn.GRU}
    options = {} if cell_type in kinds else {"nonlinearity": cell_type.removeprefix("rnn_")}
    module = kinds.get(cell_type, nn.RNN)(
        EMBEDDING, HIDDEN, LAYERS, batch_first=True, bidirectional=bidirectional, **options
    )
    for index, layer in enumerate(model.layers):
        for cell, suffix in [(layer.forward_cell, ""), (layer.backward_cell, "_reverse")]:
            for name, parameter in cell.named_parameters() if cell is not None else []:
                getattr(module, f"{name[:-1]}{index}{suffix}").copy_(parameter)
    ids = token_ids()
    lengths = torch.tensor([11, 3, 7, 1, 5])
    packed = nn.utils.rnn.pack_padded_sequence(model.embedding(ids), lengths, batch_first=True, enforce_sorted=False)
    expected, _ = nn.utils.rnn.pad_packed_sequence(module(packed)[0], batch_first=True)
    mask = (torch.arange(TIME) < lengths[:, None]).long()
    torch.testing.assert_close(model(ids, attention_mask=mask).last_hidden_state, expected)


def test_backpropagation_through_time() -> None:
    """Elman tanh: dL/dW = sum_t delta_t h_{t-1}^T, delta_t = (1 - h_t^2) (dL/dh_t + W^T delta_{t+1}) (Werbos 1990)."""
    model = RnnModel(config(cell_type="rnn_tanh", num_hidden_layers=1)).double()
    cell = model.layers[0].forward_cell
    ids = token_ids()[:1]
    upstream = torch.randn(TIME, HIDDEN, dtype=torch.float64)
    hidden = model(ids).last_hidden_state[0]
    (hidden * upstream).sum().backward()

    h, w = hidden.detach(), cell.weight_hh_l0.detach()
    x = model.embedding(ids[0]).detach()
    delta = torch.zeros(HIDDEN, dtype=torch.float64)
    recurrent, inputs = torch.zeros_like(cell.weight_hh_l0), torch.zeros_like(cell.weight_ih_l0)
    for t in reversed(range(TIME)):
        delta = (1 - h[t] ** 2) * (upstream[t] + w.T @ delta)
        inputs += torch.outer(delta, x[t])
        if t > 0:
            recurrent += torch.outer(delta, h[t - 1])
    torch.testing.assert_close(cell.weight_hh_l0.grad, recurrent)
    torch.testing.assert_close(cell.weight_ih_l0.grad, inputs)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell_type", CELLS)
@torch.no_grad()
def test_one_hot_equals_materialised_one_hot(cell_type: str, bidirectional: bool) -> None:
    model = RnnModel(config(cell_type=cell_type, bidirectional=bidirectional, embedding_type="one_hot")).eval()
    ids, mask = token_ids(), ragged_mask()
    outputs = model(ids, attention_mask=mask, output_hidden_states=True)
    layer = model.layers[0]
    cells = [cell for cell in (layer.forward_cell, layer.backward_cell) if cell is not None]
    input_matrices = model.embedding.weight.chunk(len(cells), dim=1)
    for row in range(BATCH):
        real = mask[row].bool()
        indicators = nn.functional.one_hot(ids[row][real], VOCAB).float()
        expected = []
        for index, (cell, matrix) in enumerate(zip(cells, input_matrices, strict=True)):
            options = {"nonlinearity": cell.nonlinearity} if isinstance(cell, nn.RNN) else {}
            plain = type(cell)(VOCAB, HIDDEN, batch_first=True, **options)
            plain.weight_ih_l0.copy_(matrix.T)
            for name in ("weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
                getattr(plain, name).copy_(getattr(cell, name))
            read = indicators if index == 0 else indicators.flip(0)
            out = plain(read[None])[0][0]
            expected.append(out if index == 0 else out.flip(0))
        torch.testing.assert_close(outputs.hidden_states[1][row][real], torch.cat(expected, dim=-1))


# --- Padding ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pooling", ["last", "mean", "max", "concat", "attention"])
@pytest.mark.parametrize("direction, bidirectional", [("forward", False), ("backward", False), ("forward", True)])
@torch.no_grad()
def test_padding_does_not_change_logits(pooling: str, direction: str, bidirectional: bool) -> None:
    """Each text has the same logits alone, without padding, and in a padded batch."""
    fields = config(pooling=pooling, direction=direction, bidirectional=bidirectional)
    model = RnnForSequenceClassification(fields).eval()
    ids, mask = token_ids(), ragged_mask()
    logits = model(ids, attention_mask=mask).logits
    for row in range(BATCH):
        alone = model(ids[row][mask[row].bool()][None]).logits[0]
        torch.testing.assert_close(logits[row], alone)
    other_padding = torch.where(mask.bool(), ids, (ids + 1) % VOCAB)
    assert torch.equal(model(other_padding, attention_mask=mask).logits, logits)
    embeds = model.get_input_embeddings()(ids)
    torch.testing.assert_close(model(inputs_embeds=embeds, attention_mask=mask).logits, logits)
    permutation = torch.tensor([3, 0, 4, 2, 1])
    torch.testing.assert_close(model(ids[permutation], attention_mask=mask[permutation]).logits, logits[permutation])


@torch.no_grad()
def test_row_without_tokens_raises_no_error() -> None:
    mask = ragged_mask()
    mask[3] = 0
    for bidirectional in (False, True):
        model = RnnForSequenceClassification(config(bidirectional=bidirectional)).eval()
        assert model(token_ids(), attention_mask=mask).logits.isfinite().all()
    cache = RnnModel(config()).eval()(token_ids(), attention_mask=mask).past_key_values
    assert (cache.layers[0].recurrent_states[0][3] == 0).all()


@torch.no_grad()
def test_attention_weights() -> None:
    model = RnnForSequenceClassification(config(pooling="attention", bidirectional=True)).eval()
    ids, mask = token_ids(), ragged_mask()
    (weights,) = model(ids, attention_mask=mask, output_attentions=True).attentions
    assert weights.shape == (BATCH, TIME)
    torch.testing.assert_close(weights.sum(1), torch.ones(BATCH))
    assert (weights[mask == 0] == 0).all()
    assert model(ids, attention_mask=mask).attentions is None


# --- State ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("cell_type", CELLS)
def test_two_windows_equal_one(cell_type: str, direction: str, masked: bool) -> None:
    """Outputs and gradients: the state passes both between windows, with or without padding in them."""
    model = RnnModel(config(cell_type=cell_type, direction=direction)).double().train()
    ids, mask = token_ids(), ragged_mask() if masked else torch.ones(BATCH, TIME, dtype=torch.long)
    whole = model(ids, attention_mask=mask).last_hidden_state
    whole.square().sum().backward()
    gradient = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()

    windows = [slice(0, 4), slice(4, TIME)]
    outputs, cache = [], None
    for window in windows if direction == "forward" else reversed(windows):
        result = model(ids[:, window], attention_mask=mask[:, window], past_key_values=cache, use_cache=True)
        cache = result.past_key_values
        outputs.append(result.last_hidden_state)
    joined = torch.cat(outputs if direction == "forward" else outputs[::-1], dim=1)
    torch.testing.assert_close(joined, whole)
    joined.square().sum().backward()
    for parameter, expected in zip(model.parameters(), gradient, strict=True):
        torch.testing.assert_close(parameter.grad, expected)
    assert cache.get_seq_length() == TIME


@torch.no_grad()
def test_state_matches_torch() -> None:
    model = RnnModel(config(num_hidden_layers=1)).eval()
    ids = token_ids()
    _, (h, c) = model.layers[0].forward_cell(model.embedding(ids))
    layer = model(ids).past_key_values.layers[0]
    torch.testing.assert_close(layer.recurrent_states[0], h[0])
    torch.testing.assert_close(layer.recurrent_states[1], c[0])


def test_cache_operations() -> None:
    cache = RnnCache(num_layers=2, states_per_layer=2)
    assert (cache.get_seq_length(), cache.batch_size, cache.has_previous_state()) == (0, -1, False)
    states = [(torch.randn(3, HIDDEN, requires_grad=True), torch.randn(3, HIDDEN)) for _ in range(2)]
    for layer, state in zip(cache.layers, states, strict=True):
        layer.update(state, 5)
    assert (cache.get_seq_length(), cache.batch_size, cache.has_previous_state()) == (5, 3, True)
    cache.reorder_cache(torch.tensor([2, 2, 0]))
    assert torch.equal(cache.layers[1].recurrent_states[1], states[1][1][[2, 2, 0]])
    cache.batch_repeat_interleave(2)
    assert torch.equal(cache.layers[0].recurrent_states[0], states[0][0][[2, 2, 2, 2, 0, 0]])
    cache.batch_select_indices(torch.tensor([4]))
    assert torch.equal(cache.layers[0].recurrent_states[0], states[0][0][[0]])
    assert cache.layers[0].recurrent_states[0].requires_grad
    assert not cache.detach().layers[0].recurrent_states[0].requires_grad
    assert not cache.is_compileable
    assert cache.get_seq_length() == 5
    cache.reset()
    assert (cache.get_seq_length(), cache.has_previous_state()) == (0, False)


@torch.no_grad()
def test_cache_is_returned_if_requested() -> None:
    model, ids = RnnModel(config()), token_ids()
    assert model.eval()(ids).past_key_values is not None
    assert model.eval()(ids, use_cache=False).past_key_values is None
    assert model.train()(ids).past_key_values is None
    assert RnnModel(config(use_cache=False)).eval()(ids).past_key_values is None
    both_ways = RnnModel(config(bidirectional=True)).eval()
    assert both_ways(ids).past_key_values is None
    with pytest.raises(ValueError, match="bidirectional=True"):
        both_ways(ids, use_cache=True)


# --- Losses -----------------------------------------------------------------------------------------------------------


def test_losses() -> None:
    ids, mask = token_ids(), ragged_mask()
    model = RnnForSequenceClassification(config())
    labels = torch.tensor([0, 2, -100, 1, -100])
    result = model(ids, attention_mask=mask, labels=labels)
    expected = nn.functional.cross_entropy(result.logits[[0, 1, 3]], labels[[0, 1, 3]])
    torch.testing.assert_close(result.loss, expected)
    torch.testing.assert_close(result[0], result.loss)

    several = torch.randint(0, 2, (BATCH, LABELS)).float()
    model = RnnForSequenceClassification(config(problem_type="multi_label_classification"))
    result = model(ids, labels=several)
    torch.testing.assert_close(result.loss, nn.functional.binary_cross_entropy_with_logits(result.logits, several))

    numbers = torch.randn(BATCH)
    model = RnnForSequenceClassification(config(num_labels=1))
    result = model(ids, labels=numbers)
    torch.testing.assert_close(result.loss, (result.logits[:, 0] - numbers).square().mean())

    tags = torch.where(mask.bool(), torch.randint(0, LABELS, (BATCH, TIME)), -100)
    result = RnnForTokenClassification(config())(ids, attention_mask=mask, labels=tags)
    kept = tags != -100
    torch.testing.assert_close(result.loss, nn.functional.cross_entropy(result.logits[kept], tags[kept]))


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_language_model_loss(direction: str) -> None:
    """Every token with a neighbour is predicted once, from the side that the model reads."""
    model, ids = RnnForCausalLM(config(direction=direction)), token_ids()
    result = model(ids, labels=ids)
    if direction == "forward":
        logits, targets = result.logits[:, :-1], ids[:, 1:]
    else:
        logits, targets = result.logits[:, 1:], ids[:, :-1]
    expected = nn.functional.cross_entropy(logits.reshape(-1, VOCAB), targets.reshape(-1))
    torch.testing.assert_close(result.loss, expected)
    summed = model(ids, labels=ids, num_items_in_batch=torch.tensor(17)).loss
    torch.testing.assert_close(summed * 17, expected * BATCH * (TIME - 1))
    shifted = token_ids()
    result = model(ids, labels=ids, shift_labels=shifted)
    expected = nn.functional.cross_entropy(result.logits.reshape(-1, VOCAB), shifted.reshape(-1))
    torch.testing.assert_close(result.loss, expected)


@torch.no_grad()
def test_logits_to_keep() -> None:
    model, ids = RnnForCausalLM(config()).eval(), token_ids()
    logits = model(ids).logits
    torch.testing.assert_close(model(ids, logits_to_keep=2).logits, logits[:, -2:])
    torch.testing.assert_close(model(ids, logits_to_keep=torch.tensor([1, 5])).logits, logits[:, [1, 5]])


@pytest.mark.parametrize("direction", ["forward", "backward"])
@torch.no_grad()
def test_language_model_does_not_see_its_target(direction: str) -> None:
    model, ids = RnnForCausalLM(config(direction=direction)).eval(), token_ids()
    changed = ids.clone()
    changed[:, 6] = (changed[:, 6] + 1) % VOCAB
    same = (model(ids).logits == model(changed).logits).all(dim=-1).all(dim=0)
    unread = range(6) if direction == "forward" else range(7, TIME)
    assert [index for index in range(TIME) if same[index]] == list(unread)


# --- Precision --------------------------------------------------------------------------------------------------------


def test_autocast_on_cpu_stays_in_float32() -> None:
    model, ids = RnnForSequenceClassification(config(bidirectional=True)), token_ids()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(ids, attention_mask=ragged_mask(), labels=torch.zeros(BATCH, dtype=torch.long)).loss
    loss.backward()
    assert loss.isfinite()
    assert all(parameter.grad is not None for parameter in model.parameters())


# --- Errors -----------------------------------------------------------------------------------------------------------


def test_bidirectional_language_model_raises_an_error() -> None:
    with pytest.raises(ValueError, match="bidirectional=False"):
        RnnForCausalLM(config(bidirectional=True))


def test_bad_input() -> None:
    model, ids = RnnModel(config()), token_ids()
    with pytest.raises(ValueError, match="exactly one"):
        model()
    with pytest.raises(ValueError, match="exactly one"):
        model(ids, inputs_embeds=model.embedding(ids))
    with pytest.raises(ValueError, match="at least the 11 positions"):
        model(ids, attention_mask=torch.ones(BATCH, TIME - 1))
