"""The output folder of a run: check and clear the files of an earlier run, and write a finished model atomically."""

from __future__ import annotations

import functools
import math
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ..errors import UserError
from ..figures.attention_weights import ATTENTION
from .checkpoints import checkpoints
from .identity import IDENTITY_NAME
from .record import RESULT_NAME

if TYPE_CHECKING:
    from ..config.arguments import Request

R = TypeVar("R", bound="Request")
T = TypeVar("T")

PREDICTIONS = {split: f"predictions_{split}.parquet" for split in ("validation", "test")}
PICTURES = ("forecast.png",)
_LONGEST_NAME = ".model-00001-of-00001.safetensors.1234567.tmp"
TARGET_FOLDER = "target_tokenizer"
"""Folder of the target tokenizer of a model with a separate target vocabulary."""


def for_output_dir(recipe: Callable[[R], T]) -> Callable[[R], T]:
    """Decorate a function that writes its results to `run.output_dir` of its argument.

    The decorator checks that the folder is specified, and removes it if the run created it but failed to start.
    """

    @functools.wraps(recipe)
    def checked(arguments: R) -> T:
        if "output_dir" not in arguments.run.as_given:
            raise UserError("No output folder is specified: set --output_dir.")
        with without_empty_folder(Path(arguments.run.output_dir)):
            return recipe(arguments)

    return checked


@contextmanager
def without_empty_folder(output_dir: Path) -> Iterator[None]:
    """Within this context, remove new folders if an error occurs before anything is written to them."""
    absent = [folder for folder in (output_dir, *output_dir.parents) if not folder.exists()]
    try:
        yield
    except BaseException:
        for folder in absent:  # innermost first; folders with files are kept
            with suppress(OSError):
                folder.rmdir()
        raise


def make_folder(output_dir: Path) -> None:
    """Create the output folder, and check that files can be written below it.

    Raises:
        UserError: it cannot be created or written.
    """
    what, shown = "created", str(output_dir) if len(str(output_dir)) < 300 else f"{str(output_dir)[:100]} …"
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        what, probe = "written", output_dir / f".probe-{os.getpid()}"  # as long as the names of checkpoints
        try:
            probe.mkdir(exist_ok=True)
            (probe / _LONGEST_NAME).write_bytes(bytes(4096))
        finally:
            shutil.rmtree(probe, ignore_errors=True)
    except OSError as error:
        raise UserError(f"The --output_dir {shown!r} cannot be {what}: {error.strerror}.") from error


def check_space(output_dir: Path, largest: int, total: int) -> None:
    """Check that `output_dir` has space for `total` bytes, in files of up to `largest` bytes.

    Raises:
        UserError: the disk or the limit on file sizes is smaller.
    """
    free, limit = shutil.disk_usage(output_dir).free, math.inf
    with suppress(ImportError):  # not a POSIX system
        import resource

        soft = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        limit = math.inf if soft == resource.RLIM_INFINITY else soft
    if largest > limit:
        raise UserError(
            f"The run writes files of {largest / 1e6:,.1f} MB, but the limit on file sizes is {limit / 1e6:,.1f} MB. "
            "Raise it with `ulimit -f`."
        )
    if total > free:
        raise UserError(
            f"The run needs about {total / 1e9:,.2f} GB for its checkpoints and the model, but the --output_dir "
            f"{str(output_dir)!r} has {free / 1e9:,.2f} GB left. Free some space, choose another --output_dir, or "
            "write less: --save_only_model, --save_total_limit 1."
        )


def check_free(output_dir: Path, *, overwrite: bool, sources: list[str | None]) -> None:
    """Check that a run may write to `output_dir`, without changing its content.

    Args:
        overwrite: whether checkpoints of an unfinished run may be deleted.
        sources: inputs of the run (model, tokenizer, dataset), which may be local paths.

    Raises:
        UserError: the folder cannot be created; it contains one of the sources, or a model that was not written by a
            run of the toolkit; or it contains checkpoints of an unfinished run and `overwrite` is false.
    """
    make_folder(output_dir)
    here = output_dir.resolve()
    for source in sources:
        if source is not None and Path(source).expanduser().resolve().is_relative_to(here):
            raise UserError(
                f"The run reads {source!r}, which is in its own --output_dir {str(output_dir)!r} and would be "
                "overwritten. Choose another --output_dir."
            )
    finished = (output_dir / RESULT_NAME).exists()
    if any(output_dir.glob("*.safetensors")) and not finished and not checkpoints(output_dir):
        raise UserError(
            f"The folder {str(output_dir)!r} (--output_dir) contains a model but no result.json of an earlier run, so "
            "it is not overwritten. Choose another --output_dir."
        )
    if checkpoints(output_dir) and not finished and not overwrite:
        raise UserError(
            f"The folder {str(output_dir)!r} contains checkpoints of an unfinished run. Continue it with "
            "--resume_from_checkpoint, start again with --overwrite_output_dir, or choose another --output_dir."
        )


def clear(output_dir: Path, *, keep_checkpoints: bool) -> None:
    """Remove the files of an earlier run, so that they are not mistaken for this run's; keep other files."""
    if not (output_dir / RESULT_NAME).exists() and not checkpoints(output_dir):
        return
    (output_dir / RESULT_NAME).unlink(missing_ok=True)  # first, so that the run no longer counts as finished
    left = (*PREDICTIONS.values(), *PICTURES, ATTENTION, IDENTITY_NAME)
    for path in [*output_dir.glob("model*.safetensors"), *(output_dir / name for name in left)]:
        path.unlink(missing_ok=True)
    # Otherwise, a model with one vocabulary for source and target would use the old target tokenizer.
    parts = [output_dir / name for name in ("adapter", TARGET_FOLDER)]
    for folder in [*parts, *([] if keep_checkpoints else checkpoints(output_dir))]:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def staged(output_dir: Path) -> Iterator[Path]:
    """Provide a temporary folder; on success, its files are moved to `output_dir`, each one atomically."""
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
