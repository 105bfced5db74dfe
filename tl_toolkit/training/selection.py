"""Which evaluation is the best so far: by the main metric, and among equal ones by the lower validation loss.

On a small validation split, many checkpoints have the same accuracy, and the first of them is often undertrained.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from transformers import EarlyStoppingCallback, TrainerState, TrainingArguments


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


class EarlyStopping(EarlyStoppingCallback):
    """transformers' early stopping, for which an equal main metric with a lower loss is an improvement, too."""

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any, **kwargs: Any) -> None:
        self._breaks_tie = breaks_tie(args, state, metrics)
        super().on_evaluate(args, state, control, metrics, **kwargs)

    def check_metric_value(self, args: Any, state: Any, control: Any, metric_value: Any) -> None:
        super().check_metric_value(args, state, control, metric_value)
        if self._breaks_tie:
            self.early_stopping_patience_counter = 0
