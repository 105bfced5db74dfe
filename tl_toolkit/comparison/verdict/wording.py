"""The sentences of a comparison's report, each made once from the decision (docs/decision.md)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ...evaluation import formatting as show
from ...evaluation.decision.recommendation import ALIKE
from .words import KINDS, Json, Words

STATUS = {
    "ahead": "ahead of all others",
    "equivalent_and_cheaper": "equivalent and cheaper",
    "undecided": "open",
    "nothing_beats_constant": "nothing beats the constant answer",
}
WORTH = 1.5
"""The least factor of labels for which label equivalence is mentioned."""


def headline_of(decision: Json) -> str:
    """The recommendation of the whole comparison, in one sentence of at most 30 words."""
    facts = decision["panels"]
    if not facts:
        return "No run has finished yet."
    if len(facts) == 1:
        return facts[0]["card"]["headline"]
    if decision["recommended"] is None:
        return f"There is one recommendation for each of the {len(facts)} datasets."
    many = "both" if len(facts) == 2 else f"all {len(facts)}"
    return (
        f"If one entry must serve {many} datasets, use {decision['recommended']}: no cheaper one is as good on average."
    )


def card_of(decision: Json, facts: Json) -> dict[str, Any]:
    """The decision card of a dataset: `headline`, `cost`, `runner_up`, `next` and at most three `sentences`."""
    words, own = Words(facts), [one for one in decision["budgets"] if one["dataset"] == facts["dataset"]]
    empty = {"cost": "", "runner_up": "", "next": "", "sentences": []}
    if not own:
        return empty | _nothing_to_decide(facts)
    top, here = own[-1], _only(decision, facts["dataset"])
    used, other = top["recommended"] or top["best"], _other(top)
    parts = {"headline": _headline(top, words), "cost": "", "runner_up": "", "next": _next(top, here, words)}
    entries = {one["entry"]: one for one in top["entries"]}
    if top["status"] == "nothing_beats_constant":
        reached = f"{words.score(top['expected']['value'])}{words.interval(top['expected'])}"
        floor = f", the constant answer {words.score(words.floor)}" if words.floor is not None else ""
        parts["runner_up"] = f"The best of them, {used}, has {reached}{floor}."
    else:
        costs = [words.cost(entries[used]), words.cost(entries[other]) if other else ""]
        parts["cost"] = f"It costs {costs[0]}{f'; {other} costs {costs[1]}' if costs[1] else ''}." if costs[0] else ""
        parts["cost"] = " ".join(filter(None, [parts["cost"], words.form(entries[used], top.get("form"))]))
        parts["runner_up"] = _runner_up(top, used, other, words) if other else _with_fewer(own, words)
        if parts["runner_up"] and not other:
            parts["next"] = f"Next: run the others with {words.labels(top['labels'])}, too, which takes more time."
    return parts | {"sentences": _sentences(own, here, entries[used], words)}


def cross_validation(rows: str, folds: int, repeats: int) -> str:
    """How rows are tested: `300 rows: 5-fold cross-validation, repeated 2 times; every row is tested.`"""
    repeated = f", repeated {repeats} times" if repeats > 1 else ""
    return f"{rows}: {folds}-fold cross-validation{repeated}; every row is tested."


def budget_row(one: Json, facts: Json) -> dict[str, str]:
    """A row of the table of budgets: labels, recommended entry, expected score, runner-up, difference and status."""
    words, other, used = Words(facts), _other(one), one["recommended"] or one["best"]
    nothing, single = one["status"] == "nothing_beats_constant", one["expected"]["low"] is None
    expected = words.plain(one["expected"]["value"]) + ("" if single else f" ({words.ends(one['expected'])})")
    lead: Json | None = None
    if other:
        pair, turned = _pair(one, used, other)
        lead = words.lead(pair, turned=turned)
    return {
        "labels": show.count(one["labels"]),
        "recommended": show.MISSING if nothing else used,
        "expected": show.MISSING if nothing else expected,
        "runner_up": show.MISSING if nothing else other or show.MISSING,
        "difference": show.MISSING if lead is None or nothing else words.difference(lead, "value"),
        "status": "single runs" if single else STATUS[one["status"]] if other or nothing else "the only entry",
    }


def card_text(title: str, decision: Json) -> str:
    """The decision cards of all datasets as paragraphs of plain text."""
    several = len(decision["panels"]) > 1
    parts = [title, *([decision["headline"]] if several else [])]
    for facts in decision["panels"]:
        card, failed = facts["card"], f", {facts['failed']} failed" if facts["failed"] else ""
        head = f"{facts['dataset']}: {card['headline']}" if several else card["headline"]
        data = f"Dataset: {facts['dataset']}. {show.count(facts['runs'])} runs finished{failed}."
        texts = (head, card["cost"], card["runner_up"], card["next"], *card["sentences"], *facts["notes"], data)
        parts += [text for text in texts if text]
    return "\n\n".join(parts)


def _nothing_to_decide(facts: Json) -> dict[str, Any]:
    """The card of a dataset without a score for each test row."""
    if facts["test_rows"]:  # entries without a known number of labels, or constant answers alone
        return {"headline": "No decision: these runs leave nothing to compare."}
    if any("folds have finished" in note for note in facts["notes"]):
        return {
            "headline": "No decision: no entry has finished all of its folds.",
            "next": "Run the command again with more time, or test on one part of the rows with --folds 1.",
        }
    if facts["runs"]:
        return {
            "headline": "No decision: the predictions of these runs are missing.",
            "next": "Copy the runs folder of the comparison beside its results.jsonl, or run the comparison again.",
        }
    if facts["failed"]:
        failed = "The only run failed." if facts["failed"] == 1 else f"All {facts['failed']} runs failed."
        return {"headline": failed, "next": "Read the errors below, then run again with --retry_failed."}
    return {"headline": "No run has finished yet."}


def _only(decision: Json, dataset: str) -> dict[str, list[Json]]:
    names = ("kinds", "label_equivalence", "more_labels", "target")
    return {name: [one for one in decision[name] if one["dataset"] == dataset] for name in names}


def rivals(one: Json) -> list[str]:
    """The recommended (or best) entry at a budget, and the one that it is shown against, if there is one."""
    other = _other(one)
    return [one["recommended"] or one["best"], *([other] if other else [])]


def _other(one: Json) -> str | None:
    """The entry that the recommended one is shown against: the best one, or the next best; None without another."""
    used = one["recommended"] or one["best"]
    if used != one["best"]:
        return one["best"]
    rest = {pair["b"]: abs(pair["difference"]) for pair in one["comparisons"]}
    return min(rest, key=lambda name: rest[name], default=None)


def _with_fewer(own: Sequence[Json], words: Words) -> str:
    """How the next entry compares with the best one where several were run; empty if there were never several."""
    several = [one for one in own if one["comparisons"] and one["expected"]["low"] is not None]
    if not several:
        return ""
    one, best = several[-1], several[-1]["best"]
    nearest = min(one["comparisons"], key=lambda pair: abs(pair["difference"]))
    lead = words.lead(nearest)
    return f"With {words.labels(one['labels'])}, {nearest['b']} is {words.better(lead)} than {best}."


def _pair(one: Json, used: str, other: str) -> tuple[Json, bool]:
    """The comparison of two entries, and whether it must be turned for the lead of `used` over `other`."""
    wanted = used if used != one["best"] else other
    return next(pair for pair in one["comparisons"] if pair["b"] == wanted), used == one["best"]


def _headline(top: Json, words: Words) -> str:
    expected, used = top["expected"], top["recommended"] or top["best"]
    score, with_labels = words.score(expected["value"]), f"with {words.labels(top['labels'])}"
    with_labels = f"when trained on {words.trained(top['labels'])}" if words.folds else with_labels
    if top["status"] == "nothing_beats_constant":
        constant = words.constant or "the same"
        return f"Use none of these entries yet: {with_labels}, none clearly beats always predicting {constant}."
    if expected["low"] is None:
        return (
            f"Too early to decide from single runs: {used} scores best, with {score} at {words.labels(top['labels'])}."
        )
    start = f"Use {used} for now" if top["status"] == "undecided" else f"Use {used}"
    if not top["comparisons"]:
        start = f"{used} is the only entry"
    return f"{start}: expect {score}{words.interval(expected)} {with_labels}."


def _runner_up(top: Json, used: str, other: str, words: Words) -> str:
    pair, turned = _pair(top, used, other)
    lead = words.lead(pair, turned=not turned)  # of the other entry over the recommended one
    worse = used == top["best"] and words.plain(abs(lead["value"])) != words.plain(0)
    start = f"{'Runner-up' if worse else 'Alternative'}: {other} is {words.better(lead)}"
    entry = next(one for one in top["entries"] if one["entry"] == other)
    within = f"within the {words.within} that count as equal (--margin)"
    costs = f"{used} costs less" if _cheaper(top, used, other) else ""
    reading = pair["reading"]
    if lead["low"] is None:
        return f"{start} in these runs."
    if entry["failed"]:
        counted = f"always predicting {words.constant}" if words.constant else "the worst run"
        failed = f"{entry['failed']} of its {entry['runs']} runs failed, and a failed run counts as {counted}"
        return f"{start}. {failed}." if reading == "behind" else f"Runner-up: {other}. {failed}, so its rank is open."
    if used != top["best"] and entry["beats_constant"] is False:
        return f"{start}, but may be as bad as the constant answer."
    if used == top["best"] and reading == "behind":
        return f"{start}, which is beyond chance."
    if reading == "equivalent" or top["status"] == "equivalent_and_cheaper":
        return f"{start}. The difference is {within}{costs and f', and {costs}'}."
    unknown = "which is better" if used == top["best"] else f"whether the difference is {within}"
    return f"{start}. These runs leave open {unknown}{costs and f'; {costs}'}."


def _cheaper(top: Json, first: str, second: str) -> bool:
    """Whether the first of two entries is known to cost less: time of an answer, then of training."""
    costs = {one["entry"]: (one["answer_seconds"], one["training_seconds"]) for one in top["entries"]}
    (a, b), (c, d) = costs[first], costs[second]
    if a is not None and c is not None and max(a, c) > ALIKE * min(a, c):
        return a < c
    return b is not None and d is not None and b < d


def _next(top: Json, here: Mapping[str, list[Json]], words: Words) -> str:
    """What to do next."""
    if top["status"] == "nothing_beats_constant":
        return "Next: check that inputs and labels belong together, then label more training and test rows."
    if top["expected"]["low"] is None:
        return "Next: run each entry with 3 seeds (--seeds 1 2 3) to see how far scores move by chance."
    if not top["comparisons"]:
        return "Next: add entries to compare with, for example with --entries ladder."
    if said := _open(top, words):
        return said
    more = _more_labels(top, here, words)
    more = more.replace("more training", "nothing is left to do: more training", 1) if more.startswith("more") else more
    return f"Next: {more or f'compare at a second number of {words.unit}, to learn whether more of them pay.'}"


def _open(top: Json, words: Words) -> str:
    """What to do about an open decision; empty if it is not open."""
    if top["status"] != "undecided":
        return ""
    if said := _failed(top) or _settle(top, words):
        return said
    used, other = top["recommended"] or top["best"], _other(top)
    if other is None:
        return ""
    pair, turned = _pair(top, used, other)
    most = words.lead(pair, turned=not turned)["high"]
    return f"Next: keep {used}, unless up to {words.gap(most)} are worth the cost of {other}." if most else ""


def _failed(top: Json) -> str:
    """To repeat the failed runs of the entries that the card names; empty if all have finished."""
    one = next((own for own in top["entries"] if own["failed"] and own["entry"] in rivals(top)), None)
    if one is None:
        return ""
    failed = f"{one['failed']} of {one['runs']} runs of {one['entry']} failed"
    return f"Next: find out why {failed} (see the report), then repeat them with --retry_failed."


def _settle(top: Json, words: Words) -> str:
    """The seeds and test rows that would settle the open comparisons; empty if none is open."""
    used = top["recommended"] or top["best"]
    open_pairs = [pair for pair in top["comparisons"] if pair["reading"] == "undecided" and pair["to_settle"]]
    first = [pair for pair in open_pairs if pair["b"] in (used, _other(top))] or open_pairs
    if not first:
        return ""
    pair = first[0]
    needs, runs = pair["to_settle"], {one["entry"]: one["runs"] for one in top["entries"]}
    both = f"{pair['a']} and {pair['b']}"
    if needs["seeds"] is None:
        return f"Next: choose by cost. Even 100 seeds and 100 times the test rows may leave {both} undecided."
    now = min(runs[pair["a"]], runs[pair["b"]])
    seeds = f"run {needs['seeds']} seeds of each (now {now}; --settle adds these runs)" if needs["seeds"] > now else ""
    kind = "rows" if words.folds else "test rows"
    rows = f"have {show.significant(needs['test_rows'])} labelled {kind} (now {show.count(words.rows)})"
    todo = [text for text in (rows if needs["test_rows"] > words.rows else "", seeds) if text]
    return f"Next: to decide between {both}, {show.joined(todo)}." if todo else ""


def _more_labels(top: Json, here: Mapping[str, list[Json]], words: Words) -> str:
    """What more labels would give the recommended entry, or how many reach the target; empty if unknown."""
    used = top["recommended"] or top["best"]
    aim = next((one for one in here["target"] if one["entry"] == used), None)
    if aim is not None and aim["needs"] is not None:
        return f"to reach {words.score(words.target)}, {used} needs {words.needs(aim)}."
    if aim is not None:
        return f"choose another target. {used} is not expected to reach {words.score(words.target)}."
    later = next((one for one in here["more_labels"] if one["entry"] == used and one["expected"] is not None), None)
    if later is None:
        return ""
    gain = words.sign * (later["expected"] - top["expected"]["value"])
    reached = f"{words.score(later['expected'])}{words.interval(later)}"
    told = f"With {words.labels(later['labels'])} in all, expect {reached}"
    if gain <= words.margin:
        added = f"{words.gap(gain)} better" if gain > 0 else "no better"
        return f"more training {words.unit} hardly pay. {told}: {added}, within the {words.within} that count as equal."
    worst = later["low"] if words.sign > 0 else later["high"]
    sure = worst is None or words.sign * (worst - top["expected"]["value"]) > 0
    return f"add training {words.unit}{'' if sure else ' only if they are cheap'}. {told}: {words.gap(gain)} better."


def _sentences(own: Sequence[Json], here: Mapping[str, list[Json]], used: Json, words: Words) -> list[str]:
    """The average leads of the recommended entry's kind, the trend of one of them, and what labels are worth."""
    if own[-1]["expected"]["low"] is None or own[-1]["status"] == "nothing_beats_constant" or len(own) < 2:
        return []
    pairs = [one for one in here["kinds"] if used["kind"] in (one["a"], one["b"])]
    names = _names(own[-1]["entries"])
    leads = [_lead_of(used["kind"], one, names, words) for one in pairs]
    alike = {one["entry"] for budget in own for one in budget["entries"] if one["kind"] == used["kind"]}
    worth = _equivalence(here["label_equivalence"], alike, words)
    top = own[-1]
    more = show.capital(_more_labels(top, here, words)) if _open(top, words) and not _failed(top) else ""
    found = [_average(names[used["kind"]], leads, len(own), words), _trend(leads, words), worth or more]
    return [text for text in found if text]


