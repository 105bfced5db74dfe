"""Metrics of written texts as functions of means over rows (see `row_metrics.py`): what sacrebleu counts in each row.

Counts of n-grams are sacrebleu's own, row by row; a score of many resampled corpora is computed from their means at
once, by sacrebleu's formulas with its default settings, which `metrics/generation.py` uses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...metrics.generation import scorers, streams
from .row_metrics import RowMetric, mean_of

BLEU_ORDER = 4
References = Sequence[str | Sequence[str]]


def _wanted(references: References) -> list[list[str]]:
    return [[reference] if isinstance(reference, str) else list(reference) for reference in references]


def _statistics(name: str, label: References, prediction: Sequence[str]) -> np.ndarray:
    """(rows, statistics): what sacrebleu adds up over a corpus."""
    metric = scorers()[name]
    references = streams(_wanted(label))
    return np.array(metric._extract_corpus_statistics(list(prediction), references), dtype=float)


def _bleu_counts(name: str, label: References, prediction: Sequence[str]) -> np.ndarray:
    """(rows, 11): lengths of answer and reference, right n-grams, all n-grams, and the number of rows.

    The last is the same in every row: smoothing needs sums, not means.
    """
    statistics = _statistics(name, label, prediction)
    return np.column_stack([statistics, np.full(len(statistics), float(len(statistics)))])


def bleu_of_means(means: np.ndarray) -> np.ndarray:
    """BLEU, 0 to 100 (Papineni et al. 2002, section 2.3).

    An order without a right n-gram counts as half a right one, the next such order as a quarter, and so on (Chen and
    Cherry 2014, method 3).
    """
    sums = means[..., :-1] * means[..., -1:]
    written, wanted = sums[..., 0], sums[..., 1]
    right, total = np.round(sums[..., 2 : 2 + BLEU_ORDER], 6), sums[..., 2 + BLEU_ORDER :]
    missing = right == 0
    halved = np.where(missing, 0.5 ** np.cumsum(missing, axis=-1), right)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(halved / total).mean(axis=-1)
        brevity = np.minimum(0.0, 1 - wanted / written)
        score = 100 * np.exp(brevity + logs)
    defined = (total > 0).all(axis=-1) & ~missing.all(axis=-1) & (written > 0)
    return np.where(defined, score, 0.0)


def chrf_of_means(means: np.ndarray, beta: float = 2.0) -> np.ndarray:
    """chrF2, 0 to 100 (Popović 2015): F of precision and recall, each averaged over the orders that occur."""
    written, wanted, right = means[..., 0::3], means[..., 1::3], means[..., 2::3]
    there = (written > 0) & (wanted > 0)
    orders = np.maximum(there.sum(axis=-1), 1)
    precision, recall = (
        np.divide(right, whole, out=np.zeros(right.shape), where=there).sum(axis=-1) / orders
        for whole in (written, wanted)
    )
    below = beta**2 * precision + recall
    return 100 * np.divide((1 + beta**2) * precision * recall, below, out=np.zeros(below.shape), where=below > 0)


def _exact(label: References, prediction: Sequence[str]) -> np.ndarray:
    rows = zip(_wanted(label), prediction, strict=True)
    return np.array([own.strip() in {text.strip() for text in wanted} for wanted, own in rows])


def _bleu(name: str) -> RowMetric:
    def quantities(label: Any, prediction: Any) -> np.ndarray:
        return _bleu_counts(name, label, prediction)

    return RowMetric(quantities, bleu_of_means)


TEXTS: dict[str, RowMetric] = {
    "bleu": _bleu("bleu"),
    "bleu_lowercase": _bleu("bleu_lowercase"),
    "chrf": RowMetric(lambda label, prediction: _statistics("chrf", label, prediction), chrf_of_means),
    "exact_match": mean_of(_exact),
}
"""Of a reference for each row, or several, and the text that was written."""
