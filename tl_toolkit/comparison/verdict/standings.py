"""Which kind of entry is ahead of which at each label budget, in words: the headline of a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from .. import formatting as show
from ..statistics.cells import KINDS, Kind
from ..statistics.contest import Contest

NO_DIFFERENCE = "no difference that these runs can show"
LONG: dict[Kind, str] = {
    "scratch": "training from scratch",
    "recurrent": "ULMFiT-style transfer",
    "transformer": "transformer transfer",
}
"""What the kinds are called where there are several kinds of transfer."""
SHORT: dict[Kind, str] = {"scratch": "from scratch", "recurrent": "ULMFiT-style", "transformer": "transformer"}


def kinds_of(rounds: Sequence[Contest]) -> list[Kind]:
    """The kinds that are in any contest, the least transfer first."""
    there = {cell.kind for contest in rounds for cell in (contest.first, contest.second)}
    return [kind for kind in KINDS if kind in there]


def budget_of(contest: Contest) -> str:
    """The label budget of a contest as a reader knows it."""
    return show.budget(contest.budget, contest.second.train_labels)


def headline(rounds: Sequence[Contest]) -> str:
    """Who is ahead at which budgets. With two kinds of which one is from scratch, it answers whether transfer pays."""
    by_budget = [list(members) for _, members in groupby(rounds, key=lambda contest: contest.budget)]
    kinds = kinds_of(rounds)
    if len(kinds) == 2 and kinds[0] == "scratch":
        return _two_kinds(rounds)
    groups = [(said, list(members)) for said, members in groupby(by_budget, key=lambda contests: standing(contests))]
    answers = {pays(contests) for contests in by_budget}
    answer = {
        frozenset({"yes"}): "Yes, a pre-trained model pays: ",
        frozenset({"no"}): "No, training from scratch is enough: ",
    }.get(frozenset(answers), "")
    if len(groups) == 1:
        where = _everywhere([contests[0] for contests in by_budget])
        single = _single(by_budget)
        return show.capital(f"{answer}{where}{',' if len(by_budget) > 1 else ''} {groups[0][0]}{single}")
    parts = []
    for said, members in groups:
        labels = show.joined([budget_of(contests[0]) for contests in members])
        parts.append(f"with {labels}{_single(members)} {said}")
    return f"{answer or 'It depends on the number of labels: '}{'; '.join(parts)}"


def pays(contests: Sequence[Contest]) -> str:
    """Whether some transfer is ahead of training from scratch at a budget: "yes", "no" (none, and all are behind), or
    "open"."""
    against = [contest.outcome for contest in contests if contest.first.kind == "scratch"]
    if "transfer" in against:
        return "yes"
    return "no" if against and set(against) == {"scratch"} else "open"


def standing(contests: Sequence[Contest]) -> str:
    """The contests of one budget in one clause: `transformer transfer is ahead of ... and ...`."""
    kinds = kinds_of(contests)
    beats: Mapping[Kind, set[Kind]] = {kind: set() for kind in kinds}
    for contest in contests:
        if (winner := contest.winner) is not None:
            loser = contest.second if winner is contest.first else contest.first
            beats[winner.kind].add(loser.kind)
    names = {kind: LONG[kind] for kind in kinds}
    if not any(beats.values()):
        return f"there is {NO_DIFFERENCE} between {show.joined([names[kind] for kind in kinds])}"
    for kind, behind in beats.items():
        others = [other for other in kinds if other != kind]
        if behind != set(others):
            continue
        if len(others) == 1:
            return f"{names[kind]} is ahead of {names[others[0]]}"
        ranked = sorted(others, key=lambda other: -len(beats[other]))
        if beats[ranked[0]]:
            return f"{names[kind]} is ahead of {names[ranked[0]]}, and that of {names[ranked[1]]}"
        return (
            f"{names[kind]} is ahead of {show.joined([names[other] for other in others])}, with {NO_DIFFERENCE} "
            "between those two"
        )
    for kind in kinds:
        others = [other for other in kinds if other != kind]
        if all(kind in beats[other] for other in others):
            ahead = show.joined([names[other] for other in others])
            return f"{ahead} are ahead of {names[kind]}, with {NO_DIFFERENCE} between those two"
    clauses = [f"{names[kind]} is ahead of {names[other]}" for kind, behind in beats.items() for other in behind]
    beaten = set().union(*beats.values())
    within = [kind for kind in kinds if not beats[kind] and kind not in beaten]
    rest = f", while {names[within[0]]} is within the noise of both" if within else ""
    return f"{show.joined(clauses)}{rest}"


def _single(by_budget: Sequence[Sequence[Contest]]) -> str:
    """What is decided by single runs is said to be."""
    rests = [any(contest.single and contest.winner is not None for contest in contests) for contests in by_budget]
    return " (in part in single runs)" if any(rests) else ""


def _everywhere(firsts: Sequence[Contest]) -> str:
    if len(firsts) == 1:
        return f"with {budget_of(firsts[0])} labels"
    return f"at every label budget tried, from {budget_of(firsts[0])} to {budget_of(firsts[-1])}"


def _two_kinds(rounds: Sequence[Contest]) -> str:
    """From scratch against one kind of transfer, a contest for each budget."""
    ahead = {"transfer": "the pre-trained model is ahead", "scratch": "the model trained from scratch is ahead"}
    groups = [(outcome, list(members)) for outcome, members in groupby(rounds, key=lambda contest: contest.outcome)]
    if len(groups) > 1:
        parts = []
        for outcome, members in groups:
            labels = show.joined(
                [f"{budget_of(c)}{' (single runs)' if c.single and outcome in ahead else ''}" for c in members]
            )
            parts.append(f"with {labels} {ahead.get(outcome, f'there is {NO_DIFFERENCE}')}")
        return f"It depends on the number of labels: {'; '.join(parts)}"
    outcome, where = groups[0][0], _everywhere(rounds)
    answers = {"transfer": ("Yes", "a pre-trained model pays"), "scratch": ("No", "training from scratch is enough")}
    if outcome in answers:
        answer, meaning = answers[outcome]
        single = [budget_of(contest) for contest in rounds if contest.single]
        everywhere = len(single) == len(rounds)
        but = f"; with {show.joined(single)} labels in single runs" if single and not everywhere else ""
        return f"{'In single runs' if everywhere else answer}, {meaning}: it is ahead {where}{but}"
    comma = "" if len(rounds) == 1 else ","
    return show.capital(f"{where}{comma} there is {NO_DIFFERENCE} between training from scratch and transfer")