def _lead_of(kind: str, one: Json, names: Mapping[str, str], words: Words) -> dict[str, Any]:
    """The average lead of a kind over another and its trend; positive is better."""
    turned = one["a"] == kind
    readings = {"ahead": "behind", "behind": "ahead"} if turned else {}
    average, trend = one["average_lead"], one["trend"]
    return {
        "kind": names[kind],
        "over": names[one["b"] if turned else one["a"]],
        "reading": readings.get(average["reading"], average["reading"]),
        "lead": words.lead(average, "value", turned),
        "trend": words.lead(trend, "per_doubling", turned) if trend["reading"] != "constant_or_unknown" else None,
        "crossing": one["crossing"],
    }


def _names(entries: Sequence[Json]) -> dict[str, str]:
    """The kinds in words, with the name of the entry where there is one of a kind."""
    members: dict[str, list[str]] = {}
    for one in entries:
        members.setdefault(one["kind"], []).append(one["entry"])
    return {**KINDS, **{kind: f"{KINDS[kind]} ({own[0]})" for kind, own in members.items() if len(own) == 1}}


def _average(kind: str, leads: Sequence[Json], budgets: int, words: Words) -> str:
    told = [one for one in leads if one["reading"] == "ahead"] + [one for one in leads if one["reading"] == "behind"]
    alike = [one["over"] for one in leads if one["reading"] == "equivalent"]
    told = [one for one in told if one["crossing"] is None]  # the trend says it better
    parts = [f"{words.better(one['lead'])} than {one['over']}" for one in told[:2]]
    if not told and alike:
        parts = [f"equivalent to {show.joined(alike)} within {words.within}"]
    if not parts:
        return ""
    return f"On average over the {budgets} numbers of {words.unit}, {kind} are {show.joined(parts)}."


