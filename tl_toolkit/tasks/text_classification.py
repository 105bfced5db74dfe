"""Text classification: the class or classes of a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.column_roles import Columns
from ..errors import UserError
from ..metrics import scores
from .base import classes_of
from .labels import NamedLabels, class_names, encode, read_indicators, read_named
from .text import TextTask, logger

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PretrainedConfig

MULTI_LABEL = "multi_label_classification"
# An undeclared label column with more distinct values probably contains ids, numbers or texts.
_FEW_CLASSES = 50


class TextClassification(TextTask):
    """Single-label classification of texts or pairs of texts, or multi-label if the labels are lists.

    Scored by accuracy (for multi-label: of whole label sets) and macro F1 over all classes. Multi-label also has micro
    F1, which is then the main metric: with many labels, whole sets are rarely correct early in training.
    """

    name = "text-classification"
    problem_type = "single_label_classification"
    labels: list[str]

    has_classes = True

    @property
    def default_metric(self) -> str:  # type: ignore[override]
        return "micro_f1" if self.problem_type == MULTI_LABEL else "accuracy"

    @property
    def metric_names(self) -> Sequence[str]:  # type: ignore[override]
        return ("accuracy", "macro_f1", *(["micro_f1"] if self.problem_type == MULTI_LABEL else []))

    def _find_columns(self, features: Any, required: bool = True) -> Columns:
        columns = super()._find_columns(features, required)
        if required:
            self.problem_type = columns.problem_type or self.problem_type
        elif columns.label is not None and columns.problem_type != self.problem_type:
            raise UserError(
                f"The model is for {self.problem_type}, but the label column {columns.label!r} is for "
                f"{columns.problem_type}: name another column with --label_column."
            )
        return columns

    def _read_targets(self, split: Dataset, name: str, inputs: Any) -> tuple[NamedLabels, np.ndarray]:
        label = self.columns.label
        assert label is not None
        if isinstance(label, tuple):
            labels = read_indicators(split, label, name)
        else:
            labels = read_named(split, label, name, self.spelling.get(name, {}).get(label))
        return labels, labels.labelled

    def _learn(self, targets: list[NamedLabels]) -> None:
        self.labels = class_names(targets)
        rows = sum(len(split.labelled) for split in targets)
        declared = any(split.declared for split in targets)
        if not declared and len(self.labels) > max(_FEW_CLASSES, rows // 2):
            found = (
                f"The label column {self._label_name()!r} has {len(self.labels):,} different values in {rows:,} rows"
            )
            if self.arguments.label_column is None:
                raise UserError(
                    f"{found}: they look like ids, numbers or texts, not classes. Name another column with "
                    f"--label_column, or this one if they are classes, or use --task regression to predict numbers."
                )
            logger.warning("%s: each has few rows to learn from and to be measured on.", found)
        if len(self.labels) < 2 and self.problem_type != MULTI_LABEL:
            raise UserError(
                f"Every row has the label {self.labels[0]!r} in column {self._label_name()!r}: a classifier needs at "
                f"least two classes. Name another column with --label_column."
            )

    def _encode(self, targets: NamedLabels, name: str) -> np.ndarray:
        return encode(targets, self.labels, f"Column {self._label_name()!r} of split {name!r}")

    def _training_facts(self, targets: np.ndarray, rows: np.ndarray) -> dict[str, Any]:
        facts = super()._training_facts(targets, rows)
        multi = self.problem_type == MULTI_LABEL
        counts = targets[rows].sum(axis=0) if multi else np.bincount(targets[rows], minlength=len(self.labels))
        return {**facts, **self._set_class_weights(counts, len(rows) if multi else None)}

    def _adopt(self, config: PretrainedConfig) -> None:
        self.problem_type = config.problem_type or self.problem_type
        self.labels = classes_of(config)

    def config_arguments(self, processing: Any = None) -> dict[str, Any]:
        return {**self._class_arguments(), "problem_type": self.problem_type}

    def _scores(self, logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        predicted, labels = self._predict(np.asarray(logits)), np.asarray(labels).astype(np.int64)
        if self.problem_type == MULTI_LABEL:
            own = {"micro_f1": scores.micro_f1(predicted, labels), "macro_f1": scores.macro_f1(predicted, labels)}
        else:
            own = {"macro_f1": scores.macro_f1(predicted, labels, num_classes=logits.shape[1])}
        if (of_class := self.metric_of_class()) is not None:
            score, name = of_class
            own[self.main_metric] = scores.class_score(score, predicted, labels, self.labels.index(name))
        return {"accuracy": scores.accuracy(predicted, labels), **own}

    def details(self, answers: np.ndarray, split: Dataset) -> dict[str, Any]:
        """The classes that occur in the split and are never predicted."""
        predicted, expected = (
            values.sum(axis=0) if values.ndim == 2 else np.bincount(values, minlength=len(self.labels))
            for values in (self._predict(np.asarray(answers)), np.asarray(split["label"]))
        )
        return {"never_predicted": [self.labels[index] for index in np.flatnonzero((predicted == 0) & (expected > 0))]}

    def _predict(self, logits: np.ndarray) -> np.ndarray:
        """Class ids `[rows]`, or 0/1 `[rows, classes]` with a threshold of 0.5 on the probability."""
        return (logits > 0).astype(np.int8) if self.problem_type == MULTI_LABEL else logits.argmax(axis=1)

    def _prediction_columns(self, logits: np.ndarray) -> dict[str, Any]:
        predicted = self._predict(logits)
        logits = logits.astype(np.float64)
        if self.problem_type == MULTI_LABEL:
            probabilities = 0.5 * (1.0 + np.tanh(0.5 * logits))  # the sigmoid, without overflow
            return {"prediction": list(predicted), "scores": list(probabilities.astype(np.float32))}
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
        return {"prediction": predicted.astype(np.int64), "scores": list(probabilities.astype(np.float32))}
