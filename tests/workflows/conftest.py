from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def pretrain(dataset_folder: Path, tmp_path: Path) -> Callable[..., dict]:
    """Train a small language model in this process: `pretrain(output, **settings)` returns the result record."""
    from tl_toolkit.config.pretrain_arguments import pretrain_arguments_from
    from tl_toolkit.workflows.pretrain import pretrain as run

    def call(output: str = "out", **settings: object) -> dict:
        base = {
            "dataset_name": str(dataset_folder),
            "output_dir": str(tmp_path / output),
            "use_cpu": True,
            "disable_tqdm": True,
            "per_device_train_batch_size": 3,
            "per_device_eval_batch_size": 2,
            "window_length": 11,
            "num_train_epochs": 2,
        }
        return run(pretrain_arguments_from({**base, **settings}, "the test"))

    return call
