"""Regression: a number for a text, such as a rating or a similarity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UserError
from ..metrics import scores
from .labels import read_numbers
from .text import TextTask

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PretrainedConfig


class Regression(TextTask):
    """One number for a text or a pair of texts, trained with squared error and scored by correlation and error."""

    name = "regression"
    problem_type = "regression"
    default_metric = "pearson"
    metric_names = ("pearson", "spearman", "mse", "mae")

    def _read_targets(self, split: Dataset, name: str, inputs: Any) -> tuple[np.ndarray, np.ndarray]:
        assert isinstance(self.columns.label, str)
        return read_numbers(split, self.columns.label, name)

    def _adopt(self, config: PretrainedConfig) -> None:
        if config.num_labels != 1:
            raise UserError(f"--task regression needs a model with one output; this model has {config.num_labels}.")

    def config_arguments(self, processing: Any = None) -> dict[str, Any]:
        """One output, named after the column it predicts."""
        name = self._label_name() or "number"
        return {"num_labels": 1, "id2label": {0: name}, "label2id": {name: 0}, "problem_type": self.problem_type}

    def _scores(self, logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """Pearson and Spearman correlation, mean squared and mean absolute error."""
        predicted, labels = self._predict(logits), np.asarray(labels, dtype=np.float64).reshape(-1)
        return {
            "pearson": scores.pearson(predicted, labels),
            "spearman": scores.spearman(predicted, labels),
            "mse": scores.mse(predicted, labels),
            "mae": scores.mae(predicted, labels),
        }

    def _predict(self, logits: np.ndarray) -> np.ndarray:
        return np.asarray(logits, dtype=np.float64).reshape(-1)

    def _prediction_columns(self, logits: np.ndarray) -> dict[str, Any]:
        return {"prediction": self._predict(logits)}
