"""What a verdict rests on and what it leaves open, in words: labels, method, unknowns, costs and doubts."""

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
MEASURES: tuple[tuple[str, Unit, str, str], ...] = (
    ("train_seconds", show.seconds, "took {} as long to train", "took about as long"),
    ("parameters", show.parameters, "has {} as many parameters", "has about as many parameters"),
    ("latency_seconds", show.milliseconds, "takes {} as long for one row at a time", "answers one row about as fast"),
)
"""Of each cost its name, its unit, and how a difference and none of it are said."""


def label_note(cells: Sequence[Cell]) -> str:
    """The labels that a run used: to train, to choose its checkpoint, and what tuning made of the latter."""
    parts = []
    for _, members in groupby(cells, key=lambda cell: cell.budget):
        here = list(members)
        train, chosen = [cell.train_labels for cell in here], [cell.validation_labels for cell in here]
        parts.append(f"{show.span(train, 'unknown')} + {show.span(chosen, 'unknown')}")
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
        told = [f"{name} in {show.span(own)} trials" for name, own in trials.items()]
        rest = [name for name in names if name not in trials]
        untuned = f", {show.joined(rest)} not at all" if rest else ""
        who = f"Tuned on the same validation labels: {show.joined(told)}{untuned}"
    return f" {who}."


def statistics_notes(rounds: Sequence[Pair]) -> list[str]:
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
    names = list(dict.fromkeys(cell.entry for cell in able if cell.results[0].section("arguments").get("vectors")))
    if not names:
        return ""
    return (
        f"{show.joined(names)} {'starts' if len(names) == 1 else 'start'} from pre-trained word vectors: all else is "
        "trained from scratch, but these know words that no label has taught."
    )


def _budgets(contests: Sequence[Pair]) -> list[str]:
    return list(dict.fromkeys(contest.budget_name for contest in contests))


def costs(contest: Pair) -> str:
    """What the two sides cost at the contest's budget; empty when nothing is known."""
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
    """What the stages before the runs of each entry took; empty when there were none."""
    said = {
        cell.entry: f"The pre-training of {cell.entry}, made once for all of its runs, took {show.seconds(before)}."
        for cell in cells
        if (before := cell.costs.get("pretrain_seconds")) is not None
    }
    return " ".join(said.values())


def _clause(contest: Pair, pair: tuple[float, float], unit: Unit, more: str, same: str, named: bool) -> tuple[str, str]:
    """(who costs more, how much more): `("minilm", "took 14 times as long to train as lstm (48 s against 3.4 s)")`."""
    sides = [(pair[0], contest.second.entry), (pair[1], contest.first.entry)]
    (low, cheap), (high, dear) = sorted(sides)
    if high < 1.15 * low:
        return contest.second.entry, f"{same} ({unit(pair[0])} against {unit(pair[1])})"
    other = f" as {cheap}" if named else ""
    return dear, f"{more.format(show.times(high / low))}{other} ({unit(high)} against {unit(low)})"


def doubts(rounds: Sequence[Pair], cells: Sequence[Cell], goal: Goal, reader: PredictionReader) -> list[Doubt]:
    """Contests that another entry undoes, and how: `with 500 labels ulmfit is not ahead of gru`.

    A contest is decided between picked entries. Where the one that lost is itself behind another of its kind on the
    test rows, beyond the noise, and the winner is not ahead of that one, its kind has not lost. Taking the other one
    instead would flatter its kind; saying so only takes back a claim.
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
    """Those that touch whether transfer pays: not where another transfer's lead at that budget stands undoubted."""
    firm = [own for own in rounds if not any(own is contest for contest, _ in doubted)]
    paid = {own.budget for own in firm if own.first.kind == "scratch" and own.outcome == "transfer"}
    return [
        (contest, said)
        for contest, said in doubted
        if contest.first.kind == "scratch" and (contest.outcome == "scratch" or contest.budget not in paid)
    ]


def in_words(doubted: Sequence[Doubt]) -> str:
    """What a sentence has to add: `; but with 500 labels ulmfit is not ahead of gru, which was not picked`."""
    if not doubted:
        return ""
    clauses = " and ".join(said for _, said in doubted)
    return f"; but {clauses}, which {'was' if len(doubted) == 1 else 'were'} not picked"
