"""Gradient checkpointing of the recurrent families: the same gradients from less memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

import tl_toolkit as tt

SIZES: dict[str, Any] = {"vocab_size": 17, "embedding_size": 5, "hidden_size": 11}
DROPOUTS = {"embedding_dropout": 0.2, "hidden_dropout": 0.4}
IDS = torch.randint(3, 17, (5, 7), generator=torch.Generator().manual_seed(0))
MASK = torch.tensor([[1] * 7, [1] * 4 + [0] * 3, [0] * 2 + [1] * 5, [1, 0, 1, 0, 1, 0, 1], [1] + [0] * 6])


def rnn(head: Any, **fields: Any) -> nn.Module:
    return head(tt.RnnConfig(**SIZES, **DROPOUTS, num_hidden_layers=3, **fields))


def awd_lstm(head: Any, **fields: Any) -> nn.Module:
    return head(tt.AwdLstmConfig(**SIZES, num_hidden_layers=3, **fields))


def translator(**fields: Any) -> nn.Module:
    tokens = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 2}
    layers = {"num_encoder_layers": 2, "num_decoder_layers": 3}
    config = tt.RnnEncoderDecoderConfig(**SIZES, **DROPOUTS, **tokens, **layers, **fields)
    return tt.RnnEncoderDecoderForConditionalGeneration(config)


CLASSES, TAGS = IDS[:, 0] % 2, IDS % 2
MODELS = {
    "classifier": (lambda: rnn(tt.RnnForSequenceClassification, pooling="attention"), CLASSES),
    "both ways": (lambda: rnn(tt.RnnForTokenClassification, bidirectional=True, cell_type="gru"), TAGS),
    "language model": (lambda: rnn(tt.RnnForCausalLM, cell_type="rnn_tanh"), IDS),
    "awd_lstm": (lambda: awd_lstm(tt.AwdLstmForCausalLM), IDS),
    "windows": (
        lambda: awd_lstm(tt.AwdLstmForSequenceClassification, direction="both", max_backprop_tokens=3),
        CLASSES,
    ),
    "no attention": (lambda: translator(attention="none"), IDS),
    "bahdanau": (lambda: translator(attention="bahdanau", bidirectional_encoder=True), IDS),
    "luong": (lambda: translator(attention="luong"), IDS),
    "input feeding": (lambda: translator(attention="luong", input_feeding=True, cell_type="gru"), IDS),
}


def gradients(model: Any, labels: torch.Tensor, **more: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor], Any]:
    """The loss, the gradients, and the state after the text, with the same dropout masks in every call."""
    model.zero_grad()
    torch.manual_seed(1)
    outputs = model(input_ids=IDS, attention_mask=MASK, labels=labels, **more)
    outputs.loss.backward()
    found = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}
    return outputs.loss.detach(), found, outputs.get("past_key_values")


@pytest.mark.parametrize("adapted", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_equal(name: str, adapted: bool) -> None:
    torch.manual_seed(0)
    make, labels = MODELS[name]
    base: Any = make()
    model: Any = get_peft_model(base, LoraConfig()) if adapted else base
    for key, parameter in model.named_parameters():
        if "lora_" in key:  # the product of two new matrices is zero
            parameter.data += 0.3 * torch.randn_like(parameter)
    loss, expected, _ = gradients(model.train(), labels)
    base.activation_checkpointing_enable()
    again, found, _ = gradients(model, labels)
    assert torch.equal(loss, again)
    assert expected and set(found) == set(expected)
    for key, gradient in expected.items():
        torch.testing.assert_close(found[key], gradient)
    assert any(gradient.any() for key, gradient in expected.items() if "weight_hh" in key or "lora_A" in key)


@pytest.mark.parametrize("name", ["language model", "awd_lstm"])
def test_the_carried_state_is_kept(name: str) -> None:
    torch.manual_seed(0)
    model: Any = MODELS[name][0]().train()
    runs = []
    for checkpointing in (False, True):
        if checkpointing:
            model.activation_checkpointing_enable()
        _, _, state = gradients(model, IDS, use_cache=True)
        read = state.get_seq_length()
        _, found, state = gradients(model, IDS, past_key_values=state.detach())
        assert (read, state.get_seq_length()) == (7, 14)  # the repeated call does not count again
        runs.append({**found, **{f"state {i}": layer.state[0] for i, layer in enumerate(state.layers)}})
    for key in runs[0]:
        torch.testing.assert_close(runs[1][key], runs[0][key])


def test_less_is_stored() -> None:
    torch.manual_seed(0)
    config = tt.RnnConfig(vocab_size=17, embedding_size=32, hidden_size=32, num_hidden_layers=4)
    model: Any = tt.RnnModel(config).train()
    stored = []
    for checkpointing in (False, True):
        if checkpointing:
            model.activation_checkpointing_enable()
        kept: dict[int, torch.Tensor] = {}

        def keep(tensor: torch.Tensor, kept: dict[int, torch.Tensor] = kept) -> torch.Tensor:
            kept[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            outputs = model(IDS.repeat(1, 30))
        stored.append(sum(tensor.untyped_storage().nbytes() for tensor in kept.values()))
        del outputs
    assert stored[1] < 0.5 * stored[0]
