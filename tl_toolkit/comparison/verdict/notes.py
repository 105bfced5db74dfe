"""What a verdict rests on, in words: the labels that were used, how it was reached, and what is not known."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from ...evaluation import formatting as show
from ...evaluation.statistics.cells import Cell
from ...evaluation.statistics.contest import Contest
from .standings import budget_of
from .wording import TOKENS, unit_of


def label_note(cells: Sequence[Cell]) -> str:
    """The labels that a run used: to train, to choose its checkpoint, and what tuning made of the latter."""
    parts = []
    for _, members in groupby(cells, key=lambda cell: cell.budget):
        here = list(members)
        train = sorted({cell.train_labels for cell in here if cell.train_labels is not None})
        chosen = sorted({cell.validation_labels for cell in here if cell.validation_labels is not None})
        parts.append(f"{_range(train)} + {_range(chosen)}")
    if unit_of([cell.results[0] for cell in cells]) == TOKENS:
        return f"Texts are all that a language model needs: budgets count the tokens that it reads.{_tuning(cells)}"
    return (
        f"Labels used by a run, for training + for choosing its checkpoint (validation): {show.joined(parts)}. "
        f"Both had to be paid for.{_tuning(cells)}"
    )


def _tuning(cells: Sequence[Cell]) -> str:
    """How many trials were chosen from with the validation labels; empty where nothing was tuned."""
    trials: dict[str, set[int]] = {}
    for cell in cells:
        for result in cell.results:
            if (tuning := result.section("tuning")).get("trials"):
                trials.setdefault(cell.entry, set()).add(int(tuning["trials"]))
    if not trials:
        return ""
    names = list(dict.fromkeys(cell.entry for cell in cells))
    counts = {count for own in trials.values() for count in own}
    if len(trials) == len(names) and len(counts) == 1:
        who = f"Every entry was tuned on the same validation labels, in {show.count(next(iter(counts)))} trials each"
    else:
        told = [f"{name} in {_range(sorted(own))} trials" for name, own in trials.items()]
        rest = [name for name in names if name not in trials]
        untuned = f", {show.joined(rest)} not at all" if rest else ""
        who = f"Tuned on the same validation labels: {show.joined(told)}{untuned}"
    return f" {who}."


def _range(numbers: Sequence[int]) -> str:
    if not numbers:
        return "unknown"
    low, high = show.count(numbers[0]), show.count(numbers[-1])
    return low if low == high else f"{low} to {high}"


def statistics_notes(rounds: Sequence[Contest]) -> list[str]:
    """When an entry is called ahead, and which kind of noise is not known."""
    if not rounds:
        return []
    family = max(contest.family for contest in rounds)
    many = f", also after Holm's correction for the {family} comparisons of a budget" if family > 1 else ""
    tests = list(dict.fromkeys(contest.test for contest in rounds if contest.test))
    how = f" ({show.joined(tests)} on the same rows, and a paired bootstrap)" if tests else ""
    notes = [
        "The best entry of each kind is picked on validation rows and compared on test rows; an entry is called ahead "
        f"only when the difference is beyond the noise of the test rows{how}, of the seeds (Welch), and of both "
        f"together{many}. The interval is the widest of the three, at 95\u00a0%."
    ]
    single = _budgets([contest for contest in rounds if contest.single])
    if single:
        notes.append(
            f"With {show.joined(single)} labels a side has a single run, so how much the seed matters is not in the "
            "interval."
        )
    blind = _budgets([contest for contest in rounds if contest.over_rows is None])
    if blind:
        notes.append(
            f"With {show.joined(blind)} labels the runs' predictions on common test rows were not at hand, so how much "
            "the choice of test rows matters is not in the interval."
        )
    return notes


def vectors_note(picked: Sequence[Cell]) -> str:
    """That entries from scratch began with word vectors that others have trained; empty where none did."""
    able = [cell for cell in picked if cell.kind == "scratch"]
    names = [cell.entry for cell in able if cell.results[0].section("arguments").get("vectors")]
    if not names:
        return ""
    verb = "starts" if len(set(names)) == 1 else "start"
    return (
        f"{show.joined(list(dict.fromkeys(names)))} {verb} from pre-trained word vectors: all else is trained from "
        "scratch, but these know words that no label has taught."
    )


def _budgets(contests: Sequence[Contest]) -> list[str]:
    return list(dict.fromkeys(budget_of(contest) for contest in contests))


def labels_of(cell: Cell) -> str:
    """The label budget of a cell as a reader knows it."""
    return show.budget(cell.budget, cell.train_labels)


def run_count(number: int) -> str:
    """`1 run`, `3 runs`."""
    return "1 run" if number == 1 else f"{number} runs"
