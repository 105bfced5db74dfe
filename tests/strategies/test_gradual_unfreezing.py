from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import build, strategy, train

from tl_toolkit.config.arguments import RunArguments
from tl_toolkit.errors import UserError
from tl_toolkit.strategies.discriminative_and_gradual import Unfreezing
from tl_toolkit.strategies.layer_groups import layer_groups

# Prefixes of the parameters that start to change in each epoch, listed by hand.
BEGIN_TO_MOVE = {
    ("rnn", "classifier"): [
        ["classifier."], ["rnn.layers.2."], ["rnn.layers.1."], ["rnn.layers.0."], ["rnn.embedding."],
    ],
    ("awd_lstm", "classifier"): [
        ["forward_head."], ["awd_lstm.forward_body.layers.2."], ["awd_lstm.forward_body.layers.1."],
        ["awd_lstm.forward_body.layers.0."], ["awd_lstm.forward_body.embedding."],
    ],
    ("awd_lstm", "causal"): [
        ["lm_head.", "awd_lstm.forward_body.embedding."], ["awd_lstm.forward_body.layers.2."],
        ["awd_lstm.forward_body.layers.1."], ["awd_lstm.forward_body.layers.0."],
    ],
    ("bert", "classifier"): [
        ["bert.pooler.", "classifier."], ["bert.encoder.layer.2."], ["bert.encoder.layer.1."],
        ["bert.encoder.layer.0."], ["bert.embeddings."],
    ],
    ("gpt2", "classifier"): [
        ["transformer.ln_f.", "score."], ["transformer.h.2."], ["transformer.h.1."], ["transformer.h.0."],
        ["transformer.wte.", "transformer.wpe."],
    ],
    ("gpt2", "causal"): [
        ["transformer.ln_f.", "transformer.wte."], ["transformer.h.2."], ["transformer.h.1."], ["transformer.h.0."],
        ["transformer.wpe."],
    ],
}  # fmt: skip


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize(("family", "head"), BEGIN_TO_MOVE)
def test_one_more_group_changes_in_every_epoch(family: str, head: str, parts: int, tmp_path: Path) -> None:
    """Frozen groups do not change, even with weight decay, with and without gradient accumulation."""
    model = build(family, head)
    names = {name for name, _ in model.named_parameters()}
    stages = BEGIN_TO_MOVE[family, head]
    settings = {"num_train_epochs": len(stages) + 1, "gradient_accumulation_steps": parts}
    moved = train(model, strategy("gradual_unfreezing"), tmp_path, head, **settings)
    expected: set[str] = set()
    for epoch, beginnings in enumerate([*stages, []]):
        expected |= {name for name in names if name.startswith(tuple(beginnings))} if beginnings else set()
        assert moved[epoch] == expected, f"epoch {epoch}"
    assert expected == names
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_parameters_fixed_by_the_family_stay_fixed(tmp_path: Path) -> None:
    model = build("rnn", freeze_embeddings=True)
    assert not model.rnn.embedding.weight.requires_grad
    moved = train(model, strategy("gradual_unfreezing"), tmp_path, num_train_epochs=6)
    assert not any(name.startswith("rnn.embedding.") for names in moved for name in names)
    assert moved[5] == {name for name, _ in model.named_parameters()} - {"rnn.embedding.weight"}
    assert [n for n, p in model.named_parameters() if not p.requires_grad] == ["rnn.embedding.weight"]

    tied = build("rnn", "causal", freeze_embeddings=True, tie_word_embeddings=True, embedding_size=5)
    stages = train(tied, strategy("gradual_unfreezing"), tmp_path, "causal", num_train_epochs=1)
    last_layer = {name for name, _ in tied.named_parameters() if name.startswith("rnn.layers.2.")}
    assert stages == [last_layer]  # the head is fixed with the embeddings, so it is skipped


def test_without_unfreezing_everything_changes_in_the_first_epoch(tmp_path: Path) -> None:
    """The counterpart of the ablation."""
    model = build("rnn")
    (moved,) = train(model, strategy("discriminative"), tmp_path, num_train_epochs=1)
    assert moved == {name for name, _ in model.named_parameters()}


def test_groups_that_are_never_trained_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "tl_toolkit"):
        train(build("bert"), strategy("gradual_unfreezing"), tmp_path, num_train_epochs=3)
    (message,) = [record.getMessage() for record in caplog.records if "never trained" in record.getMessage()]
    assert "3 epochs" in message and "'bert.embeddings', 'bert.encoder.layer.0'." in message
    caplog.clear()
    with caplog.at_level(logging.WARNING, "tl_toolkit"):
        train(build("bert"), strategy("gradual_unfreezing"), tmp_path, num_train_epochs=5)
    assert "never trained" not in caplog.text


def test_the_default_number_of_epochs_reaches_all_groups() -> None:
    how = strategy("gradual_unfreezing")
    how.prepare(build("bert"))
    assert how.least_epochs == 5
    how = strategy("gradual_unfreezing")
    deep = build("bert", num_hidden_layers=13)
    how.prepare(deep)
    assert how.least_epochs == len(layer_groups(deep)) == 15


def test_nothing_is_frozen_until_training_begins() -> None:
    """Distributed training determines the averaged parameters when it wraps the model."""
    model = build("rnn")
    how = strategy("gradual_unfreezing")
    how.prepare(model)
    (callback,) = how.callbacks(model)
    assert isinstance(callback, Unfreezing)
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("setting", ["auto_find_batch_size", "ddp_static_graph"])
def test_incompatible_settings_are_refused(tmp_path: Path, setting: str) -> None:
    with pytest.raises(UserError, match=f"--{setting}"):
        strategy("gradual_unfreezing").configure(
            RunArguments(output_dir=str(tmp_path), use_cpu=True, **{setting: True})
        )


def test_a_run_resumed_in_any_epoch_trains_the_right_groups(
    finetune: Callable[..., dict], tmp_path: Path, tiny_rnn: dict
) -> None:
    finetune("base", **tiny_rnn, num_train_epochs=1)
    settings = {
        "model_name_or_path": str(tmp_path / "base"), "strategy": "gradual_unfreezing", "learning_rate": 0.01,
        "config_overrides": "classifier_dropout=0.3", "lr_scheduler_type": "slanted_triangular", "num_train_epochs": 4,
        "save_strategy": "steps", "save_steps": 4, "save_total_limit": 10, "eval_strategy": "no",
    }  # fmt: skip
    whole = finetune("whole", **settings)
    assert whole["strategy"]["groups"] == ["rnn.embedding", "rnn.layers", "classifier"]
    expected = load_file(tmp_path / "whole" / "model.safetensors")
    for step in (4, 8, 12, 16):  # six updates per epoch: within the first and second, between the second and third, …
        checkpoint = tmp_path / "whole" / f"checkpoint-{step}"
        finetune(f"from-{step}", **settings, resume_from_checkpoint=str(checkpoint))
        resumed = load_file(tmp_path / f"from-{step}" / "model.safetensors")
        assert all(torch.equal(resumed[name], expected[name]) for name in expected), step
