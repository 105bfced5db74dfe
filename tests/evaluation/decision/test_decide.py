"""The decision as a whole: its content, signs, gates and limits."""

import json
import math

import numpy as np
import pytest

from tl_toolkit.errors import UserError
from tl_toolkit.evaluation.decision import Cell, Entry, Panel, Settings, decide

SETTINGS = Settings("accuracy", bounds=(0.0, 1.0))
BUDGETS = (100.0, 300.0, 1000.0, 3000.0)
ROWS = 211


def panel(levels, runs=3, spread=0.01, constant=None, budgets=BUDGETS, costs=None, seed=0, name="d", sign=1.0):
    """Entries with 0/1 scores around their levels: kind -> level, or one level per budget."""
    rng = np.random.default_rng(seed)
    row = rng.normal(size=ROWS)
    entries = []
    for place, (key, level) in enumerate(levels.items()):
        cells = {}
        for labels, own in zip(budgets, np.broadcast_to(level, len(budgets)), strict=True):
            reached = own + spread * rng.normal(size=(runs, 1))
            scores = (row + rng.normal(size=(runs, ROWS)) < 1.414 * norm(reached)).astype(float)
            cells[labels] = Cell(sign * scores - (sign < 0))
        cost = costs[place] if costs else math.nan
        entries.append(Entry(key, key.split()[0], cells, {labels: (cost, 1.0) for labels in budgets}))
    answer = None if constant is None else (row + rng.normal(size=ROWS) < 1.414 * norm(constant)).astype(float)
    return Panel(name, entries, answer)


def norm(level):
    from scipy.special import ndtri

    return ndtri(np.clip(level, 0.01, 0.99))


def test_the_decision_is_the_documented_json():
    found = decide([panel({"scratch": 0.7, "transformer": 0.9}, constant=0.5)], SETTINGS)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["schema_version"] == 1 and found["metric"] == "accuracy" and found["margin"] == 0.02
    one = found["budgets"][0]
    assert one.keys() >= {"dataset", "labels", "recommended", "status", "expected", "beats_constant", "comparisons"}
    assert one["comparisons"][0].keys() == {
        "a", "b", "difference", "low", "high", "p_adjusted", "reading", "detectable", "to_settle"
    }  # fmt: skip
    kind = found["kinds"][0]
    assert kind.keys() == {"dataset", "a", "b", "average_lead", "trend", "crossing"}
    assert kind["average_lead"].keys() >= {"value", "low", "high", "reading"}
    assert kind["trend"].keys() == {"per_doubling", "low", "high", "reading"}
    assert found["label_equivalence"][0].keys() == {"dataset", "entry", "labels", "against", "needs", "low", "high"}
    assert found["more_labels"][0].keys() == {"dataset", "entry", "labels", "expected", "low", "high", "gain"}
    assert [one["labels"] for one in found["more_labels"][:2]] == [6000, 12000]


def test_a_clear_lead_is_found_everywhere():
    found = decide([panel({"scratch": 0.65, "transformer": 0.9}, constant=0.5)], SETTINGS)
    lead = found["kinds"][0]
    assert (lead["a"], lead["b"], lead["average_lead"]["reading"]) == ("scratch", "transformer", "ahead")
    assert lead["trend"]["reading"] == "constant_or_unknown" and lead["crossing"] is None
    for one in found["budgets"]:
        assert (one["recommended"], one["status"], one["beats_constant"]) == ("transformer", "ahead", True)
        assert one["comparisons"][0]["reading"] == "behind"
        assert one["comparisons"][0]["high"] < 0 and one["comparisons"][0]["p_adjusted"] <= 0.05
    assert found["recommended"] == "transformer"


