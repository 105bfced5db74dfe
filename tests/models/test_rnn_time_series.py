"""Forecasting with the recurrent family: numerics, scaling, missing values, and saving."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tl_toolkit.models import RnnConfig, RnnForTimeSeriesPrediction, RnnModel

BATCH, CONTEXT, FEATURES, HORIZON, HIDDEN = 5, 11, 3, 7, 13
CELLS = ["lstm", "gru", "rnn_tanh", "rnn_relu"]
SHAPES = ["many_to_one", "many_to_many"]
MEAN, DEVIATION = [100.0, -3.0, 0.5], [20.0, 0.1, 3.0]


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def make(**fields: Any) -> RnnForTimeSeriesPrediction:
    sizes = {"num_input_features": FEATURES, "prediction_length": HORIZON, "hidden_size": HIDDEN}
    model = RnnForTimeSeriesPrediction(RnnConfig(**{**sizes, **fields})).eval()
    count = model.config.num_input_features
    model.set_scaling(MEAN[:count], DEVIATION[:count])
    return model


def series(steps: int = CONTEXT, features: int = FEATURES) -> Tensor:
    return torch.tensor(MEAN[:features]) + torch.tensor(DEVIATION[:features]) * torch.randn(BATCH, steps, features)


# --- Numerics ---------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_many_to_one_by_hand() -> None:
    """An Elman network unrolled over scaled values; one matrix maps its last state to the whole horizon."""
    model = make(cell_type="rnn_tanh").double()
    past = series().double()
    cell = model.rnn.layers[0].forward_cell
    scaled = (past - torch.tensor(MEAN)) / torch.tensor(DEVIATION, dtype=torch.float64)
    state = torch.zeros(BATCH, HIDDEN, dtype=torch.float64)
    for step in range(CONTEXT):
        state = torch.tanh(
            scaled[:, step] @ cell.weight_ih_l0.T + cell.bias_ih_l0 + state @ cell.weight_hh_l0.T + cell.bias_hh_l0
        )
    flat = state @ model.head.weight.T + model.head.bias
    expected = flat.view(BATCH, HORIZON, FEATURES) * model.scaling.standard_deviation + model.scaling.mean
    torch.testing.assert_close(model(past).prediction_outputs, expected, rtol=1e-6, atol=1e-6)


@torch.no_grad()
def test_many_to_many_by_hand() -> None:
    """Each prediction is the next input; the first input is the last observed value, which differences refer to."""
    model = make(cell_type="rnn_tanh", forecast_type="many_to_many", subtract_last_value=True).double()
    past = series().double()
    scaled = model.scaling.scale(past)
    last = scaled[:, -1:]
    read = model.rnn(inputs_embeds=scaled - last).last_hidden_state[:, -1]
    state = torch.tanh(read @ model.decoder.bridge.weight.T + model.decoder.bridge.bias)
    cell, output = model.decoder.layers[0].forward_cell, model.decoder.output
    value, expected = torch.zeros(BATCH, FEATURES, dtype=torch.float64), []
    for _ in range(HORIZON):
        state = torch.tanh(
            value @ cell.weight_ih_l0.T + cell.bias_ih_l0 + state @ cell.weight_hh_l0.T + cell.bias_hh_l0
        )
        value = state @ output.weight.T + output.bias
        expected.append(value)
    expected = model.scaling.restore(torch.stack(expected, dim=1) + last)
    torch.testing.assert_close(model(past).prediction_outputs, expected)


@pytest.mark.parametrize("loss", ["mse", "mae"])
@torch.no_grad()
def test_loss_is_in_scaled_units(loss: str) -> None:
    model = make(forecast_loss=loss)
    past, future = series(), series(HORIZON)
    outputs = model(past, future_values=future)
    errors = (outputs.prediction_outputs - future) / torch.tensor(DEVIATION)
    expected = (errors.abs() if loss == "mae" else errors.square()).mean()
    torch.testing.assert_close(outputs.loss, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_against_finite_differences(shape: str) -> None:
    model = make(cell_type="gru", forecast_type=shape, subtract_last_value=True).double()
    past, future = series().double(), series(HORIZON).double()
    model(past, future_values=future).loss.backward()
    weight = model.rnn.layers[0].forward_cell.weight_hh_l0
    for place in [(0, 0), (HIDDEN, 5), (3 * HIDDEN - 1, HIDDEN - 1)]:
        losses = []
        with torch.no_grad():
            for shift in (1e-5, -2e-5, 1e-5):
                weight[place] += shift
                losses.append(model(past, future_values=future).loss.item())
        numeric = (losses[0] - losses[1]) / 2e-5
        assert weight.grad[place].item() == pytest.approx(numeric, rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cell_type", CELLS)
def test_every_cell_uses_every_parameter(cell_type: str, shape: str, bidirectional: bool) -> None:
    """There is no embedding table, and no other unused parameter."""
    model = make(cell_type=cell_type, forecast_type=shape, bidirectional=bidirectional, num_hidden_layers=2)
    outputs = model(series(), future_values=series(HORIZON), output_hidden_states=True)
    assert outputs.prediction_outputs.shape == (BATCH, HORIZON, FEATURES)
    assert [state.shape[-1] for state in outputs.hidden_states] == [FEATURES, *[HIDDEN * (1 + bidirectional)] * 2]
    outputs.loss.backward()
    unused = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert unused == []
    grouped = [prefix for group in model.layer_groups() for prefix in group]
    assert all(any(name.startswith(prefix) for prefix in grouped) for name, _ in model.named_parameters())


@torch.no_grad()
def test_a_shift_of_the_series_shifts_the_forecast() -> None:
    model = make(subtract_last_value=True).double()
    past = series().double()
    shift = torch.tensor([1000.0, -7.0, 3.0])
    torch.testing.assert_close(model(past + shift).prediction_outputs, model(past).prediction_outputs + shift)


@torch.no_grad()
def test_one_variable_needs_no_last_axis() -> None:
    model = make(num_input_features=1)
    past, future = series(features=1), series(HORIZON, 1)
    flat = model(past[..., 0], future_values=future[..., 0])
    torch.testing.assert_close(flat.prediction_outputs, model(past).prediction_outputs)
    torch.testing.assert_close(flat.loss, model(past, future_values=future).loss)


def test_parts_of_a_batch_add_up() -> None:
    """With the number of targets of the whole batch, the losses of its parts add up to its loss."""
    model = make()
    past, future = series(), series(HORIZON)
    future[:2] = float("nan")
    count = (~future.isnan()).sum()
    parts = [
        model(past[rows], future_values=future[rows], num_items_in_batch=count).loss for rows in ([0, 2], [1, 3, 4])
    ]
    torch.testing.assert_close(sum(parts), model(past, future_values=future).loss)


# --- Missing values ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@torch.no_grad()
def test_missing_values_are_the_mean(shape: str) -> None:
    model = make(forecast_type=shape)
    past = series()
    missing = torch.zeros_like(past, dtype=torch.bool)
    missing[0, 4, 1] = missing[2, -2, 0] = missing[3, 5] = True
    expected = model(past.where(~missing, torch.tensor(MEAN))).prediction_outputs
    nan = model(past.masked_fill(missing, float("nan"))).prediction_outputs
    masked = model(past.masked_fill(missing, 1e6), past_observed_mask=~missing).prediction_outputs
    torch.testing.assert_close(nan, expected)
    torch.testing.assert_close(masked, expected)
    assert not torch.allclose(model(past).prediction_outputs, masked)


@torch.no_grad()
def test_differences_are_from_the_last_observed_value() -> None:
    """If the end of a variable is missing, this is an earlier value, only for this variable."""
    model = make(subtract_last_value=True)
    past = series()
    past[:, -2:, 1] = float("nan")
    scaled = model.scaling.scale(past).nan_to_num(nan=0.0)
    last = scaled[:, -1:].clone()
    last[..., 1] = scaled[:, -3:-2, 1]
    read = model.rnn(inputs_embeds=scaled - last).last_hidden_state[:, -1]
    forecast = model.head(read).view(BATCH, HORIZON, FEATURES) + last
    torch.testing.assert_close(model(past).prediction_outputs, model.scaling.restore(forecast))


@pytest.mark.parametrize("fields", [{}, {"bidirectional": True}, {"direction": "backward"}, {"pooling": "attention"}])
@pytest.mark.parametrize("shape", SHAPES)
@torch.no_grad()
def test_padding_before_a_short_context_does_not_change_results(shape: str, fields: dict[str, Any]) -> None:
    model = make(forecast_type=shape, subtract_last_value=True, **fields)
    past = series()
    padded = torch.cat([torch.full((BATCH, 4, FEATURES), float("nan")), past], dim=1)
    torch.testing.assert_close(model(padded).prediction_outputs, model(past).prediction_outputs)


@torch.no_grad()
def test_a_gap_in_the_context_is_read() -> None:
    """Steps without observed values still count as time: without them, it is a different series."""
    model = make()
    past = series()
    gap = past.clone()
    gap[:, 5:8] = float("nan")
    without = torch.cat([past[:, :5], past[:, 8:]], dim=1)
    assert not torch.allclose(model(gap).prediction_outputs, model(without).prediction_outputs, rtol=1e-3)


@torch.no_grad()
def test_the_mask_can_be_an_input() -> None:
    """The network can distinguish an observed mean from the mean that replaces a missing value."""
    past = series()
    past[:, 5, 1] = MEAN[1]
    observed = torch.ones_like(past)
    observed[:, 5, 1] = 0
    blind, sighted = make(), make(observed_mask_as_input=True)
    torch.testing.assert_close(blind(past, observed).prediction_outputs, blind(past).prediction_outputs)
    assert not torch.allclose(sighted(past, observed).prediction_outputs, sighted(past).prediction_outputs)


def test_missing_targets_do_not_count() -> None:
    model = make()
    past, future = series(), series(HORIZON)
    mask = torch.rand(BATCH, HORIZON, FEATURES) > 0.3
    outputs = model(past, future_values=future.masked_fill(~mask, 1e9), future_observed_mask=mask)
    errors = (model.scaling.scale(outputs.prediction_outputs) - model.scaling.scale(future))[mask]
    torch.testing.assert_close(outputs.loss, errors.square().mean(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(model(past, future_values=future.masked_fill(~mask, float("nan"))).loss, outputs.loss)
    nothing = model(past, future_values=torch.full_like(future, float("nan")))
    assert nothing.loss.item() == 0
    nothing.loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)


@torch.no_grad()
def test_a_window_without_observed_values_is_finite() -> None:
    for shape in SHAPES:
        model = make(forecast_type=shape, subtract_last_value=True)
        past = series()
        past[2] = float("nan")
        outputs = model(past).prediction_outputs
        assert outputs.isfinite().all()
        others = [0, 1, 3, 4]
        torch.testing.assert_close(outputs[others], model(past[others]).prediction_outputs)


# --- Saving, errors ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@torch.no_grad()
def test_round_trip_is_exact(shape: str, tmp_path: Path) -> None:
    """The scaling constants are loaded with the weights, bit for bit."""
    model = make(forecast_type=shape, bidirectional=True)
    model.save_pretrained(tmp_path)
    loaded, report = RnnForTimeSeriesPrediction.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name
    assert loaded.scaling.mean.tolist() == torch.tensor(MEAN).tolist()
    past = series()
    assert torch.equal(model(past).prediction_outputs, loaded(past).prediction_outputs)


def test_a_body_alone_gets_neutral_constants(tmp_path: Path) -> None:
    """Values that are not in a checkpoint are initialised, never left as uninitialised memory."""
    make().rnn.save_pretrained(tmp_path)
    loaded = RnnForTimeSeriesPrediction.from_pretrained(tmp_path)
    assert loaded.scaling.mean.tolist() == [0.0] * FEATURES
    assert loaded.scaling.standard_deviation.tolist() == [1.0] * FEATURES


SCRIPT = """
import json, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "tl_toolkit":
            raise ModuleNotFoundError("no toolkit here")

