"""Where entries disagree: the rows that tell most, how often two of them say the same, and who alone is right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from .. import formatting as show
from ..predictions import PredictionReader
from ..statistics.cells import Cell
from ..statistics.scored_rows import LANGUAGE
from .answers import Answers, Said, label_answers, tag_answers, text_answers

MOST_ROWS = 12


@dataclass(frozen=True)
class DisputedRow:
    """A test row on which entries disagree; `text` is empty where a row is no text, such as a picture."""

    row: int
    text: str
    text_pair: str | None
    label: str
    answers: list[Said]


@dataclass(frozen=True)
class Disagreement:
    """Where the entries of one budget disagree.

    `summary` says it in a sentence and `order` by what the rows are ordered; `reason` says why there is nothing to
    show, and all else is empty then. `agreement` (entries × entries, None where undefined) is what `agreement_is`
    says, and `alone` (one number an entry) what `alone_is` says. `left_out` are entries of the budget whose
    predictions are not at hand for the same rows.
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


def disagreement(
    cells: Sequence[Cell], reader: PredictionReader, picked: Collection[tuple[str, float]] = ()
) -> Disagreement | None:
    """At the largest budget that most entries share; None where no budget has two entries.

    Args:
        cells: those of one dataset.
        picked: (entry, budget) of those picked on validation rows, between which the verdict decides.
    """
    entries = Counter(cell.budget for cell in cells)
    if not entries or max(entries.values()) < 2:
        return None
    budget = max(budget for budget, count in entries.items() if count == max(entries.values()))
    here = [cell for cell in cells if cell.budget == budget]
    task = here[0].results[0].section("task")
    kind = task.get("problem_type") or task.get("name")
    if kind == "forecasting":
        reason = (
            "Forecasts of neighbouring windows differ everywhere by a little: the worst windows are with each entry."
        )
        return Disagreement(budget, reason=reason)
    if kind in LANGUAGE:
        return Disagreement(budget, reason="Language models give no answers that could differ, only probabilities.")
    read = {"token-classification": tag_answers, "translation": text_answers, "captioning": text_answers}
    answers = read.get(str(kind), label_answers)(here, reader)
    if answers is None:
        return Disagreement(budget, reason="The predictions of these runs on common test rows are not at hand.")
    chosen = [place for place, entry in enumerate(answers.entries) if (entry, budget) in picked]
    return _described(answers, here, reader, chosen)


def _described(answers: Answers, here: Sequence[Cell], reader: PredictionReader, chosen: list[int]) -> Disagreement:
    agreement, differing = _pairs(answers)
    alone_is, alone = _alone(answers)
    places, order = _most_telling(answers, differing, chosen)
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
    """Agreement of each pair of entries, and how many pairs differ on each item (items,)."""
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
    return "correlation of the two's numbers" if _is_numbers(answers) else f"share of {answers.what} answered alike"


def _alone(answers: Answers) -> tuple[str, list[int]]:
    """How often each entry is right where no other is; without right and wrong, how often it is nearest to it."""
    if answers.right is not None:
        single = answers.right.sum(axis=0) == 1
        return f"{answers.what} that it alone gets right", (answers.right & single).sum(axis=1).tolist()
    assert answers.gap is not None
    gap = answers.gap[:, ~np.isnan(answers.gap).any(axis=0)]
    nearest = gap == gap.min(axis=0)
    nearest &= nearest.sum(axis=0) == 1
    what = "test rows where it is nearest to the label" if _is_numbers(answers) else "rows where its chrF is the best"
    return what, nearest.sum(axis=1).tolist()


def _summary(answers: Answers, differing: np.ndarray) -> str:
    if _is_numbers(answers):
        apart = float(np.median(np.ptp(answers.codes, axis=0)))
        return f"For half of the test rows, the entries' numbers are {apart:.3g} or more apart."
    some = show.count(int((differing > 0).sum()))
    return f"Of {show.count(len(differing))} {answers.what}, {some} are not answered alike by all entries."


def _most_telling(answers: Answers, differing: np.ndarray, chosen: list[int]) -> tuple[np.ndarray, str]:
    """Places of the rows to show, the most telling first, and in words what that means."""
    rows = len(answers.row)
    if answers.gap is not None:
        spread = np.ptp(answers.gap, axis=0) if not _is_numbers(answers) else np.ptp(answers.codes, axis=0)
        spread = np.nan_to_num(spread)
        order = np.argsort(-spread, kind="stable")
        what = "entries' numbers are furthest apart" if _is_numbers(answers) else "chrF of entries differs most"
        return order[spread[order] > 0][:MOST_ROWS], f"First the rows where the {what}."
    split = np.bincount(answers.owner, weights=differing, minlength=rows)
    right = np.ones((len(answers.entries), rows), dtype=bool)
    for entry, own in enumerate(answers.right if answers.right is not None else ()):
        right[entry] = np.bincount(answers.owner, weights=~own, minlength=rows) == 0
    between = chosen if len(chosen) > 1 else list(range(len(answers.entries)))
    sure = np.zeros(rows) if answers.certainty is None else answers.certainty[between].min(axis=0)
    decides = (right[between] != right[between[0]]).any(axis=0)
    order = np.lexsort((-split, -sure, ~decides) if len(chosen) > 1 else (-sure, -split, ~decides))
    order = order[split[order] > 0]
    # Of rows on which the same ones are right, the first of each kind comes before the second of any.
    pattern = [tuple(right[between, row]) if decides[row] else () for row in order]
    seen: Counter[tuple[bool, ...]] = Counter()
    turn = np.zeros(len(order), dtype=int)
    for place, own in enumerate(pattern):
        turn[place] = seen[own] if own else len(order)
        seen[own] += 1
    order = order[np.argsort(turn, kind="stable")]
    who = "the picked entries" if len(chosen) > 1 else "the entries"
    told = f"First the rows that some of {who} get right and others wrong, each way in turn; of these"
    by = [f"those on which {'all ' if len(chosen) > 1 else ''}entries are split most evenly"]
    if sure.any():
        by.insert(0 if len(chosen) > 1 else 1, f"those on which the least sure of {who} is surest")
    told = f"{told}, {', then '.join(by)}."
    return order[:MOST_ROWS], told


def _rows(answers: Answers, places: np.ndarray, here: Sequence[Cell], reader: PredictionReader) -> list[DisputedRow]:
    said = next((cell for cell in here if cell.entry == answers.entries[0]), here[0])
    tables = (reader.columns(result, ["row", "text", "text_pair", "words", "source"]) for result in said.results)
    table = next((table for table in tables if table is not None), None)
    texts = [] if table is None else table.take(places).to_pylist()
    shown = []
    for place, text in zip(places.tolist(), texts, strict=False):
        words = text.get("words")
        told = " ".join(words) if words is not None else str(text.get("text") or text.get("source") or "")
        own = [answers.say(number, place) for number in range(len(answers.entries))]
        shown.append(
            DisputedRow(
                row=int(answers.row[place]),
                text=show.shortened(told, show.MOST_TEXT),
                text_pair=text.get("text_pair"),
                label=show.shortened(answers.truth(place), show.MOST_TEXT),
                answers=[replace(answer, answer=show.shortened(answer.answer, show.MOST_TEXT)) for answer in own],
            )
        )
    return shown
