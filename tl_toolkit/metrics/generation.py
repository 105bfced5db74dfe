"""Metrics of generated texts: BLEU and chrF from sacrebleu, and exact matches."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from ..errors import UserError


def text_scores(predictions: Sequence[str], references: Sequence[str | Sequence[str]]) -> dict[str, float]:
    """Score a corpus. All scores are between 0 and 100, except `exact_match`, which is between 0 and 1.

    Args:
        predictions: one text per row.
        references: one or several references per row.

    Returns:
        `bleu` (Papineni et al. 2002), and `bleu_lowercase` of the lower-cased texts, both with sacrebleu's tokenisation
        (Post 2018), see `signatures`; `chrf` (Popović 2015); `exact_match`, the fraction of predictions that equal one
        of their references, apart from leading and trailing spaces.

    Raises:
        UserError: sacrebleu is not installed.
    """
    wanted = _lists(references)
    if len(predictions) != len(wanted):
        raise ValueError(f"{len(predictions)} predictions for {len(wanted)} rows of references")
    pairs = zip(predictions, wanted, strict=True)
    right = [prediction.strip() in {text.strip() for text in row} for prediction, row in pairs]
    corpus = {name: metric.corpus_score(list(predictions), streams(wanted)).score for name, metric in scorers().items()}
    return {**corpus, "exact_match": sum(right) / len(right)}


def signatures(predictions: Sequence[str], references: Sequence[str | Sequence[str]]) -> dict[str, str]:
    """Return sacrebleu's signatures, which document how scores were computed; BLEU is not comparable without them.

    The arguments are the scored texts, because signatures contain the number of references.
    """
    found = {}
    for name, metric in scorers().items():
        metric.corpus_score(list(predictions), streams(_lists(references)))
        found[name] = str(metric.get_signature())
    return found


def _lists(references: Sequence[str | Sequence[str]]) -> list[list[str]]:
    return [[reference] if isinstance(reference, str) else list(reference) for reference in references]


def streams(references: Sequence[Sequence[str]]) -> list[list[str | None]]:
    """Transpose references for sacrebleu: a list per reference position, with None for rows that have fewer."""
    return [list(column) for column in zip_longest(*references)]


def scorers() -> dict[str, Any]:
    """Return sacrebleu's metrics, with the toolkit's settings, by their names in a record.

    Raises:
        UserError: sacrebleu is not installed.
    """
    try:
        from sacrebleu.metrics import BLEU, CHRF
    except ImportError as error:
        raise UserError(
            "Generated texts are scored with sacrebleu, which is not installed: pip install 'tl-toolkit[translation]'."
        ) from error
    return {"bleu": BLEU(), "bleu_lowercase": BLEU(lowercase=True), "chrf": CHRF()}
