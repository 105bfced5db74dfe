"""Metrics as functions of means over rows, so that the score of each row follows from leaving it out.

Each metric has two parts: `quantities(label, prediction)` returns an array (rows, quantities), and `value` maps the
means of those quantities, (..., quantities), to the metric, (...). Accuracy is the mean of one quantity; F1 needs three
per class; a correlation needs first and second moments. For generated texts, sacrebleu counts the n-grams of each row,
and the scores of many corpora are computed from their means at once, by sacrebleu's formulas with the default
settings that `metrics/generation.py` uses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np

from ...metrics.entities import Entity, entities
from ...metrics.generation import scorers, streams

BLEU_ORDER = 4
Tags = Sequence[Sequence[str | None]]
References = Sequence[str | Sequence[str]]


@dataclass(frozen=True)
class RowMetric:
    """A metric that depends on the rows only through the means of a few quantities.

    `additive` metrics are the mean of a number per row, such as right or wrong.
    """

    quantities: Callable[[Any, Any], np.ndarray]
    value: Callable[[np.ndarray], np.ndarray]
    additive: bool = False


def mean_of(own: Callable[[Any, Any], np.ndarray]) -> RowMetric:
    """The metric that is the mean of own(label, prediction), a number per row (rows,)."""
    return RowMetric(lambda label, prediction: own(label, prediction)[:, None].astype(float), _only, additive=True)


def quotient(means: np.ndarray, part: int = 0, whole: int = 1) -> np.ndarray:
    """The quotient of two means; 0 if the denominator is 0."""
    a, b = means[..., part], means[..., whole]
    return np.divide(a, b, out=np.zeros(np.shape(a)), where=b != 0)


def classification(classes: int | None) -> dict[str, RowMetric]:
    """The metrics of class ids (rows,) and label sets (rows, labels).

    Args:
        classes: the number of classes; macro-F1 is the mean over all of them, and absent classes count 0. None for
            the mean over the classes that occur.
    """

    def counts(label: np.ndarray, prediction: np.ndarray) -> np.ndarray:
        return _class_counts(label, prediction, classes)

    def macro_f1(means: np.ndarray) -> np.ndarray:
        hit, predicted, true = np.split(means, 3, axis=-1)
        there = predicted + true > 0
        scores = np.divide(2 * hit, predicted + true, out=np.zeros(hit.shape), where=there)
        return scores.mean(axis=-1) if classes else scores.sum(axis=-1) / there.sum(axis=-1)

    def all_counts(label: np.ndarray, prediction: np.ndarray) -> np.ndarray:
        return np.stack([part.sum(axis=1) for part in np.split(counts(label, prediction), 3, axis=1)], axis=1)

    return {
        "accuracy": mean_of(_correct),
        "macro_f1": RowMetric(counts, macro_f1),
        "micro_f1": RowMetric(all_counts, f1_of_counts),
    }


def score_of_class(score: str, counts: Callable[[Any, Any], np.ndarray]) -> RowMetric:
    """The F1, recall or precision of a class.

    Args:
        counts: returns right, predicted and true of the class in each row (rows, 3).
    """
    return RowMetric(counts, {"f1": f1_of_counts, "precision": quotient, "recall": _recall}[score])


def class_counts(index: int, label: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Right, predicted and true (rows, 3) of a class id, or of a column of label sets."""
    true, predicted = (
        (values[:, index] > 0) if values.ndim == 2 else values == index for values in (label, prediction)
    )
    return np.stack([true & predicted, predicted, true], axis=1).astype(float)


def tag_counts(kind: str, entity: bool, label: Tags, prediction: Tags) -> np.ndarray:
    """Right, predicted and true words of a tag, or entities of a type (sentences, 3)."""
    if entity:
        return _entities(label, prediction, kind)
    words = [
        (sum(a == b == kind for a, b in zip(true, own, strict=True)), list(own).count(kind), list(true).count(kind))
        for true, own in zip(label, prediction, strict=True)
    ]
    return np.array(words, dtype=float)


