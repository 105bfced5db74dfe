"""The notes of a verdict: labels used, statistical method, unknowns, costs and doubts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

from ...evaluation import formatting as show
from ...evaluation.formatting import TOKENS, unit_of
from ...evaluation.predictions import PredictionReader
from ...evaluation.statistics.cells import Cell, Goal
from ...evaluation.statistics.pairwise import Pair, compare, overtaken
from ...evaluation.statistics.uncertainty import row_noise

Doubt = tuple[Pair, str]
Unit = Callable[[float | None], str]
_MOST_CLASSES = 5
MEASURES: tuple[tuple[str, Unit, str, str], ...] = (
    ("train_seconds", show.seconds, "took {} as long to train", "took about as long"),
    ("parameters", show.parameters, "has {} as many parameters", "has about as many parameters"),
    ("latency_seconds", show.milliseconds, "takes {} as long to predict one row", "predicts one row about as fast"),
)
"""For each cost: its name, its unit, the text for a difference, and the text for equality."""


def label_note(cells: Sequence[Cell]) -> str:
    """The labels of a run, for training and for checkpoint selection, and how tuning used the latter."""
    parts = []
    for _, members in groupby(cells, key=lambda cell: cell.budget):
        here = list(members)
        train, chosen = [cell.train_labels for cell in here], [cell.validation_labels for cell in here]
        parts.append(f"{show.span(train, 'unknown')} + {show.span(chosen, 'unknown')}")
    if unit_of([cell.results[0] for cell in cells]) == TOKENS:
        return f"Language models are trained on unlabelled text: budgets count training tokens.{_tuning(cells)}"
    return (
        f"Labels per run, for training + for checkpoint selection (validation): {show.joined(parts)}. "
        f"Both need annotation.{_tuning(cells)}"
    )


def _tuning(cells: Sequence[Cell]) -> str:
    """The number of tuning trials of the entries, as a sentence; empty if nothing was tuned."""
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
        told = [f"{name} in {show.span(own)} trials" for name, own in trials.items()]
        rest = [name for name in names if name not in trials]
        untuned = f", {show.joined(rest)} not at all" if rest else ""
        who = f"Tuned on the same validation labels: {show.joined(told)}{untuned}"
    return f" {who}."


def statistics_notes(rounds: Sequence[Pair]) -> list[str]:
    """The criterion for "ahead", and which sources of variance are unknown."""
    if not rounds:
        return []
    family = max(contest.family for contest in rounds)
    many = f", also after Holm's correction for the {family} comparisons per budget" if family > 1 else ""
    tests = list(dict.fromkeys(contest.test for contest in rounds if contest.test))
    how = f" ({show.joined(tests)} on the same rows, and a paired bootstrap)" if tests else ""
    notes = [
        "The best entry of each approach is selected on validation rows and compared on test rows. An entry counts as "
        f"ahead only if the difference is significant over test rows{how}, over seeds (Welch), and over both together"
        f"{many}. The interval is the widest of the three, at 95\u00a0%."
    ]
    single = _budgets([contest for contest in rounds if contest.single])
    if single:
        notes.append(
            f"With {show.joined(single)} labels, at least one side has a single run, so the interval does not include "
            "the variance between seeds."
        )
    blind = _budgets([contest for contest in rounds if contest.over_rows is None])
    if blind:
        notes.append(
            f"With {show.joined(blind)} labels, predictions on common test rows are not available, so the interval "
            "does not include the variance over test rows."
        )
    return notes


def never_predicted_notes(cells: Sequence[Cell]) -> list[str]:
    """A note on the classes of the test rows that an entry never predicts at a budget, in any of its runs."""
    clauses = []
    for cell in cells:
        known = [set(missed) for result in cell.results if (missed := result.record.get("never_predicted")) is not None]
        never = sorted(set.intersection(*known)) if known else []
        if never:
            more = f" and {len(never) - _MOST_CLASSES} more" if len(never) > _MOST_CLASSES else ""
            names = f"{', '.join(never[:_MOST_CLASSES])}{more}"
            clauses.append(f"{cell.entry} with {cell.budget_name} labels ({names})")
    return [f"These never predict a class that occurs in the test rows: {'; '.join(clauses)}."] if clauses else []


def vectors_note(picked: Sequence[Cell]) -> str:
    """A note on entries from scratch that start from pre-trained word vectors; empty if there are none."""
    able = [cell for cell in picked if cell.kind == "scratch"]
    names = list(dict.fromkeys(cell.entry for cell in able if cell.results[0].section("arguments").get("vectors")))
    if not names:
        return ""
    return (
        f"{show.joined(names)} {'starts' if len(names) == 1 else 'start'} from pre-trained word vectors, which cover "
        "words that are not in the labelled texts. All other weights are trained from scratch."
    )


def _budgets(contests: Sequence[Pair]) -> list[str]:
    return list(dict.fromkeys(contest.budget_name for contest in contests))


def costs(contest: Pair) -> str:
    """The costs of the two sides at the budget, as a sentence; empty if no costs are known."""
    clauses: list[tuple[str, str]] = []
    for name, unit, more, same in MEASURES:
        pair = contest.second.costs.get(name), contest.first.costs.get(name)
        if pair[0] and pair[1]:
            clauses.append(_clause(contest, (pair[0], pair[1]), unit, more, same, named=not clauses))
    if not clauses:
        return ""
    told = [(who, [what for _, what in own]) for who, own in groupby(clauses, key=lambda clause: clause[0])]
    sentence = ", while ".join(f"{who} {show.joined(own)}" for who, own in told)
    return f"With {contest.budget_name} labels, {sentence}."


def pretraining(cells: Sequence[Cell]) -> str:
    """The time of the stages before the runs of each entry, in sentences; empty if there were none."""
    said = {
        cell.entry: f"The pre-training of {cell.entry}, shared by all its runs, took {show.seconds(before)}."
        for cell in cells
        if (before := cell.costs.get("pretrain_seconds")) is not None
    }
    return " ".join(said.values())


def _clause(contest: Pair, pair: tuple[float, float], unit: Unit, more: str, same: str, named: bool) -> tuple[str, str]:
    """(entry that costs more, clause): `("minilm", "took 14 times as long to train as lstm (48 s against 3.4 s)")`."""
    sides = [(pair[0], contest.second.entry), (pair[1], contest.first.entry)]
    (low, cheap), (high, dear) = sorted(sides)
    if high < 1.15 * low:
        return contest.second.entry, f"{same} ({unit(pair[0])} against {unit(pair[1])})"
    other = f" as {cheap}" if named else ""
    return dear, f"{more.format(show.times(high / low))}{other} ({unit(high)} against {unit(low)})"


def doubts(rounds: Sequence[Pair], cells: Sequence[Cell], goal: Goal, reader: PredictionReader) -> list[Doubt]:
    """Comparisons that another entry contradicts, each with a clause: `with 500 labels ulmfit is not ahead of gru`.

    Each comparison is between selected entries. If the loser is significantly behind another entry of its approach on
    the test rows, and the winner is not ahead of that entry, then the approach has not lost. Using the other entry
    instead would bias the comparison towards its approach; a doubt only withdraws a claim.
    """
    noise, found = row_noise(reader, goal.metric), []
    for contest in rounds:
        if contest.winner is None:
            continue
        loser = contest.second if contest.winner is contest.first else contest.first
        pair = overtaken(loser, cells, goal, reader)
        again = compare(pair.second, contest.winner, goal, noise).better if pair else "second"
        if pair and again != "second":
            how = "behind" if again == "first" else "not ahead of"
            said = f"with {contest.budget_name} labels {contest.winner.entry} is {how} {pair.second.entry}"
            found.append((contest, said))
    return found


def of_headline(doubted: Sequence[Doubt], rounds: Sequence[Pair]) -> list[Doubt]:
    """The doubts that affect whether transfer pays off: not those at budgets with an undoubted lead of transfer."""
    firm = [own for own in rounds if not any(own is contest for contest, _ in doubted)]
    paid = {own.budget for own in firm if own.first.kind == "scratch" and own.outcome == "transfer"}
    return [
        (contest, said)
        for contest, said in doubted
        if contest.first.kind == "scratch" and (contest.outcome == "scratch" or contest.budget not in paid)
    ]


def in_words(doubted: Sequence[Doubt]) -> str:
    """The doubts as an addition to a sentence: `; but with 500 labels ulmfit is not ahead of gru, which ...`."""
    if not doubted:
        return ""
    clauses = " and ".join(said for _, said in doubted)
    return f"; but {clauses}, which {'was' if len(doubted) == 1 else 'were'} not selected"
