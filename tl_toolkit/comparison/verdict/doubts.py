"""Where a verdict rests on the entry that validation rows picked, and another of its kind would have undone it."""

from __future__ import annotations

from collections.abc import Sequence

from ...evaluation.predictions import PredictionReader
from ...evaluation.statistics.cells import Cell, Goal
from ...evaluation.statistics.contest import Contest, overtaken
from ...evaluation.statistics.pairwise import compare
from ...evaluation.statistics.uncertainty import row_noise
from .standings import budget_of

Doubt = tuple[Contest, str]


def doubts(rounds: Sequence[Contest], cells: Sequence[Cell], goal: Goal, reader: PredictionReader) -> list[Doubt]:
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
        if pair is None:
            continue
        again = compare(pair.second, contest.winner, goal, noise).better
        if again != "second":
            how = "behind" if again == "first" else "not ahead of"
            said = f"with {budget_of(contest)} labels {contest.winner.entry} is {how} {pair.second.entry}"
            found.append((contest, said))
    return found


def of_headline(doubted: Sequence[Doubt], rounds: Sequence[Contest]) -> list[Doubt]:
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
    clauses = [said for _, said in doubted]
    return f"; but {' and '.join(clauses)}, which {'was' if len(clauses) == 1 else 'were'} not picked"