def f1_of_counts(means: np.ndarray) -> np.ndarray:
    """F1 of (hits, predicted, true) in the last dimension; 0 if nothing is predicted or true."""
    return quotient(np.stack([2 * means[..., 0], means[..., 1] + means[..., 2]], axis=-1))


def _correct(label: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    same = label == prediction
    return same if same.ndim == 1 else same.all(axis=1)


def _class_counts(label: np.ndarray, prediction: np.ndarray, classes: int | None) -> np.ndarray:
    """Hits, predicted and true of each class or label, (rows, 3 · classes)."""
    if label.ndim == 2:
        true, predicted = label.astype(float), prediction.astype(float)
    else:
        ids = np.arange(classes or int(max(label.max(), prediction.max())) + 1)
        true, predicted = (label[:, None] == ids).astype(float), (prediction[:, None] == ids).astype(float)
    return np.concatenate([true * predicted, predicted, true], axis=1)


def _moments(label: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    # Centring and scaling keep the correlation, and the difference of moments loses no digits.
    x, y = (_standardised(values.astype(float)) for values in (label, prediction))
    return np.stack([x, y, x * x, y * y, x * y], axis=1)


def _standardised(values: np.ndarray) -> np.ndarray:
    if (values == values[0]).all():
        return np.zeros(len(values))  # the mean may have a rounding error, which scaling would amplify
    return (values - values.mean()) / values.std()


def _ranked_moments(label: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Moments of the ranks in the whole test set; without a row, the others keep their ranks."""
    from scipy.stats import rankdata

    return _moments(rankdata(label), rankdata(prediction))


def _correlation(means: np.ndarray) -> np.ndarray:
    """Pearson's correlation from moments; 0 for a constant, as in the records."""
    x, y, xx, yy, xy = np.moveaxis(means, -1, 0)
    spread = np.clip(xx - x * x, 0, None) * np.clip(yy - y * y, 0, None)
    return np.divide(xy - x * y, np.sqrt(spread), out=np.zeros(np.shape(xy)), where=spread > 1e-24)


def _recall(means: np.ndarray) -> np.ndarray:
    return quotient(means, 0, 2)


def _only(means: np.ndarray) -> np.ndarray:
    return means[..., 0]


NUMBERS: dict[str, RowMetric] = {
    "pearson": RowMetric(_moments, _correlation),
    "spearman": RowMetric(_ranked_moments, _correlation),
    "mse": mean_of(lambda label, prediction: (label - prediction) ** 2),
    "mae": mean_of(lambda label, prediction: np.abs(label - prediction)),
}
"""The metrics of numbers (rows,)."""


def _words(label: Tags, prediction: Tags) -> np.ndarray:
    """Right words and all words (sentences, 2); truncated words (None) are wrong."""
    right = [sum(a == b for a, b in zip(true, own, strict=True)) for true, own in zip(label, prediction, strict=True)]
    return np.array([right, [len(true) for true in label]], dtype=float).T


def _entities(label: Tags, prediction: Tags, kind: str | None = None) -> np.ndarray:
    """Right, predicted and true entities, or those of a type (sentences, 3), counted as in conlleval."""
    counts = []
    for true, own in zip(label, prediction, strict=True):
        expected, given = (
            {entity for entity in found_entities(tuple(tags)) if kind in (None, entity.type)} for tags in (true, own)
        )
        counts.append((len(expected & given), len(given), len(expected)))
    return np.array(counts, dtype=float)


@lru_cache(maxsize=100_000)
def found_entities(tags: tuple[str | None, ...]) -> frozenset[Entity]:
    """The entities of a sentence, cached because runs share their labels and many predictions."""
    return frozenset(entities(tags))


TAGS: dict[str, RowMetric] = {
    "accuracy": RowMetric(_words, quotient),
    "f1": RowMetric(_entities, f1_of_counts),
    "precision": RowMetric(_entities, quotient),
    "recall": RowMetric(_entities, _recall),
}
"""The metrics of tags, a list of names per sentence. Rows are sentences, because their words depend on each other."""


def forecasts(scale: np.ndarray | None) -> dict[str, RowMetric]:
    """The metrics of forecasts (windows, steps) or (windows, steps, variables); NaN labels are ignored.

    Args:
        scale: (variables,) the error that `mase` divides by, NaN or 0 for a variable without one; None: no `mase`.
    """

    def counted(error: np.ndarray) -> np.ndarray:
        """The summed errors and their number (windows, 2)."""
        flat = error.reshape(len(error), -1)
        return np.stack([np.nansum(flat, axis=1), (~np.isnan(flat)).sum(axis=1)], axis=1)

    def squared(label: np.ndarray, prediction: np.ndarray) -> np.ndarray:
        return counted(np.square(label - prediction))

    def symmetric(label: np.ndarray, prediction: np.ndarray) -> np.ndarray:
        total = np.abs(label) + np.abs(prediction)
        error = np.divide(2 * np.abs(label - prediction), total, out=np.zeros_like(total), where=total != 0)
        return counted(error + 0 * label)

    def scaled(label: np.ndarray, prediction: np.ndarray) -> np.ndarray:
        error = np.abs(label - prediction)
        assert scale is not None
        usable = np.isfinite(scale) & (scale > 0)
        return counted(error.reshape(*label.shape[:2], -1)[..., usable] / scale[usable])

    known = {
        "mae": RowMetric(lambda label, prediction: counted(np.abs(label - prediction)), quotient),
        "mse": RowMetric(squared, quotient),
        "rmse": RowMetric(squared, lambda means: np.sqrt(quotient(means))),
        "smape": RowMetric(symmetric, quotient),
    }
    return known if scale is None else known | {"mase": RowMetric(scaled, quotient)}


def _losses(label: Any, prediction: Any) -> np.ndarray:
    """Summed loss, tokens and bytes (rows, 3)."""
    return np.column_stack([prediction, label]).astype(float)


LANGUAGE_MODELS: dict[str, RowMetric] = {
    "loss": RowMetric(_losses, quotient),
    "perplexity": RowMetric(_losses, lambda means: np.exp(quotient(means))),
    "bits_per_byte": RowMetric(_losses, lambda means: quotient(means, 0, 2) / math.log(2)),
}
"""The metrics of language models, from tokens and bytes (rows, 2) and the loss in nats summed over tokens (rows,)."""


def _wanted(references: References) -> list[list[str]]:
    return [[reference] if isinstance(reference, str) else list(reference) for reference in references]


def _statistics(name: str, label: References, prediction: Sequence[str]) -> np.ndarray:
    """The statistics that sacrebleu sums over a corpus (rows, statistics)."""
    metric = scorers()[name]
    references = streams(_wanted(label))
    return np.array(metric._extract_corpus_statistics(list(prediction), references), dtype=float)


def _bleu_counts(name: str, label: References, prediction: Sequence[str]) -> np.ndarray:
    """Lengths of output and reference, right n-grams, all n-grams, and the number of rows (rows, 11).

    The last is the same in every row, because smoothing needs sums, not means.
    """
    statistics = _statistics(name, label, prediction)
    return np.column_stack([statistics, np.full(len(statistics), float(len(statistics)))])


def bleu_of_means(means: np.ndarray) -> np.ndarray:
    """BLEU, 0 to 100 (Papineni et al. 2002, section 2.3).

    An n-gram order without matches counts as half a match, the next such order as a quarter, and so on (Chen and Cherry
    2014, method 3).
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


TEXTS: dict[str, RowMetric] = {
    "bleu": RowMetric(partial(_bleu_counts, "bleu"), bleu_of_means),
    "bleu_lowercase": RowMetric(partial(_bleu_counts, "bleu_lowercase"), bleu_of_means),
    "chrf": RowMetric(partial(_statistics, "chrf"), chrf_of_means),
    "exact_match": mean_of(_exact),
}
"""The metrics of generated texts, with one or several references per row."""
