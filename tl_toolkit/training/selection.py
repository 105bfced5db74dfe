"""Which evaluation is the best so far: by the main metric, and among equal ones by the lower validation loss.

On a small validation split, many checkpoints have the same accuracy, and the first of them is often undertrained. Early
stopping is transformers' own: it waits for a better main metric.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from transformers import TrainerState, TrainingArguments


def breaks_tie(args: TrainingArguments, state: TrainerState, metrics: Mapping[str, float]) -> bool:
    """Return whether an evaluation equals the best so far in the main metric and has a lower loss.

    The loss of the best evaluation is read from the history, which a resumed run restores.
    """
    name = str(args.metric_for_best_model)
    value = metrics.get(name if name.startswith("eval_") else f"eval_{name}")
    if value is None or value != state.best_metric or not state.best_global_step:
        return False
    then = [entry for entry in state.log_history if entry.get("step") == state.best_global_step]
    losses = [entry["eval_loss"] for entry in then if "eval_loss" in entry]
    return bool(losses) and metrics.get("eval_loss", math.inf) < losses[-1]
