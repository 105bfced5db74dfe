"""The verdict in words: is a pre-trained model needed on this data, or is training from scratch enough?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from . import formatting as show
from .baseline import Baseline
from .cells import Cell
from .contest import Contest, Goal, best, compare, labels_to_match, overtaken
from .predictions import PredictionReader

NO_DIFFERENCE = "no difference that these runs can show"
AHEAD = {"transfer": "the pre-trained model is ahead", "scratch": "the model trained from scratch is ahead"}


@dataclass(frozen=True)
class Verdict:
    """`headline` answers, `sentences` give the numbers behind it, `notes` say what they rest on."""

    headline: str
    sentences: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def decide(
    cells: Sequence[Cell],
    rounds: Sequence[Contest],
    goal: Goal,
    reader: PredictionReader,
    failed: int = 0,
    constant: Sequence[Baseline] = (),
) -> Verdict:
    """The verdict over all budgets.

    `rounds` are the contests among `cells`, `failed` counts runs without a result, and `constant` are the baselines
    that an entry has to beat.
    """
    if not cells:
        if failed == 0:
            return Verdict("No run has finished yet")
        return Verdict("The only run failed" if failed == 1 else f"All {failed} runs failed")
    notes = [_label_note(cells), *_seed_notes(rounds)]
    if failed:
        notes.append(f"{_runs(failed)} failed and {'is' if failed == 1 else 'are'} left out.")
    if not rounds:
        leaders = _leaders(cells, goal)
        sentences = [*_best_alone(leaders, cells, goal), _unbeaten(leaders, constant, goal, reader)]
        return Verdict(_no_contest(cells), [sentence for sentence in sentences if sentence], notes)
    picked = [cell for contest in rounds for cell in (contest.scratch, contest.transfer)]
    notes[2:2] = _overtaken_notes(picked, cells, goal, reader)
    unbeaten = _unbeaten(picked, constant, goal, reader)
    sentences = [_numbers(rounds), unbeaten, _cost(rounds[-1]), _labels_worth(rounds, reader)]
    return Verdict(_headline(rounds), [sentence for sentence in sentences if sentence], notes)


def _headline(rounds: Sequence[Contest]) -> str:
    groups = [(outcome, list(members)) for outcome, members in groupby(rounds, key=lambda contest: contest.outcome)]
    if len(groups) > 1:
        parts = []
        for outcome, members in groups:
            labels = show.joined(
                [f"{_budget(c)}{' (single runs)' if c.single and outcome in AHEAD else ''}" for c in members]
            )
            parts.append(f"with {labels} {AHEAD.get(outcome, f'there is {NO_DIFFERENCE}')}")
        return f"It depends on the number of labels: {'; '.join(parts)}"
    outcome, first, last = groups[0][0], _budget(rounds[0]), _budget(rounds[-1])
    where = f"with {first} labels" if len(rounds) == 1 else f"at every label budget tried, from {first} to {last}"
    answers = {"transfer": ("Yes", "a pre-trained model pays"), "scratch": ("No", "training from scratch is enough")}
    if outcome in answers:
        answer, meaning = answers[outcome]
        single = [_budget(contest) for contest in rounds if contest.single]
        everywhere = len(single) == len(rounds)
        but = f"; with {show.joined(single)} labels in single runs" if single and not everywhere else ""
        return f"{'In single runs' if everywhere else answer}, {meaning}: it is ahead {where}{but}"
    comma = "" if len(rounds) == 1 else ","
    return show.capital(f"{where}{comma} there is {NO_DIFFERENCE} between training from scratch and transfer")


def _numbers(rounds: Sequence[Contest]) -> str:
    """One sentence with the scores and the difference at each budget (of many, at the first and the last)."""
    shown = list(rounds) if len(rounds) <= 3 else [rounds[0], rounds[-1]]
    parts: list[str] = []
    before: Contest | None = None
    for contest in shown:
        metric, transfer, scratch = contest.goal.metric, contest.transfer, contest.scratch
        reached, other = transfer.test[metric].mean, scratch.test[metric].mean
        start = f"with {_budget(contest)} labels"
        if before is None:
            against = f"{show.score(other, metric)} for {scratch.entry} (from scratch), both picked on validation rows"
            text = f"{start}, {transfer.entry} reaches {_reached(reached, metric)} on the test rows against {against}"
        else:
            who = "it" if before.transfer.entry == transfer.entry else transfer.entry
            whose = "" if before.scratch.entry == scratch.entry else f" for {scratch.entry}"
            text = f"{start} {who} reaches {show.score(reached, metric)} against {show.score(other, metric)}{whose}"
        parts.append(f"{text}: {_difference(contest)}")
        before = contest
    sentence = "; ".join(parts)
    return f"{show.capital(sentence)}."


def _reached(value: float, metric: str) -> str:
    if metric in show.PERCENT_METRICS:
        return f"{show.score(value, metric)} {show.metric_name(metric)}"
    return f"a {show.metric_name(metric)} of {show.score(value, metric)}"


def _difference(contest: Contest) -> str:
    metric, bounds = contest.goal.metric, contest.interval
    sign = 1 if contest.difference >= 0 else -1
    size = f"{show.gap(contest.difference, metric)} {'more' if sign > 0 else 'less'}"
    if not contest.goal.greater_is_better:
        size += " (less is better)"
    if bounds is None:
        return f"{size}, with nothing to tell how sure that is"
    unit = " points" if metric in show.PERCENT_METRICS else ""
    if contest.outcome == "none":
        return f"{NO_DIFFERENCE} (95{show.SPACE}% interval {show.interval(bounds, metric)}{unit})"
    low, high = sorted((bounds.low * sign, bounds.high * sign))
    return f"{size} (95{show.SPACE}% interval {show.plain_score(low, metric)} to {show.plain_score(high, metric)})"


def _cost(contest: Contest) -> str:
    """What the two cost at the contest's budget, and before that in stages; empty when nothing is known."""
    transfer, scratch = contest.transfer, contest.scratch
    clauses: list[tuple[str, str]] = []
    seconds = (transfer.costs["train_seconds"], scratch.costs["train_seconds"])
    sizes = (transfer.costs["parameters"], scratch.costs["parameters"])
    if all(seconds):
        clauses.append(_clause(contest, seconds, show.seconds, "took {} as long to train as {}", "took about as long"))
    if all(sizes):
        more = "has {} as many parameters" + ("" if clauses else " as {}")
        clauses.append(_clause(contest, sizes, show.parameters, more, "has about as many parameters"))
    sentence = ""
    if clauses:
        (subject, text), rest = clauses[0], clauses[1:]
        for other, more in rest:
            text += f" and {more}" if other == subject else f", while {other} {more}"
        sentence = f"With {_budget(contest)} labels, {subject} {text}."
    for cell in (transfer, scratch):
        if (before := cell.costs["pretrain_seconds"]) is not None:
            took = f"The pre-training of {cell.entry}, made once for all of its runs, took {show.seconds(before)}."
            sentence = f"{sentence} {took}".strip()
    return sentence


