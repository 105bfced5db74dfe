"""The AWD-LSTM: comparison with a stack of torch's LSTMs, padding, windows, the state, directions, save and load."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification

from tl_toolkit.models import AwdLstmConfig, AwdLstmForCausalLM, AwdLstmForSequenceClassification, AwdLstmModel
from tl_toolkit.strategies.layer_groups import layer_groups

VOCAB, EMBEDDING, HIDDEN, LABELS = 23, 5, 7, 3
NO_DROPOUT = {"dropout_multiplier": 0.0, "classifier_dropout": 0.0}


def config(**changes: object) -> AwdLstmConfig:
    sizes = {"vocab_size": VOCAB, "embedding_size": EMBEDDING, "hidden_size": HIDDEN, "num_labels": LABELS}
    return AwdLstmConfig(**{**sizes, **changes})


def make(kind: type, seed: int = 0, **changes: object) -> nn.Module:
    torch.manual_seed(seed)
    return kind(config(**changes))


def ids(batch: int, time: int, seed: int = 1) -> Tensor:
    return torch.randint(0, VOCAB, (batch, time), generator=torch.Generator().manual_seed(seed))


def padded(rows: list[Tensor], side: str, time: int) -> tuple[Tensor, Tensor]:
    """Rows of different lengths as a batch, padded with the id of a real token, and its mask."""
    batch, mask = torch.full((len(rows), time), 2), torch.zeros(len(rows), time, dtype=torch.long)
    for index, row in enumerate(rows):
        place = slice(0, len(row)) if side == "right" else slice(time - len(row), time)
        batch[index, place], mask[index, place] = row, 1
    return batch, mask


def plain_stack(model: nn.Module, inputs: Tensor) -> Tensor:
    """The same network with torch's own modules: (batch, time) -> (batch, time, embedding_size)."""
    body = model.get_submodule("awd_lstm.forward_body")
    hidden = nn.functional.embedding(inputs, body.embedding.weight)
    for layer in body.layers:
        lstm = nn.LSTM(layer.input_size, layer.hidden_size, batch_first=True, dtype=hidden.dtype)
        lstm.load_state_dict(layer.state_dict())
        hidden, _ = lstm(hidden)
    return hidden


def test_language_model_is_a_stack_of_lstms() -> None:
    model, inputs = make(AwdLstmForCausalLM).eval(), ids(2, 11)
    expected = plain_stack(model, inputs) @ model.awd_lstm.forward_body.embedding.weight.T + model.lm_head.bias
    torch.testing.assert_close(model(inputs).logits, expected)


def test_layer_sizes_return_to_the_embeddings() -> None:
    model = make(AwdLstmModel, num_hidden_layers=3)
    sizes = [(layer.input_size, layer.hidden_size) for layer in model.forward_body.layers]
    assert sizes == [(EMBEDDING, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, EMBEDDING)]


def test_all_parameters_in_the_state_dict_are_trained() -> None:
    model = make(AwdLstmForCausalLM)
    before = set(model.state_dict())
    model.train()(ids(2, 11), labels=ids(2, 11)).loss.backward()
    assert set(model.state_dict()) == before
    assert not any("raw" in name for name in before)
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters())
    assert all(isinstance(value, nn.Parameter) for value in model.awd_lstm.forward_body.layers[0].parameters())


