"""Find and check the checkpoints from which a run can resume."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from .identity import IDENTITY_NAME, read_identity

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def last_complete_checkpoint(output_dir: Path) -> Path | None:
    """Return the newest complete checkpoint in `output_dir`, or None if there is none.

    Trainer writes directly to `checkpoint-N`, so a run that is killed while saving leaves an incomplete folder with the
    highest number.
    """
    return next((path for path in reversed(checkpoints(output_dir)) if is_complete(path)), None)


def checkpoints(output_dir: Path) -> list[Path]:
    """Return all folders `checkpoint-N` in `output_dir`, oldest first."""
    found = [p for p in output_dir.glob("checkpoint-*") if p.is_dir() and p.name.split("-")[1].isdigit()]
    return sorted(found, key=lambda path: int(path.name.split("-")[1]))


def is_complete(checkpoint: Path) -> bool:
    """Return whether all files needed to resume exist and are complete."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    if (checkpoint / IDENTITY_NAME).exists() and read_identity(checkpoint) is None:
        return False
    weights = sorted(checkpoint.glob("*.safetensors"))
    pickled = [checkpoint / "optimizer.pt", checkpoint / "scheduler.pt", *checkpoint.glob("rng_state*.pth")]
    if any(path.is_dir() for path in checkpoint.iterdir()):  # FSDP and DeepSpeed write the rest to folders
        return bool(weights) and all(map(is_whole_safetensors, weights))
    pickled += _carried_states(checkpoint)
    # torch.save writes a zip archive, which has its directory at the end
    whole = [*map(is_whole_safetensors, weights), *map(zipfile.is_zipfile, pickled)]
    return bool(weights) and len(pickled) > 2 and all(whole)


def _carried_states(checkpoint: Path) -> list[Path]:
    """Return the files `carried_state_RANK_of_N.pt`, the states that language models carry between windows."""
    found = sorted(checkpoint.glob("carried_state_*_of_*.pt"))
    if not found:
        return []
    world_size = int(found[0].stem.split("_of_")[1])
    return [checkpoint / f"carried_state_{rank}_of_{world_size}.pt" for rank in range(world_size)]


def resolve_resume(resume: str | None, output_dir: Path) -> Path | None:
    """Return the checkpoint for `--resume_from_checkpoint`, or None for a new run.

    `true` (or the flag without a value) means the last complete checkpoint in `output_dir`, if there is one; any other
    value is the folder of a checkpoint.

    Raises:
        UserError: the folder does not exist or is incomplete.
    """
    if resume is None:
        return None
    if resume.lower() in ("true", "yes", "last"):
        return last_complete_checkpoint(output_dir)
    path = Path(resume)
    if not path.is_dir():
        raise UserError(
            f"--resume_from_checkpoint {resume!r} is not a folder. Use a checkpoint-N folder, or 'true' for the last "
            f"complete checkpoint in {str(output_dir)!r}."
        )
    if not is_complete(path):
        last = last_complete_checkpoint(path.parent)
        advice = f"Use the last complete one, {last.name!r}." if last else "Its folder has no complete checkpoint."
        raise UserError(f"The checkpoint {resume!r} is incomplete: the run stopped while saving it. {advice}")
    return path


def check_same_architecture(checkpoint: Path, model: PreTrainedModel) -> None:
    """Check that a checkpoint matches the architecture of `model`. Adapters are checked by peft.

    Raises:
        UserError: `model` does not have one of the weights, or has it with another shape.
    """
    from safetensors import safe_open

    own = {name: list(weight.shape) for name, weight in model.state_dict().items()}
    for path in checkpoint.glob("model*.safetensors"):
        with safe_open(path, framework="numpy") as weights:
            for name in weights.keys():  # noqa: SIM118 - the open file is not a mapping
                shape = weights.get_slice(name).get_shape()
                if own.get(name) != shape:
                    found = f"has the shape {own[name]} in the model" if name in own else "is not in the model"
                    raise UserError(
                        f"The checkpoint {str(checkpoint)!r} does not match this run's {type(model).__name__}: its "
                        f"weight {name!r} of shape {shape} {found}. Resume with the original arguments."
                    )


def is_whole_safetensors(path: Path) -> bool:
    """Return whether a safetensors file is complete."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):  # compares the size of the file with its header
            return True
    except (OSError, SafetensorError):
        return False