def test_errors_have_the_same_decision_with_opposite_signs():
    levels = {"scratch": 0.65, "transformer": 0.9}
    up = decide([panel(levels)], Settings("accuracy", bounds=(0.0, 1.0)))
    down = decide([panel(levels, sign=1.0)], Settings("accuracy", bounds=(0.0, 1.0)))
    errors = decide(
        [Panel("d", [_errors(entry) for entry in panel(levels).entries])],
        Settings("error", greater_is_better=False, bounds=(0.0, 1.0)),
    )
    assert up == down
    lead, opposite = up["kinds"][0]["average_lead"], errors["kinds"][0]["average_lead"]
    assert opposite["reading"] == lead["reading"] == "ahead"
    assert opposite["value"] == pytest.approx(-lead["value"]) and opposite["low"] == pytest.approx(-lead["high"])
    expected, other = up["budgets"][0]["expected"], errors["budgets"][0]["expected"]
    assert other["value"] == pytest.approx(1 - expected["value"])
    assert other["low"] == pytest.approx(1 - expected["high"])
    assert errors["budgets"][0]["recommended"] == "transformer"


def _errors(entry):
    """The entry scored by negated errors."""
    cells = {labels: Cell(cell.scores - 1) for labels, cell in entry.cells.items()}
    return Entry(entry.name, entry.kind, cells, entry.cost)


def test_single_runs_decide_nothing():
    found = decide([panel({"scratch": 0.6, "transformer": 0.95}, runs=1, constant=0.3)], SETTINGS)
    assert found["recommended"] is None and found["single_runs"]
    for one in found["budgets"]:
        assert (one["recommended"], one["status"], one["beats_constant"]) == (None, "undecided", None)
        assert one["expected"]["low"] is None and one["expected"]["value"] is not None
        assert one["comparisons"][0]["reading"] == "undecided" and one["comparisons"][0]["low"] is None
    lead = found["kinds"][0]
    assert lead["average_lead"]["reading"] == "undecided" and lead["trend"]["reading"] == "constant_or_unknown"
    assert found["label_equivalence"] == found["more_labels"] == found["pairs"] == []


def test_a_crossing_is_a_trend_and_a_place():
    levels = {"scratch": [0.6, 0.72, 0.84, 0.95], "transformer": [0.9, 0.86, 0.82, 0.75]}
    found = decide([panel(levels)], SETTINGS)["kinds"][0]
    assert found["trend"]["reading"] == "shrinks" and 300 < found["crossing"] < 3000


def test_below_the_constant_answer_nothing_is_recommended():
    found = decide([panel({"scratch": 0.6, "transformer": 0.7}, constant=0.9)], SETTINGS)
    assert found["recommended"] is None
    for one in found["budgets"]:
        assert (one["recommended"], one["status"], one["beats_constant"]) == (None, "nothing_beats_constant", False)


def test_the_cheapest_within_the_margin_is_recommended():
    levels = {"linear": 0.9, "transformer": 0.9, "scratch": 0.6}
    wide = Settings("accuracy", margin=0.1, bounds=(0.0, 1.0))
    found = decide([panel(levels, costs=(1.0, 5.0, 0.1))], wide)
    assert found["recommended"] == "linear"
    assert found["budgets"][-1]["status"] == "equivalent_and_cheaper"
    dear = decide([panel(levels, costs=(5.0, 1.0, 0.1))], wide)
    assert dear["recommended"] == "transformer"


def test_a_closed_gate_keeps_a_single_budget_from_saying_behind():
    """One budget of four differs: unless by far, its interval reaches 0, and p is that of the gate at least."""
    alone = []
    for seed in range(40):
        own = panel({"scratch": [0.8, 0.8, 0.8, 0.8], "transformer": [0.8, 0.8, 0.8, 0.87]}, seed=seed)
        found = decide([own], SETTINGS)
        lead = found["kinds"][0]
        opened = lead["average_lead"]["reading"] in ("ahead", "behind") or lead["trend"]["reading"] in (
            "grows",
            "shrinks",
        )
        for one in found["budgets"]:
            for comparison in one["comparisons"]:
                behind = comparison["reading"] == "behind"
                assert behind == (comparison["high"] < 0) == (comparison["p_adjusted"] <= 0.05)
                alone.append(behind and not opened)
    assert sum(alone) <= 4


