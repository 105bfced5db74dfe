"""The temperature of a trained classifier, and the calibration error that it removes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..evaluation.evidence.calibration import calibration_error, reliability
from ..strategies.optimisation import reshard
from ..training.temperature import fit_temperature, fold_temperature

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

    from ..training.trainer import ToolkitTrainer

_ROWS_TO_CHECK = 5


def calibrate(
    trainer: ToolkitTrainer, rows: Dataset, logits: np.ndarray, temperature: float | None = None
) -> dict[str, Any]:
    """Calibrate the trainer's model, in its weights, and return the section "calibration" of the record.

    Args:
        rows: the encoded validation rows.
        logits: those of `rows` (rows, classes).
        temperature: one that is known; by default it is fitted on the rows.
    """
    import numpy as np

    reason = ""
    if temperature is None:
        temperature, reason = fit_temperature(logits, np.asarray(rows["labels"][:]))
    if not reason and trainer.is_deepspeed_enabled and trainer.accelerator.state.deepspeed_plugin.zero_stage == 3:
        temperature, reason = 1.0, "the weights are sharded over processes"
    if not reason:
        first, *_ = trainer.get_test_dataloader(rows.select(range(_ROWS_TO_CHECK)))
        inputs = trainer._prepare_inputs(first)
        trainer.model.eval()

        def logits_of() -> Any:
            answered = trainer.answer(inputs)["logits"].float()
            reshard(trainer.model)  # so that a model sharded by FSDP reads its changed weights in the next pass
            return answered

        reshard(trainer.model)
        found = fold_temperature(trainer.model, temperature, logits.shape[1], logits_of)
        if not found:
            temperature, reason = 1.0, "the logits are not proportional to a last linear layer in single precision"
    return {"temperature": temperature, "rows": len(logits), **({"reason": reason} if reason else {})}


def error_of(logits: np.ndarray, labels: np.ndarray) -> float:
    """The expected calibration error of the softmax of logits (rows, classes), for class ids (rows,)."""
    from scipy.special import softmax

    chances = softmax(logits.astype(float), axis=1)
    return calibration_error(reliability(chances.max(axis=1), chances.argmax(axis=1) == labels))