def test_classifier_head_by_hand() -> None:
    model, inputs = make(AwdLstmForSequenceClassification, **NO_DROPOUT).train().double(), ids(5, 11)
    hidden = plain_stack(model, inputs)
    pooled = torch.cat([hidden[:, -1], hidden.mean(dim=1), hidden.amax(dim=1)], dim=1)
    for linear in (model.forward_head.hidden, model.forward_head.output):
        normed = (pooled - pooled.mean(dim=0)) / (pooled.var(dim=0, unbiased=False) + 1e-5).sqrt()
        pooled = normed @ linear.weight.T
        last = pooled
        pooled = pooled.relu()
    torch.testing.assert_close(model(inputs).logits, last)


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("max_backprop_tokens", [3, 100])
def test_padding_and_batch_do_not_change_results(direction: str, side: str, max_backprop_tokens: int) -> None:
    model = make(AwdLstmForSequenceClassification, direction=direction, max_backprop_tokens=max_backprop_tokens).eval()
    rows = [ids(1, length, seed=length)[0] for length in (11, 2, 7, 1, 3)]
    inputs, mask = padded(rows, side, 13)
    alone = torch.cat([model(row[None]).logits for row in rows])
    torch.testing.assert_close(model(inputs, attention_mask=mask).logits, alone)


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_padding_does_not_change_logits_of_a_language_model(direction: str) -> None:
    model = make(AwdLstmForCausalLM, direction=direction).eval()
    rows = [ids(1, length, seed=length)[0] for length in (7, 2, 5)]
    for side in ("left", "right"):
        inputs, mask = padded(rows, side, 11)
        logits = model(inputs, attention_mask=mask).logits
        for index, row in enumerate(rows):
            torch.testing.assert_close(logits[index][mask[index].bool()], model(row[None]).logits[0])


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_reading_in_windows_equals_reading_at_once(direction: str) -> None:
    """A text up to `max_backprop_tokens` long has its full gradient; a longer text only that of its last tokens."""
    whole = make(AwdLstmForSequenceClassification, direction=direction, **NO_DROPOUT, max_backprop_tokens=100).eval()
    short = make(AwdLstmForSequenceClassification, direction=direction, **NO_DROPOUT, max_backprop_tokens=5).eval()
    inputs = ids(2, 13)
    read_last = inputs[:, :5] if direction == "backward" else inputs[:, -5:]
    embeddings = whole.get_input_embeddings()
    vectors = embeddings(inputs).detach().requires_grad_()
    logits = short(inputs_embeds=vectors).logits
    torch.testing.assert_close(logits, short(inputs).logits)
    logits.sum().backward()
    reached = vectors.grad.abs().sum(dim=(0, 2)) > 0
    expected = torch.zeros(13, dtype=torch.bool)
    expected[slice(0, 5) if direction == "backward" else slice(8, 13)] = True
    assert torch.equal(reached, expected)

    # The state before the last window comes from the whole text; only the last window is pooled.
    body = whole.awd_lstm.bodies()[0]
    hidden, _ = body(inputs)
    part = hidden[:, :5] if direction == "backward" else hidden[:, -5:]
    head = whole.get_submodule(f"{direction}_head")
    torch.testing.assert_close(logits, head(part, None))
    assert not torch.allclose(logits, short(read_last).logits)


def test_state_carried_over_windows_equals_reading_at_once() -> None:
    model, inputs = make(AwdLstmForCausalLM).eval(), ids(3, 13)
    whole = model(inputs).logits
    cache, parts = None, []
    for window in inputs.split(5, dim=1):
        outputs = model(window, past_key_values=cache, use_cache=True)
        cache = outputs.past_key_values
        parts.append(outputs.logits)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole)
    assert cache.get_seq_length() == 13


def test_backward_reads_the_reversed_text() -> None:
    forward, backward = make(AwdLstmForCausalLM), make(AwdLstmForCausalLM, direction="backward")
    names = dict(zip(backward.state_dict(), forward.state_dict(), strict=True))
    backward.load_state_dict({name: forward.state_dict()[other] for name, other in names.items()})
    inputs = ids(2, 11)
    logits = forward.eval()(inputs.flip(1)).logits.flip(1)
    outputs = backward.eval()(inputs, labels=inputs)
    torch.testing.assert_close(outputs.logits, logits)
    expected = nn.functional.cross_entropy(logits[:, 1:].reshape(-1, VOCAB), inputs[:, :-1].reshape(-1))
    torch.testing.assert_close(outputs.loss, expected)


