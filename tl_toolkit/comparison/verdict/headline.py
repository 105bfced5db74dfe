"""The headline of a verdict: which approach is ahead at each label budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from ...evaluation import formatting as show
from ...evaluation.statistics.cells import KINDS, Kind
from ...evaluation.statistics.pairwise import Pair

NO_DIFFERENCE = "no significant difference"
LONG: dict[Kind, str] = {
    "scratch": "training from scratch",
    "recurrent": "ULMFiT-style transfer",
    "transformer": "transformer transfer",
}
"""The names of the approaches where there are several forms of transfer."""
SHORT: dict[Kind, str] = {"scratch": "from scratch", "recurrent": "ULMFiT-style", "transformer": "transformer"}


def kinds_of(rounds: Sequence[Pair]) -> list[Kind]:
    """The approaches in `rounds`, ordered from the least to the most transfer."""
    there = {cell.kind for contest in rounds for cell in (contest.first, contest.second)}
    return [kind for kind in KINDS if kind in there]


def headline(rounds: Sequence[Pair]) -> str:
    """The headline, without a full stop: which approach is ahead at which budgets.

    With training from scratch and one form of transfer, it says whether transfer pays off. With more approaches whose
    order depends on the budget, it says where transfer pays off, and `standings` gives the full order.
    """
    kinds = kinds_of(rounds)
    if len(kinds) == 2 and kinds[0] == "scratch":
        return _two_kinds(rounds)
    by_budget, groups = _group_by_standing(rounds)
    answers = [pays(contests) for contests in by_budget]
    where = _budget_range([contests[0] for contests in by_budget])
    if len(groups) == 1:
        answer = f"{_ANSWERS[answers[0]]}: " if answers[0] in _ANSWERS else ""
        comma = "," if len(by_budget) > 1 else ""
        return show.capital(f"{answer}{where}{comma} {groups[0][0]}{_single_run_remark(by_budget)}")
    if len(set(answers)) == 1 and answers[0] in _ANSWERS:
        return f"{_ANSWERS[answers[0]]} {where}{_single_run_remark(by_budget)}"
    if kinds[0] != "scratch":
        return f"It depends on the number of labels: {_clauses(groups)}"
    parts = []
    for answer, said in _WHERE.items():
        budgets = [contests[0].budget_name for contests, own in zip(by_budget, answers, strict=True) if own == answer]
        if budgets:
            parts.append(f"with {show.joined(budgets)} {said}")
    if len(parts) == 1:  # neither, anywhere
        return show.capital(f"{where}, {_WHERE['open']}")
    return f"It depends on the number of labels: {'; '.join(parts)}{_single_run_remark(by_budget)}"


def standings(rounds: Sequence[Pair]) -> str:
    """The order of three or more approaches at each budget; empty if the headline already states it."""
    _, groups = _group_by_standing(rounds)
    kinds = kinds_of(rounds)
    return f"{show.capital(_clauses(groups))}." if len(groups) > 1 and len(kinds) > 2 and kinds[0] == "scratch" else ""


_ANSWERS = {"yes": "Yes, a pre-trained model pays off", "no": "No, training from scratch is enough"}
_WHERE = {
    "yes": "a pre-trained model is ahead of training from scratch",
    "no": "training from scratch is ahead of every form of transfer",
    "open": f"there is {NO_DIFFERENCE} between training from scratch and the best transfer",
}


def _group_by_standing(rounds: Sequence[Pair]) -> tuple[list[list[Pair]], list[tuple[str, list[list[Pair]]]]]:
    """The comparisons of each budget; and the same, with neighbouring budgets of equal standing grouped."""
    by_budget = [list(members) for _, members in groupby(rounds, key=lambda contest: contest.budget)]
    return by_budget, [(said, list(members)) for said, members in groupby(by_budget, key=standing)]


def _clauses(groups: Sequence[tuple[str, list[list[Pair]]]]) -> str:
    parts = []
    for said, members in groups:
        labels = show.joined([contests[0].budget_name for contests in members])
        parts.append(f"with {labels}{_single_run_remark(members)} {said}")
    return "; ".join(parts)


def pays(contests: Sequence[Pair]) -> str:
    """Whether transfer beats training from scratch at a budget: "yes" (some form does), "no" (all are behind) or
    "open"."""
    against = [contest.outcome for contest in contests if contest.first.kind == "scratch"]
    if "transfer" in against:
        return "yes"
    return "no" if against and set(against) == {"scratch"} else "open"


def standing(contests: Sequence[Pair]) -> str:
    """The comparisons of one budget as one clause: `transformer transfer is ahead of ... and ...`."""
    kinds = kinds_of(contests)
    beats: Mapping[Kind, set[Kind]] = {kind: set() for kind in kinds}
    for contest in contests:
        if (winner := contest.winner) is not None:
            loser = contest.second if winner is contest.first else contest.first
            beats[winner.kind].add(loser.kind)
    if not any(beats.values()):
        return f"there is {NO_DIFFERENCE} between {show.joined([LONG[kind] for kind in kinds])}"
    for kind, behind in beats.items():
        others = sorted((other for other in kinds if other != kind), key=lambda other: -len(beats[other]))
        names = [LONG[other] for other in others]
        if behind == set(others):
            if len(others) == 1:
                return f"{LONG[kind]} is ahead of {names[0]}"
            if beats[others[0]]:
                return f"{LONG[kind]} is ahead of {names[0]}, which is ahead of {names[1]}"
            return f"{LONG[kind]} is ahead of {show.joined(names)}, with {NO_DIFFERENCE} between those two"
    for kind in kinds:
        others = [other for other in kinds if other != kind]
        if all(kind in beats[other] for other in others):
            ahead = show.joined([LONG[other] for other in others])
            return f"{ahead} are ahead of {LONG[kind]}, with {NO_DIFFERENCE} between those two"
    clauses = [f"{LONG[kind]} is ahead of {LONG[other]}" for kind, behind in beats.items() for other in behind]
    within = [kind for kind in kinds if not beats[kind] and not any(kind in behind for behind in beats.values())]
    rest = f", with {NO_DIFFERENCE} between {LONG[within[0]]} and either of them" if within else ""
    return f"{show.joined(clauses)}{rest}"


def _single_run_remark(by_budget: Sequence[Sequence[Pair]]) -> str:
    """A remark if any decision is based on single runs."""
    rests = [any(contest.single and contest.winner is not None for contest in contests) for contests in by_budget]
    return " (partly from single runs)" if any(rests) else ""


def _budget_range(firsts: Sequence[Pair]) -> str:
    if len(firsts) == 1:
        return f"with {firsts[0].budget_name} labels"
    return f"at every label budget tried, from {firsts[0].budget_name} to {firsts[-1].budget_name}"


def _two_kinds(rounds: Sequence[Pair]) -> str:
    """The headline for training from scratch against one form of transfer, one comparison per budget."""
    ahead = {"transfer": "the pre-trained model is ahead", "scratch": "the model trained from scratch is ahead"}
    groups = [(outcome, list(members)) for outcome, members in groupby(rounds, key=lambda contest: contest.outcome)]
    if len(groups) > 1:
        parts = []
        for outcome, members in groups:
            names = [f"{c.budget_name}{' (single runs)' if c.single and outcome in ahead else ''}" for c in members]
            parts.append(f"with {show.joined(names)} {ahead.get(outcome, f'there is {NO_DIFFERENCE}')}")
        return f"It depends on the number of labels: {'; '.join(parts)}"
    outcome, where = groups[0][0], _budget_range(rounds)
    answers = {"transfer": _ANSWERS["yes"].split(", "), "scratch": _ANSWERS["no"].split(", ")}
    if outcome in answers:
        answer, meaning = answers[outcome]
        single = [contest.budget_name for contest in rounds if contest.single]
        everywhere = len(single) == len(rounds)
        but = f"; with {show.joined(single)} labels in single runs" if single and not everywhere else ""
        return f"{'In single runs' if everywhere else answer}, {meaning}: it is ahead {where}{but}"
    comma = "" if len(rounds) == 1 else ","
    return show.capital(f"{where}{comma} there is {NO_DIFFERENCE} between training from scratch and transfer")