sys.meta_path.insert(0, Absent())
import torch
from transformers import AutoModelForTimeSeriesPrediction

model = AutoModelForTimeSeriesPrediction.from_pretrained(sys.argv[1], trust_remote_code=True).eval()
print(json.dumps(model(torch.tensor(json.loads(sys.argv[2]))).prediction_outputs.tolist()))
"""


def test_loads_without_the_toolkit(tmp_path: Path) -> None:
    model = make(cell_type="gru")
    model.save_pretrained(tmp_path / "model")
    past = series()
    environment = {**os.environ, "HF_MODULES_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "model"), json.dumps(past.tolist())]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = torch.tensor(json.loads(done.stdout.splitlines()[-1]))
    torch.testing.assert_close(found, model(past).prediction_outputs)


def test_a_constant_variable_is_only_centred() -> None:
    model = make()
    model.set_scaling([1.0, 2.0, 3.0], [0.0, 5.0, 0.5])
    assert model.scaling.standard_deviation.tolist() == [1.0, 5.0, 0.5]


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda model: model(torch.zeros(BATCH, CONTEXT, FEATURES + 1)), "past_values must be"),
        (lambda model: model(torch.zeros(BATCH, CONTEXT)), "past_values must be"),
        (lambda model: model(series(), past_observed_mask=torch.ones(BATCH, 2, FEATURES)), "must have the same shape"),
        (lambda model: model(series(), future_values=series(HORIZON + 1)), "prediction_length=7 steps, got 8"),
        (lambda model: model.set_scaling([1.0], [1.0]), "3 finite numbers"),
        (lambda model: model.set_scaling([1.0] * 3, [1.0, -1.0, 1.0]), "must not be negative"),
        (lambda model: model.rnn(torch.zeros(BATCH, CONTEXT, dtype=torch.long)), "pass inputs_embeds"),
        (lambda model: RnnForTimeSeriesPrediction(RnnConfig(num_input_features=2)), "prediction_length"),
        (lambda model: RnnConfig(num_input_features=2, embedding_type="one_hot"), "no embedding table"),
        (lambda model: RnnConfig(prediction_length=0), "prediction_length must be at least 1"),
    ],
)
def test_errors_describe_the_invalid_input(call: Any, message: str) -> None:
    with pytest.raises(Exception, match=message):
        call(make())


def test_the_body_only_reads_numbers() -> None:
    body = RnnModel(RnnConfig(num_input_features=FEATURES, hidden_size=HIDDEN))
    assert body(inputs_embeds=series()).last_hidden_state.shape == (BATCH, CONTEXT, HIDDEN)
    assert not any("embedding" in name for name, _ in body.named_parameters())