@pytest.mark.parametrize("problem_type", ["single_label_classification", "multi_label_classification", "regression"])
def test_both_directions_average_their_predictions(problem_type: str) -> None:
    both = make(AwdLstmForSequenceClassification, direction="both", problem_type=problem_type).eval()
    inputs, member_logits = ids(5, 7), []
    for direction in ("forward", "backward"):
        member = make(AwdLstmForSequenceClassification, 1, direction=direction, problem_type=problem_type).eval()
        own = {name: value for name, value in both.state_dict().items() if f"{direction}_" in name}
        member.load_state_dict(own)
        member_logits.append(member(inputs).logits)
    probabilities = {
        "single_label_classification": lambda logits: logits.softmax(dim=-1),
        "multi_label_classification": torch.sigmoid,
        "regression": lambda logits: logits,
    }[problem_type]
    mean = (probabilities(member_logits[0]) + probabilities(member_logits[1])) / 2
    torch.testing.assert_close(probabilities(both(inputs).logits), mean)


@pytest.mark.parametrize("kind", [AwdLstmModel, AwdLstmForCausalLM, AwdLstmForSequenceClassification])
@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_save_and_load_bit_by_bit(kind: type, direction: str, tmp_path: Path) -> None:
    if kind is AwdLstmForCausalLM and direction == "both":
        pytest.skip("two language models predict different tokens: there is no such model")
    model, inputs = make(kind, direction=direction).eval(), ids(3, 11)
    model.save_pretrained(tmp_path)
    auto = {
        AwdLstmModel: AutoModel,
        AwdLstmForCausalLM: AutoModelForCausalLM,
        AwdLstmForSequenceClassification: AutoModelForSequenceClassification,
    }[kind]
    loaded = auto.from_pretrained(tmp_path).eval()
    assert type(loaded) is kind
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in loaded.state_dict().items())
    assert torch.equal(loaded(inputs)[0], model(inputs)[0])


def test_a_classifier_starts_from_a_language_model(tmp_path: Path) -> None:
    language_model = make(AwdLstmForCausalLM)
    language_model.save_pretrained(tmp_path)
    classifier = AwdLstmForSequenceClassification.from_pretrained(tmp_path, num_labels=LABELS)
    for name, value in language_model.awd_lstm.state_dict().items():
        assert torch.equal(classifier.awd_lstm.state_dict()[name], value)
    assert torch.isfinite(classifier.eval()(ids(2, 7)).logits).all()


def test_layer_groups_from_embedding_to_head() -> None:
    classifier, tied = make(AwdLstmForSequenceClassification), make(AwdLstmForCausalLM)
    untied = make(AwdLstmForCausalLM, tie_word_embeddings=False)
    assert [len(group) for group in layer_groups(classifier)] == [1, 4, 4, 4, 6]
    assert [len(group) for group in layer_groups(untied)] == [1, 4, 4, 4, 2]
    assert [len(group) for group in layer_groups(tied)] == [4, 4, 4, 2]
    assert layer_groups(classifier)[0] == ["awd_lstm.forward_body.embedding.weight"]
    assert set(layer_groups(tied)[-1]) == {"awd_lstm.forward_body.embedding.weight", "lm_head.bias"}


def test_invalid_combinations_raise_an_error() -> None:
    with pytest.raises(ValueError, match="direction='forward' or 'backward'"):
        make(AwdLstmForCausalLM, direction="both")
    with pytest.raises(StrictDataclassClassValidationError, match="dropout_multiplier 3"):
        config(weight_dropout=0.5, dropout_multiplier=3)
    with pytest.raises(ValueError, match="do not pass inputs_embeds, past_key_values or use_cache"):
        make(AwdLstmModel, direction="both")(ids(2, 3), use_cache=True)
    with pytest.raises(ValueError, match="complete input_ids"):  # each body has its own embeddings
        make(AwdLstmForSequenceClassification, direction="both")(inputs_embeds=torch.zeros(2, 3, 5))
    with pytest.raises(ValueError, match="predicts the tokens before"):
        make(AwdLstmForCausalLM, direction="backward").generate(ids(1, 3), max_new_tokens=2)
