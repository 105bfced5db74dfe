"""The recurrent decoder alone, with any memory: equations, loops, state and gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tl_toolkit.models import RnnEncoderDecoderConfig
from tl_toolkit.models.rnn_cells import LoopLinear
from tl_toolkit.models.rnn_decoder import RnnDecoder
from tl_toolkit.models.rnn_layers import CELLS
from tl_toolkit.models.token_order import TokenOrder

BATCH, TARGET, SOURCE, INPUT, HIDDEN, MEMORY = 3, 4, 7, 5, 11, 13
KINDS: dict[str, dict[str, Any]] = {
    "none": {},
    "bahdanau": {"attention": "bahdanau"},
    "luong": {"attention": "luong"},
    "feeding": {"attention": "luong", "input_feeding": True},
    "local": {"attention": "luong", "attention_score": "concat", "attention_window": "local_p", "input_feeding": True},
}


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def decoder(kind: str, cell_type: str = "lstm", num_layers: int = 2, **fields: Any) -> RnnDecoder:
    sizes = {"embedding_size": INPUT, "hidden_size": HIDDEN, "num_decoder_layers": num_layers, "cell_type": cell_type}
    return RnnDecoder(RnnEncoderDecoderConfig(**{**sizes, **KINDS[kind], **fields}), MEMORY).eval()


def data(cell_type: str = "lstm", num_layers: int = 2) -> dict[str, Any]:
    """Inputs, a memory with padding, and initial states."""
    mask = torch.ones(BATCH, SOURCE)
    mask[0, 5:] = mask[1, :2] = mask[2, 3] = 0
    parts = 2 if cell_type == "lstm" else 1
    states = [tuple(torch.randn(BATCH, HIDDEN) for _ in range(parts)) for _ in range(num_layers)]
    return {
        "inputs_embeds": torch.randn(BATCH, TARGET, INPUT),
        "memory": torch.randn(BATCH, SOURCE, MEMORY),
        "memory_mask": mask,
        "initial_states": states,
    }


def cell_by_hand(cell: nn.RNNBase, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """One step by torch's own cell module with the same weights."""
    made: Any = {"LSTM": nn.LSTMCell, "GRU": nn.GRUCell}.get(cell.mode, nn.RNNCell)
    options = {"nonlinearity": cell.nonlinearity} if isinstance(cell, nn.RNN) else {}
    one = made(cell.input_size, cell.hidden_size, **options)
    one.load_state_dict({name.removesuffix("_l0"): tensor for name, tensor in cell.state_dict().items()})
    result = one(x, state if len(state) == 2 else state[0])
    return result if isinstance(result, tuple) else (result,)


@torch.no_grad()
@pytest.mark.parametrize("cell_type", list(CELLS))
def test_bahdanau_by_hand(cell_type: str) -> None:
    """Appendix A.2.2 of the paper with a tanh read-out, for every row and step."""
    model, given = decoder("bahdanau", cell_type), data(cell_type)
    found = model(**given)
    attention: Any = model.attention
    cells = [layer.forward_cell for layer in model.layers]
    for row in range(BATCH):
        memory = given["memory"][row][given["memory_mask"][row].bool()]
        states = [tuple(part[row] for part in state) for state in given["initial_states"]]
        for step in range(TARGET):
            y = given["inputs_embeds"][row, step]
            s = states[0][0]  # the previous state
            hidden = [torch.tanh(attention.query_projection(s) + attention.key_projection(h)) for h in memory]
            energies = torch.stack([attention.energy.weight[0] @ u for u in hidden])
            alpha = energies.exp() / energies.exp().sum()
            context = sum(a * h for a, h in zip(alpha, memory, strict=True))
            states[0] = cell_by_hand(cells[0], torch.cat([y, context]), states[0])
            states[1] = cell_by_hand(cells[1], states[0][0], states[1])
            out = torch.tanh(model.readout.weight @ torch.cat([states[1][0], context, y]) + model.readout.bias)
            torch.testing.assert_close(found.outputs[row, step], out)
            torch.testing.assert_close(found.attentions[row, step][given["memory_mask"][row].bool()], alpha)


