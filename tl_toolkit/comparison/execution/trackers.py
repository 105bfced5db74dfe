"""A tracker's run for each run of a comparison, where `report_to` names a tracker."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

TENSORBOARD = "tensorboard"
_WHERE = "TENSORBOARD_LOGGING_DIR"


@contextlib.contextmanager
def tracked(folder: Path, *, goes_on: bool = False) -> Iterator[None]:
    """Within it, TensorBoard writes to a folder of its own in `folder`, that of a run; behind it, trackers have ended.

    What the run wrote there before is removed, unless it `goes_on` from where it was.
    """
    before = os.environ.get(_WHERE)
    os.environ[_WHERE] = str(folder / TENSORBOARD)
    if not goes_on and int(os.environ.get("RANK", "0")) == 0:
        shutil.rmtree(folder / TENSORBOARD, ignore_errors=True)
    try:
        yield
    finally:
        if before is None:
            del os.environ[_WHERE]
        else:
            os.environ[_WHERE] = before
        wandb = sys.modules.get("wandb")  # imported by transformers if it is reported to
        if wandb is not None and getattr(wandb, "run", None) is not None:
            with contextlib.suppress(Exception):  # the next run of this process would go on in this one's
                wandb.finish()
