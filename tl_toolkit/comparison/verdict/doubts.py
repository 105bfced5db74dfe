"""Where a verdict rests on the entry that validation rows picked, and another of its kind would have undone it."""

from __future__ import annotations

from collections.abc import Sequence

from ..evidence.predictions import PredictionReader
from ..statistics.cells import Cell, Goal
from ..statistics.contest import Contest, overtaken
from ..statistics.pairwise import compare
from ..statistics.uncertainty import row_noise
from .standings import budget_of


def doubts(rounds: Sequence[Contest], cells: Sequence[Cell], goal: Goal, reader: PredictionReader) -> str:
    """What a headline has to add: `; but with 500 labels ulmfit is not ahead of gru, which was not picked`.

    A contest is decided between picked entries. Where the one that lost is itself behind another of its kind on the
    test rows, beyond the noise, and the winner is not ahead of that one, its kind has not lost. Taking the other one
    instead would flatter its kind; saying so only takes back a claim. Empty where there is no such contest.
    """
    noise, clauses = row_noise(reader, goal.metric), []
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
            clauses.append(f"with {budget_of(contest)} labels {contest.winner.entry} is {how} {pair.second.entry}")
    if not clauses:
        return ""
    return f"; but {' and '.join(clauses)}, which {'was' if len(clauses) == 1 else 'were'} not picked"
