"""The metrics as `evaluate.Metric` classes that need no network: `Accuracy().compute(predictions=…, references=…)`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import datasets
import evaluate
import numpy as np

from . import scores
from .entities import entity_scores
from .generation import text_scores

_CITATION = "Metrics of the transfer learning toolkit, computed by its own NumPy functions."


class _Metric(evaluate.Metric):
    """A function of `tl_toolkit.metrics.scores` behind the interface of `evaluate`."""

    score_name: ClassVar[str]
    score: ClassVar[Callable[..., float]]
    value_type: ClassVar[str]
    sets_allowed: ClassVar[bool] = False

    def _info(self) -> evaluate.MetricInfo:
        single = {name: datasets.Value(self.value_type) for name in ("predictions", "references")}
        sets = {name: datasets.Sequence(datasets.Value(self.value_type)) for name in ("predictions", "references")}
        kinds = [datasets.Features(single)] + ([datasets.Features(sets)] if self.sets_allowed else [])
        return evaluate.MetricInfo(
            description=type(self).__doc__ or "",
            citation=_CITATION,
            inputs_description="predictions and references: one value a row, or 0/1 of each class a row.",
            features=kinds if len(kinds) > 1 else kinds[0],
        )

    def _compute(self, predictions: Any, references: Any, **options: Any) -> dict[str, float]:
        value = type(self).score(np.asarray(predictions), np.asarray(references), **options)
        return {self.score_name: value}


class Accuracy(_Metric):
    """The part of rows that are right; of label sets, that are right in every label."""

    score_name, score, value_type, sets_allowed = "accuracy", staticmethod(scores.accuracy), "int64", True


class MacroF1(_Metric):
    """Mean F1 over classes; `compute(…, num_classes=n)` averages over all n, else over those that occur."""

    score_name, score, value_type, sets_allowed = "macro_f1", staticmethod(scores.macro_f1), "int64", True


class MicroF1(_Metric):
    """F1 of the decisions of all classes taken together."""

    score_name, score, value_type, sets_allowed = "micro_f1", staticmethod(scores.micro_f1), "int64", True


class Pearson(_Metric):
    """Linear correlation; 0 for a constant."""

    score_name, score, value_type = "pearson", staticmethod(scores.pearson), "float64"


class Spearman(_Metric):
    """Rank correlation; 0 for a constant."""

    score_name, score, value_type = "spearman", staticmethod(scores.spearman), "float64"


class MeanSquaredError(_Metric):
    """Mean squared error."""

    score_name, score, value_type = "mse", staticmethod(scores.mse), "float64"


class MeanAbsoluteError(_Metric):
    """Mean absolute error."""

    score_name, score, value_type = "mae", staticmethod(scores.mae), "float64"


class EntityF1(evaluate.Metric):
    """Precision, recall and F1 of the entities in tagged sentences, as conlleval counts them."""

    def _info(self) -> evaluate.MetricInfo:
        tags = datasets.Sequence(datasets.Value("string"))
        return evaluate.MetricInfo(
            description=type(self).__doc__ or "",
            citation=_CITATION,
            inputs_description="predictions and references: a list of tags (IOB1, IOB2 or IOBES) a sentence.",
            features=datasets.Features({"predictions": tags, "references": tags}),
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return entity_scores(predictions, references)._asdict()


class TextScores(evaluate.Metric):
    """BLEU, BLEU in lower case and chrF by sacrebleu, and the part of texts that are exactly right."""

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        kinds = [{"predictions": text, "references": of} for of in (text, datasets.Sequence(text))]
        return evaluate.MetricInfo(
            description=type(self).__doc__ or "",
            citation=_CITATION,
            inputs_description="predictions: a text a row; references: a text a row, or several.",
            features=[datasets.Features(kind) for kind in kinds],
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return text_scores(predictions, references)
