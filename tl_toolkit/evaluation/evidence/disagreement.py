"""Disagreement between entries: the most informative rows, pairwise agreement, and rows that only one gets right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from .. import formatting as show
from ..predictions import PredictionReader
from ..statistics.cells import Cell
from ..statistics.scored_rows import LANGUAGE
from .answers import Answers, RowAnswer, label_answers, tag_answers, text_answers

MOST_ROWS = 12


@dataclass(frozen=True)
class DisputedRow:
    """A test row on which entries disagree; `text` is empty if the row has no text, such as an image."""

    row: int
    text: str
    text_pair: str | None
    label: str
    answers: list[RowAnswer]


@dataclass(frozen=True)
class Disagreement:
    """The disagreement between the entries of one budget.

    `summary` is a sentence on it, and `order` a sentence on the order of the rows; `reason` says why there is nothing
    to show, and then all other fields are empty. `agreement_is` describes `agreement` (entries × entries, None if
    undefined), and `alone_is` describes `alone` (one number per entry). `left_out` are entries of the budget without
    predictions for the same rows.
    """

    budget: float
    entries: list[str] = field(default_factory=list)
    rows: list[DisputedRow] = field(default_factory=list)
    summary: str = ""
    order: str = ""
    agreement_is: str = ""
    agreement: list[list[float | None]] = field(default_factory=list)
    alone_is: str = ""
    alone: list[int] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    reason: str = ""


def disagreement(cells: Sequence[Cell], reader: PredictionReader, picked: Collection[str] = ()) -> Disagreement | None:
    """The disagreement at the largest budget that most entries share; None if no budget has two entries.

    Args:
        cells: the cells of one dataset.
        picked: the entries that the decision compares.
    """
    entries = Counter(cell.budget for cell in cells)
    if not entries or max(entries.values()) < 2:
        return None
    budget = max(budget for budget, count in entries.items() if count == max(entries.values()))
    here = [cell for cell in cells if cell.budget == budget]
    task = here[0].results[0].section("task")
    kind = task.get("problem_type") or task.get("name")
    if kind == "forecasting":
        reason = "Forecasts differ slightly in all windows. The worst windows are shown with each entry."
        return Disagreement(budget, reason=reason)
    if kind in LANGUAGE:
        return Disagreement(budget, reason="Language models have only probabilities, no predictions to compare.")
    read = {"token-classification": tag_answers, "translation": text_answers, "captioning": text_answers}
    answers = read.get(str(kind), label_answers)(here, reader)
    if answers is None:
        return Disagreement(budget, reason="The predictions of these runs on common test rows are not available.")
    chosen = [place for place, entry in enumerate(answers.entries) if entry in picked]
    return _described(answers, here, reader, chosen)


def _described(answers: Answers, here: Sequence[Cell], reader: PredictionReader, chosen: list[int]) -> Disagreement:
    agreement, differing = _pairs(answers)
    alone_is, alone = _alone(answers)
    places, order = _most_informative(answers, differing, chosen)
    return Disagreement(
        budget=here[0].budget,
        entries=answers.entries,
        rows=_rows(answers, places, here, reader),
        summary=_summary(answers, differing),
        order=order,
        agreement_is=_agreement_is(answers),
        agreement=agreement,
        alone_is=alone_is,
        alone=alone,
        left_out=[cell.entry for cell in here if cell.entry not in answers.entries],
    )


def _is_numbers(answers: Answers) -> bool:
    return np.issubdtype(answers.codes.dtype, np.floating)


def _pairs(answers: Answers) -> tuple[list[list[float | None]], np.ndarray]:
    """The agreement of each pair of entries, and the number of pairs that differ on each item (items,)."""
    codes, count = answers.codes, len(answers.entries)
    agreement: list[list[float | None]] = [[1.0] * count for _ in range(count)]
    differing = np.zeros(codes.shape[1], dtype=int)
    for one in range(count):
        for other in range(one + 1, count):
            different = codes[one] != codes[other]
            differing += different
            value = _correlation(codes[one], codes[other]) if _is_numbers(answers) else float(1 - different.mean())
            agreement[one][other] = agreement[other][one] = value
    return agreement, differing


def _correlation(first: np.ndarray, second: np.ndarray) -> float | None:
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(np.corrcoef(first, second)[0, 1])


def _agreement_is(answers: Answers) -> str:
    if _is_numbers(answers):
        return "correlation of the two entries' numbers"
    return f"fraction of {answers.what} with equal predictions"


def _alone(answers: Answers) -> tuple[str, list[int]]:
    """How often only one entry is right, per entry; if nothing is simply right or wrong, how often it is nearest."""
    if answers.right is not None:
        single = answers.right.sum(axis=0) == 1
        return f"{answers.what} that only this entry gets right", (answers.right & single).sum(axis=1).tolist()
    assert answers.gap is not None
    gap = answers.gap[:, ~np.isnan(answers.gap).any(axis=0)]
    nearest = gap == gap.min(axis=0)
    nearest &= nearest.sum(axis=0) == 1
    what = "test rows where this entry is nearest to the label"
    what = what if _is_numbers(answers) else "rows where this entry has the best chrF"
    return what, nearest.sum(axis=1).tolist()


def _summary(answers: Answers, differing: np.ndarray) -> str:
    if _is_numbers(answers):
        apart = float(np.median(np.ptp(answers.codes, axis=0)))
        return f"For half of the test rows, the entries' predictions differ by {apart:.3g} or more."
    some = show.count(int((differing > 0).sum()))
    return f"Not all entries make the same prediction for {some} of {show.count(len(differing))} {answers.what}."


def _most_informative(answers: Answers, differing: np.ndarray, chosen: list[int]) -> tuple[np.ndarray, str]:
    """The positions of the rows to show, most informative first, and a sentence on their order."""
    rows = len(answers.row)
    if answers.gap is not None:
        spread = np.ptp(answers.gap, axis=0) if not _is_numbers(answers) else np.ptp(answers.codes, axis=0)
        spread = np.nan_to_num(spread)
        order = np.argsort(-spread, kind="stable")
        what = "predictions" if _is_numbers(answers) else "chrF scores"
        return order[spread[order] > 0][:MOST_ROWS], f"Rows with the largest differences in {what} come first."
    split = np.bincount(answers.owner, weights=differing, minlength=rows)
    right = np.ones((len(answers.entries), rows), dtype=bool)
    for entry, own in enumerate(answers.right if answers.right is not None else ()):
        right[entry] = np.bincount(answers.owner, weights=~own, minlength=rows) == 0
    between = chosen if len(chosen) > 1 else list(range(len(answers.entries)))
    sure = np.zeros(rows) if answers.certainty is None else answers.certainty[between].min(axis=0)
    decides = (right[between] != right[between[0]]).any(axis=0)
    order = np.lexsort((-split, -sure, ~decides) if len(chosen) > 1 else (-sure, -split, ~decides))
    order = order[split[order] > 0]
    # Group rows by the entries that are right; the first row of every group comes before the second of any.
    pattern = [tuple(right[between, row]) if decides[row] else () for row in order]
    seen: Counter[tuple[bool, ...]] = Counter()
    turn = np.zeros(len(order), dtype=int)
    for place, own in enumerate(pattern):
        turn[place] = seen[own] if own else len(order)
        seen[own] += 1
    order = order[np.argsort(turn, kind="stable")]
    who = "the recommended entry and the runner-up" if len(chosen) > 1 else "the entries"
    by = [f"the most even split of {'all ' if len(chosen) > 1 else ''}entries"]
    if sure.any():
        by.insert(0 if len(chosen) > 1 else 1, f"the highest minimum probability of {who}")
    sentence = f"Rows that some of {who} get right and others wrong come first, alternating between the possible splits"
    return order[:MOST_ROWS], f"{sentence}; then by {', then by '.join(by)}."


def _rows(answers: Answers, places: np.ndarray, here: Sequence[Cell], reader: PredictionReader) -> list[DisputedRow]:
    first = next((cell for cell in here if cell.entry == answers.entries[0]), here[0])
    tables = (reader.columns(result, ["row", "text", "text_pair", "words", "source"]) for result in first.results)
    table = next((table for table in tables if table is not None), None)
    texts = [] if table is None else table.take(places).to_pylist()
    shown = []
    for place, text in zip(places.tolist(), texts, strict=False):
        words = text.get("words")
        full = " ".join(words) if words is not None else str(text.get("text") or text.get("source") or "")
        own = [answers.say(number, place) for number in range(len(answers.entries))]
        shown.append(
            DisputedRow(
                row=int(answers.row[place]),
                text=show.shortened(full, show.MOST_TEXT),
                text_pair=text.get("text_pair"),
                label=show.shortened(answers.truth(place), show.MOST_TEXT),
                answers=[replace(answer, answer=show.shortened(answer.answer, show.MOST_TEXT)) for answer in own],
            )
        )
    return shown
