"""What is tried before a run leaves no trace, and shows what would fail later."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tl_toolkit.errors import UserError
from tl_toolkit.records import output_dir as folders
from tl_toolkit.training import rehearsal
from tl_toolkit.training.trainer import ToolkitTrainer
from tl_toolkit.workflows.lifecycle import Training

Finetune = Callable[..., dict]
_SIZES = "hidden_size=8,num_hidden_layers=1,num_attention_heads=2,intermediate_size=11"
BERT = {"model_type": "bert", "config_overrides": _SIZES}
DROPPING = "embedding_size=7,hidden_size=13,num_hidden_layers=1,embedding_dropout=0.3,classifier_dropout=0.3"


@pytest.mark.parametrize("model", [{"model_type": "rnn", "config_overrides": DROPPING}, BERT])
def test_a_run_is_the_same_with_and_without_it(
    finetune: Finetune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: dict[str, str]
) -> None:
    calls = []
    for name in ("rehearse_training", "rehearse_saving"):
        own = getattr(rehearsal, name)
        monkeypatch.setattr(rehearsal, name, lambda *a, own=own: (calls.append(own.__name__), own(*a)))
    with_it = finetune("with", **model)
    assert calls == ["rehearse_training", "rehearse_saving"]
    assert not list(tmp_path.glob("with/.*"))
    for name in ("rehearse_training", "rehearse_saving"):
        monkeypatch.setattr(rehearsal, name, lambda *a: None)
    without = finetune("without", **model)
    assert with_it["metrics"] == without["metrics"]
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("with", "without"))
    assert all(torch.equal(weight, other[name]) for name, weight in one.items())


def test_buffers_modes_and_random_states_are_restored() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.BatchNorm1d(5), torch.nn.Dropout(0.5)).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    with rehearsal._unchanged(model):
        model.train()(torch.rand(7, 3)).sum().backward()
        assert not torch.equal(model[1].running_mean, before["1.running_mean"])
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not model.training and all(parameter.grad is None for parameter in model.parameters())


def test_a_failure_of_training_shows_before_the_run(
    finetune: Finetune, tiny_rnn: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("no kernel")

    monkeypatch.setattr(ToolkitTrainer, "compute_loss", fail)
    monkeypatch.setattr(Training, "work", lambda self: pytest.fail("the run has begun"))
    with pytest.raises(RuntimeError, match="no kernel"):
        finetune(**tiny_rnn)
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.parametrize("half", ["bf16_full_eval", "fp16_full_eval"])
def test_half_precision_of_evaluations_leaves_the_weights(
    finetune: Finetune, tiny_rnn: dict[str, str], tmp_path: Path, half: str
) -> None:
    finetune("whole", **tiny_rnn)
    finetune("half", **tiny_rnn, **{half: True})
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "half"))
    body = [name for name in one if name.startswith("rnn.")]  # the head is scaled by the evaluation's temperature
    assert body and all(torch.equal(one[name], other[name]) for name in body)
    assert {weight.dtype for weight in other.values()} == {torch.float32}


def test_space_and_limits_are_checked(
    finetune: Finetune, tiny_rnn: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource = pytest.importorskip("resource")
    with pytest.raises(UserError, match="has .* GB left"):
        folders.check_space(tmp_path, 7, 10**18)
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (5000, 5000))
    with pytest.raises(UserError, match="limit on file sizes is 0.0 MB"):
        finetune(**tiny_rnn)
    assert not list(tmp_path.glob("out/*"))
