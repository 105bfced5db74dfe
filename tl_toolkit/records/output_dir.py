"""The folder of a run: what an earlier run left in it, and how a finished model gets there whole."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ..errors import UserError
from ..figures.attention_weights import ATTENTION
from .checkpoints import checkpoints
from .record import RESULT_NAME

if TYPE_CHECKING:
    from ..config.arguments import Request

R = TypeVar("R", bound="Request")
T = TypeVar("T")

PREDICTIONS = {split: f"predictions_{split}.parquet" for split in ("validation", "test")}
PICTURES = ("forecast.png",)
TARGET_FOLDER = "target_tokenizer"
"""Where a model with a vocabulary of its own for targets keeps their tokenizer."""


def for_output_dir(recipe: Callable[[R], T]) -> Callable[[R], T]:
    """A decorator of what leaves its results in `run.output_dir` of its argument, which it sees to.

    The folder has to be named, and is taken away again where it was made for a run that could not begin.
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
    """What fails without having written anything leaves no folder behind that was not there before."""
    absent = [folder for folder in (output_dir, *output_dir.parents) if not folder.exists()]
    try:
        yield
    except BaseException:
        for folder in absent:  # the innermost first; one that holds something stays
            with suppress(OSError):
                folder.rmdir()
        raise


def make_folder(output_dir: Path) -> None:
    """Make the folder that was asked for.

    Raises:
        UserError: it cannot be made.
    """
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"The --output_dir {str(output_dir)!r} cannot be created: {error.strerror}.") from error


def check_free(output_dir: Path, *, overwrite: bool, sources: list[str | None]) -> None:
    """See that a run may write to `output_dir`, without changing anything in it.

    Args:
        overwrite: whether checkpoints of a run that did not finish may go.
        sources: what the run reads: model, tokenizer, dataset, as far as they are local.

    Raises:
        UserError: the folder cannot be made; holds one of the sources; holds a model that no run of the toolkit left;
            or, without `overwrite`, checkpoints that somebody may want to resume.
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
    """Remove what an earlier run left, so that nothing of it can be taken for this one's; other files stay."""
    if not (output_dir / RESULT_NAME).exists() and not checkpoints(output_dir):
        return
    (output_dir / RESULT_NAME).unlink(missing_ok=True)  # first: what follows is no finished run any more
    left = (*PREDICTIONS.values(), *PICTURES, ATTENTION)
    for path in [*output_dir.glob("model*.safetensors"), *(output_dir / name for name in left)]:
        path.unlink(missing_ok=True)
    # A tokenizer of targets would be taken for that of a model which has one vocabulary for both.
    parts = [output_dir / name for name in ("adapter", TARGET_FOLDER)]
    for folder in [*parts, *([] if keep_checkpoints else checkpoints(output_dir))]:
        shutil.rmtree(folder, ignore_errors=True)


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