@torch.no_grad()
@pytest.mark.parametrize("cell_type", list(CELLS))
@pytest.mark.parametrize("feeds", [False, True])
def test_luong_by_hand(feeds: bool, cell_type: str) -> None:
    """Equations 5 to 8 of the paper and input feeding of its section 3.3, for every row and step."""
    model, given = decoder("feeding" if feeds else "luong", cell_type), data(cell_type)
    found = model(**given)
    attention: Any = model.attention
    cells = [layer.forward_cell for layer in model.layers]
    for row in range(BATCH):
        memory = given["memory"][row][given["memory_mask"][row].bool()]
        states = [tuple(part[row] for part in state) for state in given["initial_states"]]
        vector = torch.zeros(HIDDEN)
        for step in range(TARGET):
            y = given["inputs_embeds"][row, step]
            states[0] = cell_by_hand(cells[0], torch.cat([y, vector]) if feeds else y, states[0])
            states[1] = cell_by_hand(cells[1], states[0][0], states[1])
            h = states[1][0]  # the current state
            weights = (memory @ attention.key_projection.weight.T @ h).softmax(0)
            vector = torch.tanh(model.readout.weight @ torch.cat([weights @ memory, h]))
            torch.testing.assert_close(found.outputs[row, step], vector)
            torch.testing.assert_close(found.attentions[row, step][given["memory_mask"][row].bool()], weights)


@torch.no_grad()
@pytest.mark.parametrize("cell_type", list(CELLS))
def test_without_attention_is_torchs_module(cell_type: str) -> None:
    model, given = decoder("none", cell_type), data(cell_type)
    stacked = CELLS[cell_type](INPUT, HIDDEN, num_layers=2, batch_first=True)
    for name, parameter in stacked.named_parameters():
        parameter.copy_(getattr(model.layers[int(name[-1])].forward_cell, f"{name[:-1]}0"))
    initial = tuple(torch.stack(parts) for parts in zip(*given["initial_states"], strict=True))
    expected, _ = stacked(given["inputs_embeds"], initial if len(initial) == 2 else initial[0])
    torch.testing.assert_close(model(**given).outputs, expected)


@torch.no_grad()
@pytest.mark.parametrize("cell_type", list(CELLS))
@pytest.mark.parametrize("kind", ["bahdanau", "feeding"])
def test_loop_equals_fused_call_with_zero_weights_for_fed_inputs(kind: str, cell_type: str) -> None:
    """With zero weights for the fed inputs, the loop equals the fused kernel on the other inputs."""
    model, given = decoder(kind, cell_type), data(cell_type)
    first = model.layers[0].forward_cell
    first.weight_ih_l0[:, INPUT:] = 0
    plain = decoder("none", cell_type)
    weights = {name: tensor for name, tensor in model.state_dict().items() if name.startswith("layers")}
    plain.load_state_dict({**weights, "layers.0.forward_cell.weight_ih_l0": first.weight_ih_l0[:, :INPUT]})
    expected = plain(**given, output_hidden_states=True).hidden_states
    for one, other in zip(model(**given, output_hidden_states=True).hidden_states, expected, strict=True):
        torch.testing.assert_close(one, other)


@torch.no_grad()
@pytest.mark.parametrize("cell_type", ["lstm", "gru"])
@pytest.mark.parametrize("kind", list(KINDS))
def test_decoding_in_pieces_equals_decoding_at_once(kind: str, cell_type: str) -> None:
    model, given = decoder(kind, cell_type), data(cell_type)
    whole = model(**given)
    cache, pieces = model.make_cache(), []
    for piece in given["inputs_embeds"].split([1, 2, 1], dim=1):
        pieces.append(model(**{**given, "inputs_embeds": piece}, cache=cache))
    torch.testing.assert_close(torch.cat([piece.outputs for piece in pieces], dim=1), whole.outputs)
    if kind != "none":
        torch.testing.assert_close(torch.cat([piece.attentions for piece in pieces], dim=1), whole.attentions)
    assert cache.get_seq_length() == TARGET


