from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tl_toolkit.errors import UserError
from tl_toolkit.records.checkpoints import is_complete, last_complete_checkpoint, resolve_resume

FILES = ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json")


def make_checkpoint(folder: Path) -> Path:
    folder.mkdir(parents=True)
    save_file({"weight": torch.zeros(3, 5)}, folder / "model.safetensors")
    for name in FILES[1:4]:
        torch.save({"state": torch.zeros(7)}, folder / name)
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": 3}))
    return folder


def test_the_newest_complete_checkpoint_is_found(tmp_path: Path) -> None:
    assert last_complete_checkpoint(tmp_path) is None
    nine = make_checkpoint(tmp_path / "checkpoint-9")
    ten = make_checkpoint(tmp_path / "checkpoint-10")
    assert last_complete_checkpoint(tmp_path) == ten  # by number, not by name
    (ten / "trainer_state.json").unlink()
    assert last_complete_checkpoint(tmp_path) == nine


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kept", [None, 0.0, 0.6])
def test_a_checkpoint_with_a_truncated_or_missing_file_is_incomplete(
    tmp_path: Path, name: str, kept: float | None
) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint-5")
    assert is_complete(checkpoint)
    file = checkpoint / name
    content = file.read_bytes()
    file.unlink()
    if kept is not None:
        file.write_bytes(content[: int(len(content) * kept)])
    assert not is_complete(checkpoint)


def test_resume_takes_a_folder_or_the_last(tmp_path: Path) -> None:
    assert resolve_resume(None, tmp_path) is None
    assert resolve_resume("true", tmp_path) is None  # killed before its first save: a new run
    checkpoint = make_checkpoint(tmp_path / "checkpoint-5")
    assert resolve_resume("true", tmp_path) == checkpoint
    assert resolve_resume(str(checkpoint), tmp_path) == checkpoint
    with pytest.raises(UserError, match="not a folder"):
        resolve_resume(str(tmp_path / "checkpoint-6"), tmp_path)
    torn = make_checkpoint(tmp_path / "checkpoint-7")
    (torn / "optimizer.pt").unlink()
    with pytest.raises(UserError, match="is incomplete.*'checkpoint-5'"):
        resolve_resume(str(torn), tmp_path)
