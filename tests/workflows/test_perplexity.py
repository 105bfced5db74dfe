"""The loss of a recurrent language model depends on the weights and the text alone."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tl_toolkit.data import evaluation_lanes
from tl_toolkit.training import language_model_trainer

Pretrain = Callable[..., dict]
RNN = {"model_type": "rnn", "config_overrides": "embedding_size=7,hidden_size=13,num_hidden_layers=2"}


@pytest.fixture(autouse=True)
def short_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"MOST_LANES": 5, "SHORTEST_LANE": 31, "WARM_UP": 23, "MOST_ROWS": 3}.items():
        monkeypatch.setattr(evaluation_lanes, name, value)
    monkeypatch.setattr(language_model_trainer, "_MOST_LOGITS", 1000)  # windows of a few tokens


def token_ids(folder: Path, dataset_folder: Path) -> tuple[list[int], int]:
    """The token ids of the test texts, each followed by the end token, and this token."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = pd.read_parquet(dataset_folder / "test.parquet")["text"]
    eos = tokenizer.eos_token_id
    return [token for text in texts for token in [*tokenizer(text)["input_ids"], eos]], eos


def losses_from(model: torch.nn.Module, ids: list[int], eos: int, begin: int, end: int) -> list[float]:
    """The losses of the tokens from `begin` to `end`, read one at a time from an empty state."""
    losses, state = [], None
    for position in range(begin, end):
        with torch.no_grad():
            token = torch.tensor([[ids[position - 1] if position else eos]])
            out = model(token, past_key_values=state, use_cache=True)
        state = out.past_key_values
        losses.append(torch.nn.functional.cross_entropy(out.logits[0], torch.tensor([ids[position]])).item())
    return losses


def test_each_lane_is_scored_as_by_a_plain_loop(
    pretrain: Pretrain, tmp_path: Path, dataset_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warm_up = 2  # so short that the state at its start matters
    monkeypatch.setattr(evaluation_lanes, "WARM_UP", warm_up)
    record = pretrain(**RNN, learning_rate=0.05)
    ids, eos = token_ids(tmp_path / "out", dataset_folder)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    stride = math.ceil((len(ids) - warm_up) / 5)
    lanes = [losses_from(model, ids, eos, 0, stride + warm_up)]
    for lane in range(1, 5):
        end = min((lane + 1) * stride + warm_up, len(ids))
        lanes.append(losses_from(model, ids, eos, lane * stride, end)[warm_up:])
    each = [loss for lane in lanes for loss in lane]
    assert len(each) == len(ids) == record["dataset"]["tokens"]["test"]
    assert record["metrics"]["test"]["loss"] == pytest.approx(math.fsum(each) / len(ids), abs=1e-6)
    assert record["lanes"]["test"] == pytest.approx([np.mean(lane) for lane in lanes], abs=1e-5)
    assert set(record["lanes"]) == {"validation", "test"}
    rows = pd.read_parquet(tmp_path / "out" / "predictions_test.parquet")
    ends = np.cumsum(rows["tokens"])
    sums = [sum(each[end - length : end]) for end, length in zip(ends, rows["tokens"], strict=True)]
    assert rows["loss_sum"].tolist() == pytest.approx(sums, abs=1e-4) and ends.iloc[-1] == len(ids)


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_the_batch_size_does_not_change_the_loss(
    pretrain: Pretrain, tmp_path: Path, direction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**RNN, "config_overrides": f"{RNN['config_overrides']},direction={direction}"}
    first = pretrain(**settings, learning_rate=0.05)
    for batch in (1, 3, 7, 101):
        name = f"batch-{batch}"
        more = {"evaluate_only": True, "per_device_eval_batch_size": batch}
        record = pretrain(name, model_name_or_path=str(tmp_path / "out"), **more)
        assert record["metrics"] == first["metrics"] and record["lanes"] == first["lanes"]
    monkeypatch.setattr(language_model_trainer, "_MOST_LOGITS", 2**25)
    record = pretrain("one-window", model_name_or_path=str(tmp_path / "out"), evaluate_only=True)
    assert record["lanes"]["test"] == pytest.approx(first["lanes"]["test"], abs=1e-5)


def test_a_warmed_lane_predicts_like_one_stream(
    pretrain: Pretrain, tmp_path: Path, dataset_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The warm-up is longer than the memory of this model, so only the number of lanes differs."""
    record = pretrain(**RNN, learning_rate=0.05)
    ids, eos = token_ids(tmp_path / "out", dataset_folder)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    one = np.mean(losses_from(model, ids, eos, 0, len(ids)))
    assert len(record["lanes"]["test"]) == 5
    assert record["metrics"]["test"]["loss"] == pytest.approx(one, abs=1e-5)
    monkeypatch.setattr(evaluation_lanes, "WARM_UP", 1)
    cold = pretrain("cold", model_name_or_path=str(tmp_path / "out"), evaluate_only=True)
    assert abs(cold["metrics"]["test"]["loss"] - one) > 1e-4


def test_blocks_have_no_lanes(pretrain: Pretrain) -> None:
    assert "lanes" not in pretrain(model_type="gpt2", config_overrides="n_embd=8,n_layer=1,n_head=2", block_size=9)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.startswith("tl_toolkit")]


def latched(folder: Path) -> list[str]:
    """Make the model in `folder` keep the sign of its first input forever; return words of which it reads a sign.

    One unit h' = tanh(3 h ± 0.5) has two stable states, about 1 and -1, and this input is too small to change them.
    The head prefers some words in one state and the others in the other.
    """
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    sign = torch.where(torch.arange(len(tokenizer)) % 2 == 0, 1.0, -1.0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.rnn.embedding.weight[:, 0] = 0.5 * sign
        cell = model.rnn.layers[0].forward_cell
        cell.weight_ih_l0[0, 0], cell.weight_hh_l0[0, 0] = 1.0, 3.0
        model.lm_head.weight[:, 0] = 2 * torch.where(torch.arange(len(tokenizer)) < len(tokenizer) // 2, 1.0, -1.0)
    model.save_pretrained(folder)
    return tokenizer.convert_ids_to_tokens(range(len(tokenizer)))


def test_an_unstable_state_is_reported(
    pretrain: Pretrain, tmp_path: Path, dataset_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shape = "cell_type=rnn_tanh,embedding_size=2,hidden_size=3,num_hidden_layers=1"
    with caplog.at_level(logging.WARNING, logger="tl_toolkit"):
        pretrain(model_type="rnn", config_overrides=shape)
    assert not warnings_of(caplog)  # a stable model
    words = latched(tmp_path / "out")
    drawn = np.random.default_rng(3).choice([word for word in words[4:] if words.index(word) < len(words) // 2], 311)
    pd.DataFrame({"text": [" ".join(drawn)]}).to_parquet(dataset_folder / "test.parquet")
    (dataset_folder / "validation.parquet").unlink()
    with caplog.at_level(logging.WARNING, logger="tl_toolkit"):
        record = pretrain("again", model_name_or_path=str(tmp_path / "out"), evaluate_only=True)
    lanes = record["lanes"]["test"]
    assert max(lanes) - min(lanes) > 1  # in one state every word has one loss, in the other state another
    stuck = [lane > 3 for lane in lanes]
    changes = sum(one != other for one, other in zip(stuck, stuck[1:], strict=False))
    assert changes > 0
    assert record == json.loads((tmp_path / "again" / "result.json").read_text())
    (warning,) = warnings_of(caplog)
    assert "carried state is unstable" in warning and f"{changes} of 4 (test)" in warning
    assert "--learning_rate" in warning and "\n" not in warning
