"""Which checkpoint a killed run can go on from."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def last_complete_checkpoint(output_dir: Path) -> Path | None:
    """The newest checkpoint in `output_dir` that was written to its end; None when there is none.

    Trainer writes straight into `checkpoint-N`, so that a run killed while saving leaves a folder that has the highest
    number and is torn.
    """
    return next((path for path in reversed(checkpoints(output_dir)) if is_complete(path)), None)


def checkpoints(output_dir: Path) -> list[Path]:
    """All folders `checkpoint-N` of `output_dir`, oldest first."""
    found = [p for p in output_dir.glob("checkpoint-*") if p.is_dir() and p.name.split("-")[1].isdigit()]
    return sorted(found, key=lambda path: int(path.name.split("-")[1]))


def is_complete(checkpoint: Path) -> bool:
    """Whether every file that a resumed run needs is there and whole."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    weights = sorted(checkpoint.glob("*.safetensors"))
    pickled = [checkpoint / "optimizer.pt", checkpoint / "scheduler.pt", *checkpoint.glob("rng_state*.pth")]
    if any(path.is_dir() for path in checkpoint.iterdir()):  # FSDP and DeepSpeed shard the rest into folders
        return bool(weights) and all(map(is_whole_safetensors, weights))
    pickled += _carried_states(checkpoint)
    # torch.save writes a zip archive, whose directory comes last
    whole = [*map(is_whole_safetensors, weights), *map(zipfile.is_zipfile, pickled)]
    return bool(weights) and len(pickled) > 2 and all(whole)


def _carried_states(checkpoint: Path) -> list[Path]:
    """The states that the processes of a language model carry from window to window: `carried_state_RANK_of_N.pt`."""
    found = sorted(checkpoint.glob("carried_state_*_of_*.pt"))
    if not found:
        return []
    world_size = int(found[0].stem.split("_of_")[1])
    return [checkpoint / f"carried_state_{rank}_of_{world_size}.pt" for rank in range(world_size)]


def resolve_resume(resume: str | None, output_dir: Path) -> Path | None:
    """The checkpoint that `--resume_from_checkpoint` means, None for a run that starts anew.

    `true` (or the flag alone) is the last complete checkpoint of `output_dir`, if there is one; anything else is the
    folder of a checkpoint.

    Raises:
        UserError: a folder that is not there or is torn.
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
    """Refuse to resume from a checkpoint of another model.

    Raises:
        UserError: a weight that `model` does not have, or has in another shape. Adapters are left to peft.
    """
    from safetensors import safe_open

    own = {name: list(weight.shape) for name, weight in model.state_dict().items()}
    for path in checkpoint.glob("model*.safetensors"):
        with safe_open(path, framework="numpy") as weights:
            for name in weights.keys():  # noqa: SIM118 - the open file is no mapping
                shape = weights.get_slice(name).get_shape()
                if own.get(name) != shape:
                    found = f"has the shape {own[name]} in the model" if name in own else "is not in the model"
                    raise UserError(
                        f"The checkpoint {str(checkpoint)!r} does not match this run's {type(model).__name__}: its "
                        f"weight {name!r} of shape {shape} {found}. Resume with the original arguments."
                    )


def is_whole_safetensors(path: Path) -> bool:
    """Whether a file of weights is as long as its header says."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):  # compares the size of the file with its header
            return True
    except (OSError, SafetensorError):
        return False
