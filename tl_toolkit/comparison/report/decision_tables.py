"""The tables of a decision, for the page and for report.md: budgets first, all comparisons behind a fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...evaluation import formatting as show
from ...evaluation.statistics.forms import NAMES as FORMS
from ..verdict.wording import budget_row
from ..verdict.words import KINDS, Words

Json = Mapping[str, Any]
READING = {"ahead": "ahead", "behind": "behind", "equivalent": "equivalent", "undecided": "open"}
MOST_ROWS = 60
"""Maximum number of rows of a table in report.md."""
TREND = {"grows": "grows", "shrinks": "shrinks", "constant_or_unknown": "constant or unknown"}


def describe_decision(own: Json) -> dict[str, Any]:
    """The card, the table of budgets, and the folded tables, each with `heading`, `hint`, `columns` and `rows`.

    The first `texts` columns of a table are words, the others numbers.

    Args:
        own: the decision on one dataset, from `decision.of_dataset`.
    """
    facts = own["facts"]
    words, labels = Words(facts), show.capital(facts["unit"])
    rows = [list(budget_row(one, facts).values()) for one in own["budgets"]]
    columns = [labels, "Recommended", f"Expected {words.axis} (95 %)", "Runner-up", "Difference (95 %)", "Status"]
    folded = [_forms(own, words, labels), _against_best(own, words, labels), _kinds(own, words)]
    folded += [_equivalence(own, words, labels)]
    folded += [_more_labels(own, words, labels), _pairs(own, words, labels)]
    return {
        "card": own["card"],
        "budgets": {"columns": columns, "rows": rows, "texts": 0, "links": None},
        "folded": [table for table in folded if table["rows"]],
        "notes": facts["notes"],
    }


def _table(heading: str, hint: str, columns: Sequence[str], rows: Sequence[list[str]], texts: int) -> dict[str, Any]:
    long = len(rows) > MOST_ROWS
    return {
        "heading": heading, "hint": hint, "columns": columns, "rows": rows, "texts": texts, "links": None, "long": long,
    }  # fmt: skip


def _forms(own: Json, words: Words, labels: str) -> dict[str, Any]:
    rows = []
    for one in reversed(own["budgets"]):
        for entry in one["entries"]:
            for form, cost in entry.get("forms", {}).items():
                ends = " to ".join(show.plain_milliseconds(cost.get(f"latency_seconds_p{part}")) for part in (25, 75))
                lost, same = cost.get("score_lost"), cost.get("agreement")
                rows.append(
                    [entry["entry"], FORMS[form], show.count(one["labels"])]
                    + [f"{show.plain_milliseconds(cost['latency_seconds'])} ({ends})"]
                    + [show.count(cost.get("rows_per_second")), show.memory(cost.get("bytes"))]
                    + [show.memory(cost.get("memory_bytes"))]
                    + [show.MISSING if lost is None else words.gap(lost) if lost > 0 else "none"]
                    + [show.MISSING if same is None else f"{100 * same:.1f}"]
                )
    return _table(
        "Costs as users run it",
        "The forms of each model on one CPU thread, which answered the same test rows in turns: the median time of one "
        "row (quartiles), throughput in batches of 32, the size of the weights, the peak memory of a process that only "
        "loads the model and answers a row, the score lost against PyTorch, and how many predictions are the same.",
        ["Entry", "Form", labels, "One row, ms", "Rows/s", "On disk", "Memory", "Score lost", "Same, %"],
        rows,
        2,
    )


def _against_best(own: Json, words: Words, labels: str) -> dict[str, Any]:
    rows = []
    for one in own["budgets"]:
        for pair in one["comparisons"]:
            needed = [show.MISSING, show.MISSING]
            if (settle := pair["to_settle"]) is not None:
                known = settle["seeds"] is not None
                needed = (
                    [show.count(settle["seeds"]), show.count(settle["test_rows"])] if known else ["over 100", "any"]
                )
            rows.append(
                [pair["b"], pair["a"], READING[pair["reading"]], show.count(one["labels"]), words.difference(pair)]
                + [show.p_value(pair["p_adjusted"]), words.gap(pair["detectable"]), *needed]
            )
    return _table(
        "Every entry against the best",
        "The difference of the entry to the best one, with simultaneous 95 % intervals. Detectable is the difference "
        "that these runs find with a probability of 80 %. The last two columns are what would settle an open "
        "comparison.",
        ["Entry", "Best", "Reading", labels, "Difference", "p, adjusted", "Detectable", "Seeds", "Test rows"],
        rows,
        3,
    )


def _kinds(own: Json, words: Words) -> dict[str, Any]:
    rows = []
    for one in own["kinds"]:
        lead, trend = one["average_lead"], one["trend"]
        zero = show.MISSING if one["crossing"] is None else show.significant(one["crossing"])
        rows.append(
            [show.capital(KINDS[one["b"]]), show.capital(KINDS[one["a"]]), READING[lead["reading"]]]
            + [TREND[trend["reading"]], words.difference(lead, "value"), words.difference(trend, "per_doubling"), zero]
        )
    return _table(
        "Kinds of models",
        f"The average difference of the first kind to the second over all budgets, and its change with each doubling "
        f"of the {words.unit}, with simultaneous 95 % intervals. The entry of a kind is picked on validation rows.",
        ["Kind", "Against", "Reading", "Difference", "Average", "Per doubling", "Zero at"],
        rows,
        4,
    )


def _equivalence(own: Json, words: Words, labels: str) -> dict[str, Any]:
    rows = [
        [one["entry"], one["against"], show.count(one["labels"]), _number(one["needs"])]
        + [f"{_number(one['low'])} to {_number(one['high'])}"]
        for one in own["label_equivalence"]
    ]
    return _table(
        f"Equivalent {words.unit}",
        f"How many {words.unit} the second entry needs to match the first one, from power laws fitted to the learning "
        "curves, with pointwise 95 % intervals.",
        ["Entry", "Against", f"{labels} of the first", "Needed by the second", "95 % interval"],
        rows,
        2,
    )


def _more_labels(own: Json, words: Words, labels: str) -> dict[str, Any]:
    rows = [
        [one["entry"], show.count(one["labels"]), words.plain(one["expected"]), words.ends(one)]
        for one in own["more_labels"]
        if one["expected"] is not None
    ]
    return _table(
        f"With more {words.unit}",
        "Scores that the fitted power laws predict, with pointwise 95 % intervals.",
        ["Entry", labels, show.capital(words.axis), "95 % interval"],
        rows,
        1,
    )


def _pairs(own: Json, words: Words, labels: str) -> dict[str, Any]:
    rows = [
        [one["b"], one["a"], READING[one["reading"]], show.count(one["labels"]), words.difference(one)]
        + [show.p_value(one["p"]), show.p_value(one["p_adjusted"])]
        for one in own["pairs"]
    ]
    return _table(
        "All pairs of entries",
        "The difference of the first entry to the second. All pairs are one family of tests, which is stricter than "
        "the comparisons with the best entry; nothing above quotes it.",
        ["Entry", "Against", "Reading", labels, "Difference", "p", "p, adjusted"],
        rows,
        3,
    )


def _number(value: float | None) -> str:
    """A number of labels in two digits; beyond what the curves tell, `never`."""
    return "never" if value is None else show.significant(max(value, 1))
