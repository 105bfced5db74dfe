"""The batch of a device for a global batch, and a launcher that starts fewer processes than it was asked for."""

from __future__ import annotations

import logging
import re
from types import SimpleNamespace
from typing import Any

import pytest

from tl_toolkit.config.arguments import RunArguments
from tl_toolkit.config.processes import (
    global_batch,
    settle_global_batch,
    sharding,
    warn_of_missing_processes,
)
from tl_toolkit.errors import UserError


def settle(rows: int, world: int, batch: int | None = None, parts: int | None = None, n_gpu: int = 0) -> Any:
    """The arguments after `--global_batch_size rows`, with the batch of a device and the accumulation if given."""
    args = SimpleNamespace(
        global_batch_size=rows, world_size=world, n_gpu=n_gpu, batch_by_rule=batch is None,
        per_device_train_batch_size=batch or 32, gradient_accumulation_steps=parts or 1,
        as_given={} if parts is None else {"gradient_accumulation_steps": parts},
    )  # fmt: skip
    settle_global_batch(args)
    args.train_batch_size = args.per_device_train_batch_size * max(1, n_gpu)
    assert global_batch(args) == rows
    return args


@pytest.mark.parametrize(
    ("given", "batch", "parts"),
    [
        (dict(rows=30, world=1), 30, 1),
        (dict(rows=30, world=3), 10, 1),
        (dict(rows=30, world=3, batch=5), 5, 2),
        (dict(rows=30, world=3, parts=5), 2, 5),
        (dict(rows=30, world=3, batch=2, parts=5), 2, 5),
        (dict(rows=30, world=1, n_gpu=2, batch=3), 3, 5),
    ],
)
def test_the_batch_of_a_device_follows_from_the_global_batch(given: dict, batch: int, parts: int) -> None:
    args = settle(**given)
    assert (args.per_device_train_batch_size, args.gradient_accumulation_steps) == (batch, parts)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (dict(rows=32, world=3), "a multiple of 3, such as 30 or 33"),
        (dict(rows=2, world=3), "a multiple of 3, such as 3"),
        (dict(rows=30, world=2, batch=4), "a multiple of 8, such as 24 or 32"),
        (dict(rows=30, world=2, parts=4), "a multiple of 8, such as 24 or 32"),
        (dict(rows=30, world=2, batch=3, parts=4), "it must be 24"),
    ],
)
def test_an_impossible_global_batch_is_refused(given: dict, said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)) as raised:
        settle(**given)
    assert f"--global_batch_size {given['rows']}" in str(raised.value)


def test_the_flag_sets_the_arguments_of_a_run(tmp_path: Any) -> None:
    args = RunArguments(output_dir=str(tmp_path), use_cpu=True, global_batch_size=35, gradient_accumulation_steps=5)
    assert (args.train_batch_size, args.gradient_accumulation_steps, args.batch_by_rule) == (7, 5, False)
    args = RunArguments(output_dir=str(tmp_path), use_cpu=True, gradient_accumulation_steps=5)
    assert args.batch_by_rule and args.gradient_accumulation_steps == 5
    with pytest.raises(UserError, match="--global_batch_size must be 1 or more"):
        RunArguments(output_dir=str(tmp_path), use_cpu=True, global_batch_size=0)


def test_missing_processes_are_said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """The environment of `accelerate launch --cpu --num_processes 2`; tests/recipes launches it."""
    for name in ("WORLD_SIZE", "MASTER_PORT", "ACCELERATE_MIXED_PRECISION"):
        monkeypatch.delenv(name, raising=False)

    def said(world_size: int = 1) -> bool:
        caplog.clear()
        with caplog.at_level(logging.WARNING, "tl_toolkit"):
            warn_of_missing_processes(SimpleNamespace(world_size=world_size))
        return "asked for several processes, but started one" in caplog.text

    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    assert not said()  # accelerate launch with one process
    monkeypatch.setenv("MASTER_PORT", "29500")
    assert said() and not said(world_size=2)
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert not said()  # torchrun


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"ACCELERATE_USE_FSDP": "true"}, None),  # not launched: nothing to share with
        ({"ACCELERATE_USE_FSDP": "true", "LOCAL_RANK": "0"}, "FSDP"),
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, "DeepSpeed"),
    ],
)
def test_sharding_is_read_from_the_launcher(
    environment: dict, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert sharding(SimpleNamespace(fsdp=None, deepspeed=None)) == expected