def _clause(
    contest: Contest,
    pair: tuple[float | None, float | None],
    unit: Callable[[float | None], str],
    more: str,
    same: str,
) -> tuple[str, str]:
    """(who costs more, how much more): `("minilm", "took 14 times as long to train as lstm (48 s against 3.4 s)")`."""
    sides = [(pair[0] or 0.0, contest.transfer.entry), (pair[1] or 0.0, contest.scratch.entry)]
    (low, _), (high, _) = sorted(sides)
    if high < 1.15 * low:
        return contest.transfer.entry, f"{same} ({unit(pair[0])} against {unit(pair[1])})"
    (low, cheap), (high, dear) = sorted(sides)
    return dear, f"{more.format(show.times(high / low), cheap)} ({unit(high)} against {unit(low)})"


def _labels_worth(rounds: Sequence[Contest], reader: PredictionReader) -> str:
    """How many labels make up for not transferring: one sentence, empty when the curves say nothing about it."""
    won = next((contest for contest in rounds if contest.outcome == "transfer"), None)
    if won is None or won.budget == rounds[-1].budget:
        return ""
    what = f"what {won.transfer.entry} does with {_budget(won)}"
    needed = labels_to_match(won, rounds)
    if needed:
        labels, below, above = needed
        where = f"between {show.count(below)} and {show.count(above)}"
        enough = f"From scratch it takes about {show.significant(labels)} labels to match {what}"
        return f"{enough} (read off the learning curve {where})."
    most = rounds[-1]
    across = compare(most.scratch, won.transfer, won.goal, reader)
    if across.outcome == "transfer":
        return f"From scratch, not even {_budget(most)} labels reach {what}."
    return f"From scratch, {_budget(most)} labels come within the noise of {what}."


def _no_contest(cells: Sequence[Cell]) -> str:
    kinds = {cell.transfer for cell in cells}
    if kinds == {False}:
        return "Every finished run here is from scratch, so nothing can be said of transfer yet"
    if kinds == {True}:
        return "Every finished run here is a transfer, so nothing can be said of training from scratch yet"
    return "No label budget has finished runs both from scratch and with transfer yet"


