"""The verdict in words: is a pre-trained model needed on this data, or is training from scratch enough?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations, groupby

from ...evaluation import formatting as show
from ...evaluation.predictions import PredictionReader
from ...evaluation.statistics.baseline import Baseline
from ...evaluation.statistics.cells import Cell, Goal
from ...evaluation.statistics.label_equivalence import CurveDraws, equivalence, usable
from ...evaluation.statistics.pairwise import Pair, best, compare, corrected, overtaken, picked_of
from ...evaluation.statistics.significance import ALPHA
from ...evaluation.statistics.uncertainty import row_noise
from .headline import LONG, NO_DIFFERENCE, SHORT, headline, kinds_of, standings
from .notes import (
    costs,
    doubts,
    in_words,
    label_note,
    never_predicted_notes,
    of_headline,
    pretraining,
    statistics_notes,
    vectors_note,
)

MOST_NAMES = 4
"""Maximum number of entries that a sentence names; otherwise it gives their number."""


@dataclass(frozen=True)
class Verdict:
    """`headline` is the conclusion, `sentences` give the numbers, `notes` describe data and method."""

    headline: str
    sentences: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def decide(
    cells: Sequence[Cell],
    rounds: Sequence[Pair],
    goal: Goal,
    reader: PredictionReader,
    failed: int = 0,
    constant: Sequence[Baseline] = (),
) -> Verdict:
    """The verdict over all budgets.

    `rounds` are the comparisons between approaches among `cells`, `failed` is the number of runs without a result, and
    `constant` are the baselines that an entry should beat.
    """
    if not cells:
        if failed == 0:
            return Verdict("No run has finished yet")
        return Verdict("The only run failed" if failed == 1 else f"All {failed} runs failed")
    notes = [label_note(cells), *statistics_notes(rounds)]
    notes += never_predicted_notes(cells)
    if failed:
        notes.append(f"{failed} {'run failed and is' if failed == 1 else 'runs failed and are'} left out.")
    if not rounds:
        leaders = _leaders(cells, goal)
        sentences = [*_leader_scores(leaders, cells, goal, reader), _not_beaten(leaders, constant, goal, reader)]
        return Verdict(_no_comparison(cells), [sentence for sentence in sentences if sentence], notes)
    picked = list({(c.entry, c.budget): c for contest in rounds for c in (contest.first, contest.second)}.values())
    notes[2:2] = [*_overtaken_notes(picked, cells, goal, reader), *filter(None, [vectors_note(picked)])]
    by_kinds = [
        [contest for contest in rounds if (contest.first.kind, contest.second.kind) == kinds]
        for kinds in combinations(kinds_of(rounds), 2)
    ]
    by_kinds = [own for own in by_kinds if own]
    doubted, order = doubts(rounds, cells, goal, reader), standings(rounds)
    if order:  # the headline only says where transfer pays off
        order, doubted = f"{order[:-1]}{in_words(doubted)}.", of_headline(doubted, rounds)
    sentences = [order, *(_numbers(own) for own in by_kinds)]
    sentences.append(_not_beaten(picked, constant, goal, reader))
    # The relative costs of two forms of transfer follow from their costs relative to training from scratch.
    against = [own for own in by_kinds if own[0].first.kind == by_kinds[0][0].first.kind]
    spent = [costs(own[-1]) for own in against] + [pretraining([c for c in picked if c.budget == rounds[-1].budget])]
    sentences.append(" ".join(said for said in spent if said))
    sentences += [_label_equivalence(own, cells, reader) for own in by_kinds]
    return Verdict(f"{headline(rounds)}{in_words(doubted)}", [sentence for sentence in sentences if sentence], notes)


def _numbers(rounds: Sequence[Pair]) -> str:
    """One sentence with the scores and the difference at each budget (with more than three, the first and last)."""
    shown = list(rounds) if len(rounds) <= 3 else [rounds[0], rounds[-1]]
    parts: list[str] = []
    before: Pair | None = None
    for contest in shown:
        metric, second, first = contest.goal.metric, contest.second, contest.first
        reached, other = second.test[metric].mean, first.test[metric].mean
        start = f"with {contest.budget_name} labels"
        if before is None:
            kind = SHORT[first.kind]
            against = f"{show.score(other, metric)} for {first.entry} ({kind}), both selected on validation rows"
            text = f"{start}, {second.entry} reaches {_reached(reached, metric)} on the test rows against {against}"
        else:
            who = "it" if before.second.entry == second.entry else second.entry
            whose = "" if before.first.entry == first.entry else f" for {first.entry}"
            text = f"{start} {who} reaches {show.score(reached, metric)} against {show.score(other, metric)}{whose}"
        parts.append(f"{text}: {_difference(contest)}")
        before = contest
    sentence = "; ".join(parts)
    return f"{show.capital(sentence)}."


def _reached(value: float, metric: str) -> str:
    if show.in_per_cent(metric) or metric == "bits_per_byte":  # the metric's name is its unit
        return f"{show.score(value, metric)} {show.metric_name(metric)}"
    return f"a {show.metric_name(metric)} of {show.score(value, metric)}"


def _difference(contest: Pair) -> str:
    metric, bounds = contest.goal.metric, contest.interval
    sign = 1 if contest.difference >= 0 else -1
    size = f"{show.gap(contest.difference, metric)} {'more' if sign > 0 else 'less'}"
    if not contest.goal.greater_is_better:
        size += " (less is better)"
    if bounds is None:
        return f"{size}, without a confidence interval"
    unit = " points" if show.in_per_cent(metric) else ""
    if contest.winner is None:
        alone = unit
        if bounds.excludes_zero() and contest.p is not None:  # interval and p-value come from different methods
            many = f" before the correction for {contest.family} comparisons"
            alone += many if contest.p <= ALPHA else f", but p = {contest.p:.3f} by {contest.test}"
        return f"{NO_DIFFERENCE} (95{show.SPACE}% interval {show.interval(bounds, metric)}{alone})"
    low, high = sorted((bounds.low * sign, bounds.high * sign))
    return f"{size} (95{show.SPACE}% interval {show.plain_score(low, metric)} to {show.plain_score(high, metric)})"


def _label_equivalence(rounds: Sequence[Pair], cells: Sequence[Cell], reader: PredictionReader) -> str:
    """How many labels the approach with less transfer needs to catch up: one sentence, empty if unknown.

    The learning curve of the first side's approach uses the entry selected at each of its budgets, including budgets
    without the second side. It is read at the score of the second side at the first budget where that is ahead.
    """
    won = next((contest for contest in rounds if contest.better == "second"), None)
    if won is None:
        return ""
    kind, noise = won.first.kind, row_noise(reader, won.goal.metric)
    curve = picked_of(kind, [cell for cell in cells if usable(cell, won.goal)], won.goal)
    if len(curve) < 2 or won.budget >= curve[-1].budget or not usable(won.second, won.goal):
        return ""
    draws, most = CurveDraws(noise, won.goal), curve[-1]
    rival = f"{won.second.entry} with {won.budget_name} labels"
    found = equivalence(won.second, draws.curve(kind, curve), draws)
    if 0 < found.needed <= found.most:
        return f"{show.capital(LONG[kind])} needs {found.in_words(' labels')} to match {rival}."
    if found.needed == 0:  # a falling curve whose monotone fit is above the score from the first budget on
        return ""
    across = compare(most, won.second, won.goal, noise)
    start = f"With {most.budget_name} labels, {LONG[kind]}"
    if across.interval is None:
        return f"{start} does not match {rival}, without a confidence interval."
    if across.better == "second":
        return f"Even with {most.budget_name} labels, {LONG[kind]} does not match {rival}."
    return f"{start} shows {NO_DIFFERENCE} from {rival}."


def _no_comparison(cells: Sequence[Cell]) -> str:
    if not any(cell.transfer for cell in cells):
        return "All finished runs are trained from scratch, so there is no result for transfer yet"
    if all(cell.transfer for cell in cells):
        return "All finished runs use transfer, so there is no result for training from scratch yet"
    return "No label budget has finished runs both from scratch and with transfer yet"


def _leaders(cells: Sequence[Cell], goal: Goal) -> list[Cell]:
    """The best entry of each budget on the validation rows."""
    found = (best(list(members), goal) for _, members in groupby(cells, key=lambda cell: cell.budget))
    return list(filter(None, found))


def _leader_scores(leaders: Sequence[Cell], cells: Sequence[Cell], goal: Goal, reader: PredictionReader) -> list[str]:
    sentences = []
    for leader in leaders:
        rivals = [cell for cell in cells if cell.budget == leader.budget and cell.entry != leader.entry]
        who = f"the entry with the best validation score is {leader.entry}, which" if rivals else leader.entry
        reached = f"{_reached(leader.test[goal.metric].mean, goal.metric)} on the test rows"
        met = _against_rivals(leader, rivals, goal, reader)
        sentences.append(f"With {leader.budget_name} labels {who} reaches {reached}{met}.")
    return sentences


def _against_rivals(leader: Cell, rivals: Sequence[Cell], goal: Goal, reader: PredictionReader) -> str:
    """How the leader compares with the others on the test rows, as clauses; empty if nothing is known."""
    noise = row_noise(reader, goal.metric)
    able = [rival for rival in rivals if goal.metric in rival.test]
    pairs = [pair for pair in corrected([compare(leader, rival, goal, noise) for rival in able]) if pair.p is not None]
    told = {
        "significantly ahead of {}": [pair.second.entry for pair in pairs if pair.better == "first"],
        "significantly behind {}": [pair.second.entry for pair in pairs if pair.better == "second"],
        f"with {NO_DIFFERENCE} from {{}}": [pair.second.entry for pair in pairs if pair.better == "none"],
    }
    known = {text: names for text, names in told.items() if names}
    few = {text: show.joined(own) if len(own) <= MOST_NAMES else f"{len(own)} others" for text, own in known.items()}
    return "".join(f", {text.format(names)}" for text, names in few.items())


def _not_beaten(picked: Sequence[Cell], constant: Sequence[Baseline], goal: Goal, reader: PredictionReader) -> str:
    """Which selected entries do not beat a constant baseline: one sentence, empty if all do."""
    clauses = []
    for baseline in constant:
        here = [cell for cell in picked if cell.budget == baseline.budget]
        below = [cell for cell in here if goal.metric in baseline.test and not baseline.beaten_by(cell, goal, reader)]
        if below:
            reached = [f"{cell.entry} ({show.score(cell.test[goal.metric].mean, goal.metric)})" for cell in below]
            verb = "does" if len(below) == 1 else "do"
            least = show.score(baseline.test[goal.metric].mean, goal.metric)
            clauses.append(
                f"with {below[0].budget_name} labels, {show.joined(reached)} {verb} not significantly beat always "
                f"predicting {baseline.what} ({least}) on the test rows"
            )
    return f"{show.capital('; '.join(clauses))}." if clauses else ""


def _overtaken_notes(picked: Sequence[Cell], cells: Sequence[Cell], goal: Goal, reader: PredictionReader) -> list[str]:
    """A note on selected entries that are behind another entry of the same approach on the test rows."""
    clauses = []
    for cell in picked:
        pair = overtaken(cell, cells, goal, reader)
        if pair is not None and pair.interval is not None:
            ends = sorted((abs(pair.interval.low), abs(pair.interval.high)))
            by = " to ".join(show.plain_score(end, goal.metric) for end in ends)
            unit = " points" if show.in_per_cent(goal.metric) else ""
            clauses.append(f"with {cell.budget_name} labels {cell.entry} is {by}{unit} behind {pair.second.entry}")
    if not clauses:
        return []
    return [
        "Selected on validation rows, but behind another entry of the same approach on test rows (95\u00a0% interval): "
        f"{'; '.join(clauses)}. The better entry is not used, because selecting on test rows would bias the result."
    ]