def _trend(leads: Sequence[Json], words: Words) -> str:
    one = next((own for own in leads if own["trend"] is not None), None)
    if one is None:
        return ""
    ahead = one["lead"]["value"] >= 0
    sign = 1 if ahead else -1
    slope = sign * one["trend"]["value"]
    ends = sorted(abs(one["trend"][end]) for end in ("low", "high"))
    first, second = (one["kind"], one["over"])[::sign]
    change = f"{words.gap(slope)}{words.interval({'low': ends[0], 'high': ends[1]})}"
    changes = f"{'grows' if slope > 0 else 'shrinks'} by {change} with each doubling of the {words.unit}."
    if one["crossing"]:
        few, many = (first, second) if slope < 0 else (second, first)
        at = f"about {show.significant(one['crossing'])} {words.unit}"
        return f"Below {at}, {few} are better; with more, {many} are."
    return f"The lead of {first} over {second} {changes}"


def _equivalence(found: Sequence[Json], entries: Collection[str], words: Words) -> str:
    """How many labels another kind needs for the score of one of these entries with the fewest labels."""
    able = [
        one
        for one in found
        if one["entry"] in entries
        and None not in (one["needs"], one["low"])
        and one["needs"] >= WORTH * one["labels"]
        and one["low"] > one["labels"]
    ]
    if not able:
        return ""
    one = min(able, key=lambda own: (own["labels"], own["needs"]))
    return f"{one['against']} needs {words.needs(one)} to match {one['entry']} with {words.labels(one['labels'])}."
