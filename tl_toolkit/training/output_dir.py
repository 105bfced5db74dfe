"""The folder of a run: what an earlier run left in it, and how a finished model gets there whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import UserError
from .checkpoints import checkpoints
from .record import RESULT_NAME


def claim(output_dir: Path, *, overwrite: bool, source: str | None) -> None:
    """Make `output_dir` ready for a run that starts anew: whatever an earlier run left there is removed.

    Raises:
        UserError: the folder cannot be made; is the `source` that the run starts from; holds a model that no run of the
            toolkit left; or, with `overwrite` false, checkpoints of a run that did not finish and may be resumed.
    """
    if source is not None and Path(source).expanduser().resolve() == output_dir.resolve():
        raise UserError(
            f"--output_dir and --model_name_or_path are the same folder, {source!r}: the run would delete the weights "
            "it starts from. Choose another --output_dir."
        )
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"The folder {str(output_dir)!r} (--output_dir) cannot be made: {error.strerror}.") from error
    known = (output_dir / RESULT_NAME).exists() or checkpoints(output_dir)
    if any(output_dir.glob("*.safetensors")) and not known:
        raise UserError(
            f"The folder {str(output_dir)!r} (--output_dir) holds a model, but no result.json of an earlier run, so it "
            "is not overwritten. Choose another --output_dir."
        )
    unfinished = checkpoints(output_dir) and not (output_dir / RESULT_NAME).exists()
    if unfinished and not overwrite:
        raise UserError(
            f"The folder {str(output_dir)!r} holds checkpoints of a run that did not finish. Continue it with "
            "--resume_from_checkpoint, start again with --overwrite_output_dir, or choose another --output_dir."
        )
    (output_dir / RESULT_NAME).unlink(missing_ok=True)  # first: what follows is no finished run any more
    for pattern in ("model*.safetensors", "predictions_*.parquet", ".staging-*", "adapter", "checkpoint-*"):
        for path in output_dir.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextmanager
def staged(output_dir: Path) -> Iterator[Path]:
    """A folder to write to, whose content is moved into `output_dir` at the end, file by file, each one whole."""
    staging = output_dir / ".staging-model"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        yield staging
        for path in sorted(staging.rglob("*")):
            if path.is_file():
                target = output_dir / path.relative_to(staging)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(path, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