def _leaders(cells: Sequence[Cell], goal: Goal) -> list[Cell]:
    """The best entry of each budget by its validation rows."""
    found = [best(list(members), goal) for _, members in groupby(cells, key=lambda cell: cell.budget)]
    return [leader for leader in found if leader is not None]


def _best_alone(leaders: Sequence[Cell], cells: Sequence[Cell], goal: Goal) -> list[str]:
    sentences = []
    for leader in leaders:
        alone = sum(cell.budget == leader.budget for cell in cells) == 1
        chosen = "" if alone else "the entry with the best validation score is "
        verb = " reaches" if alone else ", which reaches"
        reached = _reached(leader.test[goal.metric].mean, goal.metric)
        sentences.append(f"With {_labels(leader)} labels {chosen}{leader.entry}{verb} {reached} on the test rows.")
    return sentences


def _unbeaten(picked: Sequence[Cell], constant: Sequence[Baseline], goal: Goal, reader: PredictionReader) -> str:
    """Which of the picked entries do not beat always giving the same answer: one sentence, empty when all do."""
    clauses = []
    for baseline in constant:
        here = [cell for cell in picked if cell.budget == baseline.budget]
        below = [cell for cell in here if goal.metric in baseline.test and not baseline.beaten_by(cell, goal, reader)]
        if below:
            reached = [f"{cell.entry} ({show.score(cell.test[goal.metric].mean, goal.metric)})" for cell in below]
            verb = "does" if len(below) == 1 else "do"
            least = show.score(baseline.test[goal.metric].mean, goal.metric)
            clauses.append(
                f"with {_labels(below[0])} labels, {show.joined(reached)} {verb} not beat always answering "
                f"{baseline.what} ({least}) beyond the noise of the test rows"
            )
    return f"{show.capital('; '.join(clauses))}." if clauses else ""


def _overtaken_notes(picked: Sequence[Cell], cells: Sequence[Cell], goal: Goal, reader: PredictionReader) -> list[str]:
    """Where the test rows would have picked another entry than the validation rows did."""
    clauses = []
    for cell in picked:
        if found := overtaken(cell, cells, goal, reader):
            rival, lead = found
            low, high = sorted((lead.low, lead.high), key=abs)
            numbers = [show.plain_score(abs(bound), goal.metric) for bound in (low, high)]
            unit = " points" if goal.metric in show.PERCENT_METRICS else ""
            clauses.append(
                f"with {_labels(cell)} labels {cell.entry} is {numbers[0]} to {numbers[1]}{unit} behind {rival.entry}"
            )
    if not clauses:
        return []
    return [
        f"Picked on validation rows, yet behind another of its kind on the test rows (95\u00a0% interval over rows): "
        f"{'; '.join(clauses)}. The one ahead is not taken instead: picking on test rows would flatter its kind."
    ]


def _label_note(cells: Sequence[Cell]) -> str:
    parts = []
    for _, members in groupby(cells, key=lambda cell: cell.budget):
        here = list(members)
        train = sorted({cell.train_labels for cell in here if cell.train_labels is not None})
        chosen = sorted({cell.validation_labels for cell in here if cell.validation_labels is not None})
        parts.append(f"{_range(train)} + {_range(chosen)}")
    return (
        f"Labels used by a run, for training + for choosing its checkpoint (validation): {show.joined(parts)}. "
        "Both had to be paid for."
    )


def _range(numbers: Sequence[int]) -> str:
    if not numbers:
        return "unknown"
    low, high = show.count(numbers[0]), show.count(numbers[-1])
    return low if low == high else f"{low} to {high}"


def _seed_notes(rounds: Sequence[Contest]) -> list[str]:
    if not rounds:
        return []
    notes = [
        "The best entry of each kind is picked on validation rows and compared on test rows; an entry is called ahead "
        "only when the 95\u00a0% intervals over seeds (Welch) and over test rows (paired bootstrap) both leave out "
        "zero."
    ]
    single = [_budget(contest) for contest in rounds if contest.over_seeds is None]
    if single:
        notes.append(
            f"With {show.joined(single)} labels a side has a single run, so how much the seed matters is not in the "
            "interval."
        )
    blind = [_budget(contest) for contest in rounds if contest.over_rows is None]
    if blind:
        notes.append(
            f"With {show.joined(blind)} labels the runs' predictions on common test rows were not at hand, so how much "
            "the choice of test rows matters is not in the interval."
        )
    return notes


def _budget(contest: Contest) -> str:
    return show.budget(contest.budget, contest.transfer.train_labels)


def _labels(cell: Cell) -> str:
    return show.budget(cell.budget, cell.train_labels)


def _runs(number: int) -> str:
    return "1 run" if number == 1 else f"{number} runs"