@torch.no_grad()
@pytest.mark.parametrize("cell_type", ["lstm", "gru"])
@pytest.mark.parametrize("kind", list(KINDS))
def test_masked_targets_are_skipped(kind: str, cell_type: str) -> None:
    model, given = decoder(kind, cell_type), data(cell_type)
    mask = torch.tensor([[1, 1, 1, 1], [0, 1, 0, 1], [0, 0, 0, 0]]).bool()
    cache = model.make_cache()
    found = model(**given, order=TokenOrder(mask), cache=cache)
    last = model(**given, cache=cache).outputs  # continues from the state after each row's real tokens
    for row in range(BATCH):
        alone = {
            name: None if value is None else value[row : row + 1]
            for name, value in given.items()
            if name != "initial_states"
        }
        states = [tuple(part[row : row + 1] for part in state) for state in given["initial_states"]]
        real = given["inputs_embeds"][row][mask[row]]
        both = torch.cat([real, given["inputs_embeds"][row]])[None]
        expected = model(**{**alone, "inputs_embeds": both}, initial_states=states).outputs[0]
        torch.testing.assert_close(found.outputs[row][mask[row]], expected[: len(real)])
        assert (found.outputs[row][~mask[row]] == 0).all()
        torch.testing.assert_close(last[row], expected[len(real) :])


@pytest.mark.parametrize("cell_type", list(CELLS))
@pytest.mark.parametrize("kind", list(KINDS))
def test_gradients_equal_finite_differences(kind: str, cell_type: str) -> None:
    sizes = {"embedding_size": 2, "hidden_size": 3, "num_decoder_layers": 2, "cell_type": cell_type}
    model = RnnDecoder(RnnEncoderDecoderConfig(**sizes, **KINDS[kind]), 2).double().eval()
    names = [name for name, _ in model.named_parameters()]
    parts = 2 if cell_type == "lstm" else 1
    inputs, memory = torch.randn(2, 3, 2).double(), torch.randn(2, 2, 2).double()
    state = torch.randn(parts, 2, 3).double()

    def run(inputs: Tensor, memory: Tensor, state: Tensor, *weights: Tensor) -> Tensor:
        given = {"memory": memory, "initial_states": [tuple(state), tuple(state)]}
        return torch.func.functional_call(model, dict(zip(names, weights, strict=True)), (inputs,), given).outputs

    arguments = [tensor.requires_grad_() for tensor in (inputs, memory, state)]
    # ReLU has no derivative at 0, but these random numbers are not near 0.
    assert torch.autograd.gradcheck(run, (*arguments, *model.parameters()), fast_mode=True, atol=1e-6)


def test_loop_linear_is_independent_of_other_backward_passes() -> None:
    weight, base = torch.randn(5, 3, requires_grad=True), torch.randn(4, 2, 5, requires_grad=True)
    inputs = [torch.randn(2, 3, requires_grad=True) for _ in range(4)]
    loop = LoopLinear(base, weight)
    results = [loop(position, tensor) for position, tensor in enumerate(inputs)]
    expected = [base[position] + tensor @ weight.T for position, tensor in enumerate(inputs)]
    for one, other in zip(results, expected, strict=True):
        torch.testing.assert_close(one, other)
    for chosen in ([0, 1, 2, 3], [2], [0, 3]):
        leaves = [weight, base, *(inputs[position] for position in chosen)]
        found = torch.autograd.grad(sum((results[k] ** 2).sum() for k in chosen), leaves, retain_graph=True)
        right = torch.autograd.grad(sum((expected[k] ** 2).sum() for k in chosen), leaves, retain_graph=True)
        for one, other in zip(found, right, strict=True):
            torch.testing.assert_close(one, other)
    frozen = LoopLinear(base.detach(), weight.detach())
    assert not frozen(0, inputs[0].detach()).requires_grad


def test_dropout_between_layers_only_in_training() -> None:
    for kind in KINDS:
        model, given = decoder(kind, hidden_dropout=0.5), data()
        assert torch.equal(model(**given).outputs, model(**given).outputs)
        model.train()
        assert not torch.equal(model(**given).outputs, model(**given).outputs)


def test_bad_input() -> None:
    given = data()
    with pytest.raises(ValueError, match="needs a memory"):
        decoder("luong")(given["inputs_embeds"])
    with pytest.raises(ValueError, match="target's 4 rows are not a multiple of the memory's 3"):
        decoder("luong")(torch.randn(4, TARGET, INPUT), given["memory"])
    assert decoder("none")(given["inputs_embeds"]).attentions is None
