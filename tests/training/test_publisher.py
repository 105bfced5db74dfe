"""`--push_to_hub` uses the publisher passed to the trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainingArguments

from tl_toolkit.errors import UserError
from tl_toolkit.training.trainer import BaseTrainer


class Repository:
    repo_id = "user/made"

    def __init__(self, args: Any) -> None:
        self.args = args


def arguments(folder: Path) -> TrainingArguments:
    return TrainingArguments(str(folder), push_to_hub=True, use_cpu=True, report_to="none")


def test_a_trainer_opens_its_publisher(tmp_path: Path) -> None:
    trainer = BaseTrainer(torch.nn.Linear(2, 3), arguments(tmp_path), publisher=Repository)
    assert trainer.hub_model_id == "user/made" and trainer.pushes.args is trainer.args


def test_a_trainer_without_publisher_fails_before_training(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--push_to_hub.*no publisher"):
        BaseTrainer(torch.nn.Linear(2, 3), arguments(tmp_path))