def test_an_entry_far_behind_needs_no_gate():
    """Its kind is level, because the other entry is picked; the closed gate keeps only the others undecided."""
    levels = {"scratch 1": 0.4, "scratch 2": 0.8, "transformer": 0.81}
    own = panel(levels, seed=1)
    checked = [
        Entry(one.name, one.kind, {at: Cell(cell.scores, np.full(3, level)) for at, cell in one.cells.items()})
        for one, level in zip(own.entries, levels.values(), strict=True)
    ]
    found = decide([Panel("d", checked)], SETTINGS)
    assert found["kinds"][0]["average_lead"]["reading"] == "undecided"
    for one in found["budgets"]:
        for pair in one["comparisons"]:
            behind = pair["b"] == "scratch 1"
            assert behind == (pair["reading"] == "behind") == (pair["high"] < 0) == (pair["p_adjusted"] <= 0.05)
            assert pair["low"] < pair["difference"] < pair["high"] or not behind


def test_entries_of_one_kind_are_compared():
    found = decide([panel({"transformer 1": 0.65, "transformer 2": 0.9})], SETTINGS)
    assert found["kinds"] == []
    assert all(one["status"] == "ahead" and one["recommended"] == "transformer 2" for one in found["budgets"])


def test_several_datasets_are_decided_together():
    panels = [panel({"scratch": 0.6, "transformer": 0.9}, seed=seed, name=f"set {seed}") for seed in range(5)]
    found = decide(panels, SETTINGS)
    assert {one["dataset"] for one in found["budgets"]} == {f"set {seed}" for seed in range(5)}
    assert found["recommended"] == "transformer"
    difference = found["datasets"]["differences"][0]
    assert (difference["a"], difference["b"], difference["reading"]) == ("transformer", "scratch", "behind")
    assert found["datasets"]["ranks"]["average"] == {"scratch": 2.0, "transformer": 1.0}


def test_clusters_widen_an_interval():
    rng = np.random.default_rng(5)
    group = np.repeat(np.arange(30), 7)

    def entry(name, kind):
        own = rng.normal(size=30)[group]
        return Entry(name, kind, {100.0: Cell(own + 0.1 * rng.normal(size=(3, 210)))})

    entries = [entry("a", "scratch"), entry("b", "transformer")]
    settings = Settings("score")
    alone = decide([Panel("d", entries)], settings)["kinds"][0]["average_lead"]
    grouped = decide([Panel("d", entries, clusters=group)], settings)["kinds"][0]["average_lead"]
    assert grouped["value"] == pytest.approx(alone["value"])
    ratio = (grouped["high"] - grouped["low"]) / (alone["high"] - alone["low"])
    assert ratio == pytest.approx(math.sqrt(7), rel=0.15)


def test_repeated_cross_validation_decides():
    rng = np.random.default_rng(6)
    folds = np.stack([rng.permutation(60) % 5 for _ in range(3)])
    entries = [
        Entry(kind, kind, {48.0: Cell((rng.random((3, 60)) < level).astype(float))})
        for kind, level in (("scratch", 0.5), ("transformer", 0.97))
    ]
    found = decide([Panel("d", entries, (rng.random(60) < 0.3).astype(float), folds=folds)], SETTINGS)
    assert found["recommended"] == "transformer" and found["budgets"][0]["status"] == "ahead"


