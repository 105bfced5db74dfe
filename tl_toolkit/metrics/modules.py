"""Metrics as `evaluate.Metric` classes without network access: `Accuracy().compute(predictions=…, references=…)`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import datasets
import evaluate
import numpy as np

from . import scores
from .entities import entity_scores
from .generation import text_scores

_CITATION = "Metrics of the transfer-learning toolkit, computed with NumPy."
_ID, _NUMBER, _TEXT = datasets.Value("int64"), datasets.Value("float64"), datasets.Value("string")


def _columns(predictions: Any, references: Any) -> datasets.Features:
    return datasets.Features({"predictions": predictions, "references": references})


_OF_CLASSES = [_columns(kind, kind) for kind in (_ID, datasets.Sequence(_ID))]
_OF_NUMBERS = [_columns(_NUMBER, _NUMBER)]


class _Metric(evaluate.Metric):
    """A function of `tl_toolkit.metrics.scores` with the interface of `evaluate`."""

    score: ClassVar[tuple[str, Callable[..., float]]]
    kinds: ClassVar[list[datasets.Features]]
    inputs: ClassVar[str] = "predictions and references: one value per row, or one 0/1 value per class and row."

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=type(self).__doc__ or "",
            citation=_CITATION,
            inputs_description=self.inputs,
            features=self.kinds if len(self.kinds) > 1 else self.kinds[0],
        )

    def _compute(self, predictions: Any, references: Any, **options: Any) -> dict[str, float]:
        name, score = self.score
        return {name: score(np.asarray(predictions), np.asarray(references), **options)}


class Accuracy(_Metric):
    """Fraction of correct rows; a label set is correct if all its labels are."""

    score, kinds = ("accuracy", scores.accuracy), _OF_CLASSES


class MacroF1(_Metric):
    """Mean F1 over classes: over all n with `compute(…, num_classes=n)`, otherwise over those that occur."""

    score, kinds = ("macro_f1", scores.macro_f1), _OF_CLASSES


class MicroF1(_Metric):
    """F1 over the pooled decisions of all classes."""

    score, kinds = ("micro_f1", scores.micro_f1), _OF_CLASSES


class Pearson(_Metric):
    """Linear correlation; 0 for constant values."""

    score, kinds = ("pearson", scores.pearson), _OF_NUMBERS


class Spearman(_Metric):
    """Rank correlation; 0 for constant values."""

    score, kinds = ("spearman", scores.spearman), _OF_NUMBERS


class MeanSquaredError(_Metric):
    """Mean squared error."""

    score, kinds = ("mse", scores.mse), _OF_NUMBERS


class MeanAbsoluteError(_Metric):
    """Mean absolute error."""

    score, kinds = ("mae", scores.mae), _OF_NUMBERS


class EntityF1(_Metric):
    """Precision, recall and F1 of entities in tagged sentences, by the rules of conlleval."""

    inputs = "predictions and references: a list of tags (IOB1, IOB2 or IOBES) per sentence."
    kinds: ClassVar = [_columns(datasets.Sequence(_TEXT), datasets.Sequence(_TEXT))]

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:  # type: ignore[override]
        return entity_scores(predictions, references)._asdict()


class TextScores(_Metric):
    """BLEU, lower-case BLEU and chrF from sacrebleu, and the fraction of exact matches."""

    inputs = "predictions: one text per row; references: one or several texts per row."
    kinds: ClassVar = [_columns(_TEXT, references) for references in (_TEXT, datasets.Sequence(_TEXT))]

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:  # type: ignore[override]
        return text_scores(predictions, references)
