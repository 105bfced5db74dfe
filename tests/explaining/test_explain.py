"""The numbers of each view against torch, autograd and equations written out again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from tl_toolkit import UserError, explain
from tl_toolkit.data.tokenizers import build_tokenizer
from tl_toolkit.explaining.by_hand import attention_table, lstm_table, network_table
from tl_toolkit.explaining.gates import gate_values, half_lives
from tl_toolkit.explaining.gradients import decay, gradient_norms
from tl_toolkit.explaining.subjects import Subject, load_subjects, unrolled
from tl_toolkit.models import (
    AwdLstmConfig,
    AwdLstmForSequenceClassification,
    RnnConfig,
    RnnEncoderDecoderConfig,
    RnnEncoderDecoderForConditionalGeneration,
    RnnForCausalLM,
    RnnForSequenceClassification,
    SelfAttentionConfig,
    SelfAttentionForSequenceClassification,
)

TEXT = "the cat sat on the mat and saw a rat"
TOKENIZER = build_tokenizer("word", [TEXT], min_frequency=1)
SIZES: dict[str, Any] = {"vocab_size": len(TOKENIZER), "embedding_size": 5, "hidden_size": 7, "pad_token_id": 0}


def rnn(model_class: Any = RnnForSequenceClassification, **settings: Any) -> Subject:
    torch.manual_seed(3)
    model = model_class(RnnConfig(**{**SIZES, "num_hidden_layers": 1, "bidirectional": False, **settings})).eval()
    kind = "ForCausalLM" if model_class is RnnForCausalLM else "ForSequenceClassification"
    return Subject("model", "", model, TOKENIZER, kind)


def test_every_value_by_hand_is_that_of_torch() -> None:
    for table in (network_table(), lstm_table(), attention_table()):
        assert (table["value"] - table["torch"]).abs().max() < 1e-12


def test_the_network_by_hand_is_torchs_rnn() -> None:
    table = network_table()
    values = {key: own["value"].to_numpy() for key, own in table.groupby(["step", "quantity"])}
    module = torch.nn.RNN(3, 2, dtype=torch.float64)
    with torch.no_grad():
        for name, weight in (("weight_ih_l0", "W"), ("weight_hh_l0", "U"), ("bias_ih_l0", "b")):
            parameter = getattr(module, name)
            parameter.copy_(torch.tensor(values[0, weight]).view_as(parameter))
        module.bias_hh_l0.zero_()
    states, _ = module(torch.eye(3, dtype=torch.float64))
    logits = states @ torch.tensor(values[0, "V"]).view(3, 2).T + torch.tensor(values[0, "c"])
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor([1, 2, 0]), reduction="sum")
    loss.backward()
    np.testing.assert_allclose(loss.item(), values[3, "L"])
    np.testing.assert_allclose(module.weight_hh_l0.grad.flatten(), values[0, "dL/dU"])
    np.testing.assert_allclose(module.weight_ih_l0.grad.flatten(), values[0, "dL/dW"])


@pytest.mark.parametrize("cell", ["rnn_tanh", "rnn_relu", "lstm", "gru"])
def test_a_model_that_is_unrolled_computes_the_same(cell: str) -> None:
    subject = rnn(cell_type=cell, num_hidden_layers=2, bidirectional=True, pooling="attention")
    inputs = subject.encode(TEXT)
    with torch.no_grad():
        fused = subject.model(**inputs, output_hidden_states=True)
        with unrolled(subject.model) as traces:
            again = subject.model(**inputs, output_hidden_states=True)
        last = subject.model(**inputs)
    assert [(own.layer, own.direction) for own in traces] == [(n, d) for n in (1, 2) for d in ("forward", "backward")]
    torch.testing.assert_close(again.logits, fused.logits)
    torch.testing.assert_close(last.logits, fused.logits)
    torch.testing.assert_close(
        torch.stack([state[0][0] for state in traces[2].after]), fused.hidden_states[2][0, :, :7]
    )


def test_gradients_of_a_tanh_network_come_back_by_the_equation() -> None:
    """dL/dh_{t-1} = U^T diag(1 - h_t^2) dL/dh_t."""
    subject = rnn(cell_type="rnn_tanh", pooling="last", classifier_dropout=0.0)
    with torch.no_grad():
        outputs = subject.model(**subject.encode(TEXT), output_hidden_states=True)
    states, logits = outputs.hidden_states[1][0], outputs.logits[0]
    target = torch.nn.functional.one_hot(logits.argmin(), len(logits))
    grad = subject.model.classifier.weight.T @ (logits.softmax(0) - target)
    expected = []
    recurrent = subject.model.rnn.layers[0].forward_cell.weight_hh_l0
    for state in states.flip(0):
        expected.append(grad.norm().item())
        grad = recurrent.T @ ((1 - state**2) * grad)
    found = gradient_norms([subject], [TEXT])[0].sort_values("distance")
    np.testing.assert_allclose(found["norm"], expected, rtol=1e-5)
    assert found["distance"].tolist() == list(range(len(expected)))


def test_the_gradient_of_an_lstms_cell_has_all_paths() -> None:
    """Against the equations written out, with one tensor for each c_t."""
    subject = rnn(cell_type="lstm", pooling="last", classifier_dropout=0.0)
    cell = subject.model.rnn.layers[0].forward_cell
    h = c = torch.zeros(7)
    cells = []
    for vector in subject.model.get_input_embeddings()(subject.encode(TEXT)["input_ids"][0]):
        gates = cell.weight_ih_l0 @ vector + cell.bias_ih_l0 + cell.weight_hh_l0 @ h + cell.bias_hh_l0
        i, f, g, o = gates.chunk(4)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        cells.append(c)
    logits = subject.model.classifier(h)
    loss = torch.nn.functional.cross_entropy(logits, logits.argmin())
    expected = [grad.norm().item() for grad in torch.autograd.grad(loss, cells)][::-1]
    found = gradient_norms([subject], [TEXT])[0].query("state == 'cell'").sort_values("distance")
    np.testing.assert_allclose(found["norm"], expected, rtol=1e-4)


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_a_language_model_is_measured_from_the_token_that_it_predicts_last(direction: str) -> None:
    subject = rnn(RnnForCausalLM, cell_type="lstm", direction=direction)
    found = gradient_norms([subject], [TEXT])[0].query("state == 'hidden'").set_index("distance")["norm"]
    read = subject.encode(TEXT)["input_ids"].shape[1] - 1
    assert len(found) == read and (found > 0).all() and found.idxmax() == 0


def test_clipping_is_by_the_norm_in_all_weights() -> None:
    subject = rnn(cell_type="gru", classifier_dropout=0.0)
    outputs = subject.model(**subject.encode(TEXT))
    torch.nn.functional.cross_entropy(outputs.logits[0], outputs.logits[0].argmin()).backward()
    norm = torch.nn.utils.clip_grad_norm_(subject.model.parameters(), 1.0).item()
    found = gradient_norms([subject], [TEXT])[1].iloc[0]
    np.testing.assert_allclose(found["norm"], norm, rtol=1e-5)
    np.testing.assert_allclose(found["factor"], min(1.0, 1 / norm), rtol=1e-5)


def test_decay_is_the_factor_per_step() -> None:
    norms = pd.DataFrame({"model": "m", "layer": 1, "direction": "forward", "state": "hidden", "distance": range(9)})
    norms["norm"] = 3 * 0.7 ** norms["distance"]
    assert decay(norms)["per_step"].item() == pytest.approx(0.7)
    norms.loc[4, "norm"] = 0.0  # as below a maximum over time
    assert decay(norms)["per_step"].item() == pytest.approx(0.7)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_gates_give_the_states_again(cell: str) -> None:
    subject = rnn(cell_type=cell, num_hidden_layers=2)
    table = gate_values(subject, [TEXT])
    for layer in (1, 2):
        own = table[table["layer"] == layer]
        gate = {name: part.pivot(index="step", columns="unit", values="value").to_numpy()
                for name, part in own.groupby("gate")}  # fmt: skip
        before = np.zeros_like(gate["hidden"])
        if cell == "lstm":
            before[1:] = gate["cell"][:-1]
            np.testing.assert_allclose(
                gate["forget"] * before + gate["input"] * gate["candidate"], gate["cell"], atol=1e-6
            )
            np.testing.assert_allclose(gate["output"] * np.tanh(gate["cell"]), gate["hidden"], atol=1e-6)
        else:
            before[1:] = gate["hidden"][:-1]
            new = (1 - gate["update"]) * gate["candidate"] + gate["update"] * before
            np.testing.assert_allclose(new, gate["hidden"], atol=1e-6)


def test_half_life() -> None:
    gates = pd.DataFrame({"model": "m", "layer": 1, "direction": "forward", "unit": [0, 1, 0, 1], "gate": "forget"})
    gates["value"] = [0.5, 0.5**0.1, 0.5, 0.5**0.1]
    np.testing.assert_allclose(half_lives(gates)["half_life"], [1, 10])


def test_the_page_of_several_families(tmp_path: Path) -> None:
    torch.manual_seed(5)
    heads = {"vocab_size": len(TOKENIZER), "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 2,
             "intermediate_size": 11, "pad_token_id": 0}  # fmt: skip
    models: dict[str, Any] = {
        "lstm": rnn(cell_type="lstm", pooling="attention").model,
        "awd": AwdLstmForSequenceClassification(AwdLstmConfig(**SIZES, num_hidden_layers=2)),
        "own": SelfAttentionForSequenceClassification(SelfAttentionConfig(**heads)),
        "bert": BertForSequenceClassification(BertConfig(**heads)),
    }
    for name, model in models.items():
        model.save_pretrained(tmp_path / name)
        TOKENIZER.save_pretrained(tmp_path / name)
    found = explain([tmp_path / name for name in models], TEXT, output_dir=tmp_path / "out")
    assert found.numbers["gradients"]["model"].drop_duplicates().tolist() == list(models)
    assert set(found.numbers["gates"]["model"]) == {"lstm", "awd"}
    trained, new = load_subjects([str(tmp_path / "lstm")], untrained=True)
    assert new.name == "lstm (untrained)" and not torch.equal(*(own.model.classifier.weight for own in (trained, new)))
    sums = found.numbers["attention"].groupby(["model", "layer", "head", "query"])["weight"].sum()
    np.testing.assert_allclose(sums, 1, atol=1e-5)
    assert all(len(said) == 2 for said in found.sentences.values()) and list(found.sentences) == [
        "gradients", "gates", "attention", "attributions",
    ]  # fmt: skip
    page = found.page.read_text()
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")
    for name in found.numbers:
        pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "out" / f"{name}.parquet"), found.numbers[name])
    for name, figure in found.figures.items():
        assert getattr(figure, "_repr_png_")().startswith(b"\x89PNG")  # noqa: B009  # shown by notebooks
        assert all((tmp_path / "out" / "figures" / f"{name}.{kind}").stat().st_size for kind in ("png", "svg"))


def test_an_encoder_decoder_is_shown_by_its_alignment(tmp_path: Path) -> None:
    sizes = {**SIZES, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 2, "num_hidden_layers": 2}
    for attention in ("bahdanau", "none"):
        torch.manual_seed(1)
        config = RnnEncoderDecoderConfig(**sizes, attention=attention)
        RnnEncoderDecoderForConditionalGeneration(config).save_pretrained(tmp_path / attention)
        TOKENIZER.save_pretrained(tmp_path / attention)
    views = ["gradients", "attention"]
    found = explain(tmp_path / "bahdanau", TEXT, views=views, output_dir=tmp_path / "out")
    weights = found.numbers["attention"]
    assert list(found.sentences) == views and set(weights["layer"]) == {2}
    assert set(found.numbers["gradients"]["layer"]) == {1, 2} and (found.numbers["gradients"]["norm"] > 0).all()
    assert weights["key_token"].head(3).str.strip().tolist() == ["the", "cat", "sat"]
    np.testing.assert_allclose(weights.groupby("query")["weight"].sum(), 1, atol=1e-5)
    with pytest.raises(UserError, match="attention fits none"):
        explain(tmp_path / "none", TEXT, views=["attention"], output_dir=tmp_path / "out")


def test_what_cannot_be_explained_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no view 'gate'.*gates"):
        explain(views=["gate"], output_dir=tmp_path / "out")
    with pytest.raises(UserError, match="gates needs a model"):
        explain(views=["gates"], output_dir=tmp_path / "out")
    rnn(cell_type="rnn_tanh").model.save_pretrained(tmp_path / "elman")
    TOKENIZER.save_pretrained(tmp_path / "elman")
    with pytest.raises(UserError, match="need texts"):
        explain(tmp_path / "elman", output_dir=tmp_path / "out")
    with pytest.raises(UserError, match="gates fits none of the models"):
        explain(tmp_path / "elman", TEXT, views=["gates"], output_dir=tmp_path / "out")
    assert not (tmp_path / "out").exists()