def test_entries_with_other_repetitions_are_compared_on_the_same_rows():
    """The entry that has all three repetitions keeps them, and its score is the mean over them."""
    rng = np.random.default_rng(7)
    folds, row = np.stack([rng.permutation(60) % 5 for _ in range(3)]), rng.random(60)
    scores = {name: (row + 0.3 * rng.random((3, 60)) < 0.9).astype(float) for name in ("scratch", "transformer")}
    own = {"scratch": [2], "transformer": [0, 1, 2]}
    entries = [Entry(name, name, {48.0: Cell(scores[name][own[name]], repetitions=own[name])}) for name in own]
    budget = decide([Panel("d", entries, folds=folds)], SETTINGS)["budgets"][0]
    few, many = budget["entries"]
    assert many["value"] == pytest.approx(scores["transformer"].mean()) and (few["runs"], many["runs"]) == (1, 3)
    alone = decide([Panel("d", entries[1:], folds=folds)], SETTINGS)["budgets"][0]["entries"][0]
    assert many["high"] - many["low"] == pytest.approx(alone["high"] - alone["low"], rel=0.2)
    (pair,) = budget["comparisons"]
    separate = math.hypot(many["high"] - many["low"], few["high"] - few["low"])
    assert pair["reading"] == "undecided" and pair["high"] - pair["low"] < separate  # rows are shared
    wrong = [Entry("a", "scratch", {48.0: Cell(np.ones((1, 60)), repetitions=[3])})]
    with pytest.raises(UserError, match="3 repetitions"):
        decide([Panel("d", wrong, folds=folds)], SETTINGS)


def test_a_target_has_labels():
    settings = Settings("accuracy", bounds=(0.0, 1.0), target=0.8)
    found = decide([panel({"scratch": [0.6, 0.7, 0.78, 0.84], "transformer": 0.9})], settings)["target"]
    own = next(one for one in found if one["entry"] == "scratch")
    assert 700 < own["needs"] < 2500 and own["low"] < own["needs"] < own["high"]


@pytest.mark.parametrize(
    "change, words",
    [
        ({"entries": [Entry("a", "lstm", {})]}, "kind 'lstm'"),
        ({"entries": [Entry("a", "scratch", {100.0: Cell(np.ones((2, 3)))})], "constant": np.ones(4)}, r"\(2, 3\)"),
        ({"entries": [Entry("a", "scratch", {100.0: Cell(np.array([[1.0, np.nan]]))})]}, "not all finite"),
        ({"entries": [Entry("a", "scratch", {}), Entry("a", "linear", {})]}, "same name"),
        ({"entries": [Entry("a", "scratch", {9.0: Cell(np.ones((2, 3)))})], "clusters": np.zeros(3)}, "one cluster"),
        ({"entries": [Entry("a", "scratch", {9.0: Cell(np.ones((2, 1)))})]}, "at least 2"),
        ({"entries": [Entry("a", "scratch", {9.0: Cell(np.ones((2, 3)))})], "folds": np.zeros((2, 3))}, "2 folds"),
    ],
)
def test_bad_input_is_named(change, words):
    with pytest.raises(UserError, match=words):
        decide([Panel("d", **change)], SETTINGS)


def test_bad_settings_are_named():
    with pytest.raises(UserError, match="margin"):
        decide([panel({"scratch": 0.6})], Settings("accuracy", margin=0.0))


def test_false_claims_are_rare_where_all_entries_are_equal():
    """With a fixed seed, 200 reports of three equal kinds; the error rate is 5 %, so more than 18 have p = 0.005."""
    claims = 0
    for seed in range(200):
        levels = {"scratch": 0.8, "ulmfit": 0.8, "transformer": 0.8}
        found = decide([panel(levels, budgets=BUDGETS[:2], seed=1000 + seed, spread=0.02)], SETTINGS)
        leads = any(one["average_lead"]["reading"] in ("ahead", "behind") for one in found["kinds"])
        trends = any(one["trend"]["reading"] != "constant_or_unknown" for one in found["kinds"])
        behind = any(pair["reading"] == "behind" for one in found["budgets"] for pair in one["comparisons"])
        claims += leads or trends or behind
    assert 1 <= claims <= 18
