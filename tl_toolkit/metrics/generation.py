"""How written answers are judged against references: BLEU and chrF by sacrebleu, and exact matches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import UserError


def text_scores(predictions: Sequence[str], references: Sequence[str | Sequence[str]]) -> dict[str, float]:
    """Scores of a corpus, each from 0 to 100 except `exact_match`, which is a part of 1.

    Args:
        predictions: one text a row.
        references: one reference a row, or several.

    Returns:
        `bleu` (Papineni et al. 2002) of the texts as they are and `bleu_lowercase` of the same in lower case, with
        sacrebleu's own tokenisation (Post 2018), see `signatures`; `chrf` (Popović 2015); `exact_match` with any of the
        references, spaces at the ends left aside.

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
    """What sacrebleu says of how each of its scores was computed; without it a BLEU cannot be compared.

    The number of references is part of it, so it takes the texts that were scored.
    """
    found = {}
    for name, metric in scorers().items():
        metric.corpus_score(list(predictions), streams(_lists(references)))
        found[name] = str(metric.get_signature())
    return found


def _lists(references: Sequence[str | Sequence[str]]) -> list[list[str]]:
    return [[reference] if isinstance(reference, str) else list(reference) for reference in references]


def streams(references: Sequence[Sequence[str]]) -> list[list[str | None]]:
    """References as sacrebleu takes them: a list for each place among them; rows with fewer leave theirs empty."""
    places = max(map(len, references))
    return [[row[place] if place < len(row) else None for row in references] for place in range(places)]


def check_installed() -> None:
    """Refuse to begin what could not be scored in the end: raises `UserError` if sacrebleu is not installed."""
    scorers()


def scorers() -> dict[str, Any]:
    """sacrebleu's metrics by their names in a record, with the settings that all scores here have.

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
